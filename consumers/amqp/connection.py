"""One connection to RabbitMQ: opened within a time, and let go of even if the server hangs."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Any, Final

import aiormq
from aiormq.connection import TCPTransportFactory, TLSTransportFactory

from adapter.contract import EVENTS_EXCHANGE

if TYPE_CHECKING:
    from yarl import URL

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
    refused: BaseException | None = exc
    while refused is not None:
        if isinstance(refused, ssl.SSLCertVerificationError):
            return f"certificate refused: {refused.verify_message}"
        refused = refused.__cause__
    return " ".join(str(part) for part in exc.args) or type(exc).__name__


def shown(url: URL) -> str:
    """A URL for people: server and virtual host alone."""
    return f"{url.host}:{url.port or (5671 if url.scheme == 'amqps' else 5672)}{url.path}"


class _Wire(aiormq.TransportFactory):
    """Opens the socket as the library does, and keeps hold of it."""

    def __init__(self, url: URL) -> None:
        self._inner = TLSTransportFactory() if url.scheme == "amqps" else TCPTransportFactory()
        self._writer: asyncio.StreamWriter | None = None

    async def create(self, url: URL, **kwargs: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open it."""
        reader, self._writer = await self._inner.create(url, **kwargs)
        return reader, self._writer

    def abort(self) -> None:
        """Drop the connection, with what the server has not read."""
        if self._writer is not None:
            self._writer.transport.abort()


class Connection:
    """An open connection."""

    def __init__(self, amqp: aiormq.Connection, wire: _Wire) -> None:
        self._amqp = amqp
        self._wire = wire

    @classmethod
    async def open(cls, url: URL, name: str, within: float = CONNECT_TIMEOUT) -> Connection:
        """Connect and log in; ``name`` is shown by RabbitMQ. Raises Lost."""
        if "heartbeat" not in url.query:
            url = url.update_query(heartbeat=HEARTBEAT)
        wire = _Wire(url)
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
        """Open a channel; with ``confirms``, a message that is returned is a result, no exception."""
        channel = await self._amqp.channel(
            publisher_confirms=confirms, on_return_raises=False, timeout=ANSWER_TIMEOUT
        )
        assert isinstance(channel, aiormq.Channel)
        return channel

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

        The library waits for missing heartbeats much longer than a caller does.
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


async def _connect(url: URL, wire: _Wire, name: str) -> aiormq.Connection:
    return await aiormq.connect(url, transport_factory=wire, client_properties={"connection_name": name})
