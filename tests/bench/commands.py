"""``python -m tests.bench.commands``: what a call costs beside commands, over without.

Both are measured on the same build in turn, and who goes first changes from round to round. Each command is a
hang-up by RabbitMQ, looked after; the simulated Kamailio answers. Of the ratios the middle one counts.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
from typing import TYPE_CHECKING, Final

from adapter.amqp.asking import Asking
from adapter.amqp.connection import Connection
from adapter.amqp.limits import ConnectionLimits
from adapter.amqp.servers import parse_urls
from adapter.bench.ground import BenchError
from adapter.bench.load import Load
from consumers.kamailio import ask
from tests.bench.ratio import cost_under, parser, tell

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.bench.stage import Stage

MODULE: Final = "tests.bench.commands"
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
        found = cost_under(stage, ground, load, f"{rate:.0f} commands/s")
    if set(outcomes) - {"done"} or (rate and not outcomes):
        raise BenchError(f"not every command was done: {sorted(set(outcomes))}")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare; 1 if a call costs more than it may, or it could not be measured."""
    made = parser(MODULE, __doc__, RATE)
    made.add_argument("--commands", type=float, default=COMMANDS, help=f"a second (default {COMMANDS:.0f})")
    chosen = made.parse_args(arguments)
    load = Load(chosen.rate, chosen.seconds)
    return tell(
        MODULE,
        "a call beside commands, over without",
        chosen.rounds,
        lambda stage, asked: measured(stage, chosen.commands if asked else 0.0, load),
        MOST,
    )


if __name__ == "__main__":
    sys.exit(main())
