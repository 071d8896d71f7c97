"""Keeps a service consuming: connects, watches, and begins again when anything breaks."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING, Any, Final

from yarl import URL

from adapter.contract import service_queue
from consumers import tracing
from consumers.amqp.bindings import Bindings
from consumers.amqp.connection import ANSWER_TIMEOUT, CONNECT_TIMEOUT, Connection, Lost, shown, told
from consumers.amqp.topology import keep_declaring
from consumers.amqp.work import Work
from consumers.service import Result, Service

if TYPE_CHECKING:
    from collections.abc import Collection, Coroutine, Sequence

    from aiormq import Channel
    from aiormq.abc import DeliveredMessage

_log = logging.getLogger("consumers")

FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 1.0
TURN_TIMEOUT: Final = 1.0
"""Seconds that one of several servers has to answer, so that the others get their turn; more in
each round, for servers that are slow."""
DECLARE_TIMEOUT: Final = 1.0
"""Seconds that the declarations and bindings have before the queue is consumed without them: it may be
there."""
GRACE: Final = 10.0
"""Seconds that work in hand has to finish at a stop."""


class Runner:
    """One service on one RabbitMQ, which may be a cluster: ``urls`` are tried in turn.

    ``run()`` ends after ``stop()``, once the work in hand is done or ``grace`` seconds are over.
    ``consuming`` is set while requests are taken in. ``requests_from``: the users of RabbitMQ whose
    requests are taken; empty: everybody's. Made and used in one event loop.
    """

    def __init__(
        self,
        service: Service,
        urls: Sequence[str],
        *,
        prefetch: int | None = None,
        grace: float = GRACE,
        requests_from: Collection[str] = (),
    ) -> None:
        self.service = service
        self.prefetch = prefetch or service.prefetch
        self.grace = grace
        self.requests_from = frozenset(requests_from)
        self.consuming = asyncio.Event()
        self._urls = [URL(url) for url in urls]
        if any(url.query.get("no_verify_ssl", "0") not in ("0", "1") for url in self._urls):
            raise ValueError("no_verify_ssl is 1, to trust any certificate, or 0")
        self._stop = asyncio.Event()
        self._consuming_since: float | None = None  # by the loop's clock, in this session
        self._told: set[str] = set()
        self._bindings = Bindings(service, self.prefetch, self.requests_from)

    def __repr__(self) -> str:
        state = "consuming" if self.consuming.is_set() else "not consuming"
        return f"<Runner {state} {self.service!r}>"

    def stop(self) -> None:
        """Take no more requests; ``run()`` then ends."""
        self._stop.set()

    async def run(self) -> None:
        """Consume until ``stop()``. A server that is away is waited for, for ever."""
        failures = role = 0
        while not self._stop.is_set():
            url = self._urls[role % len(self._urls)]
            self._consuming_since = None
            try:
                await self._until_stopped(self._session(url, self._patience(failures)))
            except Lost as exc:
                role += 1
                failures, pause = self._after(failures)
                self._tell(f"{shown(url)}: {exc}", pause)
                await self._wait(pause)
        counts = ", ".join(f"{self.service.counts[result]} {result}" for result in Result)
        _log.info("%s: stopped: %s", self.service.name, counts)

    def _patience(self, failures: int) -> float:
        """Seconds for a server to answer in."""
        if len(self._urls) == 1:
            return CONNECT_TIMEOUT
        return min(CONNECT_TIMEOUT, TURN_TIMEOUT * (1 + failures // len(self._urls)))

    def _after(self, failures: int) -> tuple[int, float]:
        """How many attempts have failed, and the pause before the next.

        None after a connection that stood; none, too, before the next URL of a round.
        """
        if self._consuming_since is None:
            failures += 1
            rounds, rest = divmod(failures, len(self._urls))
            return failures, 0.0 if rest else _pause(rounds)
        stood = asyncio.get_running_loop().time() - self._consuming_since
        return 0, 0.0 if stood > LONGEST_PAUSE else _pause(0)

    def _tell(self, trouble: str, pause: float) -> None:
        """Log why there is no connection: once for each reason, however often it is tried again."""
        level = logging.DEBUG if trouble in self._told else logging.WARNING
        self._told.add(trouble)
        _log.log(level, "%s: %s; trying again, next in %.1f s", self.service.name, trouble, pause)

    async def _until_stopped(self, session: Coroutine[Any, Any, None]) -> None:
        """Run a session. Before it consumes, and so has work in hand, ``stop()`` cuts it short.

        In a task of its own: aiormq ends the callers of a channel that closes by CancelledError,
        which must not be taken for a cancellation of ours. Raises Lost.
        """
        running = asyncio.ensure_future(session)
        try:
            await _any(self._stop, running)
            if self._consuming_since is not None:
                await asyncio.wait([running])
        finally:
            cut_short = running.cancel()
            await asyncio.wait([running])
        if running.cancelled():
            if not cut_short:
                raise Lost(told(None))
        elif (exc := running.exception()) is not None and not cut_short:
            if not isinstance(exc, Lost | OSError):
                _log.debug("%s", self.service.name, exc_info=exc)
            # Whatever the library raised: a service that does not come back is worse.
            raise exc if isinstance(exc, Lost) else Lost(told(exc)) from exc

    async def _session(self, url: URL, within: float) -> None:
        """One connection until ``stop()``. Whatever else ends it is raised."""
        connection = await Connection.open(url, f"consumer {self.service.name}", within)
        tracing.connected(self.service.name, str(url))
        watching = asyncio.ensure_future(connection.watch())
        bindings = self._bindings
        binding = asyncio.ensure_future(bindings.keep(url))
        try:
            line = await connection.line()
            await line.amqp.basic_qos(prefetch_count=self.prefetch, timeout=ANSWER_TIMEOUT)
            work = Work(
                self.service, line, connection.line, self.prefetch, bindings.pass_on, self.requests_from
            )
            try:
                await self._consume(connection, line.amqp, work, bindings, watching, shown(url))
            finally:
                await work.close()
        finally:
            self.consuming.clear()
            watching.cancel()
            binding.cancel()
            await asyncio.gather(watching, binding, return_exceptions=True)
            await connection.close()

    async def _consume(
        self,
        connection: Connection,
        channel: Channel,
        work: Work,
        bindings: Bindings,
        watching: asyncio.Future[None],
        where: str,
    ) -> None:
        changed = asyncio.Event()
        channel.on_consumer_cancel_callbacks.add(lambda _: changed.set())
        while not self._stop.is_set():
            changed.clear()
            declaring = asyncio.ensure_future(_declare(connection, self.service, bindings))
            try:
                await self._consume_once(channel, declaring, (changed, watching), where)
            finally:
                declaring.cancel()
                await asyncio.gather(declaring, return_exceptions=True)
            if changed.is_set() and not self._stop.is_set():
                # The queue was deleted, or went to another node of a cluster. What is in hand goes on.
                self.consuming.clear()
                pause = _pause(1)
                _log.warning("%s: cancelled by %s; again in %.1f s", self.service.name, where, pause)
                await self._wait(pause)
        await work.finished(self.grace)
        async with asyncio.timeout(ANSWER_TIMEOUT):
            await channel.close()  # answered after the last acknowledgements, so they have arrived

    async def _consume_once(
        self,
        channel: Channel,
        declaring: asyncio.Future[None],
        ends: tuple[asyncio.Event, asyncio.Future[None]],
        where: str,
    ) -> None:
        """Consume until ``stop()`` or the first of ``ends``, what is a future of which is raised."""
        queue, closing = service_queue(self.service.name), channel.closing
        await asyncio.wait([declaring], timeout=DECLARE_TIMEOUT)
        if declaring.done():
            declaring.result()
        refused = asyncio.Event()
        declaring.add_done_callback(lambda done: refused.set() if _failed(done) else None)
        begun = await channel.basic_consume(queue, _tapped, timeout=ANSWER_TIMEOUT)
        self._consuming_since = self._consuming_since or asyncio.get_running_loop().time()
        self._told.clear()
        self.consuming.set()
        _log.info("%s: consuming %s at %s", self.service.name, queue, where)
        await _any(self._stop, closing, refused, *ends)
        if closing.done():
            raise Lost(told(None if closing.cancelled() else closing.exception()))
        for future in (ends[1], declaring):
            if future.done():
                future.result()
        if self._stop.is_set():
            await channel.basic_cancel(str(begun.consumer_tag), timeout=ANSWER_TIMEOUT)

    async def _wait(self, seconds: float) -> None:
        """Pause, not longer than until ``stop()``."""
        try:
            async with asyncio.timeout(seconds):
                await self._stop.wait()
        except TimeoutError:
            pass  # the usual end of a pause


async def _declare(connection: Connection, service: Service, bindings: Bindings) -> None:
    """Have all that the service needs on the server; the bindings are made beside it."""
    await keep_declaring(connection, service)
    bindings.make()
    await bindings.bound.wait()


async def _tapped(message: DeliveredMessage) -> None:
    raise AssertionError(f"{message!r}: what is delivered goes past the library")


def _pause(failures: int) -> float:
    longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(failures, 16))
    return random.uniform(longest / 2, longest)


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
