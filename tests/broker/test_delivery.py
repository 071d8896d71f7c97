"""The properties of a reply, against what the library reads in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import frame
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from adapter.broker.rabbitmq.delivery import Properties, _known, read_properties
from consumers import Answer, Result
from consumers.amqp import frames as consumer_frames
from tests.amqp.drawn import properties

if TYPE_CHECKING:
    from collections.abc import Callable


def outcome(read: Callable[[], Any]) -> Any:
    """What is read, or that it cannot be."""
    try:
        return read()
    except Exception:
        return None


def agrees(raw: bytes) -> None:
    """The library's answer where it has one; else one all the same, where there are flags."""
    theirs = outcome(lambda: by_library(raw))
    found = outcome(lambda: read_properties(raw))
    if theirs is not None and not tail_alone(raw):
        assert found == theirs
    assert (found is None) == (len(raw) < 14)


def tail_alone(raw: bytes) -> bool:
    """Whether the flags go on in another word, of which nothing is defined."""
    return bool(raw[13] & 1)


def by_library(raw: bytes) -> Properties:
    header = ContentHeader()
    header.unmarshal(raw)
    return Properties.of(header.properties)


@given(properties, st.integers(0, 1 << 40), st.integers(0, 60))
def test_a_header_is_read_as_the_library_does(given: Basic.Properties, size: int, cut: int) -> None:
    raw = ContentHeader(0, size, given).marshal()
    assert read_properties(raw) == by_library(raw)
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
        read.append(read_properties(raw[size + 7 : size + 7 + length]))
        assert number == 0 or _known.cache_info().misses == before
    assert [found.times for found in read] == [
        (1_790_000_000_000_000 + number * 1_000_000, 1_790_000_000_250_000 + number * 1_000_000)
        for number in range(3)
    ]
    assert {str(found.headers) for found in read} == {"{'x-service': 'lcr'}"}


@pytest.mark.parametrize("where", [0, 1, 2])
def test_wherever_a_server_puts_the_times(where: int) -> None:
    """RabbitMQ 4 sorts headers by name."""
    times = [("x-received", 1_790_000_000_000_001), ("x-replied", 1_790_000_000_000_002)]
    others: list[tuple[str, Any]] = [("x-service", "lcr"), ("x-status", "failed")]
    table = dict([*others[:where], *times, *others[where:]])
    header = ContentHeader(0, 7, Basic.Properties(correlation_id="n:1:2:3", headers=table))
    found = read_properties(header.marshal())
    assert (found.times, found.headers) == ((times[0][1], times[1][1]), dict(others))
