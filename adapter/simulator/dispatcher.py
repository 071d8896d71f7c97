"""The process that owns Kamailio's EVAPI sockets, with its habits.

One ``recv`` at a time into a buffer of 32,767 bytes; each event written to every client, one
blocking ``write`` after the other: a client that does not read stops everything, since nothing
is read or accepted meanwhile either. TCP_NODELAY is not set, as in the original.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Final, Protocol

from adapter.simulator.reader import Reader

if TYPE_CHECKING:
    from collections.abc import Callable

    from adapter.simulator.counters import Counters

SLICE: Final = 0.02
"""Seconds of a slow reader's allowance that it takes by one ``recv``."""
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER of 0 seconds: close() sends RST


class EventRoutes(Protocol):
    """What the configuration does."""

    def connection_new(self) -> None:
        """A client has connected."""
        ...

    def connection_closed(self, conidx: int) -> None:
        """The client at this place is gone."""
        ...

    def message_received(self, conidx: int, payload: bytes) -> None:
        """A frame has come from the client at this place."""
        ...


class _Client:
    __slots__ = ("armed", "conidx", "reader", "sock")

    def __init__(self, conidx: int, sock: socket.socket, reader: Reader) -> None:
        self.conidx = conidx
        self.sock = sock
        self.reader = reader
        self.armed = False


class Dispatcher:
    """The listener and its clients.

    ``routes`` are the event routes. They know a client by its place, which a new one inherits.
    ``on_change()`` is told of whatever may interest a test. ``read_rate``: bytes a second that
    are read from each client, ``None`` for all.
    """

    def __init__(
        self,
        counters: Counters,
        routes: EventRoutes,
        on_change: Callable[[], None],
        *,
        max_clients: int = 8,
        faulty_reader: bool = True,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._counters = counters
        self._routes = routes
        self._on_change = on_change
        self._max_clients = max_clients
        self._faulty_reader = faulty_reader
        self._listener: socket.socket | None = None
        self._clients: list[_Client] = []
        self._queue: deque[bytes] = deque()
        self._writing: list[tuple[_Client, bytes]] = []
        self._stalled_at: float | None = None
        self._reading = True
        self.address = ("", 0)
        self.read_rate: float | None = None

    @property
    def clients(self) -> int:
        """Connected clients."""
        return len(self._clients)

    @property
    def stalled(self) -> bool:
        """Whether it stands in a ``write`` to a client that does not read."""
        return self._stalled_at is not None

    @property
    def backlog(self) -> int:
        """Events not yet begun to be written."""
        return len(self._queue)

    def listen(self, host: str, port: int) -> None:
        """Take connections. Raises OSError where the address is taken."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.socket(family)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, port))
            listener.listen(4)
            listener.setblocking(False)
        except OSError:
            listener.close()
            raise
        self._listener = listener
        self.address = listener.getsockname()[:2]
        self._loop.add_reader(listener, self._accept)

    def refuse(self) -> None:
        """Close the listener: connects are refused until ``listen``. Clients stay."""
        if self._listener is not None:
            self._loop.remove_reader(self._listener)
            self._listener.close()
            self._listener = None

    def disconnect(self, *, reset: bool = False) -> None:
        """Close every client's connection, in order (FIN) or with a RST."""
        for client in list(self._clients):
            if reset:
                client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self._drop(client)

    def set_reading(self, reading: bool) -> None:
        """Read from clients, or let it lie in the sockets."""
        self._reading = reading
        self._arm_all()

    def write(self, data: bytes) -> None:
        """Write bytes to every client, after what is queued."""
        self._queue.append(data)
        if not self._writing:
            self._flush()

    def close(self) -> None:
        """End everything."""
        self.refuse()
        self._queue.clear()
        self.disconnect()

    def _accept(self) -> None:
        assert self._listener is not None
        if self.stalled:
            self._loop.remove_reader(self._listener)
            return
        try:
            sock, _ = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return  # the client has gone again
        if len(self._clients) >= self._max_clients:
            self._counters.turned_away += 1
            sock.close()
            return
        sock.setblocking(False)
        conidx = min(set(range(self._max_clients)) - {client.conidx for client in self._clients})
        client = _Client(conidx, sock, Reader(self._counters, faulty=self._faulty_reader))
        self._clients.append(client)
        self._counters.connects += 1
        self._routes.connection_new()
        self._arm(client)
        self._on_change()

    def _drop(self, client: _Client) -> None:
        self._clients.remove(client)
        self._loop.remove_reader(client.sock)
        self._loop.remove_writer(client.sock)
        client.sock.close()
        self._routes.connection_closed(client.conidx)
        stood_for_it = bool(self._writing) and self._writing[-1][0] is client
        self._writing = [(other, rest) for other, rest in self._writing if other is not client]
        if stood_for_it:
            self._go_on()
        self._on_change()

    # Reading: remove_reader and come back, so that what is not read stays in the kernel.

    def _arm(self, client: _Client) -> None:
        if not client.armed and client in self._clients:
            client.armed = True
            self._loop.add_reader(client.sock, self._readable, client)

    def _disarm(self, client: _Client) -> None:
        client.armed = False
        self._loop.remove_reader(client.sock)

    def _arm_all(self) -> None:
        for client in self._clients:
            self._arm(client)

    def _readable(self, client: _Client) -> None:
        if self.stalled or not self._reading:
            self._disarm(client)
            return
        size = client.reader.room
        if self.read_rate is not None:
            size = min(size, max(1, int(self.read_rate * SLICE)))
        try:
            data = client.sock.recv(size)
        except BlockingIOError:
            return
        except OSError:
            data = b""  # reset by the client
        if not data:
            self._counters.too_long += not size
            self._drop(client)
            return
        if self.read_rate is not None:
            self._disarm(client)
            self._loop.call_later(len(data) / self.read_rate, self._arm, client)
        self._counters.bytes_in += len(data)
        for frame in client.reader.feed(data):
            self._routes.message_received(client.conidx, frame)
        self._on_change()

    # Writing: one event after the other, and each to one client after the other.

    def _flush(self) -> None:
        while self._writing or self._queue:
            if not self._writing:
                data = self._queue.popleft()
                self._writing = [(client, data) for client in reversed(self._clients)]
                continue
            client, rest = self._writing[-1]
            try:
                sent = client.sock.send(rest)
            except BlockingIOError:
                sent = 0
            except OSError:
                sent = len(rest)  # gone; the next recv will tell
            if sent < len(rest):
                self._writing[-1] = (client, rest[sent:])
                self._stall(client)
                return
            self._writing.pop()

    def _stall(self, client: _Client) -> None:
        if self._stalled_at is None:
            self._stalled_at = monotonic()
            self._counters.stalls += 1
            self._on_change()
        self._loop.add_writer(client.sock, self._writable, client)

    def _writable(self, client: _Client) -> None:
        self._loop.remove_writer(client.sock)
        self._go_on()

    def _go_on(self) -> None:
        """Write on, and once nobody stands in the way read and accept again."""
        self._flush()
        if self._writing or self._stalled_at is None:
            return
        self._counters.stalled_seconds += monotonic() - self._stalled_at
        self._stalled_at = None
        self._arm_all()
        if self._listener is not None:
            self._loop.add_reader(self._listener, self._accept)
        self._on_change()
