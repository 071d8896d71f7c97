"""What is cut out of the server's stream, against what the library reads in it."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import frame
from pamqp.body import ContentBody
from pamqp.commands import Basic, Connection, Queue
from pamqp.header import ContentHeader
from pamqp.heartbeat import Heartbeat

from adapter.amqp import fields
from adapter.amqp.scanner import BEGINNING, Confirm, Returned, Scanner, Tapped
from tests.amqp.drawn import names, properties

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from random import Random

CONSUMING, PUBLISHING, UNTAPPED = 3, 258, 7
"""The first takes all there is, the second no deliveries."""
MOST = 1_000

plain_names = st.text("abc-._:", max_size=20)  # of exchanges and queues the library takes no others


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


delivered = st.builds(Basic.Deliver, names, st.integers(1, (1 << 63) - 1), st.booleans(), plain_names, names)
CHANNELS = st.sampled_from([CONSUMING, PUBLISHING, UNTAPPED])
numbers = st.integers(1, (1 << 63) - 1)
confirms = st.builds(Basic.Ack, numbers, st.booleans()) | st.builds(
    Basic.Nack, numbers, st.booleans(), st.booleans()
)
messages = st.one_of(
    contents(CHANNELS, delivered),
    contents(CHANNELS, st.builds(Basic.GetOk, numbers, st.booleans(), plain_names, names, st.integers(0, 9))),
    contents(CHANNELS, st.builds(Basic.Return, st.just(312), names, plain_names, names)),
    st.builds(Plain, CHANNELS, confirms),
    st.builds(Plain, CHANNELS, st.builds(Queue.DeclareOk, plain_names, st.integers(0, 9), st.integers(0, 9))),
    st.builds(Plain, CHANNELS, st.builds(Basic.Cancel, names)),
    st.just(Plain(0, Heartbeat())),
    st.builds(Plain, st.just(0), st.builds(Connection.Blocked, names)),
)


class Delivery(NamedTuple):
    """What is made of one here: all that the scanner gives."""

    tag: int
    correlation_id: str | None
    body: bytes
    size: int


def made(method: bytes, header: bytes, body: bytes, size: int) -> Delivery:
    return Delivery(int.from_bytes(method[5 + method[4] :][:8], "big"), fields.ids(header)[0], body, size)


class Found(NamedTuple):
    """What came out: for the consumer, for who publishes, for the library."""

    deliveries: list[Delivery]
    confirms: list[Confirm | Returned]
    rest: bytes
    others: list[Confirm | Returned]
    """What is confirmed on the channel of the consumer."""


def merged(items: Sequence[Content | Plain], random: Random) -> list[bytes]:
    """The frames in an order that the server might send: those of a channel in theirs, others in between."""
    queues: defaultdict[int, list[bytes]] = defaultdict(list)
    for item in items:
        queues[item.channel] += item.frames()
    frames = []
    while queues:
        channel = random.choice(sorted(queues))
        frames.append(queues[channel].pop(0))
        if not queues[channel]:
            del queues[channel]
    return frames


def fed(stream: bytes, cuts: Sequence[int]) -> tuple[Found, Scanner]:
    """What comes out of a stream that arrives in pieces of these sizes, the last one as long as it takes."""
    found = Found([], [], b"", [])

    def consume(deliveries: list[Delivery], confirms: list[Confirm | Returned]) -> None:
        found.deliveries.extend(deliveries)
        found.others.extend(confirms)

    scanner = Scanner()
    scanner.add(CONSUMING, Tapped(consume, made, MOST))
    scanner.add(PUBLISHING, Tapped[None](lambda _, confirms: found.confirms.extend(confirms), None, 0))
    rest, at = b"", 0
    for size in (*cuts, len(stream)):
        rest += scanner.feed(stream[at : at + size])
        scanner.hand_on()
        at += size
    return found._replace(rest=rest), scanner


def expected(frames: Sequence[bytes]) -> Found:
    """What the library reads, channel by channel."""
    found = Found([], [], b"", [])
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
                of = header.properties
                if isinstance(method, Basic.Return):
                    returned = Returned(of.message_id, of.correlation_id, str(method.routing_key))
                    (found.others if channel == CONSUMING else found.confirms).append(returned)
                else:
                    tag, body = method.delivery_tag, bodies[channel]
                    found.deliveries.append(Delivery(tag, of.correlation_id, body, 0))
            if len(bodies[channel]) == header.body_size:
                methods.pop(channel, None)
                bodies.pop(channel)
        elif channel == UNTAPPED or not isinstance(
            each, Basic.Ack | Basic.Nack | Basic.Return | Basic.Deliver
        ):
            rest.append(raw)
        elif isinstance(each, Basic.Ack | Basic.Nack):
            taken = isinstance(each, Basic.Ack)
            confirm = Confirm(each.delivery_tag, bool(each.multiple), taken)
            (found.others if channel == CONSUMING else found.confirms).append(confirm)
        elif channel == CONSUMING or isinstance(each, Basic.Return):
            methods[channel] = each
        else:
            rest.append(raw)
    return found._replace(rest=b"".join(rest))


cuts = st.lists(st.integers(0, 40), max_size=200)


@given(st.lists(messages, max_size=12), st.randoms(use_true_random=False), cuts)
def test_however_it_is_split_each_gets_its_own(
    items: list[Content | Plain], random: Random, cuts: list[int]
) -> None:
    frames = merged(items, random)
    found, scanner = fed(b"".join(frames), cuts)
    assert found == expected(frames)
    assert not scanner.broken


def reply(**given: Any) -> list[bytes]:
    method = Basic.Deliver("replies", 1, False, "", "evapi.results.sbc1")
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


def method(payload: str) -> bytes:
    raw = bytes.fromhex(payload)
    return b"\1" + CONSUMING.to_bytes(2, "big") + len(raw).to_bytes(4, "big") + raw + b"\xce"


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
        ([], method("003c003c")),
        ([], method("003c003c0000")),  # without a tag
        ([], method("003c00500100")),  # an ack of two bytes
    ],
)
@given(cuts=cuts)
def test_what_is_broken_is_the_librarys_with_all_that_follows(
    good: list[bytes], bad: bytes, cuts: list[int]
) -> None:
    before = [*reply(correlation_id="b"), EMPTY]
    after = [EMPTY, *reply(correlation_id="c"), EMPTY]
    found, scanner = fed(b"".join((*before, *good, bad, *after)), cuts)
    assert scanner.broken
    assert [each.correlation_id for each in found.deliveries] == ["b"]
    assert found.rest == b"".join((EMPTY, bad, *after))


def test_a_returned_message_without_its_key_is_broken() -> None:
    header = frame.marshal(ContentHeader(body_size=0), CONSUMING)
    _, scanner = fed(method("003c0032013800") + header, [])
    assert scanner.broken


def test_of_a_returned_message_whose_properties_cannot_be_read_no_id_is_told() -> None:
    """It is no reason to give the connection up: the confirm behind it says what became of it."""
    returned = frame.marshal(Basic.Return(312, "", "", "key"), CONSUMING)
    cut = b"\2" + CONSUMING.to_bytes(2, "big") + b"\0\0\0\x10\0\x3c\0\0" + bytes(8) + b"\x04\0\5n\xce"
    found, scanner = fed(returned + cut + frame.marshal(Basic.Ack(1), CONSUMING), [])
    assert not scanner.broken
    assert found.others == [Returned(None, None, "key"), Confirm(1, False, True)]


def test_a_read_is_handed_on_at_once() -> None:
    calls: list[tuple[int, int]] = []
    consuming = Tapped(lambda *came: calls.append((len(came[0]), len(came[1]))), made, MOST)
    scanner = Scanner()
    scanner.add(CONSUMING, consuming)
    ack = frame.marshal(Basic.Ack(1), CONSUMING)
    stream = b"".join([*reply(), ack, *reply(), *reply()])
    assert scanner.feed(stream[:-1]) == b""
    scanner.hand_on()
    scanner.hand_on()
    assert scanner.feed(stream[-1:]) == b""
    scanner.hand_on()
    assert calls == [(2, 1), (1, 0)]


def test_a_number_may_be_another_channels_by_the_time_it_is_removed() -> None:
    scanner = Scanner()
    old, new = (Tapped[Delivery](lambda *_: None, None, 0) for _ in range(2))
    ack = frame.marshal(Basic.Ack(1), PUBLISHING)
    scanner.add(PUBLISHING, old)
    scanner.add(PUBLISHING, new)
    scanner.remove(PUBLISHING, old)
    assert scanner.feed(ack) == b""
    scanner.remove(PUBLISHING, new)
    assert scanner.feed(ack) == ack


def test_a_timestamp_in_microseconds_costs_nothing_but_itself() -> None:
    second = reply(correlation_id="c")
    found, scanner = fed(b"".join((DELIVER, in_microseconds(HEADER), FIRST, SECOND, *second)), [])
    assert [each.correlation_id for each in found.deliveries] == ["a", "c"]
    assert not scanner.broken
    assert found.rest == b""


def test_a_header_for_the_library_is_made_readable() -> None:
    """An operator who looks at the dead letters gets them through the library."""
    got = frame.marshal(Basic.GetOk(1, False, "", "x", 0), UNTAPPED)
    header = in_microseconds(HEADER)
    header = header[:1] + UNTAPPED.to_bytes(2, "big") + header[3:]
    found, scanner = fed(got + header, [])
    assert not scanner.broken
    size, _, _ = frame.unmarshal(found.rest)
    _, _, read = frame.unmarshal(found.rest[size:])
    assert isinstance(read, ContentHeader)
    assert (read.properties.correlation_id, read.body_size) == ("a", 10)


@pytest.mark.parametrize("most", [60, 50_000])
def test_of_a_body_that_nobody_will_look_at_only_the_beginning_is_kept(most: int) -> None:
    """Whatever its size: bodies are bounded by the frame, and their number by the prefetch count."""
    method = Basic.Deliver("replies", 1, False, "", "evapi.results.sbc1")
    body = bytes(50_000)
    large = b"".join(Content(CONSUMING, method, Basic.Properties(correlation_id="a"), body, most).frames())
    whole = b"".join(
        Content(CONSUMING, method, Basic.Properties(correlation_id="b"), body[:MOST], most).frames()
    )
    found, scanner = fed(large + whole, [])
    assert not scanner.broken
    assert [(each.size, len(each.body)) for each in found.deliveries] == [
        (50_000, min(most, BEGINNING)),
        (0, MOST),
    ]
