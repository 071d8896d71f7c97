"""What one run of ``make chaos`` does, each with the command that does it again."""

from __future__ import annotations

import random
import shlex
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.chaos import pairs
from tests.chaos.mix import BOUNDS, FAULTS, SHARES, run_mix
from tests.chaos.rows import ROWS
from tests.chaos.run import Load, run
from tests.chaos.servers import Kind

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.chaos.report import Bounds, Report
    from tests.chaos.row import Row
    from tests.chaos.servers import Servers

MIX_SECONDS: Final = 90.0
"""Of a stretch of faults in random order, in the long form."""
LONG: Final = {Kind.CLOCKS: 0.5, Kind.PLAIN: 0.3, Kind.CLUSTERS: 0.2}
"""Of the long form's time."""
MIXED: Final = 3
"""In the long form each so many-th job, where servers have a mix, is one."""
COMMAND: Final = "python -m tests.chaos"


@dataclass(frozen=True, slots=True)
class Job:
    """``does`` it in a folder that is still to be made. ``again``: the command, without the load."""

    name: str
    kind: Kind
    bounds: Bounds
    does: Callable[[Servers, Path], Report]
    again: str


def of_row(row: Row, load: Load, seed: int) -> Job:
    """A row of the table."""
    return Job(
        row.name,
        row.kind,
        row.bounds,
        lambda servers, folder: run(row, servers, folder, load, seed),
        f"{COMMAND} --row {shlex.quote(row.name)} --seed {seed}",
    )


def of_pair(number: int, load: Load, seed: int) -> Job:
    """A pair of faults, by its number."""
    row = pairs.row(seed, number)
    load = Load(load.rate, pairs.SECONDS, pairs.BEGINS)
    return Job(
        row.name,
        row.kind,
        row.bounds,
        lambda servers, folder: run(row, servers, folder, load, seed),
        f"{COMMAND} --pair {number} --seed {seed}",
    )


def of_mix(kind: Kind, seconds: float, rate: float, seed: int, tell: Callable[[str], None]) -> Job:
    """Faults in random order."""
    return Job(
        f"random order, {seconds:.0f} s",
        kind,
        BOUNDS,
        lambda servers, folder: run_mix(servers, folder, Load(rate, seconds), seed, tell),
        f"{COMMAND} --mix {kind.name} --random {seconds:g} --seed {seed}",
    )


def listed(options: argparse.Namespace, load: Load, seed: int, tell: Callable[[str], None]) -> list[Job]:
    """What is asked for; if that is no row, no pair of a number and no mix, then all rows are."""
    chosen = bool(options.row or options.only or options.pair or options.mix or options.no_rows)
    rows = [row for row in ROWS if not chosen or _named(row, options)]
    numbers = [*(options.pair or ()), *range(options.pairs)]
    kinds = {Kind[options.mix]: 1.0} if options.mix else SHARES
    return [
        *(of_row(row, load, seed) for row in rows),
        *(of_pair(number, load, seed) for number in numbers),
        *(
            of_mix(kind, options.random * share, load.rate, seed, tell)
            for kind, share in kinds.items()
            if options.random
        ),
    ]


def _named(row: Row, options: argparse.Namespace) -> bool:
    return row.name in (options.row or ()) or any(part in row.name for part in options.only or ())


def endless(
    seconds: float, rate: float, seed: int, tell: Callable[[str], None]
) -> Iterator[tuple[Kind, Iterator[Job]]]:
    """Jobs of the long form: for each kind of servers, until its share of the time is over."""
    numbers = random.Random(seed)
    for kind, share in LONG.items():
        yield kind, _until(time.monotonic() + seconds * share, kind, rate, numbers, seed, tell)


def _until(
    end: float, kind: Kind, rate: float, numbers: random.Random, seed: int, tell: Callable[[str], None]
) -> Iterator[Job]:
    pair, job = 0, 0
    while time.monotonic() < end:
        job += 1
        if kind in FAULTS and (job % MIXED == 0 or kind is Kind.CLUSTERS):
            yield of_mix(kind, MIX_SECONDS, rate, numbers.randrange(1 << 32), tell)
            continue
        while pairs.draw(seed, pair)[0] is not kind:
            pair += 1
        yield of_pair(pair, Load(rate), seed)
        pair += 1
