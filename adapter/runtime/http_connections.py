"""How many HTTP connections there are at a time, and for how long they may say nothing.

Whoever reaches the port may open any number of them and stay silent. Each takes a descriptor, and a process
without one left makes no link to a Kamailio that comes back. aiohttp has no limit of its own, and closes a
silent connection only after its keep-alive time (3.14).
"""

from __future__ import annotations

import asyncio
import resource
from typing import TYPE_CHECKING, Final, cast

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp.typedefs import Handler

MOST: Final = 256
"""Connections at a time."""
PART: Final = 4
"""HTTP gets one in so many of the descriptors that the process may have; links and servers get the rest."""
SILENT: Final = 10.0
"""Seconds that a connection has for its first request."""
ENOUGH: Final = 65_536
"""Descriptors beyond which the limit is not raised."""


def raise_descriptor_limit() -> int:
    """Raise the soft limit of open files to the hard one; gives what holds then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ENOUGH if hard == resource.RLIM_INFINITY else min(hard, ENOUGH)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return ENOUGH if soft == resource.RLIM_INFINITY else soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (ValueError, OSError):  # forbidden here, whatever the hard limit says
        return soft
    return wanted


def most_connections() -> int:
    """How many connections fit beside what calls need."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST if soft == resource.RLIM_INFINITY else max(1, min(MOST, soft // PART))


class Connections:
    """The connections that are open. One beyond ``most`` costs the one that has been of no use for longest:
    the oldest without a request so far, else the one whose last request is the longest ago.
    """

    def __init__(self, most: int, silent: float = SILENT) -> None:
        self.dropped = 0
        self._most = most
        self._silent = silent
        self._new: dict[asyncio.Transport, asyncio.TimerHandle] = {}
        self._served: dict[asyncio.Transport, None] = {}

    def __len__(self) -> int:
        return len(self._new) + len(self._served)

    def accepts(self, handler: Callable[[], asyncio.Protocol]) -> Callable[[], asyncio.Protocol]:
        """What a server makes of each connection that is to be counted here."""
        return lambda: _Counted(handler(), self)

    @web.middleware
    async def served(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Note that a connection is of use."""
        transport = request.transport
        if transport is not None and self.remove(transport):
            self._served[transport] = None
        return await handler(request)

    def add(self, transport: asyncio.Transport) -> None:
        """One has come."""
        self._new[transport] = asyncio.get_running_loop().call_later(self._silent, self._drop, transport)
        if len(self) > self._most:
            self._drop(next(iter(self._new if len(self._new) > 1 else self._served or self._new)))

    def remove(self, transport: asyncio.Transport) -> bool:
        """One has gone; whether it was here."""
        timer = self._new.pop(transport, None)
        if timer is not None:
            timer.cancel()
            return True
        return self._served.pop(transport, self) is None

    def _drop(self, transport: asyncio.Transport) -> None:
        self.remove(transport)
        self.dropped += 1
        transport.abort()


class _Counted(asyncio.Protocol):
    """Passes everything on to aiohttp."""

    def __init__(self, handler: asyncio.Protocol, connections: Connections) -> None:
        self._handler = handler
        self._connections = connections
        self._transport: asyncio.Transport | None = None
        self.data_received = handler.data_received  # type: ignore[method-assign]
        self.eof_received = handler.eof_received  # type: ignore[method-assign]
        self.pause_writing = handler.pause_writing  # type: ignore[method-assign]
        self.resume_writing = handler.resume_writing  # type: ignore[method-assign]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one, but does not say so
        self._handler.connection_made(transport)
        self._connections.add(self._transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop."""
        if self._transport is not None:
            self._connections.remove(self._transport)
        self._handler.connection_lost(exc)
