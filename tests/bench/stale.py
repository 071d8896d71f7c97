"""``python -m tests.bench.stale``: an adapter starts while 200,000 replies wait that nobody needs.

For each case a queue of results is filled, then an adapter starts, and calls are made from the moment on
at which it is linked. Seconds count from the start of its process. What must hold: every call from second 5
on is decided, none twice, the process lives, and takes at most 200 MB. The exit code is 1 where it does not.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import tempfile
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

import msgpack
import uvloop

from adapter import contract
from adapter.bench.names import CALL
from adapter.bench.usage import usage
from adapter.broker.rabbitmq.topology import Kind
from adapter.model.correlation import Ids, derived_keys
from adapter.model.transaction import TransactionId
from adapter.simulator import SimulatedKamailio
from tests.harness.bridge import Bridge, Consumer
from tests.harness.flood import flood
from tests.harness.rabbitmq import RabbitServer
from tests.harness.redis import RedisServer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from adapter.simulator import SimTransaction

NODE: Final = "bench1"
EXPIRES: Final = 600.0
LONG: Final = 30.0
"""Seconds of the longest deadline: RabbitMQ keeps replies for 40 s then, so none goes by itself."""
POLICY: Final = "[default]\ndeadline = 2.0\n\n[events.long]\ndeadline = {long}\n"
FROM: Final = 5.0
MEMORY: Final = 200 << 20
BODY: Final = msgpack.packb({"action": "route", "uri": "sip:+441632960000@gw7.example.net:5060"})
LARGE: Final = msgpack.packb({"action": "route", "uri": "sip:" + "7" * (1 << 20)})


def own(number: int, url: str) -> str:
    """The id of a transaction of this node, with a good tag: it is over, and nobody knows it."""
    return Ids(derived_keys(url)).text(TransactionId(NODE, 1, number, 1))


@dataclass(frozen=True, slots=True)
class Case:
    """``keys``: of whom the tags of the ids are; ``node``: whose ids they are. ``kept``: the queue is as this
    adapter declares it; else it is that of a version before, whose replies never expire.
    """

    name: str
    node: str = NODE
    kept: bool = True
    keys: Callable[[str], Sequence[bytes]] = derived_keys
    number: int | None = None
    body: bytes = BODY

    def ids(self, url: str, number: int) -> list[str]:
        """As many, of one length."""
        made = Ids(self.keys(url))
        return [made.text(TransactionId(self.node, 4711, 1_000_000_000 + each, 1)) for each in range(number)]


CASES: Final = (
    Case("of transactions that are over"),
    Case("in the queue of a version before", kept=False),
    Case("with tags of another key", keys=lambda _: [b"k" * 32]),
    Case("of a node that is not here", node="bench9"),
    Case("30 of 1 MB each", number=30, body=LARGE),
)


@dataclass
class Seen:
    """What became of the calls, by the second in which they were made."""

    began: float
    by_second: dict[int, Counter[str]]
    took: list[float]

    def ended(self, call: SimTransaction) -> None:
        """A call is over."""
        outcome = call.answer["outcome"] if call.answer else "unanswered"
        if call.suspended_at - self.began >= FROM:
            self.took.append(call.ended_at - call.suspended_at)
        self.by_second.setdefault(int(call.suspended_at - self.began), Counter())[outcome] += 1


async def measure(case: Case, rabbit: RabbitServer, redis: RedisServer, folder: Path, options: Any) -> bool:
    """Do one and tell it; whether all held."""
    redis.ask("FLUSHALL")
    number = case.number or options.number
    queue = contract.results_queue(NODE)
    arguments = dict(Kind(EXPIRES, "classic", LONG).results(NODE).arguments)
    if not case.kept:
        del arguments["x-message-ttl"]
    for name in await asyncio.to_thread(_queues, rabbit):
        await asyncio.to_thread(rabbit.ctl, "delete_queue", name)
    policy = folder / "policy.toml"
    policy.write_text(POLICY.format(long=LONG))
    async with AsyncExitStack() as started:
        sim = await started.enter_async_context(SimulatedKamailio(fr_timer=5.0))
        consumer = Consumer("consumer", folder, ["adapter.bench.service:service"], rabbit.url)
        await asyncio.to_thread(consumer.start)
        started.push_async_callback(asyncio.to_thread, consumer.stop)
        await flood(rabbit.url, queue, case.ids(rabbit.url, number), case.body, arguments=arguments)
        urls = {"amqp-url": rabbit.url, "redis-url": redis.url, "policy": str(policy)}
        bridge = Bridge("adapter", folder, {NODE: sim.port}, urls)
        began = monotonic()
        seen = Seen(began, {}, [])
        sim.on_end = seen.ended
        bridge.process.start()
        started.push_async_callback(asyncio.to_thread, bridge.stop)
        await sim.until(lambda: sim.clients, 20)
        linked = monotonic() - began
        until = began + options.seconds
        await sim.offer(options.rate, round((until - monotonic()) * options.rate), CALL, {"to": "x" * 200})
        await sim.until(lambda: not sim.waiting, 10)
        lives = bridge.process.running
        memory = usage(bridge.process.pid).peak if lives else 0
        left = {name: count for name, count in (await asyncio.to_thread(_waiting, rabbit)).items() if count}
        metrics = await asyncio.to_thread(_told, bridge)
    twice = sim.counters.duplicates + sim.counters.refused
    return _judge(case.name, number, linked, seen, lives, memory, twice, left, metrics)


def _judge(
    name: str,
    number: int,
    linked: float,
    seen: Seen,
    lives: bool,
    memory: int,
    twice: int,
    left: dict[str, int],
    metrics: dict[str, float],
) -> bool:
    late = [counts for second, counts in seen.by_second.items() if second >= FROM]
    total = sum(counts.total() for counts in late)
    decided = sum(counts["decided"] for counts in late)
    first = next((second for second, counts in sorted(seen.by_second.items()) if counts["decided"]), None)
    good = lives and total > 0 and decided == total and memory <= MEMORY and not twice
    print(
        f"{number:,} {name}: linked after {linked:.1f} s; "
        f"from second {FROM:g} on {decided} of {total} decided; "
        f"in {median(seen.took):.3f} s (median), {max(seen.took):.3f} s (longest); "
        f"first decided in second {first}; {twice} twice; {memory >> 20} MB at most; "
        f"{'lives' if lives else 'HAS ENDED'}; left in queues: {left}: {'good' if good else 'NOT GOOD'}"
    )
    print("   ", {second: dict(counts) for second, counts in sorted(seen.by_second.items())})
    print("   ", metrics, flush=True)
    return good


def _told(bridge: Bridge) -> dict[str, float]:
    names = ("evapi_late_replies_total", "evapi_replies_refused_total")
    return {name: bridge.metric(name) for name in names}


def _queues(rabbit: RabbitServer) -> list[str]:
    told = rabbit.ctl("list_queues", "--no-table-headers", "name")
    return [name for name in told.split() if name.startswith(("evapi.results.", "evapi.dead"))]


def _waiting(rabbit: RabbitServer) -> dict[str, int]:
    told = rabbit.ctl("list_queues", "--no-table-headers", "name", "messages").splitlines()
    return {name: int(count) for name, count in (line.split("\t") for line in told if "\t" in line)}


def main() -> int:
    """Print two lines for each case."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.stale", description=__doc__)
    parser.add_argument("--number", type=int, default=200_000, help="of stale replies")
    parser.add_argument("--rate", type=float, default=50.0, help="calls a second")
    parser.add_argument("--seconds", type=float, default=15.0, help="from the start of the adapter")
    parser.add_argument("--only", default="", metavar="TEXT", help="cases whose name has this in it")
    parser.add_argument("--keep", action="store_true", help="keep the logs")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="stale-"))
    good = True
    with RabbitServer(folder) as rabbit, RedisServer(folder) as redis:
        for number, case in enumerate(CASES):
            if options.only not in case.name:
                continue
            place = folder / str(number)
            place.mkdir()
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                good &= runner.run(measure(case, rabbit, redis, place, options))
    if options.keep:
        print(f"logs in {folder}")
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
