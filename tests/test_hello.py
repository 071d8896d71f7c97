"""What instances of services say of themselves: written, read, and read of anybody."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter import hello
from adapter.errors import CodecError
from adapter.hello import Hello

PLAIN = Hello("least_cost", "host-1-ab")
counts = st.integers(0, (1 << 53) - 1)
short = st.text(max_size=hello.MAX_TEXT)
hellos = st.builds(
    Hello,
    service=st.just("least_cost"),
    instance=st.just("host-1-ab"),
    host=short,
    version=short,
    sdk=short,
    events=st.lists(short, max_size=5).map(tuple),
    uptime=st.integers(0, 1 << 40).map(lambda each: each / 1000),
    requests=counts,
    decided=counts,
    failed=counts,
    prefetch=counts,
    concurrency=st.none() | counts,
    per_decision=st.none() | st.integers(0, 1 << 40).map(lambda each: each / 1e6),
    error=st.none(),
    error_age=st.none(),
    leaves=st.booleans(),
)


@given(hellos)
def test_what_is_written_is_read(told: Hello) -> None:
    plain = told.host + told.version + told.sdk + "".join(told.events)
    if plain.isprintable() or plain.encode(errors="replace").decode() == plain:
        assert hello.decode(told.key, hello.encode(told)) == told


def test_an_error_and_when() -> None:
    told = replace(PLAIN, error="e: LookupError", error_age=1.5)
    assert hello.decode(told.key, hello.encode(told)) == told


@pytest.mark.parametrize("letter", ["x", "é", "😀", '"', "\x00", "\ud800"])
def test_it_is_bounded(letter: str) -> None:
    long = letter * 5_000
    body = hello.encode(Hello("s", "i", long, long, long, (long,) * 1_000, error=long, error_age=1.0))
    assert len(body) <= hello.MAX_BODY
    found = hello.decode("hello.s.i", body)
    assert max(map(len, (found.host, found.error or "", *found.events))) == hello.MAX_TEXT


@pytest.mark.parametrize("key", ["", "hello", "hello.s", "hello.s.i.j", "ask.s.i", "hello..i", "hello.s."])
def test_another_key_is_none(key: str) -> None:
    with pytest.raises(CodecError, match="routing key"):
        hello.decode(key, b"{}")


def test_whose_it_is_the_key_says() -> None:
    """A service's user may write any body, and, by a topic permission, no key but its own."""
    told = hello.decode("hello.fraud.i", hello.encode(PLAIN))
    assert (told.service, told.instance) == ("fraud", "i")


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xc1", b"{" + b" " * hello.MAX_BODY + b"}"])
def test_what_is_no_map_is_refused(body: bytes) -> None:
    with pytest.raises(CodecError):
        hello.decode(PLAIN.key, body)


values = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers())


@given(st.dictionaries(st.sampled_from([*Hello.__annotations__, "state", "other"]), values))
def test_values_of_another_type_are_left_out(body: dict[str, Any]) -> None:
    told = hello.decode(PLAIN.key, json.dumps(body).replace("NaN", "0").replace("Infinity", "0").encode())
    assert hello.decode(told.key, hello.encode(told)).events == told.events
    assert told.uptime >= 0
    assert told.requests >= 0
