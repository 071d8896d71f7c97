"""What is cut out of the server's stream, against what the library reads in it."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import frame
from pamqp.body import ContentBody
from pamqp.commands import Basic, Connection, Queue
from pamqp.header import ContentHeader
from pamqp.heartbeat import Heartbeat

from adapter.broker.rabbitmq.header import Properties, _known, read_header
from adapter.broker.rabbitmq.incoming import (
    Confirm,
    Confirms,
    Deliveries,
    Delivery,
    Incoming,
    Returned,
)
from adapter.contract import MAX_REPLY
from consumers import Answer, Result
from consumers.amqp import frames as consumer_frames

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from random import Random

CONSUMING, PUBLISHING, UNTAPPED = 3, 258, 7
OURS = ("replies-1", "commands")

names = st.text(max_size=20)
plain_names = st.text("abc-._:", max_size=20)  # of exchanges and queues the library takes no others
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 63) - 1)
    | st.text(max_size=8)
    | st.binary(max_size=8).map(bytearray)
    | st.just(Decimal("1.5"))
    | st.just(datetime(2026, 1, 1, tzinfo=UTC)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)
TIMED: list[dict[str, Any]] = [
    {"x-service": "lcr", "x-received": 1 << 50, "x-replied": (1 << 50) + 1},
    {"x-received": 1 << 50, "x-replied": 1 << 51},
    {"x-replied": 1 << 50, "x-received": 1 << 51, "x-service": "lcr"},
    {"x-received": 1 << 50, "x-service": "lcr"},
    {"x-received": "soon", "x-replied": 1 << 50},
]
usual: dict[str, st.SearchStrategy[Any]] = {
    "content_type": st.sampled_from(["application/msgpack", "application/json"]),
    "headers": st.sampled_from([{"x-service": "lcr"}, {"x-service": "é", "x-status": "failed"}, *TIMED]),
    "delivery_mode": st.integers(1, 2),
    "correlation_id": names,
    "message_id": names,
    "timestamp": st.just(datetime(2026, 1, 1, tzinfo=UTC)),
    "app_id": names,
}
unusual = {
    "content_encoding": names,
    "headers": st.dictionaries(names, values, max_size=4) | st.just({"long": "x" * 600}),
    "priority": st.integers(0, 255),
    "reply_to": names,
    "expiration": names,
    "message_type": names,
    "user_id": names,
}
properties = st.builds(
    lambda given: Basic.Properties(**given),
    st.fixed_dictionaries({}, optional=usual) | st.fixed_dictionaries({}, optional=usual | unusual),
)


class Content(NamedTuple):
    """A method with content."""

    channel: int
    method: Any
    properties: Basic.Properties
    body: bytes
    most: int

    def frames(self) -> Iterator[bytes]:
        yield frame.marshal(self.method, self.channel)
        yield frame.marshal(ContentHeader(0, len(self.body), self.properties), self.channel)
        for start in range(0, len(self.body), self.most):
            yield frame.marshal(ContentBody(self.body[start : start + self.most]), self.channel)


class Plain(NamedTuple):
    """A frame without content."""

    channel: int
    method: Any

    def frames(self) -> Iterator[bytes]:
        yield frame.marshal(self.method, self.channel)


def contents(
    channel: st.SearchStrategy[int], method: st.SearchStrategy[Any]
) -> st.SearchStrategy[Content | Plain]:
    return st.builds(Content, channel, method, properties, st.binary(max_size=60), st.integers(1, 60))


def delivered(to: Sequence[str]) -> st.SearchStrategy[Basic.Deliver]:
    tags = st.integers(1, (1 << 63) - 1)
    return st.builds(Basic.Deliver, st.sampled_from(to), tags, st.booleans(), plain_names, names)


CHANNELS = st.sampled_from([CONSUMING, PUBLISHING, UNTAPPED])
numbers = st.integers(1, (1 << 63) - 1)
confirms = st.builds(Basic.Ack, numbers, st.booleans()) | st.builds(
    Basic.Nack, numbers, st.booleans(), st.booleans()
)
messages = st.one_of(
    contents(st.just(CONSUMING), delivered(OURS)),
    contents(CHANNELS, delivered(["another", ""])),
    contents(st.just(UNTAPPED), delivered(OURS)),
    contents(CHANNELS, st.builds(Basic.GetOk, numbers, st.booleans(), plain_names, names, st.integers(0, 9))),
    contents(CHANNELS, st.builds(Basic.Return, st.just(312), names, plain_names, names)),
    st.builds(Plain, st.just(PUBLISHING), confirms),
    st.builds(Plain, CHANNELS, confirms),
    st.builds(Plain, CHANNELS, st.builds(Queue.DeclareOk, plain_names, st.integers(0, 9), st.integers(0, 9))),
    st.builds(Plain, CHANNELS, st.builds(Basic.Cancel, st.sampled_from(OURS))),
    st.just(Plain(0, Heartbeat())),
    st.builds(Plain, st.just(0), st.builds(Connection.Blocked, names)),
)


class Found(NamedTuple):
    """What came out: for the consumers, for the publisher, for the library."""

    deliveries: list[Delivery]
    confirms: list[Confirm | Returned]
    rest: bytes


def merged(items: Sequence[Content | Plain], random: Random) -> list[bytes]:
    """The frames in an order that the server might send: those of a channel in theirs, others in between."""
    queues = defaultdict(list)
    for item in items:
        queues[item.channel] += item.frames()
    frames = []
    while queues:
        channel = random.choice(sorted(queues))
        frames.append(queues[channel].pop(0))
        if not queues[channel]:
            del queues[channel]
    return frames


def fed(stream: bytes, cuts: Sequence[int]) -> tuple[Found, Incoming]:
    """What comes out of a stream that arrives in pieces of these sizes, the last one as long as it takes."""
    deliveries: list[Delivery] = []
    confirms: list[Confirm | Returned] = []
    incoming = Incoming()
    consuming = Deliveries(deliveries.extend)
    for consumer in OURS:
        consuming.add(consumer)
    incoming.add(CONSUMING, consuming)
    incoming.add(PUBLISHING, Confirms(confirms.extend))
    rest, at = b"", 0
    for size in (*cuts, len(stream)):
        rest += incoming.feed(stream[at : at + size])
        incoming.hand_on()
        at += size
    return Found(deliveries, confirms, rest), incoming


def expected(frames: Sequence[bytes]) -> Found:
    """What the library reads, channel by channel."""
    found = Found([], [], b"")
    rest = []
    methods: dict[int, Any] = {}
    headers: dict[int, ContentHeader] = {}
    bodies: dict[int, bytes] = defaultdict(bytes)
    for raw in frames:
        _, channel, each = frame.unmarshal(raw)
        method = methods.get(channel)
        if isinstance(each, ContentHeader | ContentBody):
            if isinstance(each, ContentHeader):
                headers[channel] = each
            else:
                bodies[channel] += each.value
            header = headers[channel]
            if method is None:
                rest.append(raw)
            elif len(bodies[channel]) == header.body_size:
                of = Properties.of(header.properties)
                if isinstance(method, Basic.Return):
                    found.confirms.append(Returned(of.message_id))
                else:
                    consumer, tag, again = (
                        method.consumer_tag.encode(),
                        method.delivery_tag,
                        method.redelivered,
                    )
                    found.deliveries.append(
                        Delivery(consumer, tag, again, method.exchange, of, bodies[channel])
                    )
            if len(bodies[channel]) == header.body_size:
                methods.pop(channel, None)
                bodies.pop(channel)
        elif (
            channel == CONSUMING and getattr(each, "consumer_tag", "") in OURS and each.name != "Basic.Cancel"
        ) or (channel == PUBLISHING and isinstance(each, Basic.Return)):
            methods[channel] = each
        elif channel == PUBLISHING and isinstance(each, Basic.Ack | Basic.Nack):
            taken = isinstance(each, Basic.Ack)
            found.confirms.append(Confirm(each.delivery_tag, bool(each.multiple), taken))
        else:
            rest.append(raw)
    return found._replace(rest=b"".join(rest))


cuts = st.lists(st.integers(0, 40), max_size=200)


@given(st.lists(messages, max_size=12), st.randoms(use_true_random=False), cuts)
def test_however_it_is_split_each_gets_its_own(
    items: list[Content | Plain], random: Random, cuts: list[int]
) -> None:
    frames = merged(items, random)
    found, incoming = fed(b"".join(frames), cuts)
    assert found == expected(frames)
    assert not incoming.broken


def reply(**given: Any) -> list[bytes]:
    method = Basic.Deliver(OURS[0], 1, False, "", "evapi.results.sbc1")
    return list(Content(CONSUMING, method, Basic.Properties(**given), b"0123456789", 5).frames())


def no_end(raw: bytes) -> bytes:
    return raw[:-1] + b"\0"


def too_short(raw: bytes) -> bytes:
    """A header without flags."""
    return raw[:3] + (12).to_bytes(4, "big") + raw[7:19] + b"\xce"


def in_microseconds(raw: bytes) -> bytes:
    """A header whose timestamp is that of real consumers: the library takes it for the year 58,878."""
    payload = (
        raw[7:19]
        + (1 << 10 | 1 << 6).to_bytes(2, "big")
        + b"\1a"
        + (1_790_000_000_000_000).to_bytes(8, "big")
    )
    return raw[:3] + len(payload).to_bytes(4, "big") + payload + b"\xce"


def of_another_kind(raw: bytes) -> bytes:
    return b"\5" + raw[1:]


DELIVER, HEADER, FIRST, SECOND = reply(correlation_id="a")
EMPTY = frame.marshal(Basic.QosOk(), CONSUMING)


@pytest.mark.parametrize(
    "good,bad",
    [
        ([], no_end(DELIVER)),
        ([], no_end(EMPTY)),
        ([DELIVER], no_end(HEADER)),
        ([DELIVER, HEADER], no_end(FIRST)),
        ([DELIVER, HEADER, FIRST], of_another_kind(SECOND)),
        ([DELIVER], too_short(HEADER)),
        ([DELIVER], DELIVER),
        ([DELIVER], FIRST),
        ([DELIVER], EMPTY),
        ([DELIVER, HEADER], HEADER),
        ([DELIVER, HEADER], EMPTY),
        ([DELIVER, HEADER, FIRST], frame.marshal(ContentBody(b"x" * 6), CONSUMING)),
        ([], b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        ([], b"AMQP\0\0\x09\x01"),
        ([], frame.marshal(Basic.Ack(1), PUBLISHING)[:6] + b"\5\0\x3c\0\x50\0\xce"),
        ([], b"\1" + CONSUMING.to_bytes(2, "big") + b"\0\0\0\4\0\x3c\0\x3c\xce"),
    ],
)
@given(cuts=cuts)
def test_what_is_broken_is_the_librarys_with_all_that_follows(
    good: list[bytes], bad: bytes, cuts: list[int]
) -> None:
    before = [*reply(correlation_id="b"), EMPTY]
    after = [EMPTY, *reply(correlation_id="c"), EMPTY]
    found, incoming = fed(b"".join((*before, *good, bad, *after)), cuts)
    assert incoming.broken
    assert [each.properties.correlation_id for each in found.deliveries] == ["b"]
    assert found.rest == b"".join((EMPTY, bad, *after))


def test_a_read_is_handed_on_at_once() -> None:
    calls: list[list[Delivery]] = []
    consuming = Deliveries(calls.append)
    consuming.add(OURS[0])
    incoming = Incoming()
    incoming.add(CONSUMING, consuming)
    stream = b"".join([*reply(), *reply(), *reply()])
    assert incoming.feed(stream[:-1]) == b""
    incoming.hand_on()
    incoming.hand_on()
    assert incoming.feed(stream[-1:]) == b""
    incoming.hand_on()
    assert [len(batch) for batch in calls] == [2, 1]


def test_a_number_may_be_another_channels_by_the_time_it_is_removed() -> None:
    incoming = Incoming()
    old, new = Confirms(lambda _: None), Confirms(lambda _: None)
    ack = frame.marshal(Basic.Ack(1), PUBLISHING)
    incoming.add(PUBLISHING, old)
    incoming.add(PUBLISHING, new)
    incoming.remove(PUBLISHING, old)
    assert incoming.feed(ack) == b""
    incoming.remove(PUBLISHING, new)
    assert incoming.feed(ack) == ack


def outcome(read: Callable[[], Any]) -> Any:
    """What is read, or that it cannot be."""
    try:
        return read()
    except Exception:
        return None


def agrees(raw: bytes) -> None:
    """The library's answer where it has one; else one all the same, where the size can be read."""
    theirs = outcome(lambda: by_library(raw))
    found = outcome(lambda: read_header(raw))
    if theirs is not None and not tail_alone(raw):
        assert found == theirs
    assert (found is None) == (len(raw) < 14)


