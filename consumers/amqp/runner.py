"""Keeps a service consuming: connects, watches, and begins again when anything breaks."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from adapter.amqp.asking import Asking
from adapter.amqp.backoff import Backoff
from adapter.amqp.connection import Connection
from adapter.amqp.footholds import untapped
from adapter.amqp.limits import ConnectionLimits
from adapter.amqp.servers import parse_urls
from adapter.amqp.tasks import end, happens, outcome
from adapter.amqp.words import reason
from adapter.contract import EVENTS_EXCHANGE, service_queue
from adapter.errors import BrokerUnavailable
from adapter.hello import EACH
from consumers import tracing
from consumers.amqp.bindings import Bindings
from consumers.amqp.presence import Presence
from consumers.amqp.topology import keep_declaring
from consumers.amqp.work import Work
from consumers.messages import Result

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from aiormq import Channel

    from consumers.service import Service

_log = logging.getLogger("consumers")

FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 1.0
DECLARE_TIMEOUT: Final = 1.0
"""Seconds that the declarations and bindings have before the queue is consumed without them: it may be
there."""
GRACE: Final = 10.0
"""Seconds that work in hand has to finish at a stop."""


class Runner:
    """One service on one RabbitMQ, which may be a cluster: ``urls`` are tried in turn.

    ``run()`` ends after ``stop()``, once the work in hand is done or ``grace`` seconds are over.
    ``consuming`` is set while requests are taken in. ``requests_from``: the users of RabbitMQ whose
    requests are taken; empty: everybody's. ``hello``: seconds after which it says that it is there, 0 for
    never: see ``Presence``. Made and used in one event loop. Raises SettingsError for a URL
    that is none.
    """

    def __init__(
        self,
        service: Service,
        urls: Sequence[str],
        *,
        prefetch: int | None = None,
        grace: float = GRACE,
        requests_from: Collection[str] = (),
        hello: float = EACH,
    ) -> None:
        self.service = service
        self.limits = ConnectionLimits(prefetch or service.prefetch)
        self.grace = grace
        self.requests_from = frozenset(requests_from)
        self.consuming = asyncio.Event()
        self._urls = parse_urls(",".join(urls))
        self._stop = asyncio.Event()
        self._at = ""  # where it is connected to, in this session
        self._consuming_since: float | None = None  # by the loop's clock, in this session
        self._told: set[str] = set()
        presence = Presence(service, self.limits.prefetch, hello) if hello else None
        self._bindings = Bindings(service, self.limits, self.requests_from, presence)

    def __repr__(self) -> str:
        state = "consuming" if self.consuming.is_set() else "not consuming"
        return f"<Runner {state} {self.service!r}>"

    def stop(self) -> None:
        """Take no more requests; ``run()`` then ends."""
        self._stop.set()

    async def run(self) -> None:
        """Consume until ``stop()``. A server that is away is waited for, for ever.

        The service's lifespans are opened before and closed after it, in the same task.

        Raises:
            SignatureError: a handler's parameters ask for what nothing gives.
            LifespanError: a lifespan cannot be opened.
        """
        await self.service.open()
        try:
            await self._until_the_end()
        finally:
            await self.service.close()

    async def _until_the_end(self) -> None:
        backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
        while not self._stop.is_set():
            self._consuming_since, self._at = None, ""
            trouble = await self._until_stopped()
            if trouble is not None:
                pause = self._pause(backoff)
                self._tell(f"{self._at}{reason(trouble)}", pause)
                await happens(self._stop, pause)
        counts = ", ".join(f"{self.service.counts[result]} {result}" for result in Result)
        _log.info("%s: stopped: %s", self.service.name, counts)

    def _pause(self, backoff: Backoff) -> float:
        """Seconds before the next session: none after one that stood."""
        if self._at:
            self._urls.append(self._urls.pop(0))  # it may hang: the others first
        if self._consuming_since is not None:
            backoff.reset()
            if asyncio.get_running_loop().time() - self._consuming_since > LONGEST_PAUSE:
                return 0.0
        return backoff.pause()

    def _tell(self, trouble: str, pause: float) -> None:
        """Log why there is no connection: once for each reason, however often it is tried again."""
        level = logging.DEBUG if trouble in self._told else logging.WARNING
        self._told.add(trouble)
        _log.log(level, "%s: %s; trying again, next in %.1f s", self.service.name, trouble, pause)

    async def _until_stopped(self) -> BaseException | None:
        """Run a session; gives what ended it. Before it consumes, and so has work in hand, ``stop()`` cuts
        it short.

        Whatever the library raised is told, and no more: a service that does not come back is worse.
        """
        running = asyncio.ensure_future(outcome(self._session()))
        try:
            await _any(self._stop, running)
            if self._consuming_since is not None:
                await asyncio.wait([running])
        finally:
            await end(running)
        trouble = None if running.cancelled() else running.result()
        if trouble is not None and not isinstance(trouble, BrokerUnavailable | OSError):
            _log.debug("%s", self.service.name, exc_info=trouble)
        return trouble

    async def _session(self) -> None:
        """One connection until ``stop()``. Whatever else ends it is raised."""
        connection = await Connection.open_any(self._urls, self.limits, f"consumer {self.service.name}")
        self._at = f"{connection.url}: "
        if connection.passed_over:
            _log.warning("%s: passed over: %s", self.service.name, connection.passed_over)
        tracing.connected(self.service.name, str(connection.server))
        watching = asyncio.ensure_future(connection.watch(_question))
        bindings = self._bindings
        binding = asyncio.ensure_future(bindings.keep(connection.server))
        asking = Asking(connection)
        self.service.reach_kamailio(asking)
        try:
            line = await connection.line(confirms=True)
            await connection.in_time(line.amqp.basic_qos(prefetch_count=self.limits.prefetch))
            another = partial(connection.line, confirms=True)
            prefetch = self.limits.prefetch
            work = Work(self.service, line, another, prefetch, bindings.pass_on, self.requests_from)
            try:
                await self._consume(connection, line.amqp, work, watching)
            finally:
                await work.close()
        finally:
            self.consuming.clear()
            self.service.reach_kamailio(None)
            await asking.close()
            await end(watching, binding)
            await connection.close()

    async def _consume(
        self, connection: Connection, channel: Channel, work: Work, watching: asyncio.Future[None]
    ) -> None:
        changed = asyncio.Event()
        channel.on_consumer_cancel_callbacks.add(lambda _: changed.set())
        while not self._stop.is_set():
            changed.clear()
            declaring = asyncio.ensure_future(_declare(connection, self.service, self._bindings))
            try:
                await self._consume_once(connection, channel, declaring, (changed, watching))
            finally:
                await end(declaring)
            if changed.is_set() and not self._stop.is_set():
                # The queue was deleted, or went to another node of a cluster. What is in hand goes on.
                self.consuming.clear()
                pause = Backoff(2 * FIRST_PAUSE, LONGEST_PAUSE).pause()
                _log.warning("%s: cancelled by %s; again in %.1f s", self.service.name, connection.url, pause)
                await happens(self._stop, pause)
        await work.finished(self.grace)
        await connection.in_time(channel.close())  # behind the last acknowledgements, so they have arrived

    async def _consume_once(
        self,
        connection: Connection,
        channel: Channel,
        declaring: asyncio.Future[None],
        ends: tuple[asyncio.Event, asyncio.Future[None]],
    ) -> None:
        """Consume until ``stop()`` or the first of ``ends``, what is a future of which is raised."""
        queue, closing = service_queue(self.service.name), channel.closing
        await asyncio.wait([declaring], timeout=DECLARE_TIMEOUT)
        if declaring.done():
            declaring.result()
        refused = asyncio.Event()
        declaring.add_done_callback(lambda done: refused.set() if _failed(done) else None)
        begun = await connection.in_time(channel.basic_consume(queue, untapped))
        self._consuming_since = self._consuming_since or asyncio.get_running_loop().time()
        self._told.clear()
        self.consuming.set()
        events = ", ".join(sorted(self.service.events)) or "none"
        _log.info("%s: consuming %s at %s; events: %s", self.service.name, queue, connection.url, events)
        await _any(self._stop, closing, refused, *ends)
        if closing.done():
            raise BrokerUnavailable(reason(None if closing.cancelled() else closing.exception()))
        for future in (ends[1], declaring):
            if future.done():
                future.result()
        if self._stop.is_set():
            await connection.in_time(channel.basic_cancel(str(begun.consumer_tag)))


async def _declare(connection: Connection, service: Service, bindings: Bindings) -> None:
    """Have all that the service needs on the server; the bindings are made beside it."""
    await keep_declaring(connection, service)
    bindings.make()
    await bindings.bound.wait()


async def _question(channel: Channel) -> None:
    """Also finds out that somebody deleted the exchange, and all bindings with it: nobody is told of that."""
    await channel.exchange_declare(EVENTS_EXCHANGE, passive=True)


def _failed(done: asyncio.Future[Any]) -> bool:
    return done.cancelled() or done.exception() is not None


async def _any(*events: asyncio.Event | asyncio.Future[Any]) -> None:
    """Return when one of them has happened."""
    tasks = [asyncio.ensure_future(event.wait()) for event in events if isinstance(event, asyncio.Event)]
    futures = [event for event in events if isinstance(event, asyncio.Future)]
    try:
        await asyncio.wait([*tasks, *futures], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
