"""What was seen, as table, CSV and JSON, and what of it is not to be trusted. Pure."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from adapter.bench.load import UNANSWERED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from adapter.bench.load import Latency, Load, Result

LATE: Final = 5_000
"""Microseconds by which the source may begin one call in a hundred too late."""
WHOLE: Final = 0.95
"""Of a core, or of the cores of the machine: as good as all of it."""
ALL: Final = 0.999
"""The share of decided calls that needs no words."""
MB: Final = 1_000_000
NONE: Final = "-"
NARROW: Final = 5
"""Characters of a column at least, so that two of them have room for what stands over them."""


class Column(NamedTuple):
    """Of the table: what several have in common, its name, its cells."""

    group: str
    name: str
    cell: Callable[[Result], str]


LATENCY: Final = "latency, ms"
ADDED: Final = "added, ms"
CPU: Final = "CPU, us per call"

COLUMNS: Final = (
    Column("", "calls/s", lambda result: "max" if result.load.rate is None else f"{result.load.rate:,g}"),
    Column("", "answered", lambda result: f"{result.throughput:,.0f}"),
    Column("", "decided", lambda result: percent(result.decided)),
    Column(LATENCY, "p50", lambda result: ms(result.latency.p50)),
    Column(LATENCY, "p95", lambda result: ms(result.latency.p95)),
    Column(LATENCY, "p99", lambda result: ms(result.latency.p99)),
    Column(LATENCY, "p99.9", lambda result: ms(result.latency.p999)),
    Column(LATENCY, "max", lambda result: ms(result.latency.longest)),
    Column(ADDED, "p50", lambda result: ms(result.added.p50)),
    Column(ADDED, "p99", lambda result: ms(result.added.p99)),
    Column(CPU, "adapter", lambda result: costs(result.cpu, "adapter")),
    Column(CPU, "consumer", lambda result: costs(result.cpu, "consumer", together=True)),
    Column(CPU, "source", lambda result: costs(result.cpu, "source")),
    Column(CPU, "machine", lambda result: f"{result.machine:.0f}"),
    Column("", "MB", lambda result: f"{max(result.peaks.values(), default=0) / MB:.0f}"),
)

LEGEND: Final = """\
answered: calls per second; latency: from when a call was due to its answer; added: without the consumer's
time; adapter: each replica; consumer: all of them; machine: all that its cores did but for the source,
RabbitMQ and Redis among it if they run here; MB: the most memory that one of them had"""


def words(load: Load) -> str:
    """What the loads of a measurement have in common."""
    return (
        f"decisions take {load.decision * 1000:g} ms, events carry {load.payload:,} bytes, "
        f"{load.seconds:g} s each after {load.warm_up:g} s"
    )


def common(load: Load) -> dict[str, float]:
    """The same for machines."""
    return {
        "decision_ms": load.decision * 1000,
        "payload_bytes": load.payload,
        "window": load.window,
        "warm_up": load.warm_up,
    }


def table(results: Sequence[Result], cores: int) -> str:
    """The rows, then what is to be said of them."""
    cells = [[column.cell(result) for column in COLUMNS] for result in results]
    widths = [
        max(NARROW if column.group else 0, len(column.name), *(len(row[at]) for row in cells))
        for at, column in enumerate(COLUMNS)
    ]
    lines = [_groups(widths), _line([column.name for column in COLUMNS], widths)]
    lines += [_line(row, widths) for row in cells]
    lines += ["", LEGEND]
    for result in results:
        lines += [f"! {result.load.name}: {warning}" for warning in warnings(result, cores)]
    return "\n".join(line.rstrip() for line in lines)


def percent(share: float) -> str:
    """In tenths of a percent; 100 only where it is all."""
    return f"{int(share * 1000 + 1e-9) / 10:g} %"


def ms(microseconds: float) -> str:
    """Milliseconds with three digits."""
    value = microseconds / 1000
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def costs(cpu: Mapping[str, float], kind: str, *, together: bool = False) -> str:
    """Microseconds of the processes of a kind, each or together."""
    found = [cost for name, cost in cpu.items() if name.startswith(kind)]
    if together:
        found = [sum(found)] if found else []
    return "+".join(f"{cost:.0f}" for cost in found) or NONE


def _line(cells: Iterable[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True))


def _groups(widths: Sequence[int]) -> str:
    """The line above the names: each group in the middle over its columns."""
    parts: list[tuple[str, int]] = []
    for column, width in zip(COLUMNS, widths, strict=True):
        if parts and column.group and parts[-1][0] == column.group:
            parts[-1] = column.group, parts[-1][1] + 2 + width
        else:
            parts.append((column.group, width))
    return "  ".join(_over(group, width) for group, width in parts)


def _over(group: str, width: int) -> str:
    return f" {group} ".center(width, "-") if group and width > len(group) + 4 else group.center(width)


def warnings(result: Result, cores: int) -> list[str]:
    """Sentences on what limited a load, and on figures that cannot be trusted; ``cores``: the machine's."""
    found = []
    lost = result.outcomes.get(UNANSWERED, 0)
    if lost:
        found.append(f"{lost:,} calls got no answer at all: their latency is in none of the figures")
    others = [
        f"{name} {count:,}" for name, count in result.outcomes.items() if name not in ("decided", UNANSWERED)
    ]
    if others:
        found.append(f"not decided: {', '.join(others)}; they were answered by the fallback")
    if result.decided < ALL:
        found.append("this is more than the installation carries: look at a lower rate for its latency")
    behind = result.lag.p99 > LATE
    whole = result.cores("source") >= WHOLE
    if behind or whole:
        why = "used a whole core" if whole else f"began one call in a hundred {ms(result.lag.p99)} ms late"
        found.append(f"the source of calls {why}: what is seen may be its limit, not the adapter's")
    busy = max(result.busy, result.cores())
    if busy >= WHOLE * cores:
        found.append(
            f"the machine was fully loaded ({busy:.1f} of {cores} cores, {result.cores():.1f} of them by "
            "these processes): all waited for a core, so look at the CPU per call, not at the latency"
        )
    full = [name for name in result.cpu if name != "source" and result.cores(name) >= WHOLE]
    found += [f"{name} used a whole core: that is what limits it" for name in full]
    return found


