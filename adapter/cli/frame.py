"""One frame of ``top``: what it shows of the whole, fitted to so many columns and rows."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from rich.console import Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from adapter.admin.overview import calls, node_rows, replica_rows, service_rows
from adapter.admin.recent import DECIDED
from adapter.cli.output import Column, escaped, seconds, text
from adapter.cli.overview import age, gate, replica_state, style, up
from adapter.cli.services import as_seen
from adapter.model.ladder import Rung

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rich.console import JustifyMethod, RenderableType

    from adapter.admin.overview import Overview

BARS: Final = " ▁▂▃▄▅▆▇█"
ALARM: Final = "bold red"
WORN: Final = "yellow"
QUIET: Final = "dim"
HEAD: Final = 1 + 6
"""Rows of the first line and of the calls."""
EDGES: Final = 3
"""Rows of a panel's borders and of its column heads."""
WIDE: Final = 95
"""Columns from which more is told of each replica."""
LONG_ONES: Final = frozenset({"shown", "shown_links", "shown_gate", "shown_active", "remark"})
"""Columns that are cut before others are."""
LONG: Final = 12
"""To this width."""
_SLOW: Final = 1.0
"""Seconds from which an age in flight is worth a look: half of the usual deadline."""


def frame(overview: Overview, width: int, height: int, now: float, context: str = "") -> RenderableType:
    """The whole screen: at least 80 by 24, more where there is more room.

    ``now``: epoch seconds, shown, as is the name of the ``context``.
    """
    sections = _sections(overview, width)
    rooms = _rooms([len(rows) for _, _, rows, _ in sections], height - HEAD - len(sections) * EDGES)
    panels = [
        _panel(_table(columns, rows, room, width - 4), title, note)
        for (title, columns, rows, note), room in zip(sections, rooms, strict=True)
    ]
    first = Table.grid(expand=True)
    first.add_column(ratio=1)
    first.add_column(width=min(28, width // 3))
    first.add_row(
        _panel(_calls(overview, width - min(28, width // 3) - 4), "calls"),
        _panel(_latency(overview), "latency"),
    )
    return Group(_header(overview, width, now, context), first, *panels)


def text_frame(overview: Overview, width: int, now: float, context: str = "") -> RenderableType:
    """The same without borders, of any length: for a pipe or a file."""
    parts: list[RenderableType] = [_header(overview, min(width, 200), now, context), Text()]
    parts += [Text("CALLS", "bold"), _calls(overview, min(width, 100)), _latency(overview)]
    for title, columns, rows, note in _sections(overview, width):
        head = Text(title.upper(), "bold")
        parts += [Text(), head.append(f"  {note}", QUIET) if note else head]
        parts.append(_table(columns, rows, len(rows), width))
    return Group(*parts)


_EMBEDDED: Final = {"Redis": "the adapter itself", "RabbitMQ": "embedded broker"}
"""Who was asked instead, where an adapter runs without them."""


def _header(overview: Overview, width: int, now: float, context: str) -> Text:
    line = Text(no_wrap=True, overflow="ellipsis")
    line.append(time.strftime("%H:%M:%S", time.localtime(now)), "bold")
    if context:
        line.append(f"   {escaped(context)}", "bold magenta")
    asked_adapter = overview.store is not None and overview.store.embedded
    for name, there, problem in (
        ("Redis", overview.store is not None, overview.store_problem),
        ("RabbitMQ", overview.bus is not None, overview.bus_problem),
    ):
        line.append("   ")
        if problem:
            line.append(f"{name} is away", ALARM)
        elif there:
            line.append("● ", "green").append(_EMBEDDED[name] if asked_adapter else name)
        else:
            line.append(f"{name} not asked", QUIET)
    if overview.bus is not None:
        dead = overview.bus.dead_letters
        line.append("   dead letters ").append("-" if dead is None else f"{dead:,}", WORN if dead else "")
        if overview.bus.blocked:
            line.append("   RabbitMQ takes nothing: short of memory or disk", ALARM)
    line.truncate(width, overflow="ellipsis")
    return line


def _calls(overview: Overview, width: int) -> RenderableType:
    found = calls(overview)
    if found is None:
        return Text(escaped(overview.store_problem), ALARM)
    number, over = found["calls"], round(found["seconds"])
    line = Text(f"{found['rate']:,.1f}", "bold").append(" a second now")
    line.append(f", {number:,} in {over} s", QUIET)
    share = found["fallback_share"]
    told = Text("fallbacks ")
    if share is None:
        told = Text("no call, or the adapters keep no journal (EVAPI_JOURNAL)", QUIET)
    else:
        told.append(f"{share:.2%}", ALARM if share > 0.05 else WORN if share else "green")
    bars = Text(sparkline(found["per_second"], width), "cyan", no_wrap=True)
    return Group(line, bars, told, _outcomes(found["outcomes"], found["steps"], number, width))


def _outcomes(outcomes: Mapping[str, int], steps: Mapping[str, int], number: int, width: int) -> Text:
    """Shares of the outcomes, and of the calls that others decided than those that were asked first."""
    line = Text(no_wrap=True, overflow="ellipsis")
    for outcome, count in outcomes.items():
        line.append("  " if line else "")
        line.append(escaped(outcome), "" if outcome in DECIDED else WORN).append(f" {count / number:.1%}")
    for step, count in steps.items():
        if step != Rung.SERVICE and number:
            line.append("  by ", QUIET).append(step, WORN).append(f" {count / number:.1%}")
    line.truncate(width, overflow="ellipsis")
    return line


def _latency(overview: Overview) -> RenderableType:
    found = calls(overview)
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style=QUIET)
    table.add_column(justify="right")
    for name, value in ({} if found is None else found["latency"]).items():
        table.add_row(name, seconds(value) or "-")
    return table


Section = tuple[str, "Sequence[Column]", "Sequence[Mapping[str, Any]]", str]


def _sections(overview: Overview, width: int) -> list[Section]:
    """Title, columns, rows, and what else there is to say."""
    replicas = REPLICAS if width < WIDE else (*REPLICAS, *MORE_REPLICAS)
    away = overview.store_problem and "unknown: Redis is away"
    return [
        ("nodes", NODES, _nodes(overview), away),
        ("replicas", replicas, _replicas(overview), away),
        ("services", SERVICES, _services(overview), _about_services(overview)),
    ]


def _about_services(overview: Overview) -> str:
    if overview.bus is None:
        return "unknown: RabbitMQ is away" if overview.bus_problem else "unknown: EVAPI_AMQP_URL is not set"
    return "" if overview.bus.complete or overview.bus.services else "none known; name them with --also"


def _nodes(overview: Overview) -> list[dict[str, Any]]:
    return [
        {
            **row,
            "shown_links": _links(row["links"].values()),
            "shown_gate": gate(row),
            "wrong": row["active"] is None or row["gate"] != "open",
        }
        for row in node_rows(overview)
    ]


def _links(states: Iterable[str]) -> str:
    """How many are how: who is told by ``evapi-adapter nodes``."""
    counted = Counter(states)
    if len(counted) == 1 and counted.total() == 1:
        return next(iter(counted))
    return ", ".join(f"{number} {escaped(how)}" for how, number in sorted(counted.items())) or "none"


def _replicas(overview: Overview) -> list[dict[str, Any]]:
    return [
        {
            **row,
            "shown": replica_state(row),
            "shown_active": text(row["active_for"]) or ("standby" if row["state"] == "live" else "-"),
            "wrong": row["state"] != "live" or not row["broker"],
        }
        for row in replica_rows(overview)
    ]


def _services(overview: Overview) -> list[dict[str, Any]]:
    return [{**as_seen(row), "wrong": bool(row["remark"])} for row in service_rows(overview)]


def _badly(value: Any) -> str:
    return "" if value else ALARM


def _consumed(value: Any) -> str:
    return "-" if value is None else text(value)


NODES: Final = (
    Column("node", "NODE", style="bold"),
    Column("active_name", "ACTIVE", lambda name: text(name) or "nobody", style=_badly),
    Column("in_flight", "IN FLIGHT", right=True),
    Column("oldest", "OLDEST", seconds, right=True, style=lambda age: WORN if age and age > _SLOW else ""),
    Column("shown_links", "LINKS", style=lambda how: ALARM if "down" in how or "unread" in how else ""),
    Column("shown_gate", "GATE", style=style),
)
REPLICAS: Final = (
    Column("name", "REPLICA", style="bold"),
    Column("shown", "STATE", style=style),
    Column("shown_active", "ACTIVE FOR", str),
    Column("broker", "BROKER", lambda there: "ready" if there else "away", style=_badly),
    Column("beat_age", "BEAT", age, right=True),
    Column("up", "UP", up, right=True),
)
MORE_REPLICAS: Final = (Column("version", "VERSION"), Column("http", "HTTP"))
SERVICES: Final = (
    Column("name", "SERVICE", style="bold"),
    Column("messages", "WAITING", _consumed, right=True, style=lambda number: WORN if number else ""),
    Column("consumers", "CONSUMERS", _consumed, right=True, style=_badly),
    Column("remark", "", style=WORN),
)


def _panel(content: RenderableType, title: str, note: str = "") -> Panel:
    head = Text(title, "bold cyan")
    if note:
        head.append(f"  {note}", ALARM if note.startswith("unknown") else QUIET)
    return Panel(content, title=head, title_align="left", border_style="bright_black", padding=(0, 1))


def _table(
    columns: Sequence[Column], rows: Sequence[Mapping[str, Any]], room: int, width: int
) -> RenderableType:
    """At most ``room`` rows, and how many are not shown: of too many those first where something is wrong.

    A row is a line: the long columns are cut where there is no room.
    """
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style=QUIET)
    shown = rows if len(rows) <= room else sorted(rows, key=_well)[: max(room - 1, 0)]
    for column, needed in zip(columns, _widths(columns, shown, width), strict=True):
        justify: JustifyMethod = "right" if column.right else "left"
        table.add_column(column.title, justify=justify, no_wrap=True, overflow="ellipsis", width=needed)
    for row in shown:
        cells = []
        for column in columns:
            how = column.style if isinstance(column.style, str) else column.style(row.get(column.key))
            cells.append(Text(column.cell(row), how))
        table.add_row(*cells)
    if len(shown) < len(rows):
        return Group(table, Text(f"and {len(rows) - len(shown)} more", QUIET))
    return table


def _widths(columns: Sequence[Column], rows: Sequence[Mapping[str, Any]], width: int) -> list[int]:
    """What each column needs, less what is too much for the screen: taken from the widest of the long
    ones, and then from the widest of all.
    """
    needed = [max([len(column.title), *(len(column.cell(row)) for row in rows)]) for column in columns]
    excess = sum(needed) + 2 * (len(needed) - 1) - width
    while excess > 0:
        shrinkable = [
            (column.key in LONG_ONES and needed[at] > LONG, needed[at], at)
            for at, column in enumerate(columns)
        ]
        _, widest, at = max(shrinkable)
        if widest <= 1:
            break
        needed[at] -= 1
        excess -= 1
    return needed


def _well(row: Mapping[str, Any]) -> bool:
    return not row["wrong"]


def _rooms(wanted: Sequence[int], rows: int) -> list[int]:
    """Rows for each table: what it wants where there is room; else a fair share, at least one."""
    rooms = [1] * len(wanted)
    left = rows - len(wanted)
    while left > 0 and any(room < want for room, want in zip(rooms, wanted, strict=True)):
        for at, want in enumerate(wanted):
            if rooms[at] < want and left > 0:
                rooms[at] += 1
                left -= 1
    return rooms


def sparkline(numbers: Sequence[int], width: int) -> str:
    """The last of the numbers as bars, each to the highest of them."""
    shown = numbers[-max(width, 1) :]
    most = max(shown, default=0)
    return "".join(BARS[-(-number * (len(BARS) - 1) // most)] if most else BARS[0] for number in shown)
