"""``python -m tests.clusters.minority``: RabbitMQ without majority, two of three nodes being killed.

RabbitMQ 4.3 refuses a binding after 30 s there, even one that is there already, and closes the connection for
it. Here an adapter's broker and a service work on the node that is left. The adapter leaves a second Kamailio
and comes back to it, so that bindings are to be made, and the service makes its own again. What must hold:
requests are confirmed and answered all the time, by connections that stay. See ``--help``.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from adapter.amqp.connection import Connection
from adapter.broker.rabbitmq import AmqpBroker
from adapter.broker.rabbitmq import bindings as adapter_bindings
from adapter.broker.rabbitmq.topology import Kind
from adapter.contract import Request, encode_request
from adapter.ports.broker import Publication
from consumers import Service, route
from consumers.amqp import bindings
from tests.broker.support import Recorder
from tests.consumers.asker import running
from tests.harness.rabbitmq import RabbitCluster
from tests.harness.until import until

if TYPE_CHECKING:
    from collections.abc import Sequence

NODE: Final = "sbc1"
OTHER: Final = "sbc2"
PACE: Final = 0.02
DEADLINE: Final = 3.0
INSIDE: Final = "RABBITMQ_ROOT"


async def run(cluster: RabbitCluster, seconds: float, new: bool, reconnect: bool) -> bool:
    """Do it; whether all held."""
    service = Service("deciding")
    service.on("asked")(lambda _: route("sip:1@gw"))
    receiver = Recorder()
    survivor = cluster.nodes[0]
    opened: list[float] = []
    bindings.AGAIN_EACH = 5.0  # type: ignore[misc]  # the SDK makes its bindings again, in vain
    _note_connections(opened)
    async with running(service, survivor.url):
        heard: list[float] = []
        broker = AmqpBroker(survivor.url, kind=Kind(queue_type="classic"))
        broker.join("adapter~1", 1.0, lambda _: heard.append(time.monotonic()))
        await broker.start(receiver)
        for node in (NODE, OTHER):
            broker.attach(node)
        await until(lambda: broker.ready and broker.hears(NODE) and broker.hears(OTHER), 60)
        await asyncio.sleep(2)
        asked = Asked(broker)
        task = asyncio.create_task(asked.run())
        await asyncio.sleep(3)
        print(f"whole: {_count(asked, receiver)}", flush=True)
        for number in (1, 2):
            await asyncio.to_thread(cluster.kill, number)
        killed = time.monotonic()
        broker.detach(OTHER)
        await asyncio.sleep(2)
        broker.attach(OTHER)
        if new:
            broker.attach("sbc3")
        if reconnect:
            for kept in (broker._requests, broker._replies, broker._pushes):
                assert kept.connection is not None
                kept.connection.abort("as if it had been to a node that died")
            await asyncio.sleep(5)
        before = broker.counters.connects, broker.counters.reply_connects
        while (passed := time.monotonic() - killed) < seconds:
            await asyncio.sleep(min(10.0, seconds - passed))
            attempts = [round(each - killed, 1) for each in opened if each > killed]
            print(f"{time.monotonic() - killed:5.0f} s: {_count(asked, receiver)}", flush=True)
            print(f"        connections for bindings begun at {attempts} s", flush=True)
            print(f"        {len(heard)} beats heard; connects: {broker.counters.connects}")
            print(f"        problems: {dict(broker.problems)}", flush=True)
        after = broker.counters.connects, broker.counters.reply_connects
        asked.asking = False
        await task
        await asyncio.sleep(DEADLINE)
        answered = {each.correlation_id for each in receiver.replies}
        lost = [id_ for id_ in asked.confirmed if id_ not in answered]
        print(f"in all: {_count(asked, receiver)}; {len(lost)} confirmed without an answer")
        print(f"connections for requests, for replies and commands: {before} before, {after} after")
        await broker.close()
    gaps = [round(b - a) for a, b in itertools.pairwise(opened) if a > killed]
    print(f"seconds from one connection for bindings to the next: {gaps}")
    # The connection for commands may be closed: by it the replicas' beats are bound anew.
    stayed = before[0] == after[0] if reconnect else before == after and asked.results.keys() == {"CONFIRMED"}
    return not lost and stayed


class Asked:
    """Asks, one request after the other."""

    def __init__(self, broker: AmqpBroker) -> None:
        self._broker = broker
        self.asking = True
        self.results: Counter[str] = Counter()
        self.confirmed: list[str] = []
        self.slowest = 0.0

    async def run(self) -> None:
        number = 0
        async with asyncio.TaskGroup() as group:
            while self.asking:
                number += 1
                group.create_task(self._ask(number))
                await asyncio.sleep(PACE)

    async def _ask(self, number: int) -> None:
        id_, deadline, begun = f"{NODE}:1:1:{number}", time.time() + DEADLINE, time.monotonic()
        body = encode_request(Request("asked", NODE, {}, 1, 1, number, deadline))
        (found,) = await self._broker.publish([Publication("asked", NODE, body, id_, deadline)])
        self.slowest = max(self.slowest, time.monotonic() - begun)
        self.results[found.name] += 1
        if found.name == "CONFIRMED":
            self.confirmed.append(id_)


def _note_connections(opened: list[float]) -> None:
    real = Connection.open_any

    class Noting(Connection):
        @classmethod
        async def open_any(cls, *args: Any) -> Any:
            opened.append(time.monotonic())
            return await real(*args)

    adapter_bindings.Connection = Noting  # type: ignore[attr-defined]


def _count(asked: Asked, receiver: Recorder) -> str:
    told = f"{dict(asked.results)}, {len(receiver.replies)} answered, slowest confirm {asked.slowest:.3f} s"
    asked.slowest = 0.0
    return told


def within(root: str, arguments: Sequence[str]) -> None:
    """Become the same command, with this system's /tmp, /proc and /dev in the root."""
    mounts = " && ".join(f"mount --rbind /{each} {root}/{each}" for each in ("tmp", "proc", "dev"))
    command = f'{mounts} && exec "$0" -m tests.clusters.minority "$@"'
    os.environ[INSIDE] = root
    words = ("unshare", "--mount", "--fork", "--kill-child", "bash", "-c", command, sys.executable)
    os.execvp(words[0], [*words, *arguments])


def main() -> int:
    """Print what happens."""
    parser = argparse.ArgumentParser(prog="python -m tests.clusters.minority", description=__doc__)
    parser.add_argument("--seconds", type=float, default=150.0, help="without majority")
    parser.add_argument("--root", help="of another Debian, whose RabbitMQ is to be used (as root)")
    parser.add_argument("--new", action="store_true", help="and a Kamailio that is new: its queues, too")
    parser.add_argument("--reconnect", action="store_true", help="the adapter's connections break, too")
    options = parser.parse_args()
    if options.root and INSIDE not in os.environ:
        within(options.root, sys.argv[1:])
    folder = Path(tempfile.mkdtemp(prefix="minority-"))
    with RabbitCluster(folder) as cluster:
        print(f"RabbitMQ {cluster.ctl('version').strip()}", flush=True)
        good = asyncio.run(run(cluster, options.seconds, options.new, options.reconnect))
    shutil.rmtree(folder, ignore_errors=True)
    print("good" if good else "NOT GOOD")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
