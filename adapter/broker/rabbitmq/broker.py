"""The port, over connections that are kept up: for requests, for replies, for commands.

They are apart so that no message that comes in can stop what goes out. A fourth is there while
bindings are to be made (see ``bindings``).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING

import structlog

from adapter import contract
from adapter.amqp.servers import parse_urls
from adapter.amqp.tasks import end
from adapter.amqp.topology import bind_all
from adapter.amqp.urls import messaging
from adapter.amqp.words import DeclaredOtherwise, reason
from adapter.broker.rabbitmq import topology
from adapter.broker.rabbitmq.beats import Beats
from adapter.broker.rabbitmq.bindings import Bindings
from adapter.broker.rabbitmq.commands import Commands
from adapter.broker.rabbitmq.kept_connection import KeptConnection
from adapter.broker.rabbitmq.limits import Limits
from adapter.broker.rabbitmq.lookup import Lookup
from adapter.broker.rabbitmq.publish_session import PublishSession
from adapter.broker.rabbitmq.reply_readiness import ReplyReadiness
from adapter.broker.rabbitmq.results_queues import ResultsQueues
from adapter.broker.rabbitmq.shared import Shared
from adapter.broker.rabbitmq.topology import Kind
from adapter.ports.broker import Published

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from adapter.amqp.connection import Connection
    from adapter.broker.rabbitmq.supervisor import Up
    from adapter.ports.broker import DeadLetter, Publication, Receiver
    from adapter.ports.commands import ReplyAddress

log = structlog.get_logger()


class AmqpBroker:
    """RabbitMQ.

    Args:
        urls: servers of one cluster, separated by commas, tried in turn.
        limits: every limit; read whenever it is needed.
        kind: of which kind the nodes' queues are.
        services: gives those that are named in the log if nobody has declared their queue.
        on_ready: is told each change of ``ready``.
        clock: gives epoch seconds.

    Raises:
        SettingsError: a URL is none.
    """

    services: Mapping[str, Sequence[str]] = {}
    """None in this process."""

    def __init__(
        self,
        urls: str,
        *,
        limits: Limits | None = None,
        kind: Kind | None = None,
        services: Callable[[], Collection[str]] = tuple,
        on_ready: Callable[[bool], None] = lambda _: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.limits = limits or Limits()
        self.kind = kind or Kind()
        self._shared = shared = Shared(self.limits, mqtt=self.kind.mqtt)
        self.counters, self._supervisor = shared.counters, shared.supervisor
        self.intakes: dict[str, ResultsQueues] = {}
        """Those of the nodes that are attached."""
        servers = parse_urls(urls)
        self._beats = Beats(shared)
        self._declared = asyncio.Event()
        self._bindings = Bindings(servers, self.limits, shared.supervisor, self._declared)
        self._results: dict[str, str] = {}  # where replies are to be sent, by node
        self._session = PublishSession(shared, self._bindings, self._results, services, on_ready, clock)
        shared.dead_letter = self._session.dead_letter
        self._requests = KeptConnection(
            "connection", servers, shared, self._stand_publishing, self._on_requests_lost, watched=False
        )
        shared.lookup = Lookup(lambda: self._requests.connection, shared.supervisor)
        self._replies = KeptConnection("replies", servers, shared, self._stand_intakes, self._on_replies_lost)
        self._pushes = KeptConnection("commands", servers, shared, self._stand_commands)
        self._priorities: dict[str, int] = {}  # of the nodes that are attached
        self._known: frozenset[str] = frozenset()  # nodes whose commands are taken in without a link
        self._taking: dict[str, asyncio.Task[None]] = {}
        self._obeying: dict[str, asyncio.Task[None]] = {}
        self._commands: dict[str, Commands] = {}  # that are consumed at this instant
        self._preparing: dict[str, asyncio.Event] = {}
        self._readiness = ReplyReadiness(self.limits.confirm_timeout)

    def __repr__(self) -> str:
        connection = self._requests.connection
        where = connection.url if connection else "not connected"
        state = "ready" if self.ready else "blocked" if self._session.blocked else "not ready"
        consuming = sorted(node for node in self._commands if self.hears(node))
        return f"<AmqpBroker {where}, {state}, consuming {consuming}>"

    @property
    def ready(self) -> bool:
        """Whether a publication would be taken now."""
        return self._session.ready

    @property
    def gone(self) -> bool:
        """Whether the last try to connect, to each of the servers, was in vain."""
        return self._requests.gone

    @property
    def messaging(self) -> Mapping[str, str | int]:
        """See ``Broker``: the server that takes the requests; none while there is no connection."""
        connection = self._requests.connection
        return messaging(connection.url) if connection else {"messaging.system": "rabbitmq"}

    def takes_replies(self, node: str) -> bool:
        """Return False once the node's replies cannot be consumed here, so that asking is in vain."""
        return self._readiness.takes(node, time.monotonic())

    def hears(self, node: str) -> bool:
        """Whether the node's replies are consumed at this instant."""
        return node in self.intakes and self.intakes[node].inbox is not None

    @property
    def unheard(self) -> Mapping[str, str]:
        """The attached nodes whose replies are not consumed at this instant, and why."""
        return self._readiness.unheard

    @property
    def beside(self) -> Mapping[str, str]:
        """The attached nodes whose replies are sent to a queue beside the usual one, and its name."""
        usual = contract.results_queue
        return {node: queue for node, queue in self._results.items() if queue != usual(node)}

    def hear(self, queues: Mapping[str, Collection[str]]) -> None:
        """Consume these queues of other replicas, by node, beside the own one."""
        for node, intake in self.intakes.items():
            intake.hear(queues.get(node, ()))

    @property
    def dropped(self) -> Mapping[str, int]:
        """Messages that RabbitMQ could not hand over and that were dropped for it, by queue."""
        return {**self._replies.dropped, **self._pushes.dropped}

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
        self._shared.receiver = receiver
        for kept in (self._requests, self._replies, self._pushes):
            kept.start()

    def attach(self, node: str, priority: int = 0) -> None:
        """Take in the node's replies, before all consumers of a lower priority, and its commands."""
        known = node in self._priorities
        self._priorities[node] = priority
        if not known:
            self._begin(node)
        elif self.hears(node):
            # Who takes over asks again: not before the replies come here, and to no replica that hangs.
            self._preparing.setdefault(node, asyncio.Event())
            self._supervisor.aside(self._rerank(self.intakes[node]))

    def _begin(self, node: str) -> None:
        self.intakes[node] = ResultsQueues(
            node, self.kind, self._replies, self._shared, lambda: self._priorities.get(node, 0)
        )
        self._await(node)
        if self._replies.connection is not None:
            self._take(node, self._replies.connection)
        if self._pushes.connection is not None:
            self._obey(node, self._pushes.connection)

    async def _rerank(self, intake: ResultsQueues) -> None:
        try:
            await intake.rerank()
        finally:
            self._prepared(intake.node)

    def detach(self, node: str) -> None:
        """Leave the node's replies to others; what is here and not acknowledged goes back at once."""
        self._priorities.pop(node, None)
        self._readiness.forget(node)
        self._prepared(node)
        self.intakes.pop(node, None)
        self._results.pop(node, None)
        tasks = [task for each in (self._taking, self._obeying) if (task := each.pop(node, None)) is not None]
        if tasks:
            self._supervisor.aside(end(*tasks))
        for part in _bindings_of(node):
            self._bindings.forget(part)
        if node in self._known and self._pushes.connection is not None:
            self._obey(node, self._pushes.connection)

    def know(self, nodes: Collection[str]) -> None:
        """Take in the commands of these nodes, too, if nobody has a link."""
        before, self._known = self._known, frozenset(nodes)
        connection = self._pushes.connection
        for node in (self._known - before) - self._priorities.keys():
            if connection is not None:
                self._obey(node, connection)
        for node in (before - self._known) - self._priorities.keys():
            if (task := self._obeying.pop(node, None)) is not None:
                self._supervisor.aside(end(task))
            self._bindings.forget(_bindings_of(node)[1])

    def reply(self, node: str, to: ReplyAddress, body: bytes) -> None:
        """Reply to a command that was delivered to another replica; lost while there is no connection."""
        line = self._commands.get(node) or next(iter(self._commands.values()), None)
        if line is not None:
            line.reply(to, body)

    def join(self, replica: str, lease: float, heard: Callable[[bytes], None]) -> None:
        """Hear what all replicas ``say``, this one among them. To be called before ``start``."""
        self._beats.join(replica, lease, heard)

    def say(self, body: bytes) -> None:
        """Say something to all replicas that can be reached; never waits, and it may be lost."""
        self._beats.say(body)

    async def publish(self, publications: Sequence[Publication]) -> list[Published]:
        """Publish each. Results in the order of the arguments; never raises for a server's state."""
        if self._preparing and self.ready:
            await self._prepare({publication.node for publication in publications})
        if not self._readiness.complete:
            return await self._publish_heard(publications)
        return await self._session.publish(publications)

    async def _publish_heard(self, publications: Sequence[Publication]) -> list[Published]:
        """Publish those whose replies can come, and notices, which have none."""
        heard = [each.correlation_id is None or self.takes_replies(each.node) for each in publications]
        asked = [each for each, takes in zip(publications, heard, strict=True) if takes]
        results = iter(await self._session.publish(asked))
        return [next(results) if takes else Published.UNAVAILABLE for takes in heard]

    async def _prepare(self, nodes: Collection[str]) -> None:
        """Wait until the queues for the nodes' replies are there: a reply that finds none is lost."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.limits.confirm_timeout):
                for event in [self._preparing[node] for node in nodes if node in self._preparing]:
                    await event.wait()

    def _await(self, node: str) -> None:
        self._preparing.setdefault(node, asyncio.Event())
        self._readiness.begin(node, time.monotonic())

    def _prepared(self, node: str) -> None:
        if node in self._preparing:
            self._preparing.pop(node).set()

    def dead_letter(self, letter: DeadLetter) -> None:
        """Keep for an operator, as well as the server allows; never waits."""
        self._session.dead_letter(letter)

    async def close(self) -> None:
        """Stop taking in, finish what is under way within ``close_timeout``, disconnect."""
        timeout = self.limits.close_timeout
        emptying = [self._taking[node] for node, each in self.intakes.items() if each.inboxes]
        for intake in self.intakes.values():
            for stopping in intake.stop():
                self._supervisor.aside(stopping)
        for commands in self._commands.values():
            self._supervisor.aside(commands.stop())
        if emptying:
            await asyncio.wait(emptying, timeout=timeout)
        await self._supervisor.finish(timeout)
        await asyncio.gather(*(kept.stop() for kept in (self._requests, self._replies, self._pushes)))
        await end(*self._taking.values(), *self._obeying.values())  # those that had only just begun
        await self._bindings.stop()
        await self._supervisor.finish(timeout)

    # The levels: see Supervisor

    def _stand_publishing(self, connection: Connection) -> list[asyncio.Task[None]]:
        self.counters.connects += 1
        run = partial(self._session.run, connection, self._declared)
        return [self._supervisor.start("publishing", run, lambda: connection.alive)]

    def _on_requests_lost(self) -> None:
        self._declared.clear()
        for kept in (self._replies, self._pushes):
            kept.doubt()

    def _stand_intakes(self, connection: Connection) -> list[asyncio.Task[None]]:
        self.counters.reply_connects += 1
        for node in self._priorities:
            self._await(node)
            self._take(node, connection)
        return []

    def _on_replies_lost(self) -> None:
        tasks, self._taking = self._taking, {}
        for node, task in tasks.items():
            task.cancel()
            self._prepared(node)
            self._await(node)
        if tasks:
            self._supervisor.aside(asyncio.wait(tasks.values()))  # a second cancel would cut their ends short

    def _take(self, node: str, connection: Connection) -> None:
        self._taking[node] = self._supervisor.start(
            f"node {node}",
            partial(self._take_in, self.intakes[node], connection),
            lambda: connection.alive,
        )

    async def _take_in(self, intake: ResultsQueues, connection: Connection, up: Up) -> None:
        node = intake.node

        async def prepared() -> None:
            self._results[node] = intake.queue
            bindings = topology.results_bindings(node, intake.queue, self.kind.mqtt)
            part = f"node {node} bindings"
            step = partial(bind_all, bindings=bindings)
            await self._bindings.make(part, step, self.limits.confirm_timeout)
            self._prepared(node)

        def heard(**details: object) -> None:
            self._readiness.up(node)
            up(**details)

        try:
            await intake.run(connection, prepared, heard)
        except BaseException as exc:
            if self._replies.connection is connection:
                self._readiness.broke(node, reason(exc), time.monotonic())
            raise
        finally:
            if self._replies.connection is connection:
                self._prepared(node)

    def _stand_commands(self, connection: Connection) -> list[asyncio.Task[None]]:
        self.counters.reply_connects += 1
        for node in self._known | self._priorities.keys():
            self._obey(node, connection)
        # Not by the connection for requests: without majority RabbitMQ 4.3 closes that one for its binding.
        meet = partial(self._beats.run, connection, self._declared)
        return [self._supervisor.start("replicas", meet, lambda: connection.alive and self._beats.joined)]

    def _obey(self, node: str, connection: Connection) -> None:
        before = self._obeying.get(node)
        self._obeying[node] = self._supervisor.start(
            f"node {node} commands", partial(self._take_commands, node, connection), lambda: connection.alive
        )
        if before is not None:
            self._supervisor.aside(end(before))

    async def _take_commands(self, node: str, connection: Connection, up: Up) -> None:
        async with asyncio.timeout(self.limits.answer_timeout):
            await self._declare_commands(node, connection)
            line = await connection.line()
        step = partial(bind_all, bindings=topology.commands_bindings(node))
        await self._bindings.make(f"node {node} commands bindings", step, self.limits.confirm_timeout)
        commands = Commands(node, line, self._shared, node in self._priorities, self._count_nodes)
        try:
            if self._pushes.drains_single:
                await commands.drain_single(self._pushes)
            async with asyncio.timeout(self.limits.answer_timeout):
                await commands.open()
            self._commands[node] = commands
            up()
            await commands.run()
        finally:
            if self._commands.get(node) is commands:
                del self._commands[node]
            self._supervisor.aside(commands.close())

    def _count_nodes(self) -> int:
        return len(self._known | self._priorities.keys())

    async def _declare_commands(self, node: str, connection: Connection) -> None:
        """One of other settings is used as it is: a second one would push each command twice."""
        queue, look = self.kind.commands(node), partial(self._shared.lookup.messages_in, connection.channel)
        try:
            await topology.declare_carefully(connection.channel, queue, self._pushes.declare_apart, look)
        except DeclaredOtherwise as exc:
            log.warning("commands are consumed as they are kept", node=node, reason=str(exc))


def _bindings_of(node: str) -> tuple[str, str]:
    return f"node {node} bindings", f"node {node} commands bindings"
