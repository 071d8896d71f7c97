"""Figures of what grows: memory, calls in flight, nodes; and what must not, over a soak."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Final

from adapter.bench.load import Load
from tests.bench.rows import ADAPTER, Row, Spent, cost, fell_behind, kept_up, middle, percent, ratio, us
from tests.bench.stage import LONG_POLICY

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from adapter.bench.load import Result
    from tests.bench.stage import Effort, Stage

MB: Final = 1_000_000
FEW, MANY = 0.1, 10.0
IN_FLIGHT_RATE: Final = 1_000
"""Calls/s: with decisions that take FEW or MANY seconds, 100 or 10,000 are in flight."""
SETTLE: Final = 2.0
"""Seconds that a load goes on with all of its calls in flight before what counts."""
FLAT: Final = 0.2
NODES: Final = 20
NODES_RATE: Final = 1_000
SOAK_RATE: Final = 1_000
MINUTE: Final = 60.0
GROWTH: Final = 2.0
"""MB that a process may have grown by in a soak, by the line through its minutes."""
ENOUGH: Final = 30
"""Minutes of a soak by which memory can be called flat."""
WARM: Final = 1 / 3
"""The share of a soak after which its memory has to be flat: pools and tables fill first."""


def in_flight(stage: Stage, effort: Effort) -> Generator[Row | Spent]:
    """Memory idle and per call in flight, and CPU per call with a hundred times as many."""
    scale = 4 if effort.quick else 1
    rate, few, many = IN_FLIGHT_RATE, FEW / scale, MANY / scale
    found: dict[float, list[Result]] = {few: [], many: []}
    with stage.ground(policy=LONG_POLICY) as ground:
        idle = ground.usages()[ADAPTER].memory / MB
        yield Row("memory-idle", f"{idle:.0f} MB", idle <= 80)
        for _ in range(effort.repeats):
            for takes, results in found.items():
                load = Load(rate, effort.seconds, takes, warm_up=takes + SETTLE)
                results.append(stage.measure(ground, load, f"{rate * takes:,.0f} in flight"))
    # The first of each: later ones find the memory that the first with many has left behind.
    kilobytes = per_call(found[few][0], found[many][0], rate * (many - few))
    enough = kilobytes <= 3 and kept_up(found[many])
    yield Row(
        "memory-call",
        *(f"{kilobytes:.1f} KB{fell_behind(found[many])}", enough),
        note=f"{found[few][0].after.memory / MB:.0f} MB with {rate * few:,.0f} in flight, "
        f"{found[many][0].after.memory / MB:.0f} MB with {rate * many:,.0f}",
    )
    yield _flat("in-flight", {f"{rate * takes:,.0f}": results for takes, results in found.items()})
    for takes, results in found.items():
        yield Spent("adapter", f"{rate:,}/s, {rate * takes:,.0f} in flight", middle(results))


def per_call(few: Result, many: Result, more: float = IN_FLIGHT_RATE * (MANY - FEW)) -> float:
    """Return the kilobytes of a call in flight, by a load with few and, after it, one with ``more``."""
    return (many.after.memory - few.after.memory) / more / 1000


def nodes(stage: Stage, effort: Effort) -> Generator[Row | Spent]:
    """CPU per call, the same calls from one node and from many."""
    found: dict[int, list[Result]] = {1: [], NODES: []}
    load = Load(NODES_RATE, effort.seconds, warm_up=effort.warm_up)
    for _ in range(effort.repeats):
        for number, results in found.items():
            with stage.ground(nodes=number) as ground:
                results.append(stage.measure(ground, load, f"nodes: {number}"))
    yield _flat("nodes", {str(number): results for number, results in found.items()})
    for number, results in found.items():
        yield Spent("adapter", f"{NODES_RATE:,}/s, nodes: {number}", middle(results))


def _flat(name: str, found: dict[str, list[Result]]) -> Row:
    (few, first), (many, last) = found.items()
    before, after = cost(middle(first)), cost(middle(last))
    share = ratio(after, before)
    every = [*first, *last]
    return Row(
        name,
        f"{us(before)} at {few}, {us(after)} at {many}{fell_behind(every)}",
        share is not None and share <= 1 + FLAT and kept_up(every),
        note="" if share is None else f"the second is {share:.2f} of the first",
    )


def soak(stage: Stage, effort: Effort) -> Generator[Row | Spent]:
    """Minute after minute of the same load; interrupted, the minutes so far."""
    minutes: list[Result] = []
    seconds = min(MINUTE, effort.soak * MINUTE / 3)
    try:
        with stage.ground() as ground:
            while len(minutes) * seconds < effort.soak * MINUTE:
                load = Load(SOAK_RATE, seconds, warm_up=0.0 if minutes else effort.warm_up)
                minutes.append(stage.measure(ground, load, f"soak, {len(minutes) + 1}"))
                stage.say(f"  memory {minutes[-1].after.memory / MB:.2f} MB")
    except KeyboardInterrupt:
        yield from soak_rows(minutes, seconds)
        raise
    yield from soak_rows(minutes, seconds)


def soak_rows(loads: Sequence[Result], seconds: float) -> Generator[Row | Spent]:
    """What the loads of a soak, so many seconds each, say; nothing where they are too few for it."""
    settled = [load.after.memory / MB for load in loads[int(len(loads) * WARM) :]]
    if len(settled) < 2:
        return
    slope = statistics.linear_regression(range(len(settled)), settled).slope
    grown = slope * (len(settled) - 1)
    per_minute = slope * MINUTE / seconds * 1000
    calls = sum(load.offered for load in loads)
    decided = sum(load.outcomes.get("decided", 0) for load in loads) / calls
    minutes = len(loads) * seconds / MINUTE
    met: bool | None = grown <= GROWTH and kept_up(loads)
    short = ""
    if met and minutes < ENOUGH:  # what grows shows at any length, that nothing does only at this one
        met, short = None, f": too short, {ENOUGH} minutes tell"
    memory = ", ".join(f"{load.after.memory / MB:.1f}" for load in loads)
    yield Row(
        "soak",
        f"{per_minute:+.0f} KB a minute, {grown:+.1f} MB over the last {len(settled) * seconds / MINUTE:g} "
        f"of {minutes:g} minutes{short}",
        met,
        note=f"MB each {seconds:g} s: {memory}; {calls:,} calls, {percent(decided)} decided",
    )
    yield Spent("adapter", f"{SOAK_RATE:,}/s, soak", loads[-1])
