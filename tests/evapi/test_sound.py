"""Whether what a link writes is read: who says so, and what is done where it is not."""

from __future__ import annotations

import socket
from dataclasses import replace
from typing import Any

import pytest

from adapter.wire import netstring
from tests.evapi.peers import Peer, hello, linked, resume, send, synced, turns
from tests.harness.until import until


class TestSound:
    async def test_with_its_hello_and_not_before(self) -> None:
        peer = Peer(b"")
        async with linked(peer) as (link, owner):
            await until(lambda: link.up and peer.writer)
            assert not link.sound
            assert peer.writer is not None
            peer.writer.write(hello("1763.2"))
            await until(lambda: link.sound)
            assert link.incarnation == "1763.2"
            assert owner.sound == [False, True]
            peer.writer.write(hello("1763.2"))  # another client has connected
            peer.writer.write(netstring.encode(b"ended:::"))
            await until(lambda: owner.events)
            assert owner.sound == [False, True], "told of once"
        assert not link.sound

    async def test_a_plain_configuration_is_once_no_hello_came(self) -> None:
        async with linked(Peer(b""), hello_wait=0.01) as (link, owner):
            await until(lambda: link.sound)
            assert (link.incarnation, link.gated, owner.sound) == ("", False, [False, True])
        assert owner.sound == [False, True, False]

    async def test_a_node_that_said_hello_before_is_not_because_it_hangs(self) -> None:
        """Its kernel accepts the connection; what was written to it would count as read."""
        soon: dict[str, Any] = {"hello_wait": 0.02}
        hung = Peer()
        async with linked(hung, **soon) as (link, _), linked(Peer(b""), **soon) as (plain, _):
            await until(lambda: link.sound and plain.sound)
            hung.first = b""
            hung.reading.clear()
            link.reset("it does not read")
            await until(lambda: link.connects == 2)
            plain.reset("as told")
            await until(lambda: plain.connects == 2 and plain.sound)
            assert link.up
            assert not link.sound
            link._settings = replace(link._settings, plain_after=0.02)
            link.reset("it does not read")
            await until(lambda: link.connects == 3 and link.sound)
            assert not link.gated, "its include is gone"

    async def test_not_while_a_receipt_is_late(self) -> None:
        peer = Peer()
        async with linked(peer, receipt_timeout=0.02) as (link, owner):
            await until(lambda: link.sound)
            peer.answering = False
            send(link, 1)
            await until(lambda: not link.sound)
            assert link.up
            peer.answering = True
            await until(lambda: link.sound and owner.read)
        assert peer.labels[0] == 1


