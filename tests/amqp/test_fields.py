"""Properties that are valid and that Python, or the library, cannot hold."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import decode, encode
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from adapter.amqp import fields

names = st.text(max_size=20)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 63) - 1)
    | st.floats(allow_nan=False, width=32)
    | st.text(max_size=8)
    | st.binary(max_size=8).map(bytearray)
    | st.just(Decimal("1.5"))
    | st.just(datetime(2026, 1, 1, tzinfo=UTC)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(names, values, max_size=4))
def test_a_table_is_read_as_the_library_does(found: dict[str, Any]) -> None:
    raw = encode.field_table(found)
    assert fields.table(raw) == decode.field_table(raw)[1]


def header(flags: int, raw: bytes) -> bytes:
    return b"\0\x3c" + bytes(10) + flags.to_bytes(2, "big") + raw


def table(*named: tuple[bytes, bytes]) -> bytes:
    raw = b"".join(bytes([len(name)]) + name + value for name, value in named)
    return len(raw).to_bytes(4, "big") + raw


LATE = b"T" + (1_790_000_000_000_000).to_bytes(8, "big")
STATUS = b"S\0\0\0\x06failed"
DEEP = 30_000


def nested(depth: int) -> bytes:
    raw = b"V"
    for _ in range(depth):
        raw = b"A" + len(raw).to_bytes(4, "big") + raw
    return raw


@pytest.mark.parametrize(
    "value",
    [
        LATE,
        b"T" + b"\xff" * 8,
        b"F" + table((b"t", LATE)),
        b"A\0\0\0\x09" + LATE,
        nested(DEEP),
        b"S\0\0\0\x01\xff",
        b"d\x7f\xf8" + bytes(6),
    ],
)
def test_what_follows_a_value_that_cannot_be_held_is_read(value: bytes) -> None:
    raw = table((b"x", value), (b"x-status", STATUS))
    found = fields.properties(header(1 << 13 | 1 << 10, raw + b"\1a"))
    assert found.headers["x-status"] == "failed"
    assert found.correlation_id == "a"


def test_a_timestamp_that_cannot_be_held_is_left_out() -> None:
    assert fields.table(table((b"a", LATE), (b"b", STATUS))) == {"b": "failed"}
    assert fields.table(table((b"a", b"A\0\0\0\x0a" + LATE + b"V"))) == {"a": [None]}


@pytest.mark.parametrize("value", [b"?", b"S\0\0\0\x99x", b"l\0", b"F\0\0\0\x09"])
def test_a_table_that_contradicts_itself(value: bytes) -> None:
    raw = table((b"x", value))
    with pytest.raises(ValueError, match=r"."):
        fields.table(raw)
    found = fields.properties(header(1 << 13 | 1 << 10, raw + b"\1a"))
    assert (found.headers, found.correlation_id) == ({}, "a")


@given(st.integers(0, 0xFFFF), st.binary(max_size=60))
def test_nothing_else_is_raised(flags: int, junk: bytes) -> None:
    fields.properties(header(flags & ~1, junk))


def test_each_property_that_is_asked_for() -> None:
    given = Basic.Properties(
        content_type="a", content_encoding="b", headers={"c": 1}, delivery_mode=1, priority=2,
        correlation_id="d", reply_to="e", expiration="f", message_id="g", app_id="h",
    )  # fmt: skip
    found = fields.properties(ContentHeader(0, 1, given).marshal())
    assert found == ("a", {"c": 1}, "d", "e", "g")
    assert fields.properties(b"\0\x3c" + bytes(10) + b"\x80\1\0\0" + b"\1a").content_type == "a"
