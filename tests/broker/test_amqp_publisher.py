"""The frames as the library reads them, and the numbering of publications, without a server."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import aiormq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import frame
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from adapter import contract
from adapter.broker.amqp.frames import encode
from adapter.broker.amqp.limits import Counters, Limits
from adapter.broker.amqp.publisher import Publisher
from adapter.broker.base import Publication, Published
from tests.broker.support import until

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW = 1_700_000_000
LIMITS = Limits(prefetch=1, confirm_timeout=5.0, results_expires=1.0)


def unframed(written: bytes) -> Iterator[tuple[int, Any]]:
    """Channel and content of each frame, read by the library."""
    while written:
        length, channel, found = frame.unmarshal(written)
        yield channel, found
        written = written[length:]


names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=25)


@given(
    event=names,
    node=names,
    body=st.binary(max_size=200),
    correlation_id=st.none() | names,
    deadline=st.floats(NOW, NOW + 1e6),
    left=st.integers(1, 2**31),
    channel=st.integers(1, 65_535),
    most=st.integers(1, 100),
)
def test_frames_are_read_as_written(
    event: str,
    node: str,
    body: bytes,
    correlation_id: str | None,
    deadline: float,
    left: int,
    channel: int,
    most: int,
) -> None:
    publication = Publication(event, node, body, correlation_id, deadline if correlation_id else None)
    (_, method), (_, header), *bodies = frames = list(
        unframed(encode(channel, most, publication, "id-é", NOW, left))
    )
    assert {number for number, _ in frames} == {channel}
    assert isinstance(method, Basic.Publish)
    assert (method.exchange, method.mandatory, method.immediate) == (contract.EVENTS_EXCHANGE, True, False)
    assert method.routing_key == contract.routing_key(event, node)
    assert isinstance(header, ContentHeader)
    assert header.body_size == len(body)
    assert all(isinstance(each, ContentBody) and len(each.value) <= most for _, each in bodies)
    assert b"".join(each.value for _, each in bodies) == body
    headers = {contract.HEADER_NODE: node, contract.HEADER_VERSION: contract.VERSION}
    expected = Basic.Properties(
        content_type=contract.MSGPACK,
        delivery_mode=1,
        message_id="id-é",
        timestamp=datetime.fromtimestamp(NOW, UTC),
        message_type=event,
        app_id=contract.APP_ID,
    )
    if correlation_id is not None:
        headers[contract.HEADER_DEADLINE] = round(deadline * 1000)
        expected.correlation_id = correlation_id
        expected.reply_to = contract.results_queue(node)
        expected.expiration = str(left)
    expected.headers = dict(headers)
    assert header.properties == expected


class Channel:
    """As much of aiormq's as the publisher uses."""

    number = 1
    max_content_size = 1000

    def __init__(self) -> None:
        self.connection = SimpleNamespace(channels={1: self})
        self.confirmations: OrderedDict[int, asyncio.Future[Any]] = OrderedDict()
        self.message_id_delivery_tag: dict[str, int] = {}
        self.delivery_tag = 0
        self.write_queue: asyncio.Queue[Any] = asyncio.Queue(maxsize=1)
        self.is_closed = False

    async def close(self) -> None:
        self.is_closed = True


@pytest.fixture
async def channel() -> Channel:
    return Channel()


def publisher_on(channel: Channel, counters: Counters | None = None) -> Publisher:
    limits = replace(LIMITS, confirm_timeout=0.01) if counters is not None else LIMITS
    return Publisher(channel, limits, counters or Counters(), lambda: float(NOW))  # type: ignore[arg-type]


def notices(count: int) -> list[Publication]:
    return [Publication("event", "sbc1", b"%d" % number) for number in range(count)]


async def test_a_publish_that_was_given_up_leaves_no_gap(channel: Channel) -> None:
    publisher = publisher_on(channel)
    channel.write_queue.put_nowait("something else")
    asking = asyncio.create_task(publisher.publish(notices(3)))
    await until(lambda: channel.delivery_tag == 3)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert channel.delivery_tag == 0
    assert channel.confirmations == channel.message_id_delivery_tag == {}
    channel.write_queue.get_nowait()
    asking = asyncio.create_task(publisher.publish(notices(1)))
    await until(lambda: channel.confirmations)
    channel.confirmations[1].set_result(Basic.Ack(1))
    assert await asking == [Published.CONFIRMED]
    assert channel.message_id_delivery_tag == {}


async def test_each_kind_of_answer(channel: Channel) -> None:
    counters = Counters()
    publisher = publisher_on(channel, counters)
    asking = asyncio.create_task(publisher.publish(notices(4)))
    await until(lambda: len(channel.confirmations) == 4)
    returned = aiormq.abc.DeliveredMessage(Basic.Return(), ContentHeader(), b"", channel)  # type: ignore[arg-type]
    channel.confirmations[1].set_result(Basic.Ack(1))
    channel.confirmations[2].set_result(returned)
    channel.confirmations[3].set_exception(aiormq.DeliveryError(None, Basic.Nack(3)))
    refused, away = Published.REFUSED, Published.UNAVAILABLE
    assert await asking == [Published.CONFIRMED, Published.UNROUTABLE, refused, away]
    found = (counters.published, counters.returned, counters.nacked, counters.unconfirmed)
    assert found == (1, 1, 1, 1)
    assert not publisher.silent
    assert channel.confirmations[4].cancelled()


async def test_silence_is_noticed(channel: Channel) -> None:
    publisher = publisher_on(channel, Counters())
    assert await publisher.publish(notices(2)) == [Published.UNAVAILABLE] * 2
    assert publisher.silent
    assert publisher.unconfirmed == 2


async def test_nothing_is_written_on_a_channel_that_is_gone(channel: Channel) -> None:
    publisher = publisher_on(channel)
    channel.connection.channels.clear()
    assert await publisher.publish(notices(2)) == [Published.UNAVAILABLE] * 2
    assert channel.write_queue.empty()


async def test_closing_gives_up_what_is_under_way(channel: Channel) -> None:
    publisher = publisher_on(channel)
    first = asyncio.create_task(publisher.publish(notices(1)))
    await until(lambda: len(channel.confirmations) == 1)
    second = asyncio.create_task(publisher.publish(notices(1)))  # waits for a place in the queue
    await until(lambda: len(channel.confirmations) == 2)
    closing = asyncio.create_task(publisher.close())
    assert await first == [Published.UNAVAILABLE]
    channel.write_queue.get_nowait()
    assert await second == [Published.UNAVAILABLE]
    await closing
    assert await publisher.publish(notices(1)) == [Published.UNAVAILABLE]
