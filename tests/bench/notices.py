"""``python -m tests.bench.notices``: what a call costs that is told of as it lives, over one that is not.

Both are measured on the same build in turn, and who goes first changes from round to round: a call that a
consumer decides, alone and with three notices (start, answer, end) that go to the same consumer. Of the
ratios of the rounds the middle one counts. It is told, and holds nothing to a bound.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import statistics
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from rich.console import Console

from adapter.bench.ground import BenchError
from adapter.bench.load import Load
from adapter.bench.names import LIFE
from tests.bench.fanout import SERVICES
from tests.bench.rows import cost, kept_up
from tests.bench.stage import Stage, preface
from tests.harness.process import HarnessError

if TYPE_CHECKING:
    from collections.abc import Sequence

RATE = 500


def measured(stage: Stage, load: Load) -> float:
    """Return the adapter's CPU per call in microseconds. Raises BenchError."""
    with stage.ground(consumer=(*SERVICES, "tests.bench.notice_service:service")) as ground:
        result = stage.measure(ground, load, f"{load.notices} notices of each call")
        if not kept_up([result]):
            raise BenchError(f"not kept up: {result.decided:.1%} decided, {result.throughput:,.0f}/s")
        return cost(result)


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare; 1 if it could not be measured."""
    made = argparse.ArgumentParser(prog="python -m tests.bench.notices", description=__doc__)
    made.add_argument("--rounds", type=int, default=3, help="of both (default 3)")
    made.add_argument("--seconds", type=float, default=8.0, help="of each load (default 8)")
    made.add_argument("--rate", type=float, default=RATE, help=f"calls a second (default {RATE})")
    chosen = made.parse_args(arguments)
    loads = [Load(chosen.rate, chosen.seconds, notices=notices) for notices in (0, len(LIFE))]
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    talk = Console(stderr=True, highlight=False, soft_wrap=True)
    before, ratios = os.getloadavg()[0], []
    try:
        with contextlib.ExitStack() as started:
            folder = Path(started.enter_context(tempfile.TemporaryDirectory(prefix="evapi-notices-")))
            stage = Stage(folder, started, lambda text: talk.print(text, markup=False))
            stage.say(preface("python -m tests.bench.notices", stage, before))
            for turn in range(chosen.rounds):
                order = loads if turn % 2 else loads[::-1]
                found = {load.notices: measured(stage, load) for load in order}
                ratios.append(found[len(LIFE)] / found[0])
    except KeyboardInterrupt:
        talk.print("interrupted; everything is ended")
        return 130
    except (BenchError, HarnessError) as exc:
        talk.print(f"ended early: {exc}", style="red", markup=False)
        return 1
    spread = ", ".join(f"{each:.2f}" for each in sorted(ratios))
    print(f"a call with {len(LIFE)} notices over one without: {statistics.median(ratios):.2f} (of {spread})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
