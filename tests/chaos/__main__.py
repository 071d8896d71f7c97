"""``make chaos``: every row of the table, pairs of faults, faults in random order. See ``--help``.

Whatever misses a bound is told with what runs it again.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tests.chaos.jobs import Job, endless, listed
from tests.chaos.report import HEAD, MARKDOWN, line, markdown_line
from tests.chaos.run import Load
from tests.chaos.servers import Kind, Servers
from tests.chaos.world import BATCH
from tests.harness.process import HarnessError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for and print the table. Gives the exit code: 1 where a bound was missed."""
    options = parser().parse_args(arguments)
    # Servers are ended then, too. SIGINT by name: a shell lets what it starts in the background ignore it.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler)
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 32)
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    tell(f"seed {seed}; logs in {folder}")
    load = Load(options.rate, options.seconds, options.at)
    os.environ[BATCH] = str(options.batch)
    table: list[Judged] = []
    if options.long:
        for kind, endless_jobs in endless(options.long * 60, load.rate, seed, tell):
            table += on(kind, endless_jobs, folder, load)
    else:
        jobs = listed(options, load, seed, tell)
        for kind in Kind:
            table += on(kind, [job for job in jobs if job.kind is kind], folder, load)
    print(MARKDOWN if options.markdown else HEAD)
    print("\n".join(each.markdown if options.markdown else each.line for each in table))
    missed = [each.again for each in table if each.again]
    if missed:
        print(f"{len(missed)} of {len(table)} rows missed a bound; logs in {folder}. To run them again:")
        print("\n".join(f"  {again}" for again in missed))
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if missed else 0


class Judged(NamedTuple):
    """What came of a job. ``again``: what runs it again; empty if every bound was kept."""

    line: str
    markdown: str
    again: str


def on(kind: Kind, jobs: Iterable[Job], folder: Path, load: Load) -> list[Judged]:
    """Do these jobs on servers of their own, if there are any."""
    found: list[Judged] = []
    with contextlib.ExitStack() as started:
        servers: Servers | None = None
        place = folder
        for job in jobs:
            if servers is None:
                tell(f"starting {kind.value}")
                place = Path(tempfile.mkdtemp(prefix=f"{kind.name.lower()}-", dir=folder))
                servers = started.enter_context(Servers(place, kind))
            found.append(judged(job, servers, place / str(len(found) + 1), load))
    return found


def judged(job: Job, servers: Servers, place: Path, load: Load) -> Judged:
    """Do a job in a folder that is still to be made; tell what came of it as it comes."""
    began = time.monotonic()
    again = f"{job.again} --rate {load.rate:g} --seconds {load.seconds:g} --at {load.at:g}"
    if (batch := os.environ[BATCH]) != "1":
        again += f" --batch {batch}"
    try:
        report = job.does(servers, place)
    except HarnessError as exc:
        tell(f"{job.name}: {exc}\n    again: {again}")
        why = f"could not be run: {str(exc).splitlines()[0]}"
        return Judged(f"{job.name:<42} {why}", f"| {job.name} | {why} |", again)
    misses = job.bounds.misses(report)
    found = line(job.name, report, misses)
    tell(f"{found}  ({time.monotonic() - began:.0f} s)")
    for note in [*report.notes, *report.mismatches()]:
        tell(f"    {note}")
    if misses:
        tell(f"    again: {again}\n    logs: {place}")
    return Judged(found, markdown_line(job.name, report, misses), again if misses else "")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    made.add_argument("--only", action="append", metavar="TEXT", help="rows whose name has this in it")
    made.add_argument("--row", action="append", metavar="NAME", help="the row of this name")
    made.add_argument("--no-rows", action="store_true", help="no rows, but what else is asked for")
    made.add_argument("--seconds", type=float, default=30.0, help="of load for each row")
    made.add_argument("--rate", type=float, default=200.0, help="calls a second")
    made.add_argument("--at", type=float, default=10.0, help="second at which it happens")
    made.add_argument("--seed", type=int, help="of every choice; told at the start")
    made.add_argument("--pairs", type=int, default=0, metavar="N", help="pairs of faults drawn at random")
    made.add_argument("--pair", type=int, action="append", metavar="NUMBER", help="this pair of the seed")
    made.add_argument("--random", type=float, default=0.0, metavar="SECONDS", help="faults in random order")
    made.add_argument("--mix", choices=[kind.name for kind in Kind], help="--random on these servers alone")
    made.add_argument(
        "--long", type=float, metavar="MINUTES", help="pairs and faults in random order, for so long"
    )
    made.add_argument("--batch", type=int, default=1, help="requests in one message at most")
    made.add_argument("--markdown", action="store_true", help="the table for BENCHMARKS.md")
    return made


def tell(text: str) -> None:
    """Say how it goes."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
