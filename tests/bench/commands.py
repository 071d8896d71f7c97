"""``python -m tests.bench.commands``: what a call costs beside commands, over without.

Both are measured on the same build in turn, and who goes first changes from round to round. Each command is a
hang-up by RabbitMQ, looked after; the simulated Kamailio answers. Of the ratios the middle one counts.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import statistics
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog
from rich.console import Console

from adapter.amqp.asking import Asking
from adapter.amqp.connection import Connection
from adapter.amqp.limits import ConnectionLimits
from adapter.amqp.servers import parse_urls
from adapter.bench.ground import BenchError
from adapter.bench.load import Load
from consumers.kamailio import ask
from tests.bench.rows import cost, kept_up
from tests.bench.stage import Stage, preface
from tests.harness.process import HarnessError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MOST: Final = 1.1
"""What a call may cost while commands are carried out, over one without."""
RATE: Final = 500.0
"""Calls a second."""
COMMANDS: Final = 10.0
"""Commands a second: an operator, or a service that ends one call in fifty."""
NODE: Final = "bench1"


async def _ask(url: str, rate: float, over: threading.Event, done: list[str]) -> None:
    connection = await Connection.open_any(parse_urls(url), ConnectionLimits(1))
    way = Asking(connection)
    under_way: set[asyncio.Task[None]] = set()

    async def one() -> None:
        done.append((await ask(way, NODE, "hangup", {"call_id": "a@b"}, within=5.0, id_=None)).outcome)

    try:
        while not over.is_set():
            task = asyncio.create_task(one())
            under_way.add(task)
            task.add_done_callback(under_way.discard)
            await asyncio.sleep(1 / rate)
        await asyncio.gather(*under_way)
    finally:
        await way.close()
        await connection.close()


@contextlib.contextmanager
def asking(url: str, rate: float) -> Iterator[list[str]]:
    """Ask at a rate, in a thread; gives the outcomes."""
    over, done = threading.Event(), list[str]()
    thread = threading.Thread(target=lambda: asyncio.run(_ask(url, rate, over, done)))
    thread.start()
    try:
        yield done
    finally:
        over.set()
        thread.join()


def measured(stage: Stage, rate: float, load: Load) -> float:
    """Return the adapter's CPU per call in us, beside so many commands a second. Raises BenchError."""
    with stage.ground() as ground, contextlib.ExitStack() as beside:
        url = stage.servers.rabbitmq.url
        outcomes = beside.enter_context(asking(url, rate)) if rate else []
        result = stage.measure(ground, load, f"{rate:.0f} commands/s")
    if not kept_up([result]):
        raise BenchError(f"not kept up: {result.decided:.1%} decided, {result.throughput:,.0f}/s")
    if set(outcomes) - {"done"} or (rate and not outcomes):
        raise BenchError(f"not every command was done: {sorted(set(outcomes))}")
    return cost(result)


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare; 1 if a call costs more than it may, or it could not be measured."""
    made = argparse.ArgumentParser(prog="python -m tests.bench.commands", description=__doc__)
    made.add_argument("--rounds", type=int, default=3, help="of both (default 3)")
    made.add_argument("--seconds", type=float, default=8.0, help="of each load (default 8)")
    made.add_argument("--rate", type=float, default=RATE, help=f"calls a second (default {RATE:.0f})")
    made.add_argument("--commands", type=float, default=COMMANDS, help=f"a second (default {COMMANDS:.0f})")
    chosen = made.parse_args(arguments)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    talk = Console(stderr=True, highlight=False, soft_wrap=True)
    before, ratios, load = os.getloadavg()[0], list[float](), Load(chosen.rate, chosen.seconds)
    try:
        with contextlib.ExitStack() as started:
            folder = Path(started.enter_context(tempfile.TemporaryDirectory(prefix="evapi-commands-")))
            stage = Stage(folder, started, lambda text: talk.print(text, markup=False))
            stage.say(preface("python -m tests.bench.commands", stage, before))
            for turn in range(chosen.rounds):
                order = (0.0, chosen.commands) if turn % 2 else (chosen.commands, 0.0)
                found = {rate: measured(stage, rate, load) for rate in order}
                ratios.append(found[chosen.commands] / found[0.0])
    except (BenchError, HarnessError) as exc:
        talk.print(f"ended early: {exc}", style="red", markup=False)
        return 1
    spread = ", ".join(f"{each:.2f}" for each in sorted(ratios))
    print(
        f"a call beside commands, over without: {statistics.median(ratios):.2f} (of {spread}); at most {MOST}"
    )
    return 1 if statistics.median(ratios) > MOST else 0


if __name__ == "__main__":
    sys.exit(main())
