"""The port, over one connection that is kept up."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING

import structlog

from adapter.broker.amqp import topology
from adapter.broker.amqp.connection import Connection, UndecodableMessage, parse_urls, reason
from adapter.broker.amqp.inbox import Inbox
from adapter.broker.amqp.limits import Counters, Limits
from adapter.broker.amqp.publisher import Publisher
from adapter.broker.amqp.supervisor import Supervisor, end
from adapter.broker.base import Published
from adapter.errors import BrokerUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    import aiormq

    from adapter.broker.amqp.supervisor import Up
    from adapter.broker.base import DeadLetter, Publication, Receiver

log = structlog.get_logger()


class AmqpBroker:
    """RabbitMQ.

    ``urls`` are servers of one cluster, separated by commas, tried in turn. ``services`` are
    named in the log where nobody has declared their queue. Times in seconds. ``on_ready`` is
    told each change of ``ready``; ``clock`` gives epoch seconds.

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
        on_ready: Callable[[bool], None] = lambda _: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.counters = Counters()
        self.limits = Limits(prefetch, confirm_timeout, results_expires)
        self._urls = parse_urls(urls)
        self._services = services
        self._missing: list[str] = []
        self._on_ready = on_ready
        self._clock = clock
        self._supervisor = Supervisor(self.limits)
        self._receiver: Receiver
        self._wanted: set[str] = set()
        self._main: asyncio.Task[None] | None = None
        self._connection: Connection | None = None
        self._declared = asyncio.Event()
        self._publisher: Publisher | None = None
        self._blocked = False
        self._was_ready = False
        self._undecodable = False
        self._letters = 0
        self._inboxes: dict[str, Inbox] = {}
        self._intakes: dict[str, asyncio.Task[None]] = {}
        self._preparing: dict[str, asyncio.Event] = {}

    def __repr__(self) -> str:
        where = self._connection.url if self._connection else "not connected"
        state = "ready" if self.ready else "blocked" if self._blocked else "not ready"
        return f"<AmqpBroker {where}, {state}, consuming {sorted(self._inboxes)}>"

    @property
    def ready(self) -> bool:
        """Whether a publication would be taken now."""
        return self._publisher is not None and not self._blocked

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
        self._supervisor = Supervisor(self.limits)
        self._main = self._supervisor.start("connection", self._connected)

    def attach(self, node: str) -> None:
        """Take in the node's replies and commands."""
        if node not in self._wanted:
            self._wanted.add(node)
            if self._connection is not None:
                self._consume(node, self._connection)

    def detach(self, node: str) -> None:
        """Leave the node's replies to others; what is here and not acknowledged goes back at once."""
        self._wanted.discard(node)
        self._prepared(node)
        task = self._intakes.pop(node, None)
        if task is not None:
            self._supervisor.aside(end(task))

    async def publish(self, publications: Sequence[Publication]) -> list[Published]:
        """Publish each. Results in the order of the arguments; never raises for a server's state."""
        if self.ready and self._preparing:
            await self._prepare({publication.node for publication in publications})
        publisher = self._publisher
        if publisher is None or self._blocked:
            return [Published.UNAVAILABLE] * len(publications)
        return await publisher.publish(publications)

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
        publisher = self._publisher
        if publisher is None or self._blocked or self._letters >= self.limits.max_letters:
            self.counters.dead_letters_dropped += 1
            return
        self._letters += 1
        self._supervisor.aside(self._keep(publisher, letter))

    async def _keep(self, publisher: Publisher, letter: DeadLetter) -> None:
        try:
            kept = await publisher.keep(letter)
        finally:
            self._letters -= 1
        if kept:
            self.counters.dead_letters += 1
        else:
            self.counters.dead_letters_dropped += 1

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
        connection = await Connection.open_any(self._urls, self.limits)
        self.counters.connects += 1
        self._declared = asyncio.Event()
        self._connection = connection
        publishing = self._supervisor.start(
            "publishing", partial(self._publishing, connection), lambda: connection.alive
        )
        for node in self._wanted:
            self._consume(node, connection)
        up(url=connection.url)
        try:
            await connection.lost()
        except BrokerUnavailable as exc:
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

    async def _publishing(self, connection: Connection, up: Up) -> None:
        async with asyncio.timeout(self.limits.connect_timeout):
            channel = await connection.channel(confirms=True)
        publisher = Publisher(channel, self.limits, self.counters, self._clock)
        try:
            async with asyncio.timeout(self.limits.connect_timeout):
                await topology.declare_exchanges(channel)
                await self._declare_dead_queue(connection)
            self._declared.set()
            self._publisher = publisher
            self._note()
            up()
            await self._watch(connection, channel, publisher)
        finally:
            self._publisher = None
            self._blocked = False
            self._note()
            self._supervisor.aside(publisher.close())

    async def _declare_dead_queue(self, connection: Connection) -> None:
        """The bounds of this queue are an operator's affair: others than ours stop nothing."""
        channel = await connection.channel()
        try:
            await topology.declare_dead_queue(channel)
        except BrokerUnavailable as exc:
            log.warning("dead letters kept as they are", reason=str(exc))
        finally:
            self._supervisor.aside(channel.close())

    async def _watch(self, connection: Connection, channel: aiormq.Channel, publisher: Publisher) -> None:
        """Look after the publishing until it breaks; raises BrokerUnavailable then."""
        closing, loop = channel.closing, asyncio.get_running_loop()
        looked, returned = -self.limits.services_interval, -1
        while True:
            if returned != self.counters.returned and loop.time() - looked > self.limits.services_interval:
                looked, returned = loop.time(), self.counters.returned
                self._supervisor.aside(self._look_for_services(connection))
            await asyncio.wait({closing}, timeout=self.limits.watch_interval)
            if closing.done():
                cause = None if closing.cancelled() else closing.exception()
                raise BrokerUnavailable(f"channel closed: {reason(cause)}")
            self._set_blocked(connection.blocked)
            if self._blocked:
                publisher.fail()
            elif publisher.silent.is_set():
                try:
                    await publisher.probe()
                except BrokerUnavailable:
                    if not connection.blocked:
                        connection.abort()
                    raise
            if publisher.unconfirmed > self.limits.max_unconfirmed:
                raise BrokerUnavailable(f"{publisher.unconfirmed} publications were never confirmed")

    def _set_blocked(self, blocked: bool) -> None:
        if blocked != self._blocked:
            self._blocked = blocked
            log.warning("broker blocked" if blocked else "broker unblocked")
            self._note()

    def _note(self) -> None:
        if self.ready != self._was_ready:
            self._was_ready = self.ready
            self._on_ready(self.ready)

    async def _look_for_services(self, connection: Connection) -> None:
        async with asyncio.timeout(self.limits.connect_timeout):
            missing = await topology.missing_services(connection, self._services)
        if missing and missing != self._missing:
            log.warning("services without a queue: nobody will decide their events", services=missing)
        self._missing = missing

    def _consume(self, node: str, connection: Connection) -> None:
        self._preparing[node] = asyncio.Event()
        self._intakes[node] = self._supervisor.start(
            f"node {node}", partial(self._intake, node, connection), lambda: connection.alive
        )

    async def _intake(self, node: str, connection: Connection, up: Up) -> None:
        try:
            await self._declared.wait()
            await connection.unblocked()  # until then the server reads nothing from us
            async with asyncio.timeout(self.limits.connect_timeout):
                channel = await connection.channel()
            inbox = Inbox(node, channel, self._receiver, self.dead_letter, self.limits, self.counters)
            try:
                await self._take_in(inbox, channel, up)
            finally:
                self._supervisor.aside(inbox.close())
        finally:
            self._prepared(node)

    async def _take_in(self, inbox: Inbox, channel: aiormq.Channel, up: Up) -> None:
        node = inbox.node
        async with asyncio.timeout(self.limits.connect_timeout):
            await topology.declare_node(channel, node, self.limits.results_expires)
        self._prepared(node)
        if self._undecodable:
            await inbox.sift()
        async with asyncio.timeout(self.limits.connect_timeout):
            await inbox.open()
        self._inboxes[node] = inbox
        up()
        try:
            await inbox.run(self._supervisor.aside)
        finally:
            if self._inboxes.get(node) is inbox:
                del self._inboxes[node]
