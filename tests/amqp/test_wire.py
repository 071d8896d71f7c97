"""The tap between socket and library: what it lets through, writes, and lets go of."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from pamqp import frame
from pamqp.commands import Basic
from pamqp.heartbeat import Heartbeat
from yarl import URL

from adapter.amqp.connection import Connection
from adapter.amqp.scanner import Confirm, Tapped
from adapter.amqp.wire import _Tap
from adapter.amqp.words import UndecodableMessage
from adapter.broker.rabbitmq.limits import Limits
from tests.harness.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from adapter.amqp.scanner import Returned
    from tests.harness.proxy import Proxy
    from tests.harness.rabbitmq import RabbitServer

ACK = frame.marshal(Basic.Ack(1), 1)
QOS_OK = frame.marshal(Basic.QosOk(), 1)
HEARTBEAT = Heartbeat().marshal()


class Transport(asyncio.Transport):
    aborted = False

    def abort(self) -> None:
        self.aborted = True


class Rig:
    """A tap of which channel 1 is a publisher's, its reader, and the time."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.reader = asyncio.StreamReader(loop=loop)
        self.tap = _Tap(self.reader, loop)
        self.now = loop.time()
        self.tap._time = lambda: self.now
        self.transport = Transport()
        self.tap.connection_made(self.transport)
        self.came: list[list[Confirm | Returned]] = []
        self.tap.scanner.add(1, Tapped[None](lambda _, came: self.came.append(came), None, 0))

    def read(self) -> bytes:
        """What the library has got since the last time."""
        found = bytes(self.reader._buffer)  # type: ignore[attr-defined]
        self.reader._buffer.clear()  # type: ignore[attr-defined]
        return found


@pytest.fixture
async def rig() -> Rig:
    return Rig()


async def test_the_library_sees_a_heartbeat_while_all_is_taken_out(rig: Rig) -> None:
    """It lets go of a server that it hears nothing of, and a busy server sends no heartbeats."""
    seen = []
    for _ in range(8):
        rig.now += 0.3
        rig.tap.data_received(ACK)
        seen.append(rig.read())
    assert seen == [b"", b"", b"", HEARTBEAT, b"", b"", b"", HEARTBEAT]
    assert rig.came == [[Confirm(1, False, True)]] * 8


async def test_no_heartbeat_is_made_up_while_the_library_sees_frames(rig: Rig) -> None:
    for _ in range(8):
        rig.now += 0.6
        rig.tap.data_received(ACK + QOS_OK + ACK)
        assert rig.read() == QOS_OK
        rig.now += 0.6
        rig.tap.data_received(ACK)
        assert rig.read() == b""
    assert rig.came == [[Confirm(1, False, True)] * 2, [Confirm(1, False, True)]] * 8


async def test_none_comes_in_the_midst_of_a_frame_of_the_librarys(rig: Rig) -> None:
    rig.tap.data_received(ACK + QOS_OK[:5])
    rig.now += 1.5
    rig.tap.data_received(QOS_OK[5:-1])
    rig.tap.data_received(QOS_OK[-1:])
    assert rig.read() == HEARTBEAT + QOS_OK


async def test_a_broken_stream_is_let_go_of(rig: Rig) -> None:
    rig.tap.data_received(ACK + b"nonsense")
    assert rig.came == [[Confirm(1, False, True)]]
    assert rig.read() == b"nonsense"
    assert rig.transport.aborted


@pytest.fixture
async def connection(rabbitmq: RabbitServer) -> AsyncIterator[Connection]:
    limits = Limits(prefetch=10, confirm_timeout=1.0)
    made = await Connection.open_any([URL(rabbitmq.url)], limits)
    yield made
    await made.close(5)


async def test_what_is_written_and_confirmed_goes_past_the_library(connection: Connection) -> None:
    channel = await connection.channel(confirms=True)
    came: list[Any] = []
    connection.wire.tap(channel, lambda _, confirms: came.extend(confirms))
    publish = frame.marshal(Basic.Publish(routing_key="nobody", mandatory=True), channel.number)
    header = b"\0\x3c\0\0" + bytes(8) + b"\0\x80\2id"
    written = b"\2" + channel.number.to_bytes(2, "big") + len(header).to_bytes(4, "big") + header + b"\xce"
    assert connection.wire.write(channel, publish + written)
    await until(lambda: len(came) == 2)
    assert [type(each).__name__ for each in came] == ["Returned", "Confirm"]
    assert came[0].message_id == "id"
    assert came[1] == Confirm(1, False, True)


async def test_nothing_is_written_on_a_channel_that_is_gone(connection: Connection) -> None:
    wire, channel, other = connection.wire, await connection.channel(), await connection.channel()
    await channel.close()
    assert not wire.write(channel, ACK)
    impostor = SimpleNamespace(number=other.number, connection=other.connection, is_closed=False)
    assert not wire.write(impostor, ACK)  # type: ignore[arg-type]
    await other.exchange_declare("amq.topic", passive=True)
    connection.abort("x")
    assert not wire.write(other, ACK)


async def test_nonsense_from_a_server_ends_the_connection(rabbitmq: RabbitServer, proxy: Proxy) -> None:
    """As a message does that cannot be read: whoever reads the reason learns of it."""
    limits = Limits(prefetch=10, confirm_timeout=1.0)
    connection = await Connection.open_any([URL(proxy.amqp_url)], limits)
    proxy.say(b"nonsense")
    with pytest.raises(UndecodableMessage):
        await connection.lost()
    await connection.close(5)


async def test_a_goodbye_that_is_cut_short_leaves_no_task_behind(rabbitmq: RabbitServer) -> None:
    """A task of the library that outlives the loop is told as an error, in somebody else's test."""
    before = asyncio.all_tasks()
    connection = await Connection.open_any([URL(rabbitmq.url)], Limits(10, 1.0))
    goodbye = asyncio.ensure_future(connection.close())
    await asyncio.sleep(0)
    goodbye.cancel()
    await asyncio.wait({goodbye})
    assert asyncio.all_tasks() - before == set()
