"""``python -m tests.bench.versus --base REVISION``: CPU per call of this working tree against another build.

Both builds take the same loads in turn in one run, and who goes first changes from round to round, so that
what else the machine does hits both. Adapter and consumers are each build's own, with the same packages
(this one's virtual environment); the source of calls, RabbitMQ and Redis are shared. A ratio is this tree's
over the base's of the same round; of the rounds the middle one counts, the spread is told beside it.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import math
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import structlog
from rich.console import Console
from rich.table import Table

from adapter.bench import ground
from adapter.bench.ground import BenchError
from adapter.bench.load import Load
from tests.bench import growth
from tests.bench.fastest import fastest
from tests.bench.rows import ADAPTER, cost, decided_all, kept_up
from tests.bench.stage import EMBEDDED, LONG_POLICY, OURS, Stage, preface
from tests.harness.process import HarnessError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from adapter.bench.load import Result

HERE: Final = Path(__file__).parents[2]
HIGH: Final = 2_000
"""Calls a second of the load at a rate."""
WINDOW: Final = 200
"""Calls that wait at any time where as many are made as are answered."""
MB: Final = 1_000_000
MOST: Final = 1.03
"""What this tree may cost at HIGH calls/s, over the base."""
CPU, FULL, FLAT_OUT, IDLE = "cpu-2000", "saturation", "embedded", "idle"
IN_FLIGHT: Final = "memory-call"
MACHINE_1000, MACHINE_4000 = "machine-1000", "machine-4000"
FASTEST: Final = "fastest"
P50_500, P99_500, P50_2000, P99_2000 = "p50-500", "p99-500", "p50-2000", "p99-2000"
WHAT: Final[Mapping[str, tuple[str, str]]] = {
    CPU: (f"CPU per call at {HIGH:,} calls/s", "us"),
    FULL: (f"CPU per call at saturation, {WINDOW} at a time", "us"),
    FLAT_OUT: ("embedded, flat out: CPU per call", "us"),
    IDLE: ("memory, idle", "MB"),
    IN_FLIGHT: ("memory per call in flight", "KB"),
    MACHINE_1000: ("whole machine per call at 1,000 calls/s, batch = 64", "us"),
    MACHINE_4000: ("whole machine per call at 4,000 calls/s, batch = 64", "us"),
    P50_500: ("added latency at 500 calls/s, batch = 64: p50", "ms"),
    P99_500: ("added latency at 500 calls/s, batch = 64: p99", "ms"),
    P50_2000: ("added latency at 2,000 calls/s, batch = 64: p50", "ms"),
    P99_2000: ("added latency at 2,000 calls/s, batch = 64: p99", "ms"),
    FASTEST: ("most calls/s with p99 under 50 ms, batch = 64 (more is better)", "/s"),
}
BATCHES: Final[Mapping[int, Mapping[str, int | None]]] = {
    500: {P50_500: 0, P99_500: 1},
    1_000: {MACHINE_1000: None},
    2_000: {P50_2000: 0, P99_2000: 1},
    4_000: {MACHINE_4000: None},
}
"""The figures of batches, by calls a second: which percentile of what is added, or all CPU."""
POLICY: Final = '[default]\nservices = ["bench"]\n\n[services.bench]\nbatch = 64\n'


@dataclass(frozen=True, slots=True)
class Build:
    """A tree with ``adapter`` and ``consumers``, which need not be the one that is run here."""

    name: str
    tree: Path
    batches: bool = False
    """Whether it knows batches: one that does not is measured without."""

    def command(self, usual: Sequence[str]) -> tuple[str, ...]:
        """Return ``python -m ...`` for this tree: Python looks first where it stands."""
        return ("env", "-C", str(self.tree), *usual)


@dataclass(frozen=True, slots=True)
class Compared:
    """One figure of both builds, round by round. ``unsteady``: what has to be said of it."""

    name: str
    ours: Sequence[float]
    base: Sequence[float]
    unsteady: str = ""

    @property
    def ratios(self) -> list[float]:
        """This tree's over the base's, of each round; infinite if one of them did nothing."""
        pairs = zip(self.ours, self.base, strict=True)
        return [mine / other if other and math.isfinite(other) else math.inf for mine, other in pairs]

    @property
    def ratio(self) -> float:
        """That of the round in the middle."""
        return statistics.median(self.ratios)

    @property
    def cells(self) -> tuple[str, ...]:
        """The row of the table."""
        what, unit = WHAT[self.name]
        mine, other = (f"{statistics.median(each):.1f} {unit}" for each in (self.ours, self.base))
        spread = f"{min(self.ratios):.3f} to {max(self.ratios):.3f}"
        return (what, mine, other, f"{self.ratio:.3f}", spread, self.unsteady)


def rounds(
    builds: Sequence[Build], number: int, one: Callable[[Build], Mapping[str, tuple[float, str]]]
) -> list[Compared]:
    """Measure each build so often, in turn; the first of ``builds`` is this tree."""
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    notes: dict[str, set[str]] = defaultdict(set)
    for turn in range(number):
        for build in builds if turn % 2 else reversed(builds):
            for name, (value, note) in one(build).items():
                found[name][build.name].append(value)
                if note:
                    notes[name].add(f"{build.name}: {note}")
    ours, base = builds
    return [
        Compared(name, each[ours.name], each[base.name], "; ".join(sorted(notes[name])))
        for name, each in found.items()
    ]


def measured(
    stage: Stage, build: Build, seconds: float, names: Sequence[str]
) -> dict[str, tuple[float, str]]:
    """Return each figure of a build once, with what has to be said of it. Raises BenchError."""
    found: dict[str, tuple[float, str]] = {}
    commands: dict[str, Any] = {
        "adapter": build.command(ground.ADAPTER),
        "consumer": build.command(ground.CONSUMER),
    }
    if {CPU, FULL, IDLE} & set(names):
        with stage.ground(OURS, **commands) as made:
            if IDLE in names:
                found[IDLE] = made.usages()[ADAPTER].memory / MB, ""
            if CPU in names:
                result = stage.measure(made, Load(HIGH, seconds), f"{build.name} at {HIGH:,}/s")
                found[CPU] = cost(result), "" if kept_up([result]) else _behind(result)
            if FULL in names:
                load = Load(None, seconds, window=WINDOW)
                result = stage.measure(made, load, f"{build.name} at saturation")
                found[FULL] = cost(result), "" if decided_all([result]) else _behind(result)
    if any(set(each) & set(names) for each in (*BATCHES.values(), {FASTEST})):
        found |= _with_batches(stage, build, seconds, names, commands)
    if IN_FLIGHT in names:
        found[IN_FLIGHT] = _in_flight(stage, build, seconds, commands)
    if FLAT_OUT in names:
        with stage.ground(EMBEDDED, adapter=commands["adapter"]) as made:
            load = Load(None, seconds, window=WINDOW)
            result = stage.measure(made, load, f"{build.name} embedded, flat out")
            found[FLAT_OUT] = cost(result), "" if decided_all([result]) else _behind(result)
    return found


def _with_batches(
    stage: Stage, build: Build, seconds: float, names: Sequence[str], commands: Mapping[str, Any]
) -> dict[str, tuple[float, str]]:
    found: dict[str, tuple[float, str]] = {}
    with stage.ground(OURS, policy=POLICY if build.batches else "", **commands) as made:
        for rate, figures in BATCHES.items():
            wanted = {name: place for name, place in figures.items() if name in names}
            if not wanted:
                continue
            result = stage.measure(made, Load(rate, seconds), f"{build.name} at {rate:,}/s, batches")
            note = "" if kept_up([result]) else _behind(result)
            added = result.added.p50 / 1000, result.added.p99 / 1000
            for name, place in wanted.items():
                found[name] = (machine(result) if place is None else added[place]), note
        if FASTEST in names:
            what = f"{build.name}, fastest"
            found[FASTEST] = fastest(lambda load: stage.measure(made, load, what), seconds), ""
    return found


def _in_flight(stage: Stage, build: Build, seconds: float, commands: Mapping[str, Any]) -> tuple[float, str]:
    """Kilobytes of the adapter per call, by how much more it has with many in flight than with few."""
    with stage.ground(OURS, policy=LONG_POLICY, **commands) as made:
        few, many = (
            stage.measure(
                made,
                Load(growth.IN_FLIGHT_RATE, seconds, takes, warm_up=takes + growth.SETTLE),
                f"{build.name}, {growth.IN_FLIGHT_RATE * takes:,.0f} in flight",
            )
            for takes in (growth.FEW, growth.MANY)
        )
    note = "" if kept_up([many]) else _behind(many)
    return growth.per_call(few, many), note


def machine(result: Result) -> float:
    """Microseconds of CPU per decided call of adapter, consumers, RabbitMQ and Redis."""
    return sum(cost(result, name) for name in result.cpu if name != "source")


def _behind(result: Result) -> str:
    return f"{result.decided:.1%} decided, {result.throughput:,.0f}/s answered"


def unpack(revision: str, folder: Path) -> Build:
    """Put what git has of a revision into a folder. Raises HarnessError if git has not got it."""
    archive = folder.with_suffix(".tar")
    try:
        subprocess.run(
            ["git", "-C", str(HERE), "archive", "-o", str(archive), revision], check=True, capture_output=True
        )
    except subprocess.CalledProcessError as exc:
        raise HarnessError(f"--base {revision}: {exc.stderr.decode().strip()}") from exc
    folder.mkdir()
    subprocess.run(["tar", "-x", "-f", str(archive), "-C", str(folder)], check=True)
    build = Build(revision, folder, (folder / "adapter" / "batches.py").exists())
    whose = [sys.executable, "-c", "import adapter, consumers; print(adapter.__file__, consumers.__file__)"]
    told = subprocess.run(build.command(whose), check=True, capture_output=True, text=True).stdout.split()
    if not all(Path(each).is_relative_to(folder) for each in told):
        raise HarnessError(f"Python takes {told} for those of {folder}: nothing would be compared")
    return build


def table(rows: Sequence[Compared]) -> Table:
    """For a terminal."""
    made = Table()
    for column in ("what", "this tree", "base", "ratio", "spread", ""):
        made.add_column(column, justify="left" if column in ("what", "") else "right")
    for row in rows:
        made.add_row(*row.cells)
    return made


def options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line, checked."""
    made = argparse.ArgumentParser(
        prog="python -m tests.bench.versus",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--base", required=True, metavar="REVISION", help="what git calls the other build")
    made.add_argument("--rounds", type=int, default=3, help="of both builds (default 3)")
    made.add_argument("--seconds", type=float, default=8.0, help="of each load (default 8)")
    made.add_argument("--only", nargs="+", choices=WHAT, default=list(WHAT), metavar="FIGURE")
    found = made.parse_args(arguments)
    if not 0 < found.rounds <= 50 or not 0 < found.seconds <= 60:
        made.error("--rounds: 1 to 50; --seconds: up to 60")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare; 1 if CPU per call is above MOST of the base's, or could not be measured."""
    chosen = options(arguments)
    # What was started is stopped then, too.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    talk = Console(stderr=True, highlight=False, soft_wrap=True)
    before = os.getloadavg()[0]
    rows: list[Compared] = []
    try:
        with contextlib.ExitStack() as started:
            folder = Path(started.enter_context(tempfile.TemporaryDirectory(prefix="evapi-versus-")))
            stage = Stage(folder, started, lambda text: talk.print(text, markup=False))
            builds = [Build("this tree", HERE, batches=True), unpack(chosen.base, folder / "base")]
            stage.say(preface(f"python -m tests.bench.versus --base {chosen.base}", stage, before))
            rows = rounds(
                builds, chosen.rounds, lambda build: measured(stage, build, chosen.seconds, chosen.only)
            )
    except KeyboardInterrupt:
        talk.print("interrupted; everything is ended")
        return 130
    except (BenchError, HarnessError) as exc:
        talk.print(f"ended early: {exc}", style="red", markup=False)
        return 1
    console = Console()
    if not console.is_terminal:
        console.width = 160
    console.print(table(rows))
    return 1 if any(row.name == CPU and row.ratio > MOST for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
