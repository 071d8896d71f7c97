"""Connect to a Kamailio, back off, and connect again, for ever."""

from __future__ import annotations

import asyncio
import random
import socket
from typing import TYPE_CHECKING, Final

from adapter.evapi.redial import AT_ONCE, Redial
from adapter.evapi.socket import say

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from adapter.evapi.limits import LinkSettings
    from adapter.evapi.link_log import LinkLog
    from adapter.evapi.socket import Stream
    from adapter.settings import Address

REFUSED: Final = (
    "connection refused: nobody listens there; is Kamailio up, with evapi's bind_addr as EVAPI_NODES has it?"
)
SEND_BUFFER: Final = 1 << 18
"""Bytes of SO_SNDBUF: many windows, so that the kernel takes each piece whole."""


class Dialler:
    """Of one link, made within the loop.

    Args:
        address: gives Kamailio's, which may move.
        settings: how long a connection may take, and how long to wait between two.
        log: is told of each.
    """

    def __init__(self, address: Callable[[], Address], settings: LinkSettings, log: LinkLog) -> None:
        self._address = address
        self._settings = settings
        self._log = log
        self._redial = Redial(settings.backoff_min, settings.backoff_max)
        self._loop = asyncio.get_running_loop()

    async def run(self, serve: Callable[[socket.socket], Awaitable[tuple[str, bool]]]) -> None:
        """Connect for ever. Ends only by cancellation.

        Args:
            serve: serves a connection until it ends; gives the reason, and whether anything was read from it.
        """
        redial = self._redial
        while True:
            began = self._loop.time()
            try:
                sock = await connect(self._address(), self._settings)
            except OSError as exc:  # TimeoutError is one
                why = REFUSED if isinstance(exc, ConnectionRefusedError) else say(exc)
                self._log.cannot_connect(why, redial.failed(why, self._loop.time()))
            else:
                reason, read = await serve(sock)
                now = self._loop.time()
                told = redial.ended(reason, now - began, read, now)
                self._log.lost(reason, told, redial.refused)
            await asyncio.sleep(random.uniform(redial.pause / 2, redial.pause))

    def up(self, stream: Stream) -> asyncio.TimerHandle:
        """Tell the log that a connection is up; if the last one was refused, once this one has lasted."""
        after = AT_ONCE if self._redial.refused else 0
        return self._loop.call_later(after, self._log.up, stream.receive_buffer)


async def connect(address: Address, settings: LinkSettings) -> socket.socket:
    """Connect. Raises OSError, or TimeoutError after ``connect_timeout``."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(settings.connect_timeout):
        found = await loop.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
        family, kind, protocol, _, target = found[0]
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setblocking(False)
            # Before the handshake, which fixes the window scale.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, settings.receive_buffer)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 2)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1)
            milliseconds = int(settings.peer_timeout * 1000)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
            await loop.sock_connect(sock, target)
        except BaseException:
            sock.close()
            raise
    return sock
