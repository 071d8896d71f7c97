"""What is written and read by hand, against the library's own frames."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import frame, header
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from adapter.contract import MAX_BODY
from consumers import Answer, Result
from consumers.amqp import frames
from consumers.amqp.delivery import Delivery, PropertiesError

CHANNEL = 3

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


@given(properties, st.binary(max_size=30))
def test_a_request_is_read_as_the_library_does(given: Basic.Properties, body: bytes) -> None:
    method = Basic.Deliver("ctag", 1 << 40, False, "evapi.events", "e.n").marshal()
    header = ContentHeader(body_size=len(body), properties=given).marshal()
    read = ContentHeader()
    read.unmarshal(header)
    told = read.properties
    found = Delivery.scanned(b"\0\x3c\0\x3c" + method, header, body, 0)
    found.read()
    assert (found.tag, found.body) == (1 << 40, body)
    id_ = told.correlation_id if told.reply_to else None  # nobody waits for an answer otherwise
    assert (found.correlation_id, found.reply_to) == (id_, told.reply_to)
    assert found.headers == (told.headers or {})


def test_a_body_that_is_too_long_is_not_kept_and_cannot_be_read() -> None:
    """Anybody may send one: an instance of a service took each of them in whole, a prefetch count of them."""
    header = ContentHeader(body_size=MAX_BODY + 1, properties=Basic.Properties()).marshal()
    found = Delivery(1, header, b"\x80", MAX_BODY + 1)
    found.read()
    with pytest.raises(PropertiesError, match=f"a body of {MAX_BODY + 1} bytes"):
        _ = found.headers


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
    told = frames.reply(CHANNEL, 16, answer, body, to, "x:1", 1_790_000_000.000001, 1_790_000_000.25)
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
        frames.reply(CHANNEL, 16, answer, b"", "to", "x:1")
