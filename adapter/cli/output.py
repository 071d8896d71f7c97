"""What the commands print: data to stdout as a table, JSON or JSON lines, talk to stderr.

A row is a map with stable keys. The table shows what a person wants of it; JSON has all of it, times as
epoch seconds and durations in seconds. Into a pipe goes no colour, and nothing is cut or folded.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from adapter.terminal import escaped as escaped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from rich.console import Console

WIDE: Final = 10_000
"""Columns of a pipe."""
_CLEAR: Final = "\033[H\033[2J"
"""The cursor to the upper left, and nothing left."""


class Format(StrEnum):
    """How data is printed."""

    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"


def text(value: Any) -> str:
    """A value as a person reads it; nothing for None."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple | set | frozenset):
        return ", ".join(map(text, value))
    return escaped(str(value))


def seconds(value: float | None) -> str:
    """A duration: 350 us, 12 ms, 1.2 s, 3 min, 2.5 h."""
    if value is None:
        return ""
    if abs(value) < 0.001:
        return f"{value * 1e6:.0f} us"
    if abs(value) < 1:
        return f"{value * 1000:.3g} ms"
    for limit, unit, name in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if abs(value) < limit:
            return f"{value / unit:.3g} {name}"
    return f"{value / 86_400:.3g} d"


def clock(epoch: float | None) -> str:
    """A time of day, to the millisecond, in this machine's zone."""
    if epoch is None:
        return ""
    return time.strftime("%H:%M:%S", time.localtime(epoch)) + f".{int(epoch % 1 * 1000):03d}"


@dataclass(frozen=True, slots=True)
class Column:
    """What of a row is shown where. ``show`` makes text of the value; ``style`` is rich's.

    ``width``: of a stream's column, which has its place even where there is nothing in it; 0: it has none.
    """

    key: str
    title: str
    show: Callable[[Any], str] = text
    right: bool = False
    style: str | Callable[[Any], str] = ""
    width: int = 0

    def cell(self, row: Mapping[str, Any]) -> str:
        """The text of this column."""
        return self.show(row.get(self.key))

    def placed(self, row: Mapping[str, Any]) -> str:
        """The text of this column, as wide as the column is."""
        return self.cell(row).ljust(self.width)


class Output:
    """Prints in one format."""

    def __init__(self, format: Format) -> None:  # noqa: A002
        self.format = format
        self._renewed = False

    def renew(self) -> None:
        """Have what is printed next take the place of all that is on the terminal."""
        self._renewed = True

    def _begin(self) -> None:
        if self._renewed:
            self._renewed = False
            sys.stdout.write(_CLEAR)
            sys.stdout.flush()

    def rows(self, columns: Sequence[Column], rows: Iterable[Mapping[str, Any]], nothing: str = "") -> None:
        """Print many. ``nothing``: said on stderr where there is none, and a person reads it."""
        found = list(rows)
        self._begin()
        if self.format is Format.JSON:
            _write(json.dumps({"rows": found}, indent=2, default=_plain))
        elif self.format is Format.JSONL:
            for row in found:
                _write(json.dumps(row, default=_plain))
        elif found:
            self._table(columns, found)
        elif nothing:
            self.say(nothing)

    def one(self, row: Mapping[str, Any], columns: Sequence[Column]) -> None:
        """Print one thing: a line for each column that has something to show."""
        if self.format is not Format.TABLE:
            _write(json.dumps(row, indent=2 if self.format is Format.JSON else None, default=_plain))
            return
        shown = [(column.title, column.cell(row), _style(column, row)) for column in columns]
        self._pairs([each for each in shown if each[1]])

    def line(self, columns: Sequence[Column], row: Mapping[str, Any]) -> None:
        """Print one row of a stream, at once: it may go on for ever."""
        if self.format is not Format.TABLE:
            _write(json.dumps(row, default=_plain))
        else:
            from rich.text import Text

            parts = [(column.placed(row), _style(column, row)) for column in columns]
            line = Text("  ").join(Text(part, style) for part, style in parts if part)
            line.rstrip()
            console().print(line, soft_wrap=True)
        sys.stdout.flush()

    def head(self, columns: Sequence[Column]) -> None:
        """Print the titles above a stream's lines, where a person reads them."""
        if self.format is Format.TABLE and sys.stdout.isatty():
            titles = "  ".join(column.title.ljust(column.width) for column in columns)
            console().print(titles.rstrip(), style="bold", soft_wrap=True)

    def say(self, words: str) -> None:
        """Tell something that is no data."""
        self._begin()
        sys.stderr.write(f"{words}\n")
        sys.stderr.flush()

    def _table(self, columns: Sequence[Column], rows: Sequence[Mapping[str, Any]]) -> None:
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        for column in columns:
            justify = "right" if column.right else "left"
            table.add_column(column.title, justify=justify, overflow="fold")  # type: ignore[arg-type]
        for row in rows:
            table.add_row(*(Text(column.cell(row), _style(column, row)) for column in columns))
        console().print(table)

    def _pairs(self, pairs: Sequence[tuple[str, str, str]]) -> None:
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
        table.add_column(style="bold", no_wrap=True)
        table.add_column(overflow="fold")
        for title, value, style in pairs:
            table.add_row(Text(title), Text(value, style))
        console().print(table)


def console() -> Console:
    """Of stdout: rich's own rules for colour (a terminal, NO_COLOR, TERM), no limit in a pipe."""
    from rich.console import Console

    lively = sys.stdout.isatty()
    return Console(file=sys.stdout, highlight=False, markup=False, width=None if lively else WIDE)


def _style(column: Column, row: Mapping[str, Any]) -> str:
    return column.style if isinstance(column.style, str) else column.style(row.get(column.key))


def _plain(value: Any) -> Any:
    """What JSON does not know: bytes as text, sets as lists, the rest by its name."""
    if isinstance(value, bytes | bytearray):
        return bytes(value).decode("utf-8", "backslashreplace")
    if isinstance(value, set | frozenset):
        return sorted(value)
    return str(value)


def _write(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
