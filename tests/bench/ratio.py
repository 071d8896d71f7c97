"""Two ways on one build, measured in turn: what one costs over the other.

Who goes first changes from round to round, so that what else the machine does hits both. Of the ratios of the
rounds the middle one counts.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import statistics
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from rich.console import Console

from adapter.bench.ground import BenchError
from tests.bench.rows import cost, kept_up
from tests.bench.stage import Stage, preface
from tests.harness.process import HarnessError

if TYPE_CHECKING:
    from collections.abc import Callable

    from adapter.bench.ground import Ground
    from adapter.bench.load import Load


def parser(module: str, told: str | None, rate: float) -> argparse.ArgumentParser:
    """Return the options that every comparison has. ``rate``: calls a second where none is given."""
    made = argparse.ArgumentParser(prog=f"python -m {module}", description=told)
    made.add_argument("--rounds", type=int, default=3, help="of both (default 3)")
    made.add_argument("--seconds", type=float, default=8.0, help="of each load (default 8)")
    made.add_argument("--rate", type=float, default=rate, help=f"calls a second (default {rate:.0f})")
    return made


def cost_under(stage: Stage, ground: Ground, load: Load, what: str) -> float:
    """Return the adapter's CPU per call in microseconds. Raises BenchError, also where it is not kept up."""
    result = stage.measure(ground, load, what)
    if not kept_up([result]):
        raise BenchError(f"not kept up: {result.decided:.1%} decided, {result.throughput:,.0f}/s")
    return cost(result)


def compare(module: str, rounds: int, measured: Callable[[Stage, bool], float]) -> list[float]:
    """Measure with what is in question (True) and without it, in turn; return the ratio of each round.

    Raises:
        BenchError: a load could not be measured.
        HarnessError: a server does not start.
    """
    talk = Console(stderr=True, highlight=False, soft_wrap=True)
    before, ratios = os.getloadavg()[0], list[float]()
    with contextlib.ExitStack() as started:
        folder = Path(started.enter_context(tempfile.TemporaryDirectory(prefix="evapi-bench-")))
        stage = Stage(folder, started, lambda text: talk.print(text, markup=False))
        stage.say(preface(f"python -m {module}", stage, before))
        for turn in range(rounds):
            found = {
                which: measured(stage, which) for which in ((False, True) if turn % 2 else (True, False))
            }
            ratios.append(found[True] / found[False])
    return ratios


def tell(
    module: str, what: str, rounds: int, measured: Callable[[Stage, bool], float], most: float | None = None
) -> int:
    """Compare and print it; 1 if it is above ``most`` or could not be measured, 130 if it is interrupted."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    talk = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        ratios = compare(module, rounds, measured)
    except KeyboardInterrupt:
        talk.print("interrupted; everything is ended")
        return 130
    except (BenchError, HarnessError) as exc:
        talk.print(f"ended early: {exc}", style="red", markup=False)
        return 1
    middle, spread = statistics.median(ratios), ", ".join(f"{each:.2f}" for each in sorted(ratios))
    print(f"{what}: {middle:.2f} (of {spread})" + (f"; at most {most}" if most is not None else ""))
    return 1 if most is not None and middle > most else 0
