"""The rows of the comparison, its tables, and its place in a Markdown file. Pure."""

from __future__ import annotations

import math
import re
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from adapter.bench.load import Result

ALL: Final = 0.999
"""The share of calls from which on they count as all decided."""
KEPT_UP: Final = 0.95
"""The share of the rate at which calls come that is to be answered, else the bridge falls behind."""
ADAPTER: Final = "adapter 1"


class Figure(NamedTuple):
    """What is measured, and what it must be."""

    what: str
    must: str


FIGURES: Final[Mapping[str, Figure]] = {
    "cpu-2000": Figure("CPU per call at 2,000 calls/s", "<= 200 us, <= 0.5 of plain"),
    "cpu-500": Figure("CPU per call at 500 calls/s", "<= 0.8 of plain"),
    "sustained": Figure("calls/s with p99 under 50 ms", ">= 3,500, >= 2 times plain"),
    "latency-500": Figure("added latency at 500 calls/s, p50 / p99", "each <= 1.1 of plain"),
    "latency-2000": Figure("added latency at 2,000 calls/s, p50 / p99", "p99 <= 10 ms"),
    "embedded-cpu": Figure("embedded: CPU per call", "<= 60 us"),
    "embedded-rate": Figure("embedded: calls/s", ">= 10,000"),
    "standby": Figure("CPU of a standby replica per call at 2,000 calls/s", "<= 25 us"),
    "replies": Figure("replies to a simulated Kamailio through one link", ">= 20,000/s, 0 lost"),
    "replies-kamailio": Figure("the same to the real Kamailio", ">= 20,000/s, 0 lost"),
    "memory-idle": Figure("memory, idle", "<= 80 MB"),
    "memory-call": Figure("memory per call in flight", "<= 3 KB"),
    "in-flight": Figure("CPU per call as in flight grows a hundredfold", "flat within 20 %"),
    "nodes": Figure("CPU per call as nodes grow 1 -> 20", "flat within 20 %"),
    "sip": Figure("SIPp: 1,000 calls/s, decisions of 50 ms, 4 SIP workers", "100 % decided, p99 <= 75 ms"),
    "start-up": Figure("`evapi-adapter --help`", "< 0.3 s"),
    "soak": Figure("memory over a soak at 1,000 calls/s", "flat: <= 2 MB more"),
}
"""By name, in the order of the table."""


@dataclass(frozen=True, slots=True)
class Row:
    """What was seen of a figure; ``met`` is ``None`` where it could not be measured."""

    name: str
    seen: str
    met: bool | None
    plain: str = ""
    ratio: float | None = None
    note: str = ""

    @property
    def cells(self) -> tuple[str, ...]:
        """The row of the table."""
        met = {True: "yes", False: "**no**", None: "not measured"}[self.met]
        ratio = "" if self.ratio is None else f"{self.ratio:.2f}"
        return (*FIGURES[self.name], self.seen, self.plain, ratio, met)

    @property
    def told(self) -> str:
        """The row as a line."""
        what, must, seen, plain, ratio, met = _bare(self.cells)
        beside = f"; plain {plain}" if plain else ""
        beside += f"; ratio {ratio}" if ratio else ""
        return f"{what}: {seen}{beside}; must be {must}: {met}{f' ({self.note})' if self.note else ''}"


def unmeasured(name: str, why: str) -> Row:
    """The row of a figure that could not be measured."""
    return Row(name, f"not measured: {first_line(why)}", None)


@dataclass(frozen=True, slots=True)
class Spent:
    """Where the CPU went under one load; ``who`` bridged."""

    who: str
    what: str
    result: Result

    @property
    def cells(self) -> tuple[str, ...]:
        """The row of the table: CPU in microseconds per call that was offered, the cores
        that makes, and those that the whole machine was at work with.
        """
        cpu, result = self.result.cpu, self.result
        kinds = ("adapter", "consumer", "source", "RabbitMQ", "Redis")
        parts = [sum(value for name, value in cpu.items() if name.startswith(kind)) for kind in kinds]
        added = f"{result.added.p50 / 1000:.1f} / {result.added.p99 / 1000:.1f}"
        return (
            self.what,
            self.who,
            percent(result.decided),
            added,
            *(f"{part:.0f}" for part in parts),
            f"{result.cores():.2f}",
            f"{result.busy:.2f}",
        )


COLUMNS: Final = ("what", "must be", "seen", "plain", "ratio", "met")
SPENT: Final = (
    *("load", "bridge", "decided", "added ms p50 / p99"),
    *("bridge us", "consumers us", "source us", "RabbitMQ us", "Redis us", "cores", "machine"),
)


