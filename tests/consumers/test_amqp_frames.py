"""What is written and read by hand, against the library's own frames."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import frame, header
from pamqp.body import ContentBody
from pamqp.commands import Basic, Channel
from pamqp.header import ContentHeader
from pamqp.heartbeat import Heartbeat

from consumers import Answer, Result
from consumers.amqp import frames
from consumers.amqp.incoming import Confirm, Delivery, Incoming, PropertiesError, Returned

if TYPE_CHECKING:
    from collections.abc import Sequence

TAPPED, OTHER = 3, 4

short = st.text(max_size=20)
names = st.text("abcdefgh-", min_size=1, max_size=10)
values = st.one_of(
    st.text(max_size=20),
    st.integers(-(1 << 62), 1 << 62),
    st.booleans(),
    st.none(),
    st.just(datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)),
    st.lists(st.text(max_size=5), max_size=2),
    st.dictionaries(names, st.text(max_size=5), max_size=2),
)
tables = st.dictionaries(names, values, max_size=4)
properties = st.builds(
    Basic.Properties,
    content_type=short,
    content_encoding=st.just("") | short,
    headers=tables,
    delivery_mode=st.sampled_from([None, 1, 2]),
    priority=st.none() | st.integers(0, 9),
    correlation_id=short,
    reply_to=short,
    expiration=st.just("") | st.just("1000"),
    message_id=short,
    app_id=short,
)


def unmarshalled(data: bytes) -> list[Any]:
    found = []
    while data:
        size, channel, one = frame.unmarshal(data)
        found.append((channel, one))
        data = data[size:]
    return found


def marshalled(*parts: Any, channel: int = TAPPED) -> bytes:
    return b"".join(frame.marshal(part, channel) for part in parts)


def message(method: Any, given: Basic.Properties, body: bytes, most: int = 8) -> bytes:
    bodies = [ContentBody(body[start : start + most]) for start in range(0, len(body), most)]
    return marshalled(method, ContentHeader(body_size=len(body), properties=given), *bodies)


deliveries = st.builds(
    lambda tag, consumer, given, body: message(
        Basic.Deliver(consumer, tag, False, "evapi.events", "e.n"), given, body
    ),
    st.integers(1, 1 << 62),
    short,
    properties,
    st.binary(max_size=30),
)
returns = st.builds(
    lambda text, key, given, body: message(Basic.Return(312, text, "", key), given, body),
    short,
    short,
    properties,
    st.binary(max_size=12),
)
confirms = st.builds(
    lambda kind, tag, multiple: marshalled(kind(tag, multiple)),
    st.sampled_from([Basic.Ack, Basic.Nack]),
    st.integers(1, 1 << 62),
    st.booleans(),
)
others = st.sampled_from(
    [
        marshalled(Basic.CancelOk("tag")),
        marshalled(Channel.Close(406, "no", 60, 40)),
        marshalled(Basic.GetOk(1, False, "", "q", 0), ContentHeader(body_size=1), ContentBody(b"x")),
        marshalled(Basic.Ack(7), channel=OTHER),
        marshalled(Basic.Deliver("t", 1, False, "", ""), ContentHeader(body_size=0), channel=OTHER),
        frame.marshal(Heartbeat(), 0),
    ]
)
streams = st.lists(deliveries | returns | confirms | others, max_size=8)


def seen(incoming: Incoming, chunks: Sequence[bytes]) -> tuple[list[Any], list[Any], list[Any], bytes]:
    delivered: list[Any] = []
    confirmed: list[Any] = []
    returned: list[Any] = []
    rest = b""
    for chunk in chunks:
        rest += incoming.feed(chunk)
        for channel, batch in incoming.batches():
            assert channel == TAPPED
            for one in batch.deliveries:
                one.read()
                delivered.append((one.tag, one.body, one.correlation_id, one.reply_to, one.headers))
            confirmed += batch.confirms
            returned += batch.returned
    return delivered, confirmed, returned, rest


def told(stream: Sequence[bytes]) -> tuple[list[Any], list[Any], list[Any], bytes]:
    """The same, as the library's decoder sees it."""
    delivered: list[Any] = []
    confirmed: list[Any] = []
    returned: list[Any] = []
    rest = b""
    for data in stream:
        (channel, first), *more = unmarshalled(data)
        if channel == TAPPED and isinstance(first, Basic.Ack | Basic.Nack):
            confirmed.append(Confirm(first.delivery_tag, first.multiple, isinstance(first, Basic.Ack)))
        elif channel == TAPPED and isinstance(first, Basic.Deliver | Basic.Return):
            given = more[0][1].properties
            body = b"".join(part.value for _, part in more[1:])
            if isinstance(first, Basic.Return):
                returned.append(Returned(given.correlation_id, first.routing_key))
            else:
                headers = given.headers or {}
                delivered.append((first.delivery_tag, body, given.correlation_id, given.reply_to, headers))
        else:
            rest += data
    return delivered, confirmed, returned, rest


@given(streams, st.lists(st.integers(1, 40), max_size=60))
def test_any_split_of_any_stream_gives_the_same(stream: list[bytes], sizes: list[int]) -> None:
    data, chunks = b"".join(stream), []
    for size in sizes:
        chunks.append(data[:size])
        data = data[size:]
    incoming = Incoming()
    incoming.add(TAPPED)
    assert seen(incoming, [*chunks, data]) == told(stream)
    assert not incoming.out_of_step


