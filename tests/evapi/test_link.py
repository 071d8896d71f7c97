"""The link against peers that behave, and peers that do not: each a few lines of asyncio."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Any

import pytest
import structlog

from adapter.evapi.limits import LinkSettings
from adapter.evapi.link import Link
from adapter.evapi.socket import Stream
from adapter.model.transaction import Outcome, TransactionId
from adapter.settings import Address
from adapter.wire import event, netstring, to_kamailio
from tests.evapi.peers import HELLO, Owner, frame, hello, linked, resume, send, soon, turns
from tests.harness.process import free_port
from tests.harness.until import until


async def test_events_are_read_whatever_the_split_and_counted_where_the_frame_does_not() -> None:
    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for byte in netstring.encode(b"invite:1:2:") * 2 + netstring.encode(b"ended:::"):
            writer.write(bytes([byte]))
            await writer.drain()
        await reader.read()

    async with linked(peer) as (_, owner):
        await until(lambda: len(owner.events) == 3)
    assert [(type(found).__name__, getattr(found, "seq", None)) for found in owner.events] == [
        ("Suspended", 1),
        ("Suspended", 2),
        ("Notice", None),
    ]


async def test_a_malformed_frame_is_counted_as_a_suspension_too() -> None:
    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(netstring.encode(b"invite:1:2:") + netstring.encode(b"invite:1:2:!!"))
        await reader.read()

    async with linked(peer) as (_, owner):
        await until(lambda: len(owner.events) == 2)
    assert owner.events[1].ids == (1, 2, 2)


async def test_resumes_go_out_in_windows_and_count_as_read_with_their_receipt() -> None:
    asked: list[str] = []
    release = asyncio.Event()

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HELLO)
        while True:
            told = await frame(reader)
            if "sync" in told.get("adapter", {}):
                asked.append(told["adapter"]["sync"])
                await release.wait()
                writer.write(netstring.encode(json.dumps({"adapter": {"synced": asked[-1]}}).encode()))

    async with linked(peer, receipt_timeout=60.0) as (link, owner):
        await until(lambda: link.writer.receipts and asked)
        for label in range(1000):
            link.send(resume(label)[0], soon(), resume(label)[1])
        await until(lambda: link.writer.waiting == 1000)
        assert owner.read == []
        release.set()
        await until(lambda: len(owner.read) == 1000)
    assert owner.read == [resume(label)[1] for label in range(1000)]
    assert len(asked) > 2, "1,000 resumes do not fit one window"


async def test_without_hello_resumes_only_and_no_adapter_frames() -> None:
    seen: list[dict[str, Any]] = []

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            seen.append(await frame(reader))

    async with linked(peer, hello_wait=0.01, status_interval=0.01) as (link, owner):
        await until(lambda: link.up)
        link.set_status("ready")
        for label in range(300):
            link.send(resume(label)[0], soon(), resume(label)[1])
        await until(lambda: len(seen) == 300)
        assert len(owner.read) == 300, "without receipts, written is as good as read"
    assert all("tm_trans" in told for told in seen)


async def test_status_is_told_each_interval_and_on_change() -> None:
    seen: list[dict[str, str]] = []

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HELLO)
        while True:
            told = (await frame(reader))["adapter"]
            if "status" in told:
                seen.append(told)
            else:
                writer.write(netstring.encode(json.dumps({"adapter": {"synced": told["sync"]}}).encode()))

    async with linked(peer, hello_wait=0.01, status_interval=0.01) as (link, _):
        await until(lambda: len(seen) > 3)
        link.set_status("ready")
        await until(lambda: link.opens_gate)
        link.set_status("draining")
        await until(lambda: seen[-1]["status"] == "draining")
        assert not link.opens_gate
    assert seen[0] == {"status": "degraded", "replica": "r1", "node": "sbc1"}, "ready only once told so"
    assert "ready" in [told["status"] for told in seen]


async def test_what_was_not_read_is_left_to_the_owner_on_the_next_connection() -> None:
    lives: list[list[dict[str, Any]]] = []

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        incarnation: list[dict[str, Any]] = []
        lives.append(incarnation)
        writer.write(hello(f"life {len(lives)}"))
        while True:
            told = await frame(reader)
            incarnation.append(told)
            if "sync" in told.get("adapter", {}):
                if len(lives) == 1 and len(incarnation) > 2:
                    return  # gone, with frames read and no receipt given
                token = told["adapter"]["sync"]
                writer.write(netstring.encode(json.dumps({"adapter": {"synced": token}}).encode()))

    async with linked(peer) as (link, owner):
        await until(lambda: link.sound)
        assert link.incarnation == "life 1"
        send(link, 7)
        send(link, 8)
        assert link.unread == {resume(7)[1], resume(8)[1]}
        await until(lambda: link.connects == 2 and link.sound)
        assert (link.unread, link.incarnation) == (set(), "life 2")
        send(link, 9)
        await until(lambda: owner.read)
    assert owner.read == [resume(9)[1]]
    assert [told["tm_trans"]["tm_label"] for told in lives[1] if "tm_trans" in told] == [9]
    # up, known, down; each time anew
    assert owner.states[:5] == [True, True, False, True, True]
    assert owner.sound[:5] == [False, True, False, False, True]


@pytest.mark.parametrize("garbage", [b"x", b"07:invite,", b"3:abcd", b"99999999999:", b":,", b"-1:,"])
async def test_a_stream_out_of_step_ends_the_connection_and_keeps_what_came_before(garbage: bytes) -> None:
    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(netstring.encode(b"ended:::") + garbage)
        await reader.read()

    async with linked(peer) as (link, owner):
        await until(lambda: link.connects > 1)
    assert {type(found) for found in owner.events} == {event.Notice}
    assert owner.states[:2] == [True, False]


async def test_it_connects_when_the_server_becomes_available() -> None:
    ended: list[bool] = []

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(netstring.encode(b"ended:::"))
        await reader.read()
        writer.close()
        await writer.wait_closed()
        ended.append(True)

    port = free_port()
    owner = Owner()
    link = Link(
        "sbc1", Address("127.0.0.1", port), owner, "r1", LinkSettings(backoff_min=0.001, backoff_max=0.01)
    )
    task = asyncio.create_task(link.run())
    try:
        await asyncio.sleep(0)
        assert not link.up
        server = await asyncio.start_server(peer, "127.0.0.1", port)
        await until(lambda: owner.events)
        assert link.up
        server.close()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await until(lambda: ended)
    assert not link.up


async def test_a_peer_that_takes_nothing_gets_everything_in_order_later() -> None:
    """Short writes: the kernel's buffers are full; nothing is lost and no frame is torn."""
    go = asyncio.Event()
    seen: list[int] = []

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await go.wait()
        while True:
            seen.append((await frame(reader))["n"])

    async with linked(peer) as (link, _):
        await until(lambda: link.up)
        stream = link._stream
        assert stream is not None
        payloads = [json.dumps({"n": n, "pad": "x" * 30_000}).encode() for n in range(600)]
        stream.send([netstring.encode(payload) for payload in payloads])
        assert stream.blocked, "18 MB do not fit the buffers of a socket"
        go.set()
        await until(lambda: len(seen) == 600)
        assert not stream.blocked
    assert seen == list(range(600))


