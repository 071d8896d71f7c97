"""The proxy as a network: it passes on, is cut, and heals."""

from __future__ import annotations

import contextlib
import socket
import struct
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.process import wait_until
from tests.harness.proxy import Network, Proxy

if TYPE_CHECKING:
    from collections.abc import Iterator

Ends = tuple[socket.socket, socket.socket]
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@pytest.fixture
def network() -> Iterator[Network]:
    with Network() as made:
        yield made


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        made.settimeout(5)
        yield made


@pytest.fixture
def proxy(network: Network, server: socket.socket) -> Proxy:
    return network.proxy(server.getsockname()[1])


@pytest.fixture
def ends(proxy: Proxy, server: socket.socket) -> Iterator[Ends]:
    """The two ends of one connection through the proxy."""
    with socket.create_connection(("127.0.0.1", proxy.port), 5) as near:
        far = server.accept()[0]
        far.settimeout(5)
        with far:
            yield near, far


def take(sock: socket.socket, count: int) -> bytes:
    found = b""
    while len(found) < count:
        data = sock.recv(count - len(found))
        if not data:
            break
        found += data
    return found


def silent(sock: socket.socket) -> bool:
    """Nothing to read and no end, as far as one can see now."""
    sock.setblocking(False)
    try:
        sock.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return True
    finally:
        sock.settimeout(5)
    return False


def test_both_ways_in_order(ends: Ends) -> None:
    near, far = ends
    sent = bytes(range(256)) * 40_000  # more than the buffers hold
    for source, sink in ((near, far), (far, near)):
        source.setblocking(False)
        left, found = sent, b""
        while len(found) < len(sent):
            with contextlib.suppress(BlockingIOError):
                left = left[source.send(left) :] if left else left
            found += sink.recv(1 << 20)
        source.settimeout(5)
        assert found == sent


def test_an_end_is_passed_on_after_what_was_said(ends: Ends) -> None:
    near, far = ends
    near.sendall(b"last words")
    near.shutdown(socket.SHUT_WR)
    assert take(far, 100) == b"last words"
    far.sendall(b"answer")
    far.close()
    assert take(near, 100) == b"answer"


def test_nobody_there_is_a_reset(network: Network, server: socket.socket) -> None:
    port = server.getsockname()[1]
    server.close()
    proxy = network.proxy(port)

    def ask() -> None:
        with socket.create_connection(("127.0.0.1", proxy.port), 5) as near:
            near.recv(1)

    with pytest.raises(ConnectionResetError):  # it may come before the connect returns
        ask()


def test_a_cut_holds_everything_and_a_heal_delivers_it(proxy: Proxy, ends: Ends) -> None:
    near, far = ends
    proxy.cut()
    near.sendall(b"one")
    near.sendall(b"two")
    far.sendall(b"back")
    proxy.cut()  # a second one changes nothing
    assert silent(far)
    assert silent(near)
    proxy.heal()
    assert take(far, 6) == b"onetwo"
    assert take(near, 4) == b"back"
    proxy.heal()
    near.sendall(b"more")
    assert take(far, 4) == b"more"


def test_a_new_connection_hangs_during_a_cut_and_stands_after_it(proxy: Proxy, server: socket.socket) -> None:
    proxy.cut()
    with socket.socket() as late:
        late.settimeout(0.05)
        with pytest.raises(TimeoutError):
            late.connect(("127.0.0.1", proxy.port))
    proxy.heal()
    with socket.create_connection(("127.0.0.1", proxy.port), 5) as near:
        far = server.accept()[0]
        with far:
            near.sendall(b"here")
            assert take(far, 4) == b"here"


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("who", [0, 1])
def test_who_goes_during_a_cut_says_nothing_more(proxy: Proxy, ends: Ends, who: Any, how: str) -> None:
    gone, stays = ends[who], ends[1 - who]
    proxy.cut()
    gone.sendall(b"never read")
    if how == "reset":
        gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    gone.close()
    wait_until(lambda: proxy.left == 1, "the end to arrive", 5)
    assert silent(stays)
    proxy.heal()
    with pytest.raises(ConnectionResetError):
        stays.recv(100)


def test_only_the_proxy_that_is_cut_is_cut(
    network: Network, server: socket.socket, proxy: Proxy, ends: Ends
) -> None:
    near, far = ends
    network.proxy(server.getsockname()[1]).cut()
    near.sendall(b"through")
    assert take(far, 7) == b"through"


def test_a_closed_network_leaves_nothing(server: socket.socket) -> None:
    network = Network()
    proxy = network.proxy(server.getsockname()[1])
    with socket.create_connection(("127.0.0.1", proxy.port), 5) as near:
        proxy.cut()
        network.close()
        with pytest.raises(ConnectionResetError):
            near.recv(1)
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", proxy.port)) != 0
    wait_until(lambda: not network._thread.is_alive(), "the thread to end", 5)


def test_one_that_accepts_during_a_cut_is_silent(proxy: Proxy, server: socket.socket) -> None:
    proxy.cut(accepting=True)
    with socket.create_connection(("127.0.0.1", proxy.port), 5) as near:
        near.sendall(b"hello")
        wait_until(lambda: proxy.accepted == 1, "it to be taken", 5)
        assert silent(near)
        proxy.heal()
        with server.accept()[0] as far:
            assert take(far, 5) == b"hello"


def test_one_that_refuses_takes_none_but_keeps_what_there_is(proxy: Proxy, ends: Ends) -> None:
    near, far = ends
    proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", proxy.port), 5)
    near.sendall(b"still there")
    assert take(far, 11) == b"still there"
    proxy.listen()
    socket.create_connection(("127.0.0.1", proxy.port), 5).close()


def test_what_is_dropped_is_reset_on_both_sides(proxy: Proxy, ends: Ends) -> None:
    proxy.drop()
    for end in ends:
        with pytest.raises(ConnectionResetError):
            end.recv(1)


def test_what_it_says_is_taken_for_the_servers(proxy: Proxy, ends: Ends) -> None:
    near, far = ends
    far.sendall(b"one ")
    assert take(near, 4) == b"one "
    proxy.say(b"two")
    assert take(near, 3) == b"two"
    assert silent(far)
