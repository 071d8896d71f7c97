"""A network between two programs on this machine, which can be cut and healed: a TCP proxy.

While it is cut nothing passes and nothing is refused: what either side writes waits, and a new
connection hangs in its handshake, or in silence if the proxy is to go on accepting. Once healed, what
waited arrives in order, unless its sender is gone: then its TCP has nothing left to say but a reset.
A proxy may refuse, drop what there is, or say something in the server's place, and may be tapped: what
passes is shown.

One thread serves every proxy of a `Network`. What one read gives goes out by one write, and nothing
is delayed: Kamailio's netstring reader loses frames that arrive in pieces.

It differs from a cut cable in one thing: the proxy's side acknowledges what it holds, so that
TCP_USER_TIMEOUT and keepalives of a connection never end it during a cut.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
from collections import deque
from concurrent.futures import Future
from typing import TYPE_CHECKING, Final, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    Tap = Callable[[object, bool, bytes], object]

HOST: Final = "127.0.0.1"
READ_BYTES: Final = 1 << 18
BACKLOG: Final = 128
_GONE: Final = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
_T = TypeVar("_T")


class Network:
    """The thread that moves the bytes of its proxies. Close it to end them all."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, Callable[[int], None]] = {}
        self._calls: deque[Callable[[], None]] = deque()
        self._waker, self._woken = socket.socketpair()
        self._woken.setblocking(False)
        self._epoll.register(self._woken, select.EPOLLIN)
        self._proxies: list[Proxy] = []
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="network", daemon=True)
        self._thread.start()

    def proxy(self, target: int, tap: Tap | None = None) -> Proxy:
        """A proxy on a free port, to 127.0.0.1:``target``.

        Args:
            target: Port of the server.
            tap: Called in the network's thread with each piece that was handed to a side's socket:
                what tells its connection apart, whether that side is the server, the bytes.
        """
        return self.call(lambda: self._add(target, tap))

    def _add(self, target: int, tap: Tap | None) -> Proxy:
        made = Proxy(self, target, tap)
        self._proxies.append(made)
        return made

    def call(self, function: Callable[[], _T]) -> _T:
        """Run a function in the thread, and give what it gives."""
        result: Future[_T] = Future()

        def carry_out() -> None:
            try:
                result.set_result(function())
            except BaseException as exc:  # the caller's to handle
                result.set_exception(exc)

        self._calls.append(carry_out)
        self._waker.send(b"x")
        return result.result(10)

    def watch(self, sock: socket.socket, events: int, handler: Callable[[int], None]) -> None:
        """Call the handler with what the socket is ready for; none of 0 events, not even errors."""
        number = sock.fileno()
        known = number in self._handlers
        if not events:
            if known:
                del self._handlers[number]
                self._epoll.unregister(number)
            return
        self._handlers[number] = handler
        (self._epoll.modify if known else self._epoll.register)(number, events)

    def _run(self) -> None:
        while not self._closed:
            for number, events in self._epoll.poll():
                if number == self._woken.fileno():
                    self._carry_out()
                elif (handler := self._handlers.get(number)) is not None:
                    handler(events)

    def _carry_out(self) -> None:
        with contextlib.suppress(BlockingIOError):  # all of it is read
            while self._woken.recv(4096):
                pass
        while self._calls:
            self._calls.popleft()()

    def close(self) -> None:
        """End every proxy and the thread."""
        if not self._closed:
            self.call(self._end)
            self._thread.join()
            self._epoll.close()
            self._waker.close()
            self._woken.close()

    def _end(self) -> None:
        for proxy in self._proxies:
            proxy.end()
        self._closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Proxy:
    """What leads from 127.0.0.1:``port`` to 127.0.0.1:``target``. Made by `Network.proxy`."""

    def __init__(self, network: Network, target: int, tap: Tap | None = None) -> None:
        self.target = target
        self._tap = tap
        self.is_cut = False
        self.accepted = 0
        """How many connections it has accepted so far."""
        self._network = network
        self._fillers: list[socket.socket] = []
        self._connections: set[_Connection] = set()
        self._listener = socket.create_server((HOST, 0), backlog=BACKLOG)
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        self._listen()

    @property
    def amqp_url(self) -> str:
        """The way to a RabbitMQ behind it."""
        return f"amqp://guest:guest@{HOST}:{self.port}/"

    def cut(self, *, accepting: bool = False) -> None:
        """From now on nothing passes, and nothing is refused; ``accepting``: connections come about."""
        self._network.call(lambda: self._cut(accepting))

    def heal(self) -> None:
        """Let everything pass again, and what has waited first."""
        self._network.call(self._heal)

    def refuse(self) -> None:
        """Refuse further connections; those that there are stay."""
        self._network.call(self._close_listener)

    def listen(self) -> None:
        """Undo ``refuse``."""
        self._network.call(self._open_listener)

    def drop(self) -> None:
        """Reset every connection, as a network does that forgets them."""
        self._network.call(self._drop)

    def say(self, data: bytes) -> None:
        """Tell every client this, as if the server had."""
        self._network.call(lambda: self._say(data))

    @property
    def left(self) -> int:
        """How many of its connections one side has left, though the other does not know yet."""
        return self._network.call(lambda: sum(connection.left for connection in self._connections))

    def end(self) -> None:
        """Close every socket. In the network's thread."""
        self._drop()
        self._close_listener()
        for each in self._fillers:
            each.close()

    def _say(self, data: bytes) -> None:
        for connection in [*self._connections]:
            connection.say(data)

    def _drop(self) -> None:
        for connection in [*self._connections]:
            connection.reset()

    def _close_listener(self) -> None:
        if self._listener.fileno() != -1:
            self._network.watch(self._listener, 0, self._accept)
            self._listener.close()

    def _open_listener(self) -> None:
        self._listener = socket.create_server((HOST, self.port), backlog=BACKLOG)
        self._listener.setblocking(False)
        self._listen()

    def _listen(self) -> None:
        self._network.watch(self._listener, select.EPOLLIN, self._accept)

    def _cut(self, accepting: bool) -> None:
        if self.is_cut:
            return
        self.is_cut = True
        if not accepting:
            self._fill()
        for connection in self._connections:
            connection.hold()

    def _fill(self) -> None:
        """With its queue full, a listener drops the first packet of every further handshake."""
        self._network.watch(self._listener, 0, self._accept)
        self._listener.listen(0)
        for _ in range(BACKLOG + 2):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex((HOST, self.port))
            self._fillers.append(filler)
            if not _connected(filler):
                break

    def _heal(self) -> None:
        if not self.is_cut:
            return
        self.is_cut = False
        own = {filler.getsockname() for filler in self._fillers if _connected(filler)}
        for filler in self._fillers:
            filler.close()
        self._fillers.clear()
        self._listener.listen(BACKLOG)
        self._accept(select.EPOLLIN, own)
        self._listen()
        for connection in [*self._connections]:
            connection.go_on()

    def _accept(self, _events: int, fillers: set[tuple[str, int]] | frozenset[object] = frozenset()) -> None:
        while True:
            try:
                client, address = self._listener.accept()
            except BlockingIOError:
                return  # all are accepted
            if address in fillers:
                client.close()
            else:
                made = _Connection(self._network, client, self.target, self._connections, self._tap)
                self._connections.add(made)
                self.accepted += 1
                if self.is_cut:
                    made.hold()