def cost(result: Result, name: str = ADAPTER, *, lenient: bool = False) -> float:
    """Microseconds of CPU per call that was decided, infinite where none was.

    Where calls still wait when the load ends, the CPU that they will take is not in it, but they may
    be decided: of those decided and those answered till then the fewer count, ``lenient`` the more.
    """
    decided, answered = result.decided * result.offered, result.throughput * result.seconds
    calls = (max if lenient else min)(decided, answered) if decided else 0
    return result.cpu[name] * result.offered / calls if calls else math.inf


def us(value: float) -> str:
    """A cost, for people."""
    return f"{value:.0f} us" if math.isfinite(value) else "no cost"


def middle(results: Sequence[Result], name: str = ADAPTER) -> Result:
    """Of the same load taken several times, the one in the middle by its cost."""
    return sorted(results, key=lambda result: cost(result, name))[(len(results) - 1) // 2]


def decided_all(results: Iterable[Result]) -> bool:
    """Whether every call was decided, a stray one in a thousand apart."""
    return all(result.decided >= ALL for result in results)


def percentiles(results: Sequence[Result]) -> tuple[float, float]:
    """Milliseconds that were added, p50 and p99: of several runs the median of each."""
    return (
        statistics.median(result.added.p50 for result in results) / 1000,
        statistics.median(result.added.p99 for result in results) / 1000,
    )


def kept_up(results: Sequence[Result]) -> bool:
    """Whether every call was decided, and at the rate at which calls came."""
    return decided_all(results) and all(map(_kept_up, results))


def _kept_up(result: Result) -> bool:
    return result.load.rate is None or result.throughput >= KEPT_UP * result.load.rate


def fell_behind(results: Sequence[Result]) -> str:
    """What has to be said of loads that were not kept up with; else nothing."""
    worst = min((result.decided for result in results), default=1.0)
    if worst < ALL:
        return f", {percent(worst)} decided"
    slowest = min(results, key=lambda result: result.throughput)
    return "" if _kept_up(slowest) else f", {slowest.throughput:,.0f}/s answered"


def percent(share: float) -> str:
    """In tenths of a percent, 100 % only where it is all."""
    return f"{math.floor(share * 1000 + 1e-9) / 10:g} %"


def ratio(ours: float, plain: float | None) -> float | None:
    """Ours over the plain bridge's, where both are known."""
    return ours / plain if plain and math.isfinite(plain) and math.isfinite(ours) else None


def first_line(text: object) -> str:
    """Of an error that quotes a log: what goes into a cell."""
    lines = str(text).strip().splitlines() or [type(text).__name__]
    return re.sub(r"(; it said last)?:$", "", lines[0]).replace("|", "/")


def table(rows: Sequence[Row]) -> Table:
    """For a terminal."""
    made = Table(show_lines=True)
    for column in COLUMNS:
        made.add_column(column, justify="right" if column == "ratio" else "left")
    for row in rows:
        made.add_row(*_bare(row.cells))
    return made


def spent_table(spent: Sequence[Spent]) -> Table:
    """For a terminal."""
    made = Table()
    for number, column in enumerate(SPENT):
        made.add_column(column, justify="left" if number < 2 else "right")
    for each in spent:
        made.add_row(*each.cells)
    return made


def markdown(rows: Sequence[Row], spent: Sequence[Spent], preface: str) -> str:
    """The section of a Markdown file."""
    parts = [preface, _lines(COLUMNS, ["---"] * 4 + ["--:", "---"], [row.cells for row in rows])]
    notes = [f"- {FIGURES[row.name].what}: {row.note}." for row in rows if row.note]
    if notes:
        parts.append("\n".join(notes))
    if spent:
        parts.append("Where the machine's cores went, in microseconds of CPU per call offered:")
        parts.append(_lines(SPENT, ["---"] * 2 + ["--:"] * 9, [each.cells for each in spent]))
    return "\n\n".join(parts)


def replaced(text: str, marker: str, section: str) -> str:
    """The text with what is between ``<!-- marker -->`` and ``<!-- /marker -->`` replaced.

    Raises ValueError where it has not each of them once.
    """
    begin, end = f"<!-- {marker} -->", f"<!-- /{marker} -->"
    head, _, rest = text.partition(begin)
    _, _, tail = rest.partition(end)
    if (text.count(begin), text.count(end)) != (1, 1) or end not in rest:
        raise ValueError(f"has not {begin} and {end} once, in this order")
    return f"{head}{begin}\n\n{section}\n\n{end}{tail}"


def _lines(columns: Sequence[str], marks: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in (columns, marks, *rows))


def _bare(cells: Sequence[str]) -> tuple[str, ...]:
    return tuple(cell.replace("`", "").replace("**", "") for cell in cells)