def tail_alone(raw: bytes) -> bool:
    """Whether the flags go on in another word, of which nothing is defined."""
    return bool(raw[13] & 1)


def by_library(raw: bytes) -> tuple[int, Properties]:
    header = ContentHeader()
    header.unmarshal(raw)
    return header.body_size, Properties.of(header.properties)


@given(properties, st.integers(0, 1 << 40), st.integers(0, 60))
def test_a_header_is_read_as_the_library_does(given: Basic.Properties, size: int, cut: int) -> None:
    raw = ContentHeader(0, size, given).marshal()
    assert read_header(raw) == by_library(raw)
    short = raw[: max(0, len(raw) - cut)]
    agrees(short)


@given(st.integers(0, 0xFFFF), st.binary(max_size=40))
def test_a_header_of_anything_is_read_as_the_library_does(flags: int, junk: bytes) -> None:
    flags &= ~(1 << 13)  # a table that contradicts itself may be read otherwise, so leave it out
    agrees(b"\0\x3c" + b"\0" * 10 + flags.to_bytes(2, "big") + junk)


def test_the_times_of_the_sdks_replies_cost_no_decoding_of_the_rest() -> None:
    answer = Answer(Result.DECIDED, "sbc1:1:2:1", b"x", "application/msgpack", {"x-service": "lcr"})
    read = []
    for number in range(3):
        at = 1_790_000_000.0 + number
        raw = consumer_frames.reply(1, 100, answer, b"x", "evapi.results.sbc1", "lcr:1", at, at + 0.25)
        size, _, _ = frame.unmarshal(raw)
        length = int.from_bytes(raw[size + 3 : size + 7], "big")
        before = _known.cache_info().misses
        read.append(read_header(raw[size + 7 : size + 7 + length])[1])
        assert number == 0 or _known.cache_info().misses == before
    assert [found.times for found in read] == [
        (1_790_000_000_000_000 + number * 1_000_000, 1_790_000_000_250_000 + number * 1_000_000)
        for number in range(3)
    ]
    assert {str(found.headers) for found in read} == {"{'x-service': 'lcr'}"}


