"""The frames as the library reads them, and the numbering of publications, without a server."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import frame
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from adapter import contract
from adapter.amqp import frames as written_out
from adapter.amqp.line import Line
from adapter.amqp.scanner import Confirm, Returned
from adapter.broker.rabbitmq.frames import encode
from adapter.broker.rabbitmq.limits import Counters, Limits
from adapter.broker.rabbitmq.publisher import Publisher
from adapter.broker.rabbitmq.shared import Shared
from adapter.ports.broker import Publication, Published
from tests.harness.until import until

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

NOW = 1_700_000_000
LIMITS = Limits(prefetch=1, confirm_timeout=5.0)


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
    queue=st.just("") | names,
    expires=st.none() | st.integers(0, 2**31),
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
    queue: str,
    expires: int | None,
) -> None:
    until = deadline if correlation_id else None
    publication = Publication(event, node, body, correlation_id, until, queue=queue)
    to, user = "evapi.results.sbc1.0a", ""
    (_, method), (_, header), *bodies = frames = list(
        unframed(encode(channel, most, publication, "id-é", NOW, left, to, user, False, expires))
    )
    assert {number for number, _ in frames} == {channel}
    assert isinstance(method, Basic.Publish)
    assert (method.mandatory, method.immediate) == (True, False)
    key = contract.routing_key(event, node)
    assert (method.exchange, method.routing_key) == (
        ("", queue) if queue else (contract.EVENTS_EXCHANGE, key)
    )
    assert isinstance(header, ContentHeader)
    assert header.body_size == len(body)
    assert all(isinstance(each, ContentBody) and len(each.value) <= most for _, each in bodies)
    assert b"".join(each.value for _, each in bodies) == body
    headers: dict[str, Any] = {contract.HEADER_NODE: node, contract.HEADER_VERSION: contract.VERSION}
    expected = Basic.Properties(
        content_type=contract.content_type(body),
        delivery_mode=1,
        message_id="id-é",
        timestamp=datetime.fromtimestamp(NOW, UTC),
        message_type=event,
        app_id=contract.APP_ID,
    )
    if correlation_id is not None:
        headers[contract.HEADER_DEADLINE] = round(deadline * 1000)
        headers[contract.HEADER_TIME_LEFT] = left
        expected.correlation_id = correlation_id
        expected.reply_to = "evapi.results.sbc1.0a"
        expected.expiration = str(left if expires is None else expires)
        if queue:
            headers[contract.HEADER_BCC] = [key]
        if expires is not None:
            headers[contract.HEADER_UNTAKEN] = 1
    expected.headers = dict(headers)
    assert header.properties == expected


@given(st.integers(1, 65_535), st.integers(0, 2**63 - 1), st.booleans())
def test_acknowledgements_are_read_as_written(channel: int, tag: int, multiple: bool) -> None:
    ((number, found),) = unframed(written_out.ack(channel, tag, multiple))
    assert (number, found.name) == (channel, "Basic.Ack")
    assert (found.delivery_tag, found.multiple) == (tag, multiple)
    ((number, found),) = unframed(written_out.reject(channel, tag))
    assert (number, found.name, found.delivery_tag, found.requeue) == (channel, "Basic.Reject", tag, False)
    ((number, found),) = unframed(written_out.give_back(channel, tag))
    assert (number, found.name) == (channel, "Basic.Nack")
    assert (found.delivery_tag, found.multiple, found.requeue) == (tag, True, True)


class Wire:
    """As much of the real one as the publisher uses: notes what is written, and has the server's say."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.up = True

    def tap(
        self, _: object, receiver: Callable[[list[None], list[Confirm | Returned]], None], *__: object
    ) -> None:
        self._receiver = receiver

    def write(self, _: object, frames: bytes) -> bool:
        if self.up:
            self.written.append(frames)
        return self.up

    def say(self, *came: Confirm | Returned) -> None:
        self._receiver([], list(came))


class Channel:
    """As much of aiormq's as the publisher uses."""

    number = 1
    max_content_size = 1000
    closed = False

    async def close(self) -> None:
        self.closed = True


def ack(number: int, multiple: bool = False) -> Confirm:
    return Confirm(number, multiple, taken=True)


def nack(number: int, multiple: bool = False) -> Confirm:
    return Confirm(number, multiple, taken=False)


def publisher_on(wire: Wire, counters: Counters | None = None) -> Publisher:
    limits = replace(LIMITS, confirm_timeout=0.01) if counters is not None else LIMITS
    line = Line(Channel(), wire)  # type: ignore[arg-type]
    return Publisher(line, Shared(limits, counters or Counters()), lambda: float(NOW))


