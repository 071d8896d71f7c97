"""``python -m tests.bench.scale``: more consumers, more Kamailios, more adapters, on this machine.

Consumers: decisions of 50 ms, 20 at a time in each process, from 1 to 8 of them; who is more than the
cores can carry is seen where the line leaves the dotted one. Nodes: 20 simulated Kamailios shared by 4
adapters, at the highest rate of some at which all is decided; then the same while an adapter joins, one
drains and one is killed.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog
from rich.console import Console

from adapter.bench.ground import CONSUMER, BenchError
from adapter.bench.load import Load
from adapter.bench.measure import measure
from tests.bench.rows import replaced
from tests.bench.scale_plot import svg
from tests.bench.stage import LONG_POLICY, Stage, preface

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from adapter.bench.ground import Ground
    from adapter.bench.load import Result

PROCESSES: Final = (1, 2, 3, 4, 6, 8)
TAKES: Final = 0.05
PREFETCH: Final = 20
WINDOW: Final = 480
"""Calls that wait at a time: three times what 8 consumers have in hand."""
NODES: Final = 20
ADAPTERS: Final = 4
RATES: Final = (500, 1_000, 1_500, 2_000, 3_000, 5_000)
"""Calls/s over all nodes; the first that is not decided in time ends the search."""
IN_TIME: Final = 1_000_000
"""Microseconds of the p99 beyond which calls are not decided in time."""
MOVING: Final = 0.5
"""Of the highest rate: what is offered while adapters come and go, since those that are left carry all."""
MOVES_SECONDS: Final = 36.0
DRAINED: Final = 25.0
"""Seconds that a drain may take."""
MARKER: Final = "scale"
PICTURE: Final = Path(__file__).parents[2] / ".readme" / "consumers.svg"


@dataclass(frozen=True, slots=True)
class Step:
    """Consumers, and what so many of them decided. ``least``: the CPU of the one that had least to do,
    over that of the average one."""

    processes: int
    result: Result

    @property
    def ideal(self) -> float:
        """Calls/s if nothing but their own time held them up."""
        return self.processes * PREFETCH / TAKES

    @property
    def least(self) -> float:
        """See above."""
        spent = [cost for name, cost in self.result.cpu.items() if name.startswith("consumer")]
        return min(spent) * len(spent) / sum(spent)


def consumers(stage: Stage, seconds: float) -> Iterator[Step]:
    """As many calls as so many consumers decide."""
    command = (*CONSUMER, "--prefetch", str(PREFETCH))
    for processes in PROCESSES:
        with stage.ground(policy=LONG_POLICY, consumers=processes, consumer=command) as ground:
            load = Load(None, seconds, TAKES, window=WINDOW)
            yield Step(processes, stage.measure(ground, load, f"consumers: {processes}"))


def nodes(stage: Stage, seconds: float) -> Iterator[Result]:
    """One load after the other from all nodes; the last may be too much."""
    with stage.ground(nodes=NODES, replicas=ADAPTERS, policy=LONG_POLICY) as ground:
        for rate in RATES:
            result = stage.measure(ground, Load(rate, seconds), f"{NODES} nodes, {ADAPTERS} adapters")
            yield result
            if not carried(result):
                return


def carried(result: Result) -> bool:
    """Whether all was decided in time."""
    return result.outcomes.get("decided", 0) == result.offered and result.latency.p99 <= IN_TIME


class Moves:
    """What is done while calls come: when, in seconds from the beginning, and what it is called."""

    def __init__(self, ground: Ground, say: Callable[[str], object]) -> None:
        self._ground = ground
        self._say = say
        third = MOVES_SECONDS / 4
        self._plan: list[tuple[float, str, Callable[[], None]]] = [
            (third, "a fifth adapter joins", ground.add_adapter),
            (2 * third, "one drains (SIGTERM)", self._drain),
            (3 * third, "one is killed (SIGKILL)", self._kill),
        ]

    def __call__(self, left: float) -> None:
        """To be told the seconds left, now and then."""
        while self._plan and MOVES_SECONDS - left >= self._plan[0][0]:
            _, what, do = self._plan.pop(0)
            self._say(f"  {what}")
            do()

    def _drain(self) -> None:
        child = self._ground.take_adapter()
        child.process.terminate()
        code = child.process.wait(DRAINED)
        if code:
            raise BenchError(f"{child.name} ended with {code}")

    def _kill(self) -> None:
        child = self._ground.take_adapter()
        child.process.send_signal(signal.SIGKILL)
        child.process.wait()


def moves(stage: Stage, rate: float) -> Result:
    """What becomes of calls while adapters come and go."""
    with stage.ground(nodes=NODES, replicas=ADAPTERS, policy=LONG_POLICY) as ground:
        load = Load(rate, MOVES_SECONDS, warm_up=0.0)
        return measure(ground, load, Moves(ground, stage.say))


def markdown(told: str, steps: Sequence[Step], found: Sequence[Result], moved: Result | None) -> str:
    """The section."""
    lines = [told, ""]
    if steps:
        lines += [
            f"Consumers, each {PREFETCH} decisions of {TAKES * 1000:g} ms at a time; {WINDOW} calls wait "
            "at any time. *Least*: CPU of the consumer that had least to do, over the average's.",
            "",
            "| consumers | calls/s | of what their time allows | decided | least | cores of the machine |",
            "| --: | --: | --: | --: | --: | --: |",
        ]
        for step in steps:
            rate, result = step.result.throughput, step.result
            lines.append(
                f"| {step.processes} | {rate:,.0f} | {rate / step.ideal:.0%} | {result.decided:.1%} | "
                f"{step.least:.2f} | {result.busy:.2f} |"
            )
        lines += ["", f"![Calls a second by consumers](.readme/{PICTURE.name})"]
    if found:
        lines += [
            "",
            f"{NODES} Kamailios, {ADAPTERS} adapters, two links to each Kamailio; microseconds of CPU per "
            "call, adapters together.",
            "",
            "| calls/s | decided | p50 / p99 ms | adapters | consumer | RabbitMQ | Redis | source | "
            "cores of the machine |",
            "| --: | --: | --: | --: | --: | --: | --: | --: | --: |",
        ]
        lines += [_row(result) for result in found]
    if moved is not None:
        outcomes = ", ".join(f"{count:,} {outcome}" for outcome, count in sorted(moved.outcomes.items()))
        lines += [
            "",
            f"At {moved.load.rate:,.0f} calls/s a fifth adapter joined, one drained and one was killed: of "
            f"{moved.offered:,} calls {outcomes}; p99 {moved.latency.p99 / 1000:,.0f} ms, longest "
            f"{moved.latency.longest / 1000:,.0f} ms.",
        ]
    return "\n".join(lines)


def _row(result: Result) -> str:
    def spent(kind: str) -> str:
        return f"{sum(cost for name, cost in result.cpu.items() if name.startswith(kind)):.0f}"

    cells = [f"{result.load.rate:,.0f}", f"{result.decided:.1%}"]
    cells += [f"{result.latency.p50 / 1000:,.1f} / {result.latency.p99 / 1000:,.1f}"]
    cells += [spent(kind) for kind in ("adapter", "consumer", "RabbitMQ", "Redis", "source")]
    return f"| {' | '.join([*cells, f'{result.busy:.2f}'])} |"


def options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line, checked."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.scale",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", choices=("consumers", "nodes"))
    parser.add_argument("--seconds", type=float, default=8.0, help="of each load")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write what was seen between its marks")
    found = parser.parse_args(arguments)
    if found.markdown is not None:
        if found.only is not None:
            parser.error("--markdown takes the whole, without --only")
        try:
            replaced(found.markdown.read_text("utf-8"), MARKER, "")
        except (OSError, ValueError) as exc:
            parser.error(f"--markdown {found.markdown}: {exc}")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 1 where something could not be measured or a call was not decided."""
    chosen = options(arguments)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    talk = Console(stderr=True, highlight=False, soft_wrap=True)
    before = os.getloadavg()[0]
    command = f"python -m tests.bench.scale {' '.join(sys.argv[1:] if arguments is None else arguments)}"
    steps: list[Step] = []
    found: list[Result] = []
    moved = None
    with contextlib.ExitStack() as started:
        folder = started.enter_context(tempfile.TemporaryDirectory(prefix="evapi-scale-"))
        stage = Stage(Path(folder), started, lambda text: talk.print(text, markup=False))
        told = preface(command.strip(), stage, before)
        stage.say(told)
        try:
            if chosen.only != "nodes":
                steps += consumers(stage, chosen.seconds)
            if chosen.only != "consumers":
                found += nodes(stage, chosen.seconds)
                most = max((result.load.rate or 0.0 for result in found if carried(result)), default=0.0)
                moved = moves(stage, most * MOVING) if most else None
        except BenchError as exc:
            talk.print(str(exc), style="red", markup=False)
            return 1
    text = markdown(told, steps, found, moved)
    print(text)
    if chosen.markdown is not None:
        chosen.markdown.write_text(replaced(chosen.markdown.read_text("utf-8"), MARKER, text), "utf-8")
        points = [(step.processes, step.result.throughput, step.ideal) for step in steps]
        PICTURE.write_text(svg(points), "utf-8")
    return 0 if moved is None or moved.outcomes.get("decided", 0) == moved.offered else 1


if __name__ == "__main__":
    sys.exit(main())