async def test_one_send_for_the_whole_frames_of_each_segment_and_no_delay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sends: list[tuple[bytes, int]] = []

    class Recorded(socket.socket):
        def send(self, data: Any, flags: int = 0) -> int:
            sends.append((bytes(data), flags))
            return super().send(data, flags)

    monkeypatch.setattr(socket, "socket", Recorded)
    monkeypatch.setattr(Stream, "segment", 300)

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with linked(peer) as (link, owner):
        await until(lambda: link.up)
        for label in (1, 2, 3):
            link.send(resume(label)[0], soon(), resume(label)[1])
        await until(lambda: len(owner.read) == 3)
        assert link._stream is not None
        assert link._stream._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    first, second, third = (netstring.encode(resume(label)[0]) for label in (1, 2, 3))
    assert [data for data, _ in sends] == [first + second, third]
    assert all(flags & socket.MSG_EOR for _, flags in sends)


async def test_cancelled_it_lets_go_of_everything_and_tells_its_owner() -> None:
    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with linked(peer) as (link, owner):
        await until(lambda: link.up)
        task = next(task for task in asyncio.all_tasks() if "Link.run" in repr(task))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not link.up
        assert owner.states == [True, False]


async def test_a_server_that_stays_away_is_told_of_once() -> None:
    with structlog.testing.capture_logs() as logs:
        link = Link(
            "sbc1",
            Address("127.0.0.1", free_port()),
            Owner(),
            "r1",
            LinkSettings(backoff_min=0.001, backoff_max=0.001),
        )
        task = asyncio.create_task(link.run())
        await until(lambda: len(logs) > 3)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert [entry["log_level"] for entry in logs[:4]] == ["warning", "debug", "debug", "debug"]


async def test_an_answer_to_a_first_question_never_reaches_the_second_where_nothing_tells_them_apart() -> (
    None
):
    first, second = (TransactionId("sbc1", 7, 8, seq) for seq in (1, 2))
    asked = asyncio.Event()
    frames: list[dict[str, Any]] = []

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(netstring.encode(b"invite_request:7:8:e30="))
        await asked.wait()
        writer.write(netstring.encode(b"invite_request:7:8:e30="))
        while True:
            frames.append(await frame(reader))

    def answer(link: Link, id_: TransactionId) -> None:
        link.send(to_kamailio.resume(id_, "e", Outcome.DECIDED, b"{}"), link._loop.time() + 60, id_)

    async with linked(peer) as (link, owner):
        await until(lambda: owner.events)
        owner.may = False
        answer(link, first)  # it is queued when the second question comes
        asked.set()
        await until(lambda: len(owner.events) == 2)
        owner.may = True
        answer(link, first)
        answer(link, second)
        await until(lambda: frames)
        await turns()
        assert [told["tm_trans"]["seq"] for told in frames] == [2]
        assert owner.read == [first, first, second], "nobody is to write them again"
        assert link.writer.expired == 2
