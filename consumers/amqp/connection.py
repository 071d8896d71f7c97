"""One connection to RabbitMQ: opened within a time, and let go of even if the server hangs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import aiormq

from adapter.amqp.wire import Wire, usable
from adapter.certificates import refusal
from adapter.contract import EVENTS_EXCHANGE, MAX_BODY
from consumers.amqp.delivery import Delivery

if TYPE_CHECKING:
    from collections.abc import Callable

    from yarl import URL

    from adapter.amqp.scanner import Confirm, Returned

CONNECT_TIMEOUT: Final = 3.0
ANSWER_TIMEOUT: Final = 3.0
"""Seconds that the server has for a declaration or the like."""
CLOSE_TIMEOUT: Final = 2.0
HEARTBEAT: Final = 5
"""Seconds between heartbeats, unless the URL says otherwise (``?heartbeat=``)."""
PROBE_INTERVAL: Final = 1.0
"""Seconds between an answer of the server and the next question whether it still answers."""
PROBE_TIMEOUT: Final = 1.0
_LOOKS: Final = 4
"""Within the timeout of a probe: time for which this process stood still counts as one of them."""


class Lost(Exception):
    """The connection or its channel is gone, or did not come about; the text says why."""


def told(exc: BaseException | None) -> str:
    """An error in a few words."""
    if exc is None or isinstance(exc, asyncio.CancelledError):
        return "the connection was closed, or no heartbeat came"
    if isinstance(exc, TimeoutError):
        return "no answer"
    return refusal(exc) or " ".join(str(part) for part in exc.args) or type(exc).__name__


def shown(url: URL) -> str:
    """A URL for people: server and virtual host alone."""
    return f"{url.host}:{url.port or (5671 if url.scheme == 'amqps' else 5672)}{url.path}"


class Line:
    """A channel with confirms that is tapped: only ``Work`` publishes and consumes on it.

    What is written goes to the socket at once, past the library's queue; the two need not keep
    their order, since the library has nothing to say about requests and replies.
    """

    def __init__(self, amqp: aiormq.Channel, wire: Wire) -> None:
        self.amqp = amqp
        self.number = amqp.number
        self.most = amqp.max_content_size
        """Bytes of a body in one frame."""
        self._wire = wire

    def listen(
        self,
        receiver: Callable[[list[Delivery], list[Confirm | Returned]], None],
        on_closed: Callable[[], None],
    ) -> None:
        """Give what comes to ``receiver``; ``on_closed`` is called when nothing comes any more."""
        self._wire.tap(self.amqp, receiver, Delivery.scanned, MAX_BODY)
        self.amqp.closing.add_done_callback(lambda _: on_closed())

    @property
    def alive(self) -> bool:
        """Whether the server still knows it."""
        return usable(self.amqp)

    def write(self, frames: bytes) -> bool:
        """Write to it where it is alive, since frames of another would end the whole connection."""
        return self._wire.write(self.amqp, frames)

    async def close(self) -> None:
        """Close it, within a time. Raises TimeoutError."""
        async with asyncio.timeout(ANSWER_TIMEOUT):
            await self.amqp.close()


class Connection:
    """An open connection."""

    def __init__(self, amqp: aiormq.Connection, wire: Wire) -> None:
        self._amqp = amqp
        self._wire = wire

    @classmethod
    async def open(cls, url: URL, name: str, within: float = CONNECT_TIMEOUT) -> Connection:
        """Connect and log in; ``name`` is shown by RabbitMQ. Raises Lost."""
        if "heartbeat" not in url.query:
            url = url.update_query(heartbeat=HEARTBEAT)
        wire = Wire()
        opening = asyncio.ensure_future(_connect(url, wire, name))
        try:
            await asyncio.wait([opening], timeout=within)
        finally:
            if not opening.done():
                wire.abort()  # over TLS the library would wait for the hung server's goodbye
                opening.cancel()
                await asyncio.wait([opening])
        if opening.cancelled():
            raise Lost(f"no answer within {within:g} s")
        exc = opening.exception()
        if exc is not None:
            raise Lost(told(exc)) from exc
        return cls(opening.result(), wire)

    async def channel(self, *, confirms: bool = False) -> aiormq.Channel:
        """Open a channel."""
        channel = await self._amqp.channel(publisher_confirms=confirms, timeout=ANSWER_TIMEOUT)
        assert isinstance(channel, aiormq.Channel)
        return channel

    async def line(self) -> Line:
        """Open a channel for requests and replies."""
        return Line(await self.channel(confirms=True), self._wire)

    @property
    def blocked(self) -> bool:
        """Whether the server reads nothing from us (memory or disk alarm)."""
        ready = self._amqp.ready()
        try:
            ready.send(None)  # it has to wait where, and only where, the server has blocked us
        except StopIteration:
            return False
        ready.close()
        return True

    async def watch(self) -> None:
        """Ask the server now and then; let go of one that does not answer. Raises Lost then.

        The library waits for missing heartbeats much longer than a caller does. It does not see what
        is tapped, and takes the answers for a sign of life.
        """
        channel = await self.channel()
        while True:
            await asyncio.sleep(PROBE_INTERVAL)
            asking = asyncio.ensure_future(channel.exchange_declare(EVENTS_EXCHANGE, passive=True))
            try:
                while not await _done_in_time(asking):
                    if not self.blocked:
                        self._wire.abort()
                        raise Lost(f"the server is silent: no answer within {PROBE_TIMEOUT:g} s")
            finally:
                asking.cancel()
            if asking.cancelled() or asking.exception() is not None:
                raise Lost(told(None if asking.cancelled() else asking.exception()))

    async def close(self) -> None:
        """Say goodbye, within a time."""
        closing = asyncio.ensure_future(self._amqp.close())
        await asyncio.wait([closing], timeout=CLOSE_TIMEOUT)
        self._wire.abort()
        await asyncio.wait([closing])


async def _done_in_time(asking: asyncio.Future[Any]) -> bool:
    for _ in range(_LOOKS):
        await asyncio.wait([asking], timeout=PROBE_TIMEOUT / _LOOKS)
    return asking.done()


async def _connect(url: URL, wire: Wire, name: str) -> aiormq.Connection:
    return await aiormq.connect(url, transport_factory=wire, client_properties={"connection_name": name})
