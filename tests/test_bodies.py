"""The first byte tells the format of a body."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter import bodies
from adapter.bodies import Habit
from adapter.errors import CodecError

ROUTE = {"action": "route", "uri": "sip:gw7.example.net"}
PACKED = msgpack.packb(ROUTE)
TEXT = json.dumps(ROUTE).encode()


def amqp_value(code: int, body: bytes) -> bytes:
    length = len(body).to_bytes(1 if code in (0xA0, 0xA1) else 4, "big")
    return b"\x00\x53\x77" + bytes([code]) + length + body


UNDERSTOOD = {
    "msgpack": PACKED,
    "JSON": TEXT,
    "JSON after white space": b" \r\n\t" + TEXT,
    "JSON with a byte order mark": b"\xef\xbb\xbf" + TEXT,
    "a map of 16 bit": msgpack.packb(ROUTE | {str(n): n for n in range(20)}),
    **{
        f"an AMQP 1.0 value {code:02x} around {name}": amqp_value(code, body)
        for code in (0xA0, 0xA1, 0xB0, 0xB1)
        for name, body in (("msgpack", PACKED), ("JSON", TEXT))
    },
}


@pytest.mark.parametrize("body", UNDERSTOOD.values(), ids=UNDERSTOOD)
def test_what_decides(body: bytes) -> None:
    decision, habit = bodies.read(body)
    assert decision | ROUTE == decision
    assert habit is None


def test_no_two_formats_begin_alike() -> None:
    kinds: dict[int, set[str]] = {}
    for size in (0, 1, 15, 16, 70_000):
        packed = msgpack.packb({str(n): n for n in range(size)})
        kinds.setdefault(packed[0], set()).add("msgpack")
    for text in (b"{}", b" {}", b"\t{}", b"\n{}", b"\r{}", b"\xef\xbb\xbf{}"):
        kinds.setdefault(text[0], set()).add("JSON")
    kinds.setdefault(0x00, set()).add("AMQP 1.0")
    assert all(len(names) == 1 for names in kinds.values())


NEITHER = {
    "nothing": (b"", "format", "empty"),
    "text": (
        b"route to gw7",
        "format",
        r"neither JSON nor msgpack: it begins with 72 6f .* \('route to gw7'\)",
    ),
    "XML": (b"<reply/>", "format", "3c 72"),
    "a JSON array": (b"[1]", "not-a-map", "a JSON array"),
    "a JSON array after white space": (b" [1]", "not-a-map", "a JSON list"),
    "JSON within JSON": (json.dumps(TEXT.decode()).encode(), "not-a-map", "a JSON string"),
    "a msgpack array": (b"\x91\x01", "not-a-map", "a msgpack array"),
    "bytes in msgpack": (msgpack.packb(PACKED), "format", "begins with c4"),
    "a msgpackr record": (b"\xd4\x72\x40\x91\xa6action\xa5allow", "not-a-map", "useRecords"),
    "JSON cut off": (TEXT[:-1], "not-json", "it begins with 7b"),
    "msgpack cut off": (PACKED[:-1], "not-msgpack", "it begins with 82"),
    "two values": (PACKED + b"\0", "not-msgpack", "ExtraData"),
    "an AMQP 1.0 map": (b"\x00\x53\x77\xc1\x01\x00", "format", "neither string nor binary"),
    "an AMQP 1.0 value cut off": (amqp_value(0xA0, PACKED)[:-1], "format", "another length"),
    "an AMQP 1.0 value without a type": (b"\x00\x53\x77", "format", "AMQP 1.0"),
    "an AMQP 1.0 value in one": (amqp_value(0xA0, amqp_value(0xA0, PACKED)), "format", "begins with 00"),
}


@pytest.mark.parametrize(("body", "reason", "told"), NEITHER.values(), ids=NEITHER)
def test_what_is_refused_is_named(body: bytes, reason: str, told: str) -> None:
    with pytest.raises(CodecError, match=told) as caught:
        bodies.read(body)
    assert caught.value.reason == reason


def test_times_and_undefined() -> None:
    at = datetime(2026, 11, 29, 11, 0, 0, 250_000, UTC)
    packed = msgpack.packb(ROUTE | {"at": at, "none": msgpack.ExtType(0, b"\0")}, datetime=True)
    assert bodies.read(packed) == (ROUTE | {"at": at, "none": None}, None)


@pytest.mark.parametrize("seconds", [1 << 60, -(1 << 60)])
def test_a_time_that_python_cannot_hold(seconds: int) -> None:
    raw = b"\x81\xa1a\xc7\x0c\xff\0\0\0\0" + seconds.to_bytes(8, "big", signed=True)
    with pytest.raises(CodecError):
        bodies.read(raw)


def by_index(body: bytes) -> dict[str, Any]:
    return {str(index): byte for index, byte in enumerate(body)}


@pytest.mark.parametrize("inner", [PACKED, TEXT], ids=["msgpack", "JSON"])
@pytest.mark.parametrize("outer", [json.dumps, msgpack.packb], ids=["in JSON", "in msgpack"])
def test_an_array_of_bytes_is_undone(inner: bytes, outer: Any) -> None:
    for written in (by_index(inner), {"type": "Buffer", "data": list(inner)}):
        body = outer(written)
        assert bodies.read(body if isinstance(body, bytes) else body.encode()) == (ROUTE, Habit.BYTES_AS_JSON)


@pytest.mark.parametrize(
    "decision",
    [
        *({}, {"uri": "sip:a@example.net"}, {"0": 5}, {"0": 130, "1": 300}, {"0": "x"}, {"0": 128, "2": 1}),
        *(
            {"type": "Buffer", "data": "x"},
            {"type": "Buffer", "data": [1.5]},
            {"type": "Buffer", "data": [300]},
        ),
    ],
)
def test_a_decision_without_action_is_as_it_is(decision: dict[str, Any]) -> None:
    assert bodies.read(json.dumps(decision).encode()) == (decision, Habit.NO_ACTION)


@given(st.binary(max_size=40))
def test_any_bytes_are_a_map_or_a_codec_error(raw: bytes) -> None:
    with contextlib.suppress(CodecError):
        assert isinstance(bodies.read(raw)[0], dict)
