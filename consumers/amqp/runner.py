"""Keeps a service consuming: connects, watches, and begins again when anything breaks."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING, Any, Final

from yarl import URL

from adapter.contract import service_queue
from consumers.amqp.connection import ANSWER_TIMEOUT, Connection, Lost, shown, told
from consumers.amqp.topology import declare
from consumers.amqp.work import Work
from consumers.service import Result, Service

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from aiormq import Channel

_log = logging.getLogger("consumers")

FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 5.0
GRACE: Final = 10.0
"""Seconds that work in hand has to finish at a stop."""


class Runner:
    """One service on one RabbitMQ, which may be a cluster: ``urls`` are tried in turn.

    ``run()`` ends after ``stop()``, once the work in hand is done or ``grace`` seconds are over.
    ``consuming`` is set while requests are taken in. Made and used in one event loop.
    """

    def __init__(
        self, service: Service, urls: Sequence[str], *, prefetch: int | None = None, grace: float = GRACE
    ) -> None:
        self.service = service
        self.prefetch = prefetch or service.prefetch
        self.grace = grace
        self.consuming = asyncio.Event()
        self._urls = [URL(url) for url in urls]
        self._stop = asyncio.Event()
        self._has_consumed = False
        self._told: set[str] = set()

    def __repr__(self) -> str:
        state = "consuming" if self.consuming.is_set() else "not consuming"
        return f"<Runner {state} {self.service!r}>"

    def stop(self) -> None:
        """Take no more requests; ``run()`` then ends."""
        self._stop.set()

    async def run(self) -> None:
        """Consume until ``stop()``. A server that is away is waited for, for ever."""
        failures = turn = 0
        while not self._stop.is_set():
            url = self._urls[turn % len(self._urls)]
            self._has_consumed = False
            try:
                await self._until_stopped(self._session(url))
            except Lost as exc:
                failures = 1 if self._has_consumed else failures + 1
                turn += 1
                # Where one URL fails the next gets its turn at once; the wait is between rounds.
                rounds, rest = divmod(failures, len(self._urls))
                pause = 0.0 if rest and not self._has_consumed else _pause(rounds)
                self._tell(f"{shown(url)}: {exc}", pause)
                await self._wait(pause)
            finally:
                self.consuming.clear()
        counts = ", ".join(f"{self.service.counts[result]} {result}" for result in Result)
        _log.info("%s: stopped: %s", self.service.name, counts)

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
            if self._has_consumed:
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

    async def _session(self, url: URL) -> None:
        """One connection until ``stop()``. Whatever else ends it is raised."""
        connection = await Connection.open(url, f"consumer {self.service.name}")
        try:
            channel = await connection.channel(confirms=True)
            await channel.basic_qos(prefetch_count=self.prefetch, timeout=ANSWER_TIMEOUT)
            await self._consume(connection, channel, shown(url))
        finally:
            await connection.close()

    async def _consume(self, connection: Connection, channel: Channel, where: str) -> None:
        queue = service_queue(self.service.name)
        work = Work(self.service, channel)
        closing = channel.closing
        changed = asyncio.Event()
        channel.on_consumer_cancel_callbacks.add(lambda _: changed.set())
        while not self._stop.is_set():
            await declare(connection, self.service)
            changed.clear()
            begun = await channel.basic_consume(queue, work.on_delivery, timeout=ANSWER_TIMEOUT)
            self._has_consumed = True
            self._told.clear()
            self.consuming.set()
            _log.info("%s: consuming %s at %s", self.service.name, queue, where)
            await _any(self._stop, changed, closing)
            if closing.done():
                raise Lost(told(None if closing.cancelled() else closing.exception()))
            if self._stop.is_set():
                await channel.basic_cancel(str(begun.consumer_tag), timeout=ANSWER_TIMEOUT)
                break
            # The queue was deleted, or went to another node of a cluster. What is in hand goes on.
            self.consuming.clear()
            pause = _pause(1)
            _log.warning("%s: cancelled by %s; again in %.1f s", self.service.name, where, pause)
            await self._wait(pause)
        await work.finished(self.grace)
        async with asyncio.timeout(ANSWER_TIMEOUT):
            await channel.close()  # it goes behind the last acknowledgements, so they are sent

    async def _wait(self, seconds: float) -> None:
        """Pause, not longer than until ``stop()``."""
        try:
            async with asyncio.timeout(seconds):
                await self._stop.wait()
        except TimeoutError:
            pass  # the usual end of a pause


def _pause(failures: int) -> float:
    longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(failures, 16))
    return random.uniform(longest / 2, longest)


async def _any(*events: asyncio.Event | asyncio.Future[Any]) -> None:
    """Return when one of them has happened."""
    tasks = [asyncio.ensure_future(event.wait()) for event in events if isinstance(event, asyncio.Event)]
    futures = [event for event in events if isinstance(event, asyncio.Future)]
    try:
        await asyncio.wait([*tasks, *futures], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