class _Connection:
    """A client's socket and the one to the server. ``held``: what is still to be written to each."""

    def __init__(
        self,
        network: Network,
        client: socket.socket,
        target: int,
        others: set[_Connection],
        tap: Tap | None,
    ) -> None:
        self._network = network
        self._tap = tap
        self._others = others
        self._server = socket.socket()
        self._sides = (client, self._server)
        self._pending: dict[socket.socket, deque[bytes]] = {client: deque(), self._server: deque()}
        self._finished: set[socket.socket] = set()
        self._connecting = True
        for side in self._sides:
            side.setblocking(False)
            side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._server.connect_ex((HOST, target))
        self._network.watch(self._server, select.EPOLLOUT, self._on_server)

    def say(self, data: bytes) -> None:
        """Write this to the client."""
        self._pending[self._sides[0]].append(data)
        self._write(self._sides[0])
        self._watch()

    def hold(self) -> None:
        """Move nothing."""
        for side in self._sides:
            self._network.watch(side, 0, self._on_server)

    def go_on(self) -> None:
        """Move what there is, unless one side has gone meanwhile."""
        if self.left:
            self.reset()
        elif self._connecting:
            self._network.watch(self._server, select.EPOLLOUT, self._on_server)
        else:
            self._watch()

    @property
    def left(self) -> bool:
        """Whether a side has ended and its end was not passed on yet."""
        poll = select.poll()
        for side in set(self._sides) - self._finished:
            poll.register(side, select.POLLRDHUP)
        return any(events & _GONE for _, events in poll.poll(0))

    def reset(self) -> None:
        """End it as a broken connection ends, on both sides."""
        if self in self._others:
            self._others.remove(self)
            for side in self._sides:
                self._network.watch(side, 0, self._on_server)
                with contextlib.suppress(OSError):  # it is broken already
                    side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
                side.close()

    def _watch(self) -> None:
        client, server = self._sides
        for side, other, handler in ((client, server, self._on_client), (server, client, self._on_server)):
            reads = side not in self._finished and not self._pending[other]
            events = (select.EPOLLIN if reads else 0) | (select.EPOLLOUT if self._pending[side] else 0)
            self._network.watch(side, events, handler)

    def _on_client(self, events: int) -> None:
        self._on(self._sides[0], self._sides[1], events)

    def _on_server(self, events: int) -> None:
        if self._connecting:
            self._connecting = False
            if self._server.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                self.reset()
            else:
                self._watch()
        else:
            self._on(self._sides[1], self._sides[0], events)

    def _on(self, side: socket.socket, other: socket.socket, events: int) -> None:
        try:
            if events & select.EPOLLOUT:
                self._write(side)
            if events & ~select.EPOLLOUT and not self._pending[other] and side not in self._finished:
                data = side.recv(READ_BYTES)
                # Kamailio leaves Nagle's algorithm on: what it writes next waits for this.
                side.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
                if data:
                    self._pending[other].append(data)
                else:
                    self._finished.add(side)
                self._write(other)
        except BlockingIOError:
            pass  # nothing to read after all
        except OSError:
            self.reset()
            return
        if len(self._finished) == 2 and not any(self._pending.values()):
            self.reset()
        else:
            self._watch()

    def _write(self, side: socket.socket) -> None:
        held = self._pending[side]
        with contextlib.suppress(BlockingIOError):  # the rest once it is writable
            while held:
                sent = side.send(held[0], socket.MSG_EOR | socket.MSG_NOSIGNAL)
                if self._tap is not None:
                    self._tap(self, side is self._server, held[0][:sent])
                if sent < len(held[0]):
                    held[0] = held[0][sent:]
                else:
                    held.popleft()
        other = self._sides[1] if side is self._sides[0] else self._sides[0]
        if not held and other in self._finished:
            side.shutdown(socket.SHUT_WR)


def _connected(sock: socket.socket) -> bool:
    try:
        sock.getpeername()
    except OSError:
        return False
    return True