@given(st.lists(others | deliveries, max_size=5))
def test_without_a_tap_all_is_the_librarys(stream: list[bytes]) -> None:
    incoming, data = Incoming(), b"".join(stream)
    incoming.add(TAPPED)
    incoming.remove(TAPPED)
    assert incoming.feed(data) == data
    assert not incoming.batches()


DELIVER = marshalled(Basic.Deliver("t", 1, False, "", ""))
HEADER = marshalled(ContentHeader(body_size=3))


@pytest.mark.parametrize(
    "broken",
    [
        b"HTTP/1.1 400 Bad Request\r\n",
        b"A",
        frame.marshal(Heartbeat(), 0)[:-1] + b"\0",
        b"\x01\0\x03\0\0\0\x02\0\x3c\xce",  # a method without its number
        b"\x01\0\x03\0\0\0\x05\0\x3c\0\x50\x01\xce",  # an ack of one byte
        DELIVER + b"\x02\0\x03\0\0\0\x02\0\x3c\xce",  # a header of two
        DELIVER + DELIVER,
        DELIVER + HEADER + HEADER,
        DELIVER + HEADER + marshalled(ContentBody(b"four")),
        # A delivery whose tag is not there, and a returned message without its key.
        b"\x01\0\x03\0\0\0\x06\0\x3c\0\x3c\0\0\xce" + marshalled(ContentHeader(body_size=0)),
        b"\x01\0\x03\0\0\0\x07\0\x3c\0\x32\1\x38\0\xce" + marshalled(ContentHeader(body_size=0)),
    ],
)
def test_a_stream_out_of_step_is_the_librarys_for_good(broken: bytes) -> None:
    incoming = Incoming()
    incoming.add(TAPPED)
    before, after = frame.marshal(Heartbeat(), 0), marshalled(Basic.Ack(1))
    rest = incoming.feed(before + broken)
    assert incoming.out_of_step
    assert rest.startswith(before)
    assert broken.endswith(rest[len(before) :])
    assert len(rest) > len(before)
    assert incoming.feed(after) == after


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\0\x3c\0\0" + bytes(8) + b"\x80\0",  # no content type, though the flags promise it
        b"\0\x3c\0\0" + bytes(8) + b"\x04\0\x05n:1",  # a correlation id that is cut off
        b"\0\x3c\0\0" + bytes(8) + b"\x04\0\x01\xff",  # one that is no text
        b"\0\x3c\0\0" + bytes(8) + b"\x20\0\0\0\xff\0",  # a table that is cut off
    ],
)
def test_properties_that_cannot_be_read(payload: bytes) -> None:
    with pytest.raises(PropertiesError, match="properties: "):
        Delivery(1, payload, b"").read()


@pytest.mark.parametrize(
    "table",
    [b"\x01aS\0\0\0\x09x", b"\x01al\0", b"\x09a", b"\x01\xffS\0\0\0\0", b"\x01a?", b"\x01aF\0\0\0\x09"],
)
def test_headers_that_cannot_be_read(table: bytes) -> None:
    payload = b"\0\x3c\0\0" + bytes(8) + b"\x20\0" + len(table).to_bytes(4, "big") + table
    delivery = Delivery(1, payload, b"")
    delivery.read()
    with pytest.raises(PropertiesError, match="headers: "):
        _ = delivery.headers


@given(
    st.binary(max_size=40),
    st.none() | short,
    st.none() | short,
    st.dictionaries(names, st.text(max_size=30), max_size=3),
    st.text(max_size=60),
)
def test_a_reply(
    body: bytes, content_type: str | None, correlation_id: str | None, headers: dict[str, str], to: str
) -> None:
    answer = Answer(Result.DECIDED, correlation_id, body, content_type, headers)
    told = frames.reply(TAPPED, 16, answer, body, to, "x:1", 1_790_000_000.000001, 1_790_000_000.25)
    (_, method), (_, head), *bodies = unmarshalled(told)
    assert isinstance(method, Basic.Publish)
    assert (method.exchange, method.routing_key, method.mandatory) == ("", to, True)
    assert isinstance(head, header.ContentHeader)
    assert head.body_size == len(body)
    found = head.properties
    assert (found.content_type, found.correlation_id, found.headers) == (
        content_type,
        correlation_id,
        {**headers, "x-received": 1_790_000_000_000_001, "x-replied": 1_790_000_000_250_000},
    )
    assert (found.message_id, found.app_id, found.delivery_mode) == ("x:1", "evapi-adapter", 1)
    assert b"".join(part.value for _, part in bodies) == body
    assert all(len(part.value) <= 16 for _, part in bodies)


@pytest.mark.parametrize(
    "answer", [Answer(Result.DECIDED, "x" * 256), Answer(Result.DECIDED, "x", b"", "y" * 256)]
)
def test_what_amqp_cannot_carry(answer: Answer) -> None:
    with pytest.raises(ValueError, match="256 bytes in a property, at most 255 allowed"):
        frames.reply(TAPPED, 16, answer, b"", "to", "x:1")


def test_what_becomes_of_a_request() -> None:
    for multiple in (False, True):
        assert frames.ack(TAPPED, 1 << 40, multiple) == marshalled(Basic.Ack(1 << 40, multiple))
    assert frames.reject(TAPPED, 7) == marshalled(Basic.Reject(7, requeue=False))
