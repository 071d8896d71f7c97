"""What this project takes for granted of its libraries' insides: each fails when an upgrade moves it."""

from __future__ import annotations

import asyncio
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import aiormq
import pytest
from pamqp import frame
from pamqp.commands import Basic
from pamqp.heartbeat import Heartbeat
from yarl import URL

from adapter.amqp import footholds
from adapter.amqp.connection import Connection
from adapter.amqp.frames import message, publish_method
from adapter.amqp.limits import ConnectionLimits
from adapter.amqp.tasks import end
from adapter.amqp.wire import Wire
from tests.harness.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from adapter.amqp.scanner import Confirm, Returned
    from tests.harness.rabbitmq import RabbitServer


def test_which_versions_they_were_checked_on() -> None:
    """After an upgrade that passes the rest of these tests, say so in ``footholds``."""
    assert footholds.__doc__ is not None
    for name in ("aio-pika", "aiormq", "pamqp"):
        assert f"{name} {version(name)}" in footholds.__doc__


@pytest.fixture
async def connection(rabbitmq: RabbitServer) -> AsyncIterator[Connection]:
    made = await Connection.open_any(
        [URL(rabbitmq.url)], ConnectionLimits(1, confirm_timeout=5.0), "footholds"
    )
    yield made
    await made.close()


async def test_aio_pika_opens_its_socket_by_our_factory(rabbitmq: RabbitServer) -> None:
    wire = Wire()
    made = footholds.unconnected(URL(rabbitmq.url), "footholds", wire)
    await made.connect()
    below = footholds.below(made)
    assert isinstance(below, aiormq.Connection)
    assert below._transport_factory is wire
    assert below.server_properties["product"] == "RabbitMQ"
    assert wire._transport is not None, "by which it writes, too"
    await made.close()
    assert below.is_closed


async def test_aiormq_gives_the_tls_context_to_the_factory(rabbitmq: RabbitServer) -> None:
    """For ``amqps://``; tests/clusters has a server for it."""
    asked: list[Any] = []

    class Factory(aiormq.TransportFactory):
        async def create(self, url: URL, **options: Any) -> Any:
            asked.append(await footholds.tls(url, options))
            asked.append(options)
            raise OSError("enough")

    for scheme in ("amqp", "amqps"):
        url = URL(rabbitmq.url).with_scheme(scheme)
        made = footholds.unconnected(url, "x", Factory())
        with pytest.raises(OSError, match="enough"):
            await made.connect()
        await made.close()  # else it does so when it is collected, wherever that is
    plain, no_more, context, nor_here = asked
    assert (plain, no_more, nor_here) == (None, {}, {})
    assert type(context).__name__ == "SSLContext"


async def test_whether_we_are_blocked_is_an_event_of_aiormqs(connection: Connection) -> None:
    below: Any = connection.below
    event = footholds.unblocked(below)
    assert event is not None
    assert event.is_set()
    assert not footholds.is_blocked(below)
    await below._Connection__handle_connection_blocked(aiormq.spec.Connection.Blocked("x"))
    assert not event.is_set()
    assert footholds.is_blocked(below)
    assert connection.blocked
    await below._Connection__handle_connection_unblocked(aiormq.spec.Connection.Unblocked())
    assert event.is_set()
    assert not connection.blocked


async def test_aiormq_knows_its_channels_by_number(connection: Connection) -> None:
    channel = await connection.channel()
    assert footholds.usable(channel)
    assert channel.max_content_size == connection.below.connection_tune.frame_max - 8
    closing = asyncio.ensure_future(channel.close())
    await asyncio.wait([closing])
    assert not footholds.usable(channel)
    again = await connection.channel()
    assert again.number == channel.number
    assert footholds.usable(again)
    assert not footholds.usable(channel)


async def test_frames_of_ours_go_between_those_of_the_library(connection: Connection) -> None:
    """Publications on a channel that aiormq publishes nothing on, whose confirms it does not wait for."""
    channel, beside = await connection.channel(confirms=True), await connection.channel()
    came: list[Confirm | Returned] = []
    connection.wire.tap(channel, lambda _, confirms: came.extend(confirms))
    method = publish_method(channel.number, "", "nobody")
    for number in range(1, 51):
        declared = asyncio.ensure_future(beside.exchange_declare("amq.topic", passive=True))
        await asyncio.sleep(0)
        assert connection.wire.write(channel, message(method, channel.number, 1_000, 0, b"", b"x" * 2_500))
        await declared
        await until(lambda: len([each for each in came if hasattr(each, "taken")]) == number)
    assert not channel.confirmations
    assert channel.delivery_tag == 0


async def test_what_is_taken_out_is_not_missed_and_a_heartbeat_made_up_is_one(connection: Connection) -> None:
    """aiormq reads from the reader of the factory, and counts a heartbeat as a sign of life."""
    below, channel = connection.below, await connection.channel()
    came: list[bytes] = []
    connection.wire.tap(channel, lambda made, _: came.extend(made), lambda *parts: parts[2], 1_000)
    queue = str((await channel.queue_declare(exclusive=True)).queue)
    await channel.basic_consume(queue, footholds.untapped)
    other = await connection.channel()
    await other.basic_publish(b"taken out", routing_key=queue)
    await until(lambda: came == [b"taken out"])
    below._Connection__last_frame_time -= 1_000  # type: ignore[attr-defined]
    assert below.is_connection_was_stuck
    tap = connection.wire._tap
    assert tap is not None
    asyncio.StreamReaderProtocol.data_received(tap, Heartbeat().marshal())
    await until(lambda: not below.is_connection_was_stuck)


async def test_a_request_that_is_given_up_closes_its_channel(connection: Connection) -> None:
    """And who waits on a channel that closes ends by CancelledError, or by what the server said."""
    channel, transport = await connection.channel(), connection.wire._transport
    assert transport is not None
    transport.pause_reading()  # no answer comes
    asking = asyncio.ensure_future(channel.exchange_declare("amq.topic", passive=True))
    await asyncio.sleep(0.01)
    await end(asking)
    transport.resume_reading()
    await until(lambda: channel.is_closed)
    refused = await connection.channel()
    with pytest.raises(aiormq.ChannelNotFoundEntity):
        await refused.queue_declare("nobody-has-it", passive=True)
    assert not footholds.usable(refused)
    left = await connection.channel()
    waiting = asyncio.ensure_future(asyncio.wait_for(left.closing, 5))
    connection.abort("x")
    done, _ = await asyncio.wait([waiting])
    assert isinstance(
        done.pop().exception() or asyncio.CancelledError(), asyncio.CancelledError | aiormq.AMQPError
    )


async def test_aio_pika_keeps_something_of_each_channel_until_the_connection_closes(
    connection: Connection,
) -> None:
    """The reason why those that are opened for a moment are aiormq's. Once it does not, they may be its."""

    def kept() -> int:
        return len(connection.below._closing._callbacks)

    before = kept()
    for _ in range(10):
        await (await connection.channel()).close()
    assert kept() == before
    for _ in range(10):
        await (await connection.pika.channel()).close()
    assert kept() > before


def test_frames_are_marshalled_as_ours_are() -> None:
    """pamqp and the scanner mean the same by a frame: kind, channel, size, payload, end."""
    raw = frame.marshal(Basic.Ack(1), 258)
    assert raw[:7] == b"\1" + (258).to_bytes(2, "big") + (len(raw) - 8).to_bytes(4, "big")
    assert raw[-1:] == b"\xce"
