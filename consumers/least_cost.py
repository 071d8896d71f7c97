"""Least-cost routing: ``python -m consumers consumers.least_cost:service``.

Event ``invite_request``. The number that was dialled, ``data["user"]`` or else the user of
``data["ruri"]``, goes to the cheapest gateway of the longest prefix it begins with:
``{"action": "route", "uri": "sip:NUMBER@GATEWAY"}``; without one it is rejected with 404.

The rates are a CSV file, named by ``EVAPI_LEAST_COST_RATES``, read again when it changes::

    prefix,gateway,rate,priority
    44,gw1.example.net,0.0120,1
    44,gw2.example.net,0.0150,2
    4420,gw2.example.net:5080,0.0070,1
    *,gw1.example.net;transport=tcp,0.5,1

prefix: digits of the international number, ``*`` for any; gateway: what follows the ``@``;
rate: a number, the lowest wins; priority: a whole number, the lowest wins where rates are
equal (may be left out: then the order in the file). Other columns, empty lines and lines that
begin with ``#`` are passed over. Replace the file in one step (write another, rename it):
a half-written one may look whole.
"""

from __future__ import annotations

import csv
import os
import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from adapter.watched import TableError, Watched
from consumers.decisions import reject, route
from consumers.phone import is_number, normal, user_of
from consumers.service import Service

if TYPE_CHECKING:
    from collections.abc import Iterator

    from adapter.contract import Decision, Request

RATES_VARIABLE: Final = "EVAPI_LEAST_COST_RATES"
EXAMPLE_RATES: Final = Path(__file__).with_name("rates.csv")
ANY: Final = "*"

_COLUMNS: Final = ("prefix", "gateway", "rate")
_GATEWAY = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?(?:;[A-Za-z0-9._~=;%-]+)?")


@dataclass(frozen=True, slots=True)
class Rates:
    """The best gateway of each prefix. ``lengths``: of the prefixes there are, the longest first."""

    gateways: dict[str, str]
    lengths: tuple[int, ...]

    def gateway(self, number: str) -> str | None:
        """The gateway of the longest prefix of ``number``: one look-up for each length there is."""
        for length in self.lengths:
            found = self.gateways.get(number[:length])
            if found is not None:
                return found
        return None


def parse_rates(text: str) -> Rates:
    """Read a CSV of rates. Raises TableError, naming line and column."""
    best: dict[str, tuple[Decimal, int, int]] = {}
    gateways: dict[str, str] = {}
    for line, row in _rows(text):
        prefix = _prefix(line, row["prefix"])
        order = (_rate(line, row["rate"]), _priority(line, row.get("priority", "")), line)
        gateway = row["gateway"]
        if not _GATEWAY.fullmatch(gateway):
            raise TableError(f"{gateway!r} is no gateway such as gw1.example.net:5060", line, "gateway")
        if prefix not in best or order < best[prefix]:
            best[prefix], gateways[prefix] = order, gateway
    if not gateways:
        raise TableError("there are no rates in it")
    return Rates(gateways, tuple(sorted({len(prefix) for prefix in gateways}, reverse=True)))


def _rows(text: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Each row as a map, with its line number. Comments become empty lines, so that lines count."""
    lines = ("\n" if line.startswith("#") else line for line in text.splitlines(keepends=True))
    reader = csv.reader(lines, strict=True)
    columns: list[str] | None = None
    try:
        for cells in reader:
            row = [cell.strip() for cell in cells]
            if not any(row):
                continue
            if columns is None:
                columns = [name.lower() for name in row]
                for name in _COLUMNS:
                    if name not in columns:
                        raise TableError(
                            "is missing; the first line names the columns", reader.line_num, name
                        )
                continue
            found = dict(zip(columns, row, strict=False))
            for name in _COLUMNS:
                if not found.get(name):
                    raise TableError("is empty", reader.line_num, name)
            yield reader.line_num, found
    except csv.Error as exc:
        raise TableError(f"is no CSV: {exc}", reader.line_num) from exc


def _prefix(line: int, text: str) -> str:
    if text == ANY:
        return ""
    prefix = normal(text)
    if not is_number(prefix):
        raise TableError(f"{text!r} is no prefix: digits, or {ANY} for any number", line, "prefix")
    return prefix


def _rate(line: int, text: str) -> Decimal:
    try:
        rate = Decimal(text)
    except InvalidOperation:
        rate = Decimal("NaN")
    if not rate.is_finite() or rate < 0:
        raise TableError(f"{text!r} is no rate: a number from 0 on, such as 0.0120", line, "rate")
    return rate


def _priority(line: int, text: str) -> int:
    if not text:
        return 0
    try:
        return int(text)
    except ValueError:
        raise TableError(f"{text!r} is no whole number", line, "priority") from None


def dialled(data: Any) -> str:
    """The number or name that was dialled. Raises ValueError where the request does not say."""
    if not isinstance(data, dict):
        raise ValueError(f"data is no map but {type(data).__name__}")
    for key in ("user", "ruri"):
        value = data.get(key)
        if isinstance(value, str) and value:
            return normal(user_of(value))
    raise ValueError('data has neither "user" nor "ruri"')


def make_service(rates: Path, name: str = "least_cost") -> Service:
    """A service that routes by the file ``rates``."""
    made = Service(name)
    table = Watched(rates, parse_rates)
    made.at_start(table.load)

    @made.on("invite_request")
    def decide(request: Request) -> Decision:
        number = dialled(request.data)
        gateway = table.current().gateway(number) if is_number(number) else None
        return reject(404, "No route") if gateway is None else route(f"sip:{number}@{gateway}")

    return made


service = make_service(Path(os.environ.get(RATES_VARIABLE) or EXAMPLE_RATES))
