"""One connection to RabbitMQ: opened within a time, watched, and let go of even if it hangs.

aio-pika connects, and what is not hot may stand on its channels (``pika``). The channels of the fast path are
aiormq's, under it, and so are those that are opened for a moment, every two seconds some of them: aio-pika
10.2.1 with aiormq 7.2.4 keeps 4 KB of each of its own channels until the connection closes (``findings``).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, TypeVar

import aiormq

from adapter.amqp import footholds
from adapter.amqp.line import Line
from adapter.amqp.servers import shown
from adapter.amqp.tasks import happens
from adapter.amqp.wire import Wire
from adapter.amqp.words import UndecodableMessage, explained, reason
from adapter.errors import BrokerUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    import aio_pika
    from yarl import URL

    from adapter.amqp.limits import ConnectionLimits

T = TypeVar("T")

_LOOKS: Final = 4
"""Within the time for an answer: time for which this process stood still counts as one of them."""


class Connection:
    """An open connection."""

    def __init__(self, url: URL, pika: aio_pika.Connection, wire: Wire, limits: ConnectionLimits) -> None:
        self.url = shown(url)
        """For people."""
        self.server = url
        self.pika = pika
        self.wire = wire
        self.limits = limits
        self.passed_over = ""
        """Why servers that were tried before this one cannot be reached."""
        self.below = footholds.below(pika)
        """aiormq's connection, under aio-pika's."""
        self._aborted = ""
        self._unblocked = footholds.unblocked(self.below)

    @classmethod
    async def open_any(
        cls, urls: list[URL], limits: ConnectionLimits, name: str = "evapi-adapter"
    ) -> Connection:
        """Connect to the first of the servers that answers: see ``_race``.

        Args:
            urls: the servers; the list is turned, so that the one that is connected comes first.
            limits: what bounds the connection.
            name: what RabbitMQ shows of it.

        Raises:
            BrokerUnavailable: none of them can be reached; the text says why, of each.
        """
        attempts: set[asyncio.Task[Connection]] = set()
        try:
            found = await cls._race(urls, limits, name, attempts)
        finally:
            for late in attempts:
                late.cancel()
            for opened in await asyncio.gather(*attempts, return_exceptions=True):
                if isinstance(opened, Connection):
                    opened.abort("another server was faster")
                    await opened.close()
        first = urls.index(found.server)
        urls[:] = urls[first:] + urls[:first]
        return found

    @classmethod
    async def _race(
        cls, urls: list[URL], limits: ConnectionLimits, name: str, attempts: set[asyncio.Task[Connection]]
    ) -> Connection:
        """Try them in turn: the next one where one fails, and beside one that says nothing for long.

        Those in ``attempts`` at the end are left to the caller. Raises BrokerUnavailable.
        """
        waiting, failures = list(urls), list[str]()
        while waiting or attempts:
            if waiting:
                attempts.add(asyncio.create_task(cls._open(waiting.pop(0), limits, name)))
            done, _ = await asyncio.wait(
                attempts,
                timeout=limits.head_start if waiting else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            for attempt in done:
                attempts.discard(attempt)
                try:
                    found = attempt.result()
                    found.passed_over = "; ".join(failures)
                    return found
                except BrokerUnavailable as exc:
                    failures.append(str(exc))
        raise BrokerUnavailable("; ".join(failures))

    @classmethod
    async def _open(cls, url: URL, limits: ConnectionLimits, name: str) -> Connection:
        wire = Wire(limits.held_bytes)
        heartbeat = {} if "heartbeat" in url.query else {"heartbeat": limits.heartbeat}
        pika = footholds.unconnected(url.update_query(heartbeat), name, wire)
        opening = asyncio.ensure_future(pika.connect())
        given_up = True
        try:
            await asyncio.wait({opening}, timeout=limits.connect_timeout)
            given_up = not opening.done()
        finally:
            if given_up:
                wire.abort()  # otherwise the library would wait for the hung peer to say goodbye
                opening.cancel()
                await asyncio.wait({opening})
            if given_up or opening.cancelled() or opening.exception() is not None:
                await pika.close(asyncio.CancelledError)  # aio-pika does so when it is collected, else
        if opening.cancelled():
            raise BrokerUnavailable(explained(f"{shown(url)}: no answer within {limits.connect_timeout:g} s"))
        exc = opening.exception()
        if exc is not None:
            raise BrokerUnavailable(explained(f"{shown(url)}: {reason(exc)}")) from exc
        return cls(url, pika, wire, limits)

    async def channel(self, confirms: bool = False) -> aiormq.Channel:
        """Open a channel of aiormq's; with ``confirms`` those are to be tapped: the library expects none.

        Raises what the library raises, and TimeoutError.
        """
        channel = await self.in_time(self.below.channel(publisher_confirms=confirms))
        assert isinstance(channel, aiormq.Channel)
        return channel

    async def line(self, confirms: bool = False) -> Line:
        """Open a channel whose messages go past the library. Raises as ``channel`` does."""
        return Line(await self.channel(confirms), self.wire)

    async def in_time(self, request: Coroutine[Any, Any, T]) -> T:
        """Await the answer to a request for so long as it may take. Raises TimeoutError."""
        async with asyncio.timeout(self.limits.answer_timeout):
            return await request

    @property
    def server_properties(self) -> Mapping[str, Any]:
        """What the server says of itself."""
        return self.below.server_properties

    @property
    def blocked(self) -> bool:
        """Whether the server takes no publications (memory or disk alarm)."""
        if self._unblocked is not None:
            return not self._unblocked.is_set()
        return footholds.is_blocked(self.below)

    @property
    def aborted(self) -> bool:
        """Whether we have let go of it."""
        return bool(self._aborted)

    @property
    def alive(self) -> bool:
        """Whether nobody has closed it."""
        return not self.below.is_closed

    async def unblocked(self) -> None:
        """Return once the server takes publications."""
        await self.below.ready()

    async def lost(self) -> None:
        """Wait until it is closed by anybody. Raises BrokerUnavailable then, from the cause.

        UndecodableMessage, where it was closed since a message could not be read.
        """
        closing = self.below.closing
        await asyncio.wait({closing})
        cause = asyncio.CancelledError() if closing.cancelled() else closing.exception()
        expected = (aiormq.AMQPConnectionError, OSError, asyncio.CancelledError)
        foreseen = (cause is None or isinstance(cause, expected)) and not self.wire.broken
        # What RabbitMQ says when it cannot translate a message for AMQP 0.9.1 (4.0 to 4.3).
        foreseen &= not isinstance(cause, aiormq.exceptions.ConnectionInternalError)
        kind = BrokerUnavailable if foreseen else UndecodableMessage
        raise kind(f"{self.url}: {self._aborted or reason(cause)}") from cause

    def abort(self, why: str) -> None:
        """Let go of it without a goodbye."""
        self._aborted = why
        self.wire.abort()

    async def watch(
        self,
        question: Callable[[aiormq.Channel], Coroutine[Any, Any, Any]],
        doubt: asyncio.Event | None = None,
    ) -> None:
        """Ask the server for a sign of life while it says nothing, and let go of one that gives none.

        The library waits for missing heartbeats much longer than a caller does. A server that has blocked
        this connection reads nothing and owes no answer, nor does one of which nothing is read for now.

        Args:
            question: asks something on a channel of its own.
            doubt: set to have it asked at once; it is cleared by that.

        Raises:
            BrokerUnavailable: the server is silent, or the answer is an error.
        """
        loop, limits, wire = asyncio.get_running_loop(), self.limits, self.wire
        doubt = doubt or asyncio.Event()
        channel = await self.channel()
        while True:
            doubted = await happens(doubt, limits.probe_interval)
            if not doubted and (wire.paused or loop.time() - wire.heard_at < limits.probe_interval):
                continue
            doubt.clear()
            asking = asyncio.ensure_future(question(channel))
            try:
                while not await self._answered(asking):
                    if not (self.blocked or wire.paused):
                        why = f"the server is silent: no answer within {limits.confirm_timeout:g} s"
                        self.abort(why)
                        raise BrokerUnavailable(why)
            finally:
                asking.cancel()
            exc = asyncio.CancelledError() if asking.cancelled() else asking.exception()
            if exc is not None:
                raise BrokerUnavailable(reason(exc)) from exc

    async def _answered(self, asking: asyncio.Future[Any]) -> bool:
        for _ in range(_LOOKS):
            await asyncio.wait({asking}, timeout=self.limits.confirm_timeout / _LOOKS)
        return asking.done()

    async def close(self, within: float | None = None) -> None:
        """Say goodbye, within so many seconds: without them ``close_timeout``."""
        closing = asyncio.ensure_future(self.pika.close(asyncio.CancelledError))
        try:
            await asyncio.wait({closing}, timeout=self.limits.close_timeout if within is None else within)
        finally:  # whoever is cancelled meanwhile leaves no task of the library behind
            self.wire.abort()
            await asyncio.wait({closing})
