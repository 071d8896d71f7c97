"""Between the socket and the library: what belongs to tapped channels goes past the library."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import aiormq

from consumers.amqp.incoming import Batch, Incoming

if TYPE_CHECKING:
    from collections.abc import Callable

    from yarl import URL


class Tap(asyncio.StreamReaderProtocol):
    """Feeds a reader with the library's bytes, and hands on the batches of the tapped channels.

    A read makes one batch of a channel at most. Flow control is the library's for its own bytes;
    the rest is bounded by the prefetch count, and by the replies under way.
    """

    def __init__(self, reader: asyncio.StreamReader, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(reader, loop=loop)
        self._incoming = Incoming()
        self._receivers: dict[int, Callable[[Batch], None]] = {}
        self._socket: asyncio.Transport | None = None

    def add(self, channel: int, receiver: Callable[[Batch], None]) -> None:
        """Give the batches of a channel to ``receiver``, which raises nothing."""
        self._incoming.add(channel)
        self._receivers[channel] = receiver

    def remove(self, channel: int, receiver: Callable[[Batch], None]) -> None:
        """Leave the channel to the library, unless its number is another's by now."""
        if self._receivers.get(channel) == receiver:
            del self._receivers[channel]
            self._incoming.remove(channel)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self._socket = cast("asyncio.Transport", transport)  # uvloop's is one, but does not say so
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        rest = self._incoming.feed(data)
        for channel, batch in self._incoming.batches():
            receiver = self._receivers.get(channel)
            if receiver is not None:
                receiver(batch)
        if rest:
            super().data_received(rest)
        if self._incoming.out_of_step and self._socket is not None:
            self._socket.abort()  # what was read before it is still there for the library


class Wire(aiormq.TransportFactory):
    """Opens the socket as the library does, with a tap in it, and keeps hold of it."""

    def __init__(self) -> None:
        self._tap: Tap | None = None
        self._transport: asyncio.Transport | None = None

    async def create(self, url: URL, **kwargs: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open it. Raises AMQPConnectionError."""
        provider = kwargs.pop("ssl_context_provider")
        tls = await provider.get_context() if url.scheme == "amqps" else None
        assert url.host is not None, "the runner has looked at it"
        assert url.port is not None, "the library has filled it in"
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(loop=loop)
        tap = self._tap = Tap(reader, loop)
        try:
            self._transport, _ = await loop.create_connection(
                lambda: tap, url.host, url.port, ssl=tls, **kwargs
            )
        except OSError as exc:
            raise aiormq.AMQPConnectionError(*exc.args) from exc
        return reader, asyncio.StreamWriter(self._transport, tap, reader, loop)

    def abort(self) -> None:
        """Drop the connection, with what the server has not read."""
        if self._transport is not None:
            self._transport.abort()

    def tap(self, channel: aiormq.abc.AbstractChannel, receiver: Callable[[Batch], None]) -> None:
        """Give what comes for a channel to ``receiver``, which raises nothing, until the channel closes."""
        tap, number = self._tap, channel.number
        assert tap is not None, "a channel has a socket"
        tap.add(number, receiver)
        channel.closing.add_done_callback(lambda _: tap.remove(number, receiver))

    def write(self, data: bytes) -> bool:
        """Write past the library's queue. Whether that can still be done."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return False
        transport.write(data)
        return True
