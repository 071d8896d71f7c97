"""Publishes requests, on one connection after the other, and knows whether that works at present."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog

from adapter.amqp.tasks import happens
from adapter.amqp.topology import declare_exchange
from adapter.amqp.words import DeclaredOtherwise, NotAllowed, reason
from adapter.broker.rabbitmq import sender, topology
from adapter.broker.rabbitmq.channel_renewal import ChannelRenewal
from adapter.broker.rabbitmq.probe import Probe, SilentServer
from adapter.broker.rabbitmq.publisher import Publisher
from adapter.errors import BrokerUnavailable
from adapter.ports.broker import Published

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    import aiormq

    from adapter.amqp.connection import Connection
    from adapter.broker.rabbitmq.bindings import Bindings
    from adapter.broker.rabbitmq.shared import Shared
    from adapter.broker.rabbitmq.supervisor import Up
    from adapter.ports.broker import DeadLetter, Publication

log = structlog.get_logger()

PART: Final = "publishing"
BLOCKED: Final = "blocked by the server: it is short of memory or disk"
SILENT: Final = "the server is silent: it confirms nothing"


class PublishSession:
    """Publishes requests and keeps dead letters.

    Args:
        shared: what it has in common with the other parts of the broker.
        bindings: makes the bindings of the dead letters.
        results: the queue to which replies are to be sent, by node; it changes while this publishes.
        services: gives those that are named in the log if nobody has declared their queue.
        on_ready: is told each change of ``ready``.
        clock: gives epoch seconds.
    """

    def __init__(
        self,
        shared: Shared,
        bindings: Bindings,
        results: Mapping[str, str],
        services: Callable[[], Collection[str]],
        on_ready: Callable[[bool], None],
        clock: Callable[[], float],
    ) -> None:
        self._shared = shared
        self._supervisor = shared.supervisor
        self._bindings = bindings
        self._results = results
        self._limits = limits = shared.limits
        self._counters = shared.counters
        self._services = services
        self._on_ready = on_ready
        self._clock = clock
        self._missing: list[str] = []
        self._no_hello = False
        self._looked, self._returned = float("-inf"), -1
        self._renewal = ChannelRenewal(limits)
        self._connection: Connection | None = None
        self._publisher: Publisher | None = None
        self._was_ready = False
        self._letters = 0
        self._allowed, self._allowed_at = float(limits.letters_at_once), time.monotonic()
        self._known_as = ""
        self._may_address = True  # queues, by their name
        self._asked, self._answered = float("-inf"), False

    @property
    def ready(self) -> bool:
        """Whether a publication would be taken now."""
        publisher, connection = self._publisher, self._connection
        if publisher is None or publisher.silent:
            return False
        return connection is None or not connection.blocked

    @property
    def blocked(self) -> bool:
        """Whether the server takes no publications (memory or disk alarm)."""
        return self._connection is not None and self._connection.blocked

    async def publish(self, publications: Sequence[Publication]) -> list[Published]:
        """Publish each, in order; all are UNAVAILABLE at once if it is not ready."""
        if not self._may_address and any(each.queue for each in publications):
            return await self._publish_by_event(publications)
        results, publisher = await self._publish(publications)
        while Published.REFUSED in results and await self._renewal.worth_another(
            publisher is self._publisher
        ):
            refused = [place for place, result in enumerate(results) if result is Published.REFUSED]
            again, publisher = await self._publish([publications[place] for place in refused])
            for place, result in zip(refused, again, strict=True):
                results[place] = result
        return results

    async def _publish_by_event(self, publications: Sequence[Publication]) -> list[Published]:
        """Publish those that go to no queue by its name: RabbitMQ would close the channel for the others."""
        results = iter(await self.publish([each for each in publications if not each.queue]))
        return [Published.REFUSED if each.queue else next(results) for each in publications]

    async def _publish(self, publications: Sequence[Publication]) -> tuple[list[Published], Publisher | None]:
        publisher = self._publisher
        if publisher is None or not self.ready:
            return [Published.UNAVAILABLE] * len(publications), publisher
        return await publisher.publish(publications), publisher

    def dead_letter(self, letter: DeadLetter) -> None:
        """Keep a letter if it is ready and not too many are under way; never waits."""
        publisher = self._publisher
        under_way = self._letters >= self._limits.max_letters
        if publisher is None or not self.ready or under_way or not self._may_keep():
            self._counters.dead_letters_dropped += 1
            return
        self._letters += 1
        self._supervisor.aside(self._keep(publisher, letter))

    def _may_keep(self) -> bool:
        """Take one of the allowance, if any is left."""
        limits, now = self._limits, time.monotonic()
        saved = self._allowed + (now - self._allowed_at) * limits.letters_a_second
        self._allowed, self._allowed_at = min(saved, limits.letters_at_once), now
        if self._allowed < 1:
            return False
        self._allowed -= 1
        return True

    async def _keep(self, publisher: Publisher, letter: DeadLetter) -> None:
        try:
            kept = await publisher.keep(letter)
        finally:
            self._letters -= 1
        if kept:
            self._counters.dead_letters += 1
        else:
            self._counters.dead_letters_dropped += 1

    async def run(self, connection: Connection, declared: asyncio.Event, up: Up) -> None:
        """Publish on a connection until that breaks.

        Args:
            connection: is used for nothing else.
            declared: is set once the exchanges are there.
            up: is called once publications are taken.

        Raises:
            BrokerUnavailable: the connection or its channel is gone, or the server is silent.
        """
        if connection.blocked:
            self._supervisor.waits(PART, BLOCKED)
            await connection.unblocked()  # until then the server reads nothing from us
        wake = asyncio.Event()
        publisher = await self._open(connection, wake)
        try:
            async with asyncio.timeout(self._limits.answer_timeout):
                await topology.declare_exchanges(publisher.channel)
            declared.set()
            # Nothing but the letters depends on their queue, and it may be on a server that is away.
            await self._bindings.make("dead letters", _declare_dead_letters, self._limits.confirm_timeout)
            async with asyncio.timeout(self._limits.answer_timeout):
                publisher.user = self._known_as or await sender.user(connection)
            self._looked, self._returned = float("-inf"), -1
            self._asked, self._answered = float("-inf"), False
            self._connection, self._publisher = connection, publisher
            self._renewal.begin(partial(self._replace, connection, wake))
            up()
            making = self._bindings.make("services", self._declare_services, self._limits.answer_timeout)
            self._supervisor.aside(making)
            self._note()
            while True:
                publisher = self._publisher
                await self._watch(connection, publisher, wake)
        finally:
            publisher = self._publisher or publisher
            self._connection = self._publisher = None
            await self._renewal.end()
            self._note()
            self._supervisor.aside(publisher.close())

    async def _declare_services(self, channel: aiormq.Channel) -> None:
        """Make the exchange on which services say hello. No call depends on it, so a refusal is told once."""
        try:
            await declare_exchange(channel, topology.SERVICES)
        except (NotAllowed, DeclaredOtherwise) as exc:
            if not self._no_hello:
                self._no_hello = True
                log.warning("services cannot say hello (README, Security)", reason=str(exc))

    async def _open(self, connection: Connection, wake: asyncio.Event) -> Publisher:
        told = partial(self._on_silence, wake.set)
        line = await connection.line(confirms=True)
        return Publisher(line, self._shared, self._clock, told, self._results)

    async def _replace(self, connection: Connection, wake: asyncio.Event) -> None:
        """Go on with a new channel; what is under way on the old one gets its answers there."""
        fresh = await self._open(connection, wake)
        fresh.user = self._publisher.user if self._publisher is not None else ""
        old, self._publisher = self._publisher, fresh
        self._counters.renewed += 1
        wake.set()
        if old is not None:
            self._supervisor.aside(old.retire())

    async def _watch(self, connection: Connection, publisher: Publisher, wake: asyncio.Event) -> None:
        """Look after a publisher until another takes its place; raises BrokerUnavailable when it breaks."""
        closing = publisher.channel.closing
        closing.add_done_callback(lambda _: wake.set())
        probe = Probe(publisher, self._limits, wake.set)
        try:
            while not closing.done():
                self._look_for_services_when_due(connection)
                blocked = connection.blocked
                if blocked:
                    publisher.fail()
                probe.look(blocked)
                self._note()
                if publisher.unconfirmed > self._limits.max_unconfirmed:
                    raise BrokerUnavailable(f"{publisher.unconfirmed} publications were never confirmed")
                await happens(wake, self._limits.watch_interval)
                wake.clear()
                if publisher is not self._publisher:
                    return
        except SilentServer as exc:
            connection.abort(str(exc))
            raise
        finally:
            probe.end()
        cause = None if closing.cancelled() else closing.exception()
        self._known_as = sender.known_as(cause) or self._known_as  # by a token, we are not who the URL says
        raise BrokerUnavailable(f"channel closed: {reason(cause)}")

    def _on_silence(self, wake: Callable[[], None]) -> None:
        self._note()
        wake()

    def _note(self) -> None:
        """Tell whether it works, where that has changed."""
        if self._publisher is not None:
            self._supervisor.waits(
                PART, BLOCKED if self.blocked else SILENT if self._publisher.silent else None
            )
        if self.ready != self._was_ready:
            self._was_ready = self.ready
            self._on_ready(self.ready)

    def _look_for_services_when_due(self, connection: Connection) -> None:
        """At the start, and where publications have come back since the last look."""
        now, returned = asyncio.get_running_loop().time(), self._counters.returned
        if returned != self._returned and now - self._looked > self._limits.services_interval:
            self._looked, self._returned = now, returned
            self._supervisor.aside(self._look_for_services(connection))
        in_doubt = not (self._may_address and self._answered)
        if in_doubt and self._services() and now - self._asked > self._limits.services_interval:
            self._supervisor.aside(self._look_for_right(connection))

    async def _look_for_right(self, connection: Connection) -> None:
        """Find out whether queues may be addressed; in vain it is told once.

        A server that is short of memory gives no answer, and takes nothing more: so whoever names no service
        does not ask.
        """
        self._asked = asyncio.get_running_loop().time()
        async with asyncio.timeout(self._limits.answer_timeout):
            refused = await sender.refused_queues(connection)
        self._answered = True
        if refused and self._may_address:
            log.error(
                "requests to the queues of named services are refused",
                reason=refused,
                do="give the adapter's user the right to write amq.default (README, Security)",
            )
        self._may_address = not refused

    async def _look_for_services(self, connection: Connection) -> None:
        """Those that the policy names, and those to whose queue a request went in vain."""
        without = self._shared.without_queue
        async with asyncio.timeout(self._limits.answer_timeout):
            missing = await topology.missing_services(connection, {*self._services(), *without})
        without.intersection_update(missing)
        if missing and missing != self._missing:
            log.warning("services without a queue: nobody will decide their events", services=missing)
        self._missing = missing


async def _declare_dead_letters(channel: aiormq.Channel) -> None:
    try:
        await topology.declare_dead_letters(channel)
    except DeclaredOtherwise as exc:
        # The bounds of this queue are an operator's affair: others than ours stop nothing.
        log.warning("dead letters kept as they are", reason=str(exc))