def as_json(result: Result, cores: int) -> dict[str, Any]:
    """A row for machines. Latencies in milliseconds."""
    return {
        "rate": result.load.rate,
        "seconds": round(result.seconds, 3),
        "offered": result.offered,
        "answered_per_second": round(result.throughput, 1),
        "decided": round(result.decided, 6),
        "outcomes": dict(result.outcomes),
        "latency_ms": _latency(result.latency),
        "added_ms": _latency(result.added),
        "lag_ms": _latency(result.lag),
        "cpu_us_per_call": {name: round(cost, 1) for name, cost in result.cpu.items()},
        "machine_cpu_us_per_call": round(result.machine, 1),
        "cores": round(result.cores(), 3),
        "machine_cores_busy": round(result.busy, 3),
        "peak_memory_bytes": dict(result.peaks),
        "warnings": warnings(result, cores),
    }


def _latency(latency: Latency) -> dict[str, float]:
    names = ("p50", "p95", "p99", "p99_9", "max")
    found = (latency.p50, latency.p95, latency.p99, latency.p999, latency.longest)
    return {name: value / 1000 for name, value in zip(names, found, strict=True)}


def as_csv(results: Sequence[Result], cores: int) -> str:
    """The rows for a spreadsheet: what JSON has, flat. Of outcomes and processes whichever there are."""
    rows = [dict(_flat(as_json(result, cores))) for result in results]
    names = {name: None for row in rows for name in row}
    written = io.StringIO()
    writer = csv.DictWriter(written, list(names), restval=0, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return written.getvalue()


def _flat(row: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    for name, value in row.items():
        if isinstance(value, dict):
            yield from ((f"{name}.{key}", each) for key, each in value.items())
        elif isinstance(value, list):
            yield name, "; ".join(value)
        else:
            yield name, "max" if name == "rate" and value is None else value