class TestReset:
    async def test_the_peer_sees_a_reset_and_what_it_has_not_taken_never_comes(self) -> None:
        peer = Peer()
        async with linked(peer, receive_buffer=65_536) as (link, _):
            await until(lambda: link.sound)
            await until(lambda: link.writer.all_read)
            peer.reading.clear()
            assert peer.writer is not None
            peer.writer.write(netstring.encode(b"ended:::"))
            await turns()
            stream = link._stream
            assert stream is not None
            pad = b'{"pad":"%b"}' % (b"x" * 30_000)
            stream.send([netstring.encode(pad)] * 600)
            assert stream.blocked, "18 MB do not fit the buffers of a socket"
            seen = len(peer.seen)
            link.reset("as told")
            link.reset("twice")
            await until(lambda: link.connects == 2)
            peer.reading.set()
            await until(lambda: peer.lost)
        assert isinstance(peer.lost[0], ConnectionResetError)
        pads = [told for told in peer.seen[seen:] if "pad" in told]
        assert len(pads) < 600

    async def test_one_that_is_down_is_left_alone(self) -> None:
        async with linked(Peer()) as (link, _):
            await until(lambda: link.sound)
        link.reset("nobody is there")
        assert link.connects == 1

    async def test_before_the_close_the_kernel_is_told_to_reset(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """By a plain close the kernel would go on delivering what it holds."""
        options: list[tuple[int, ...]] = []

        class Recorded(socket.socket):
            def setsockopt(self, level: int, option: int, value: Any) -> None:  # type: ignore[override]
                if (level, option) == (socket.SOL_SOCKET, socket.SO_LINGER):
                    options.append(tuple(value))
                super().setsockopt(level, option, value)

        monkeypatch.setattr(socket, "socket", Recorded)
        async with linked(Peer()) as (link, _):
            await until(lambda: link.sound)
            link.reset("as told")
            await until(lambda: link.connects == 2)
        assert options == [(1, 0, 0, 0, 0, 0, 0, 0)]


class TestAgain:
    """What may have been written before is written only where its suspension still waits."""

    async def test_it_is_asked_for_first(self) -> None:
        peer = Peer()
        async with linked(peer) as (link, owner):
            await until(lambda: link.sound)
            peer.reading.clear()
            send(link, 7, again=True)
            send(link, 8)
            assert link.unread == {resume(7)[1], resume(8)[1]}
            peer.reading.set()
            await until(lambda: len(owner.read) == 2)
            assert link.unread == set()
        assert peer.asked == [("1:7", 1)]
        assert peer.labels == [8, 7]

    async def test_where_it_waits_no_more_it_counts_as_read(self) -> None:
        peer = Peer()
        peer.open = False
        async with linked(peer) as (link, owner):
            await until(lambda: link.sound)
            send(link, 7, again=True)
            await until(lambda: owner.read)
            assert link.unread == set()
        assert owner.read == [resume(7)[1]]
        assert peer.labels == []

    async def test_a_configuration_that_does_not_say_gets_it(self) -> None:
        peer = Peer()
        peer.open = None
        async with linked(peer) as (link, owner):
            await until(lambda: link.sound)
            send(link, 7, again=True)
            await until(lambda: owner.read)
        assert peer.labels == [7]

    async def test_one_without_receipts_too(self) -> None:
        peer = Peer(b"")
        async with linked(peer, hello_wait=0.01) as (link, owner):
            await until(lambda: link.sound)
            send(link, 7, again=True)
            await until(lambda: owner.read and peer.labels)
        assert (peer.labels, peer.asked) == ([7], [])

    @pytest.mark.parametrize("how", ["forget", "reset"])
    async def test_an_answer_to_a_question_that_was_given_up_does_nothing(self, how: str) -> None:
        peer = Peer()
        async with linked(peer) as (link, owner):
            await until(lambda: link.sound)
            await until(lambda: link.writer.all_read)
            peer.answering = False
            send(link, 7, again=True)
            await until(lambda: peer.asked)
            (asked,) = [each for each in peer.seen if "asked" in each.get("adapter", {})]
            peer.answering = True
            if how == "forget":
                link.forget()
            else:
                link.reset("as told")
                await until(lambda: link.connects == 2 and link.sound)
            assert link.unread == set()
            assert peer.writer is not None
            peer.writer.write(synced(asked, open=True) + synced(asked, open=False))
            peer.writer.write(netstring.encode(b"ended:::"))
            await until(lambda: owner.events)
            assert link.unread == set()
        assert (peer.labels, owner.read) == ([], [])


class TestMayWrite:
    async def test_nothing_is_written_until_it_may(self) -> None:
        peer = Peer()
        async with linked(peer, held_interval=0.001) as (link, owner):
            await until(lambda: link.sound and link.writer.all_read)
            owner.may = False
            for label in range(3):
                send(link, label)
                await turns()
            assert peer.labels == []
            assert link.writer.waiting == 3
            link.forget()
            send(link, 9)
            owner.may = True
            await until(lambda: owner.read)
        assert peer.labels == [9]

    async def test_however_much_is_queued_it_looks_at_one_pace(self) -> None:
        async with linked(Peer(), held_interval=60.0) as (link, owner):
            await until(lambda: link.sound and link.writer.all_read)
            owner.may = False
            waking = set()
            for label in range(5):
                send(link, label)
                await turns()
                waking.add(link._waking)
            (timer,) = waking
            assert timer is not None
            assert not timer.cancelled()
