"""``python -m tests.bench.fanout``: what a call costs that three services decide, over one that one decides.

Both are measured on the same build in turn, and who goes first changes from round to round. One service is
named by the policy and asked on its queue; three are asked in parallel and merged (mode all). Of the ratios
of the rounds the middle one counts.
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
from typing import TYPE_CHECKING, Final

import structlog
from rich.console import Console

from adapter.bench.ground import BenchError
from adapter.bench.load import Load
from tests.bench.fan_services import NAMES
from tests.bench.rows import cost, kept_up
from tests.bench.stage import Stage, preface
from tests.harness.process import HarnessError

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST: Final = 2.0
"""What three services may cost the adapter, over one."""
RATE: Final = 1_000
"""Calls a second: with three services each of them is three requests and three replies."""
SERVICES: Final = (sys.executable, "-m", "consumers", "--hello", "0")
MOST_BATCHED: Final = 1.3
"""What three services may cost whose requests are batched, over one whose are not."""


def policy(number: int, batch: int = 1) -> str:
    """Name so many services. ``batch``: requests of each in one message at most."""
    names = ", ".join(f'"{name}"' for name in NAMES[:number])
    mode = 'mode = "all"\n' if number > 1 else ""
    # A reject of one that is needed would end the call: the merged decision is what is measured.
    more = "optional = true\n" if number > 1 else ""
    more += f"batch = {batch}\n" if batch > 1 else ""
    tables = "".join(f"[services.{name}]\n{more}" for name in NAMES[:number]) if more else ""
    return f"[default]\nservices = [{names}]\n{mode}{tables}"


def measured(stage: Stage, number: int, load: Load, batch: int = 1) -> float:
    """Return the adapter's CPU per call in microseconds, decided by so many services. Raises BenchError."""
    services = [f"tests.bench.fan_services:{each}" for each in ("one", "two", "three")[:number]]
    with stage.ground(policy=policy(number, batch), consumer=(*SERVICES, *services)) as ground:
        result = stage.measure(ground, load, f"{number} of {len(NAMES)} services")
        if not kept_up([result]):
            raise BenchError(f"not kept up: {result.decided:.1%} decided, {result.throughput:,.0f}/s")
        return cost(result)


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare; 1 if three services cost more than they may, or it could not be measured."""
    made = argparse.ArgumentParser(prog="python -m tests.bench.fanout", description=__doc__)
    made.add_argument("--rounds", type=int, default=3, help="of both (default 3)")
    made.add_argument("--seconds", type=float, default=8.0, help="of each load (default 8)")
    made.add_argument("--rate", type=float, default=RATE, help=f"calls a second (default {RATE})")
    made.add_argument("--batch", type=int, default=1, help="of each of three services (default 1: none)")
    chosen = made.parse_args(arguments)
    load, most = Load(chosen.rate, chosen.seconds), MOST_BATCHED if chosen.batch > 1 else MOST
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    talk = Console(stderr=True, highlight=False, soft_wrap=True)
    before, ratios = os.getloadavg()[0], []
    try:
        with contextlib.ExitStack() as started:
            folder = Path(started.enter_context(tempfile.TemporaryDirectory(prefix="evapi-fanout-")))
            stage = Stage(folder, started, lambda text: talk.print(text, markup=False))
            stage.say(preface("python -m tests.bench.fanout", stage, before))
            for turn in range(chosen.rounds):
                order = (1, len(NAMES)) if turn % 2 else (len(NAMES), 1)
                batches = {1: 1, len(NAMES): chosen.batch}
                found = {number: measured(stage, number, load, batches[number]) for number in order}
                ratios.append(found[len(NAMES)] / found[1])
    except KeyboardInterrupt:
        talk.print("interrupted; everything is ended")
        return 130
    except (BenchError, HarnessError) as exc:
        talk.print(f"ended early: {exc}", style="red", markup=False)
        return 1
    spread = ", ".join(f"{each:.2f}" for each in sorted(ratios))
    print(f"three services over one: {statistics.median(ratios):.2f} (of {spread}); at most {most}")
    return 1 if statistics.median(ratios) > most else 0


if __name__ == "__main__":
    sys.exit(main())