def test_a_timestamp_in_microseconds_costs_nothing_but_itself() -> None:
    second = reply(correlation_id="c")
    found, incoming = fed(b"".join((DELIVER, in_microseconds(HEADER), FIRST, SECOND, *second)), [])
    assert [each.properties.correlation_id for each in found.deliveries] == ["a", "c"]
    assert not incoming.broken
    assert found.rest == b""


def test_a_header_for_the_library_is_made_readable() -> None:
    """An operator who looks at the dead letters gets them through the library."""
    got = frame.marshal(Basic.GetOk(1, False, "", "x", 0), UNTAPPED)
    header = in_microseconds(HEADER)
    header = header[:1] + UNTAPPED.to_bytes(2, "big") + header[3:]
    found, incoming = fed(got + header, [])
    assert not incoming.broken
    size, _, _ = frame.unmarshal(found.rest)
    _, _, read = frame.unmarshal(found.rest[size:])
    assert isinstance(read, ContentHeader)
    assert (read.properties.correlation_id, read.body_size) == ("a", 10)


def test_of_a_body_that_nobody_will_look_at_only_the_beginning_is_kept() -> None:
    method = Basic.Deliver(OURS[0], 1, False, "", "evapi.results.sbc1")
    body = bytes(MAX_REPLY + 1)
    large = b"".join(Content(CONSUMING, method, Basic.Properties(correlation_id="a"), body, 50_000).frames())
    whole = b"".join(
        Content(CONSUMING, method, Basic.Properties(correlation_id="b"), body[:-1], 50_000).frames()
    )
    found, incoming = fed(large + whole, [])
    assert not incoming.broken
    assert [(each.size, len(each.body)) for each in found.deliveries] == [
        (MAX_REPLY + 1, 4_096),
        (0, MAX_REPLY),
    ]
