"""``make chaos``: every row of the table, then faults in random order. See ``--help``."""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.chaos.mix import BOUNDS, SHARES, run_mix
from tests.chaos.report import HEAD, line
from tests.chaos.rows import ROWS
from tests.chaos.run import Load, run
from tests.chaos.servers import Kind, Servers
from tests.harness.process import HarnessError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.chaos.report import Bounds, Report
    from tests.chaos.rows import Row


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for and print the table. Gives the exit code: 1 where a bound was missed."""
    options = parser().parse_args(arguments)
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 32)
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    tell(f"seed {seed}; logs in {folder}")
    load = Load(options.rate, options.seconds, options.at)
    wanted = [row for row in ROWS if not options.only or any(part in row.name for part in options.only)]
    table: list[tuple[str, bool]] = []
    for kind in Kind:
        rows = [row for row in wanted if row.kind is kind]
        mixed = options.random * SHARES.get(kind, 0)
        if rows or mixed:
            tell(f"starting {kind.value}")
            place = folder / kind.name.lower()
            place.mkdir()
            with Servers(place, kind) as servers:
                table += [one(row, servers, place, load, seed) for row in rows]
                if mixed:
                    table.append(mix(servers, place, Load(options.rate, mixed), seed))
    print(HEAD)
    print("\n".join(found for found, _ in table))
    missed = sum(not good for _, good in table)
    if missed:
        print(f"{missed} of {len(table)} rows missed a bound; seed {seed}, logs in {folder}")
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if missed else 0


def one(row: Row, servers: Servers, place: Path, load: Load, seed: int) -> tuple[str, bool]:
    """One row: its line, and whether all bounds were kept."""
    name = "".join(letter if letter.isalnum() else "-" for letter in row.name)
    return judged(row.name, row.bounds, lambda: run(row, servers, place / name, load, seed))


def mix(servers: Servers, place: Path, load: Load, seed: int) -> tuple[str, bool]:
    """Faults in random order: a line as well."""
    name = f"random order, {load.seconds:.0f} s"
    return judged(name, BOUNDS, lambda: run_mix(servers, place / "random", load, seed, tell))


def judged(name: str, bounds: Bounds, work: Callable[[], Report]) -> tuple[str, bool]:
    """Do the work; tell what came of it as it comes."""
    began = time.monotonic()
    try:
        report = work()
    except HarnessError as exc:
        tell(f"{name}: {exc}")
        return f"{name:<34} could not be run: {str(exc).splitlines()[0]}", False
    misses = bounds.misses(report)
    found = line(name, report, misses)
    tell(f"{found}  ({time.monotonic() - began:.0f} s)")
    for note in [*report.notes, *report.mismatches()]:
        tell(f"    {note}")
    return found, not misses


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    made.add_argument("--only", action="append", metavar="ROW", help="rows whose name has this in it")
    made.add_argument("--seconds", type=float, default=30.0, help="of load for each row")
    made.add_argument("--rate", type=float, default=200.0, help="calls a second")
    made.add_argument("--at", type=float, default=10.0, help="second at which it happens")
    made.add_argument("--seed", type=int, help="of every choice; told at the start")
    made.add_argument("--random", type=float, default=0.0, metavar="SECONDS", help="faults in random order")
    return made


def tell(text: str) -> None:
    """Say how it goes."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
