"""Between the socket and the library: what is tapped goes past the library, in and out."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import TYPE_CHECKING, Any, Final, cast

import aiormq
from pamqp.heartbeat import Heartbeat

from adapter.amqp.footholds import tls, usable
from adapter.amqp.scanner import D, Scanner, Tapped

if TYPE_CHECKING:
    from collections.abc import Callable

    from yarl import URL

    from adapter.amqp.scanner import Confirm, Returned

_QUIET: Final = 1.0
"""Seconds for which the library may see nothing of what comes: it waits for at least six."""
_HEARTBEAT: Final = Heartbeat().marshal()
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)


class _Tap(asyncio.StreamReaderProtocol):
    """Feeds a reader with the library's bytes, and hands on the rest: at once, and all of a read together.

    Of the two, in whichever order they came, the library handles its own the later. That is as well:
    a delivery is never held up by the answer to ``basic.consume`` before it, since its tag is ours,
    nor lost by a close behind it. Flow control is the library's for its own bytes; of the rest no
    more can be here than the prefetch count and the publications under way allow.
    """

    def __init__(self, reader: asyncio.StreamReader, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(reader, loop=loop)
        self.scanner = Scanner()
        self._time = loop.time
        self._fed_at = self.heard_at = loop.time()
        self._socket: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self._socket = cast("asyncio.Transport", transport)  # uvloop's is one, without saying so
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        scanner = self.scanner
        rest = scanner.feed(data)
        now = self.heard_at = self._time()
        if rest:
            self._fed_at = now
            super().data_received(rest)
        elif now - self._fed_at > _QUIET:
            # The library lets go of a server of which it sees no frame for long, and a server sends
            # heartbeats only while it sends nothing else: so busy a connection looks dead from there.
            self._fed_at = now
            super().data_received(_HEARTBEAT)
        scanner.hand_on()
        if scanner.broken and self._socket is not None:
            self._socket.abort()  # the library still gets to see what was read before


class Wire(aiormq.TransportFactory):
    """Opens the socket as the library does, with a tap in it, and keeps hold of it."""

    def __init__(self, most_held: int = 8_000_000) -> None:
        self.most_held = most_held
        self._held = 0
        self._paused = False
        self._tap: _Tap | None = None
        self._transport: asyncio.Transport | None = None

    async def create(self, url: URL, **kwargs: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open it. Raises AMQPConnectionError."""
        context = await tls(url, kwargs)
        assert url.host is not None, "see parse_urls"
        assert url.port is not None, "the library fills it in"
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(loop=loop)
        tap = self._tap = _Tap(reader, loop)
        try:
            self._transport, _ = await loop.create_connection(
                lambda: tap, url.host, url.port, ssl=context, **kwargs
            )
        except OSError as exc:
            raise aiormq.AMQPConnectionError(*exc.args) from exc
        return reader, asyncio.StreamWriter(self._transport, tap, reader, loop)

    @property
    def heard_at(self) -> float:
        """When anything last came, by the loop's clock."""
        assert self._tap is not None, "somebody is connected"
        return self._tap.heard_at

    def hold(self, size: int) -> None:
        """Note that so many bytes more (or fewer) of what came are kept: with too many nothing is read.

        A prefetch count bounds messages, not bytes. The server waits meanwhile.
        """
        self._held += size
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if self._held > self.most_held and not self._paused:
            self._paused = True
            transport.pause_reading()
        elif self._paused and self._held <= self.most_held // 2:
            self._paused = False
            transport.resume_reading()

    @property
    def paused(self) -> bool:
        """Whether nothing is read for now: see ``hold``."""
        return self._paused

    @property
    def broken(self) -> bool:
        """Whether something came that could not be read; the connection is aborted for it."""
        return self._tap is not None and self._tap.scanner.broken

    def tap(
        self,
        channel: aiormq.abc.AbstractChannel,
        receiver: Callable[[list[D], list[Confirm | Returned]], None],
        make: Callable[[bytes, bytes, bytes, int], D] | None = None,
        most: int = 0,
    ) -> None:
        """Give ``receiver`` what comes for a channel until it closes: see ``Tapped``.

        To be called before the first delivery and the first publication.
        """
        assert self._tap is not None, "a channel has a socket"
        scanner, number, tapped = self._tap.scanner, channel.number, Tapped(receiver, make, most)
        scanner.add(number, tapped)
        channel.closing.add_done_callback(lambda _: scanner.remove(number, tapped))

    def write(self, channel: aiormq.abc.AbstractChannel, frames: bytes) -> bool:
        """Write whole frames for a channel, now. Whether that can still be done.

        They pass by those that wait in the library's queue for the next turn of the loop. No frame
        is cut by another, and a message is in one piece, as the channel's other frames must not come
        in between. Whoever has the channel closed writes nothing on it from before that on.
        """
        transport = self._transport
        if transport is None or transport.is_closing() or not usable(channel):
            return False
        transport.write(frames)
        return True

    def abort(self) -> None:
        """Drop the connection and what of ours the server has not taken yet."""
        transport = self._transport
        if transport is None:
            return
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.fileno() != -1:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        transport.abort()