def notices(count: int) -> list[Publication]:
    return [Publication("event", "sbc1", b"%d" % number) for number in range(count)]


def request(number: int) -> Publication:
    return Publication("event", "sbc1", b"", f"sbc1:{number}:1:1", NOW + 5.0)


@pytest.fixture
def wire() -> Wire:
    return Wire()


async def begun(wire: Wire, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """A task for what writes, once it has."""
    before = len(wire.written)
    task = asyncio.create_task(work)
    await until(lambda: len(wire.written) > before)
    return task


async def test_a_batch_is_one_write_and_waits_for_its_last_confirm(wire: Wire) -> None:
    publisher = publisher_on(wire)
    first = await begun(wire, publisher.publish(notices(3)))
    second = await begun(wire, publisher.publish(notices(2)))
    assert [sum(isinstance(each, Basic.Publish) for _, each in unframed(w)) for w in wire.written] == [3, 2]
    wire.say(ack(2, multiple=True), ack(5))
    assert publisher.unconfirmed == 2
    assert not first.done()
    wire.say(ack(4, multiple=True))
    assert await first == [Published.CONFIRMED] * 3
    assert await second == [Published.CONFIRMED] * 2
    assert publisher.unconfirmed == 0


async def test_of_two_publications_of_one_request_the_later_comes_back(wire: Wire) -> None:
    """It is asked again before the first is confirmed: its reply may overtake the confirm."""
    publisher = publisher_on(wire)
    first = await begun(wire, publisher.publish([request(1), request(2)]))
    second = await begun(wire, publisher.publish([request(1)]))
    wire.say(Returned("sbc1:1:1:1"), ack(3))
    assert await second == [Published.UNROUTABLE]
    wire.say(ack(2, multiple=True))
    assert await first == [Published.CONFIRMED] * 2


async def test_a_confirm_of_the_first_leaves_the_second_to_come_back(wire: Wire) -> None:
    publisher = publisher_on(wire)
    first = await begun(wire, publisher.publish([request(1)]))
    second = await begun(wire, publisher.publish([request(1), request(2)]))
    wire.say(ack(1))
    assert await first == [Published.CONFIRMED]
    wire.say(Returned("sbc1:1:1:1"), ack(3, multiple=True))
    assert await second == [Published.UNROUTABLE, Published.CONFIRMED]


async def test_the_service_whose_queue_is_not_there_is_known(wire: Wire) -> None:
    counters = Counters()
    shared = Shared(replace(LIMITS), counters)
    publisher = Publisher(Line(Channel(), wire), shared, lambda: float(NOW))  # type: ignore[arg-type]
    asking = await begun(wire, publisher.publish([request(1), request(2), request(3)]))
    wire.say(
        Returned("sbc1:1:1:1", routing_key="evapi.decide.fraud"),
        Returned("sbc1:2:1:1", routing_key="event.sbc1"),
        ack(3, multiple=True),
    )
    assert await asking == [Published.UNROUTABLE] * 2 + [Published.CONFIRMED]
    assert shared.without_queue == {"fraud"}


async def test_a_publish_that_was_given_up_keeps_its_number(wire: Wire) -> None:
    publisher = publisher_on(wire)
    asking = await begun(wire, publisher.publish([request(1)]))
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    asking = await begun(wire, publisher.publish([request(2)]))
    wire.say(Returned("sbc1:1:1:1"), ack(1))
    assert not asking.done()
    wire.say(ack(2))
    assert await asking == [Published.CONFIRMED]


async def test_what_could_not_be_written_has_no_number(wire: Wire) -> None:
    publisher = publisher_on(wire)
    wire.up = False
    assert await publisher.publish(notices(2)) == [Published.UNAVAILABLE] * 2
    assert publisher.unconfirmed == 0
    wire.up = True
    asking = await begun(wire, publisher.publish(notices(1)))
    wire.say(ack(1))
    assert await asking == [Published.CONFIRMED]


async def test_each_kind_of_answer(wire: Wire) -> None:
    counters = Counters()
    publisher = publisher_on(wire, counters)
    asking = await begun(wire, publisher.publish([request(number) for number in range(1, 5)]))
    wire.say(ack(1), Returned("sbc1:2:1:1"), ack(2), nack(3))
    refused, away = Published.REFUSED, Published.UNAVAILABLE
    assert await asking == [Published.CONFIRMED, Published.UNROUTABLE, refused, away]
    found = (counters.published, counters.returned, counters.nacked, counters.unconfirmed)
    assert found == (1, 1, 1, 1)
    assert not publisher.silent
    assert publisher.unconfirmed == 1
    wire.say(ack(4), ack(4), ack(1 << 60, multiple=True), Returned("sbc1:4:1:1"), Returned(None))
    assert publisher.unconfirmed == 0
    assert counters.published == 1


async def test_what_came_back_is_unroutable_before_it_is_confirmed(wire: Wire) -> None:
    publisher = publisher_on(wire, Counters())
    asking = await begun(wire, publisher.publish([request(1), request(2)]))
    wire.say(Returned("sbc1:2:1:1"))
    assert await asking == [Published.UNAVAILABLE, Published.UNROUTABLE]
    assert not publisher.silent


async def test_of_two_with_one_id_the_later_comes_back(wire: Wire) -> None:
    publisher = publisher_on(wire)
    first = await begun(wire, publisher.publish([request(1)]))
    second = await begun(wire, publisher.publish([request(1)]))
    wire.say(ack(1), Returned("sbc1:1:1:1"), ack(2))
    assert await first == [Published.CONFIRMED]
    assert await second == [Published.UNROUTABLE]


async def test_silence_is_noticed(wire: Wire) -> None:
    publisher = publisher_on(wire, Counters())
    both = await asyncio.gather(publisher.publish(notices(2)), publisher.publish(notices(1)))
    assert list(both) == [[Published.UNAVAILABLE] * 2, [Published.UNAVAILABLE]]
    assert publisher.silent
    assert publisher.unconfirmed == 3
    assert await publisher.publish(notices(1)) == [Published.UNAVAILABLE]
    assert len(wire.written) == 2
    publisher.heard()
    asking = await begun(wire, publisher.publish(notices(1)))
    wire.say(ack(4, multiple=True))
    assert await asking == [Published.CONFIRMED]


async def test_a_later_batch_has_its_whole_time(wire: Wire) -> None:
    """One timer serves them all."""
    counters = Counters()
    publisher = publisher_on(wire, counters)
    publisher._limits.confirm_timeout = 0.5  # so long that the second has begun
    first = await begun(wire, publisher.publish(notices(1)))
    publisher._limits.confirm_timeout = 60.0
    second = await begun(wire, publisher.publish(notices(1)))
    assert await first == [Published.UNAVAILABLE]
    assert not second.done()
    wire.say(ack(2))
    assert await second == [Published.CONFIRMED]
    assert counters.unconfirmed == 1


async def test_closing_gives_up_what_is_under_way(wire: Wire) -> None:
    counters = Counters()
    publisher = publisher_on(wire, counters)
    asking = await begun(wire, publisher.publish(notices(1)))
    await publisher.close()
    assert await asking == [Published.UNAVAILABLE]
    assert not publisher.silent
    assert counters.unconfirmed == 0
    assert publisher.channel.closed  # type: ignore[attr-defined]
    assert await publisher.publish(notices(1)) == [Published.UNAVAILABLE]
    assert len(wire.written) == 1


async def test_a_retired_one_waits_for_what_is_under_way(wire: Wire) -> None:
    publisher = publisher_on(wire)
    asking = await begun(wire, publisher.publish(notices(1)))
    retiring = asyncio.create_task(publisher.retire())
    await asyncio.sleep(0)
    assert not publisher.channel.closed  # type: ignore[attr-defined]
    wire.say(ack(1))
    await retiring
    assert await asking == [Published.CONFIRMED]
    assert publisher.channel.closed  # type: ignore[attr-defined]


class Answers(NamedTuple):
    """Sizes of batches, and what the server says: a number from the end, multiple, taken."""

    sizes: list[int]
    said: list[tuple[int, bool, bool]]


answers = st.builds(
    Answers,
    st.lists(st.integers(1, 5), min_size=1, max_size=6),
    st.lists(st.tuples(st.integers(0, 40), st.booleans(), st.booleans()), max_size=30),
)


@given(answers)
def test_whatever_the_order_each_gets_the_first_that_is_said_of_it(given: Answers) -> None:
    count = sum(given.sizes)
    expected: dict[int, Published] = {}
    said = []
    for draw, multiple, taken in [*given.said, (count - 1, True, True)]:
        number = draw % count + 1
        said.append(Confirm(number, multiple, taken))
        for each in range(1 if multiple else number, number + 1):
            expected.setdefault(each, Published.CONFIRMED if taken else Published.REFUSED)

    async def run() -> list[Published]:
        wire = Wire()
        publisher = publisher_on(wire)
        asking = [await begun(wire, publisher.publish(notices(size))) for size in given.sizes]
        for each in said:
            wire.say(each)
        assert publisher.unconfirmed == 0
        return [result for task in asking for result in await task]

    assert asyncio.run(run()) == [expected[number] for number in range(1, count + 1)]
