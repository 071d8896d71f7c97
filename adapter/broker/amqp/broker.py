"""The port, over one connection that is kept up."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING

from adapter.broker.amqp import topology
from adapter.broker.amqp.connection import Connection, UndecodableMessage, parse_urls, reason
from adapter.broker.amqp.hearing import Hearing
from adapter.broker.amqp.inbox import Inbox
from adapter.broker.amqp.limits import Counters, Limits
from adapter.broker.amqp.publishing import Publishing
from adapter.broker.amqp.supervisor import Supervisor, end
from adapter.broker.base import Published
from adapter.errors import BrokerUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    import aiormq

    from adapter.broker.amqp.supervisor import Up
    from adapter.broker.amqp.topology import QueueType
    from adapter.broker.base import DeadLetter, Publication, Receiver


class AmqpBroker:
    """RabbitMQ.

    ``urls`` are servers of one cluster, separated by commas, tried in turn. ``services`` are
    named in the log where nobody has declared their queue. ``queue_type`` is that of the nodes'
    queues. Times in seconds. ``on_ready`` is told each change of ``ready``; ``clock`` gives epoch
    seconds.

    Raises SettingsError for a URL that is none.
    """

    def __init__(
        self,
        urls: str,
        *,
        services: Collection[str] = (),
        prefetch: int = 500,
        confirm_timeout: float = 1.0,
        results_expires: float = 600.0,
        queue_type: QueueType = "classic",
        on_ready: Callable[[bool], None] = lambda _: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.counters = Counters()
        self.limits = Limits(prefetch, confirm_timeout, results_expires)
        self._urls = parse_urls(urls)
        self._queue_type = queue_type
        self._supervisor = Supervisor(self.limits)
        self._publishing = Publishing(self._supervisor, self.limits, self.counters, services, on_ready, clock)
        self._receiver: Receiver
        self._gone = False
        self._ranks: dict[str, int] = {}  # of the nodes that are attached
        self._main: asyncio.Task[None] | None = None
        self._connection: Connection | None = None
        self._declared = asyncio.Event()
        self._undecodable = False
        self._sifting = asyncio.Lock()
        self._inboxes: dict[str, Inbox] = {}
        self._intakes: dict[str, asyncio.Task[None]] = {}
        self._preparing: dict[str, asyncio.Event] = {}
        self._hearing = Hearing(confirm_timeout)

    def __repr__(self) -> str:
        where = self._connection.url if self._connection else "not connected"
        state = "ready" if self.ready else "blocked" if self._publishing.blocked else "not ready"
        return f"<AmqpBroker {where}, {state}, consuming {sorted(self._inboxes)}>"

    @property
    def ready(self) -> bool:
        """Whether a publication would be taken now."""
        return self._publishing.ready

    @property
    def gone(self) -> bool:
        """Whether the last try to connect, to each of the servers, was in vain."""
        return self._gone

    def takes_replies(self, node: str) -> bool:
        """Return False once the node's replies cannot be consumed here, so that asking is in vain."""
        return self._hearing.takes(node, time.monotonic())

    @property
    def unheard(self) -> Mapping[str, str]:
        """The attached nodes whose replies are not consumed at this instant, and why."""
        return self._hearing.unheard

    @property
    def counts(self) -> Mapping[str, int]:
        """What it has counted since the start, by name, for the metrics."""
        return asdict(self.counters)

    @property
    def problems(self) -> Mapping[str, str]:
        """What does not work at present and why, by part: connection, publishing, each node."""
        return self._supervisor.problems

    async def start(self, receiver: Receiver) -> None:
        """Begin, and stay connected from now on; returns without waiting for a server."""
        self._receiver = receiver
        self._main = self._supervisor.start("connection", self._connected)

    def attach(self, node: str, rank: int = 0) -> None:
        """Take in the node's replies, before all consumers of a lower rank, and its commands."""
        known = node in self._ranks
        self._ranks[node] = rank
        if not known:
            self._hearing.begin(node, time.monotonic())
        if not known and self._connection is not None:
            self._consume(node, self._connection)
        elif node in self._inboxes and self._connection is not None:
            # Who takes over asks again: not before the replies come here, and to no replica that hangs.
            self._preparing.setdefault(node, asyncio.Event())
            self._supervisor.aside(self._rerank(node, self._inboxes[node], self._connection))

    async def _rerank(self, node: str, inbox: Inbox, connection: Connection) -> None:
        try:
            await connection.unblocked()
            async with asyncio.timeout(self.limits.answer_timeout):
                await inbox.rerank()
        finally:
            self._prepared(node)

    def detach(self, node: str) -> None:
        """Leave the node's replies to others; what is here and not acknowledged goes back at once."""
        self._ranks.pop(node, None)
        self._hearing.forget(node)
        self._prepared(node)
        task = self._intakes.pop(node, None)
        if task is not None:
            self._supervisor.aside(end(task))

    async def publish(self, publications: Sequence[Publication]) -> list[Published]:
        """Publish each. Results in the order of the arguments; never raises for a server's state."""
        if self._preparing and self.ready:
            await self._prepare({publication.node for publication in publications})
        if not self._hearing.complete:
            return await self._publish_heard(publications)
        return await self._publishing.publish(publications)

    async def _publish_heard(self, publications: Sequence[Publication]) -> list[Published]:
        """Publish those whose replies can come, and notices, which have none."""
        heard = [each.correlation_id is None or self.takes_replies(each.node) for each in publications]
        asked = [each for each, takes in zip(publications, heard, strict=True) if takes]
        results = iter(await self._publishing.publish(asked))
        return [next(results) if takes else Published.UNAVAILABLE for takes in heard]

    async def _prepare(self, nodes: Collection[str]) -> None:
        """Wait until the queues for the nodes' replies are there: a reply that finds none is lost."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.limits.confirm_timeout):
                for event in [self._preparing[node] for node in nodes if node in self._preparing]:
                    await event.wait()

    def _prepared(self, node: str) -> None:
        if node in self._preparing:
            self._preparing.pop(node).set()

    def dead_letter(self, letter: DeadLetter) -> None:
        """Keep for an operator, as well as the server allows; never waits."""
        self._publishing.dead_letter(letter)

    async def close(self) -> None:
        """Stop taking in, finish what is under way within ``close_timeout``, disconnect."""
        timeout = self.limits.close_timeout
        for inbox in self._inboxes.values():
            self._supervisor.aside(inbox.stop())
        emptying = [self._intakes[node] for node in self._inboxes if node in self._intakes]
        if emptying:
            await asyncio.wait(emptying, timeout=timeout)
        await self._supervisor.finish(timeout)
        if self._main is not None:
            await end(self._main)
        await self._supervisor.finish(timeout)

    # The levels: see Supervisor

    async def _connected(self, up: Up) -> None:
        try:
            connection = await Connection.open_any(self._urls, self.limits)
        except BrokerUnavailable:
            self._gone = True
            raise
        self._gone = False
        self.counters.connects += 1
        self._declared = asyncio.Event()
        self._connection = connection
        publishing = self._supervisor.start(
            "publishing",
            partial(self._publishing.run, connection, self._declared),
            lambda: connection.alive,
        )
        for node in self._ranks:
            self._consume(node, connection)
        up(url=connection.url)
        try:
            await connection.lost()
        except BrokerUnavailable as exc:
            self._urls.append(self._urls.pop(0))  # it may hang: the others first
            self._undecodable = isinstance(exc, UndecodableMessage)
            self.counters.undecodable += self._undecodable
            raise
        finally:
            self._connection = None
            intakes, self._intakes = self._intakes, {}
            for node in intakes:
                self._prepared(node)
            await end(publishing, *intakes.values())
            self._supervisor.aside(connection.close(self.limits.close_timeout))

    def _consume(self, node: str, connection: Connection) -> None:
        self._preparing[node] = asyncio.Event()
        self._hearing.begin(node, time.monotonic())
        self._intakes[node] = self._supervisor.start(
            f"node {node}", partial(self._intake, node, connection), lambda: connection.alive
        )

    async def _intake(self, node: str, connection: Connection, up: Up) -> None:
        try:
            await self._declared.wait()
            await connection.unblocked()  # until then the server reads nothing from us
            async with asyncio.timeout(self.limits.answer_timeout):
                channel = await connection.channel()
            inbox = Inbox(
                node,
                channel,
                self._receiver,
                self.dead_letter,
                self.limits,
                self.counters,
                lambda: self._ranks.get(node, 0),
            )
            try:
                await self._take_in(inbox, channel, connection, up)
            finally:
                self._supervisor.aside(inbox.close())
        except BaseException as exc:
            self._hearing.broke(node, reason(exc), time.monotonic())
            raise
        finally:
            self._prepared(node)

    async def _take_in(self, inbox: Inbox, channel: aiormq.Channel, connection: Connection, up: Up) -> None:
        node = inbox.node
        async with asyncio.timeout(self.limits.answer_timeout):
            await topology.declare_node(channel, node, self.limits.results_expires, self._queue_type)
        bindings = await self._supervisor.attempt(
            f"node {node} bindings",
            partial(self._bind, node, connection),
            lambda: connection.alive,
            self.limits.confirm_timeout,
        )
        try:
            self._prepared(node)
            if self._undecodable:
                # One at a time: what is on its way to another is lost where the connection closes.
                async with self._sifting:
                    await inbox.sift()
            async with asyncio.timeout(self.limits.answer_timeout):
                await inbox.open(connection.wire)
            self._inboxes[node] = inbox
            self._hearing.up(node)
            up()
            async with asyncio.timeout(self.limits.answer_timeout):
                await inbox.rerank()  # it may have changed since it was consumed
            await inbox.run(self._supervisor.aside)
        finally:
            if self._inboxes.get(node) is inbox:
                del self._inboxes[node]
            await end(bindings)

    async def _bind(self, node: str, connection: Connection, _: Up) -> None:
        async with asyncio.timeout(self.limits.answer_timeout):
            channel = await connection.channel()
            try:
                await topology.bind_node(channel, node)
            finally:
                self._supervisor.aside(channel.close())
