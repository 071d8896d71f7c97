"""Frames of which only the ids are read at first."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.wire.event import LazySuspended, Malformed, Suspended, parse, peek_ids, read_on
from adapter.wire.netstring import Oversized

HEAD = b'{"event":"invite_request","tm_trans":{"tm_index":37,"tm_label":4294967295,"seq":2}'
WHOLE = HEAD + b',"data":{"user":"100"}}'


def test_the_shipped_configurations_frame() -> None:
    found = peek_ids(WHOLE)
    assert found == LazySuspended(37, 4294967295, 2, WHOLE)
    assert read_on(found) == Suspended("invite_request", 37, 4294967295, 2, {"user": "100"}) == parse(WHOLE)


@pytest.mark.parametrize(
    "frame",
    [
        b"invite_request:37:1:e30=",
        b'{"event":"e","tm_trans":{"tm_index":"37","tm_label":1,"seq":1}}',
        b'{"event":"e","tm_trans":{"tm_index":37,"tm_label":1}}',
        b'{"event":"e","tm_trans":{"tm_index":37,"tm_label":1,"seq":0}}',
        b'{"event":"e","tm_trans":{"tm_index":-1,"tm_label":1,"seq":1}}',
        b'{"event":"a b","tm_trans":{"tm_index":37,"tm_label":1,"seq":1}}',
        b'{"event":"","tm_trans":{"tm_index":37,"tm_label":1,"seq":1}}',
        b' {"event":"e","tm_trans":{"tm_index":37,"tm_label":1,"seq":1}}',
        b'{"adapter":{"synced":"a:1"}}',
        b"",
        b'{"event":"e","tm_trans":{"tm_index":1,"tm_label":4294967296,"seq":1}}',
        Oversized(HEAD, 1 << 21),
    ],
)
def test_what_is_read_whole(frame: bytes | Oversized) -> None:
    assert peek_ids(frame) is None


@pytest.mark.parametrize(
    ("rest", "reason"),
    [
        (b',"data":{"user":', "not-json"),
        (b"", "not-json"),
        (b',"tm_trans":{"tm_index":38,"tm_label":1,"seq":2}}', "twice"),
        (b',"tm_trans":null}', "twice"),
        (b',"tm_trans":"x"}', "twice"),
        (b',"event":7}', "twice"),
    ],
)
def test_what_follows_may_be_broken_and_the_caller_is_answered(rest: bytes, reason: str) -> None:
    found = peek_ids(HEAD + rest)
    assert found is not None
    whole = read_on(found)
    assert isinstance(whole, Malformed)
    assert (whole.reason, whole.ids, whole.frame) == (reason, (37, 4294967295, 2), HEAD + rest)


@given(
    st.fixed_dictionaries(
        {
            "event": st.one_of(st.just("invite_request"), st.text(max_size=8)),
            "tm_trans": st.fixed_dictionaries(
                {
                    "tm_index": st.integers(-1, 1 << 33),
                    "tm_label": st.integers(-1, 1 << 33),
                    "seq": st.integers(-1, 1 << 33),
                }
            ),
            "data": st.dictionaries(st.text(max_size=4), st.integers() | st.text(max_size=4), max_size=3),
        }
    ),
    st.binary(max_size=4),
)
def test_it_never_says_anything_else_than_the_whole(told: dict[str, Any], rest: bytes) -> None:
    frame = json.dumps(told, separators=(",", ":"), ensure_ascii=False).encode() + rest
    found = peek_ids(frame)
    if found is not None:
        ids = told["tm_trans"]
        assert found[:3] == (ids["tm_index"], ids["tm_label"], ids["seq"])
        whole, before = read_on(found), parse(frame)
        assert whole == before or isinstance(whole, Malformed)
