"""The intake of one node's replies: its own queue, and those of replicas that have another.

    base     evapi.results.NODE           with the arguments that whoever came first gave it
    beside   base.DIGEST                  where base has other arguments than this replica's settings ask for
    bypass   base.DIGEST, another one     where the one of those two was long when it was declared
    own      one of these three

A queue is long that nobody has consumed for a while. Its replies are stale but for its end, and nobody
can tell before each is looked at; so it is consumed as well, beside the own one, which new calls' replies
are sent to.

While settings change from replica to replica each has replies sent to its own queue, and consumes
the others', too: a replica that dies leaves its replies to those that live. Which these are the
replicas tell each other with their beats (``hear``). A queue that nobody names any more is consumed
until the last deadline of what was asked for it is over; then it expires.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog

from adapter import contract
from adapter.amqp.tasks import end
from adapter.broker.rabbitmq import topology
from adapter.broker.rabbitmq.results_consumer import ResultsConsumer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Coroutine
    from typing import Any

    from adapter.amqp.connection import Connection
    from adapter.broker.rabbitmq.kept_connection import KeptConnection
    from adapter.broker.rabbitmq.shared import Shared
    from adapter.broker.rabbitmq.supervisor import Up
    from adapter.broker.rabbitmq.topology import Kind

log = structlog.get_logger()

_NAMED: Final = float("inf")


class ResultsQueues:
    """Consumes the replies of one node, from one queue or several.

    Args:
        node: whose replies they are.
        kind: with which arguments its own queue is declared.
        kept: has the connection for replies, one after the other.
        shared: what it has in common with the other parts of the broker.
        priority: gives that with which the replies are to be consumed.
    """

    def __init__(
        self,
        node: str,
        kind: Kind,
        kept: KeptConnection,
        shared: Shared,
        priority: Callable[[], int],
    ) -> None:
        self.node = node
        self.queue = contract.results_queue(node)
        """Where replies to this replica's requests are sent."""
        self.inboxes: dict[str, ResultsConsumer] = {}
        """Those that consume at this instant, by queue."""
        self.linger = kind.results_ttl
        """Seconds for which a queue that nobody names any more is consumed."""
        self._kind = kind
        self._kept = kept
        self._shared = shared
        self._limits = shared.limits
        self._supervisor = shared.supervisor
        self._priority = priority
        self._consumed = asyncio.Event()  # whether the own queue is
        self._stopping = False
        self._others: dict[str, float] = {}  # queues, and until when, by the loop's clock
        self._consuming: dict[str, asyncio.Task[None]] = {}  # those of them that are, or are looked for

    def __repr__(self) -> str:
        return f"<ResultsQueues {self.node}: {self.queue}, consuming {sorted(self.inboxes)}>"

    @property
    def inbox(self) -> ResultsConsumer | None:
        """That of the own queue, while it is consumed."""
        return self.inboxes.get(self.queue)

    async def run(self, connection: Connection, prepared: Callable[[], Awaitable[None]], up: Up) -> None:
        """Declare the own queue, then consume it and the others' until that breaks.

        Args:
            connection: what ``kept`` has now.
            prepared: is called once the own queue is there, before it is consumed.
            up: is called once the own queue is consumed.

        Raises:
            BrokerUnavailable: the connection is gone, or the server refuses the queue.
        """
        self._consumed.clear()
        async with asyncio.timeout(self._limits.answer_timeout):
            await self._declare(connection)
        await prepared()
        try:
            self._look()
            await self._consume(self.queue, connection, up)
        finally:
            others, self._consuming = self._consuming, {}
            await end(*others.values())

    async def _declare(self, connection: Connection) -> None:
        usual = self._kind.results(self.node)
        beside, bypass = topology.beside(usual).name, topology.bypass(usual).name
        most, declare = self._limits.long_queue, self._kept.declare_apart
        look = partial(self._shared.lookup.messages_in, connection.channel)
        self.queue = await topology.declare_results(connection.channel, usual, most, declare, look)
        if self.queue == bypass:
            log.warning(
                "a results queue is long: replies to new calls go past it", queue=usual.name, by=bypass
            )
        elif self.queue == beside and usual.name not in self._others:
            log.warning("a results queue beside one of other settings", queue=usual.name, beside=beside)
        # They may hold what was asked before: by a replica of before, or by this one's earlier life.
        until = asyncio.get_running_loop().time() + self.linger
        for queue in {usual.name, beside, bypass} - {self.queue}:
            self._others.setdefault(queue, until)

    def hear(self, queues: Collection[str]) -> None:
        """Consume these queues of other replicas, too. To be said with each beat."""
        now = asyncio.get_running_loop().time()
        for queue in queues:
            self._others[queue] = _NAMED
        for queue, until in list(self._others.items()):
            if until == _NAMED and queue not in queues:
                self._others[queue] = now + self.linger
            elif until <= now:
                del self._others[queue]
        self._look()

    def _look(self) -> None:
        """Begin to consume what others have, and leave what they have no more."""
        connection = self._kept.connection
        for queue in self._consuming.keys() - self._others.keys():
            log.info("a results queue of other settings is left", queue=queue)
            self._supervisor.aside(end(self._consuming.pop(queue)))
        if connection is None:
            return
        for queue in self._others.keys() - self._consuming.keys() - {self.queue}:
            self._consuming[queue] = self._supervisor.start(
                f"node {self.node} queue {queue}",
                partial(self._consume_other, queue, connection),
                lambda: connection.alive,
            )

    async def _consume_other(self, queue: str, connection: Connection, up: Up) -> None:
        """One that nobody names is looked for once: an earlier life may have had it."""
        part, looked = f"node {self.node} queue {queue}", False
        while (looked and self._others.get(queue) != _NAMED) or not await self._is_there(queue, connection):
            looked = True
            self._supervisor.waits(part, None)
            await asyncio.sleep(self._limits.others_interval)
        await self._consume(queue, connection, up)

    async def _is_there(self, queue: str, connection: Connection) -> bool:
        return await self._shared.lookup.messages_in(connection.channel, queue) is not None

    async def _consume(self, queue: str, connection: Connection, up: Up) -> None:
        aside = queue != self.queue
        line = await connection.line()
        inbox = ResultsConsumer(self.node, queue, line, self._shared, self._priority, aside)
        try:
            if self._kept.drains_single:
                if aside:  # it may be long
                    await self._consumed.wait()
                # One at a time: what is on its way to another is lost where the connection closes.
                async with self._kept.one_at_a_time:
                    await inbox.drain_single(self._kept)
            async with asyncio.timeout(self._limits.answer_timeout):
                await inbox.open()
            if self._stopping:  # it was too late for ``stop``
                return
            self.inboxes[queue] = inbox
            if queue == self.queue:
                self._consumed.set()
            up()
            async with asyncio.timeout(self._limits.answer_timeout):
                await inbox.rerank()  # it may have changed since it was consumed
            await inbox.run()
        finally:
            if self.inboxes.get(queue) is inbox:
                del self.inboxes[queue]
            self._supervisor.aside(inbox.close())

    async def rerank(self) -> None:
        """Consume with the present priority."""
        async with asyncio.timeout(self._limits.answer_timeout):
            for inbox in list(self.inboxes.values()):
                await inbox.rerank()

    def stop(self) -> list[Coroutine[Any, Any, None]]:
        """Have each inbox get no more, and end when what is here has been taken in."""
        self._stopping = True
        return [inbox.stop() for inbox in self.inboxes.values()]
