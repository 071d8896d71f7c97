"""Frames not understood: whose ids are read all the same, and that nothing is ever raised."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from adapter.bodies import decode_json
from adapter.errors import CodecError
from adapter.wire.command import check_command
from adapter.wire.event import Malformed, Notice, Suspended, parse, peek_ids, read_on
from adapter.wire.netstring import HEAD, Oversized
from tests.wire.frames import BAD_IDS, IDS, MAX, dumps, malformed

# Broken JSON: ids are read only where nothing a caller wrote can stand before them.


@pytest.mark.parametrize(
    "broken",
    [
        b'{"event":"e",' + IDS + b',"data":{"ua":"we"ird"}}',
        b'{"event":"e",' + IDS + b',"data":{"ua":"esc\\\'aped"}}',  # as {s.escape.common} writes it
        b'{"event":"e",' + IDS + b',"data":{"ua":"\xff"}}',
        b'{"event":"e",' + IDS + b',"data":{"ua":"tab\there"}}',
        b'{"event":"e",' + IDS + b',"data":{"q":NaN}}',
        b'{"event":"e",' + IDS + b',"data":{"q":-Infinity}}',
        b'{"event":"e",' + IDS + b',"data":{"q":}}',
        b'{"event":"e",' + IDS + b',"data":{}',
        b'{"event":"e",' + IDS + b"} and more",
        b'{"event":"e",' + IDS + b',"data":' + b"[" * 100_000,
        b'{"event":"e",' + IDS + b',"data":' + b"9" * 5000 + b"}",
        b'{"event":"e",' + IDS + b',"data":{"ua":""tm_index":5,"tm_label":6"}}',
        b'{ "event" : "e" ,\n' + IDS.replace(b":", b" : ").replace(b",", b" , ") + b', "data": oops}',
        b"{" + IDS + b',"event":"e","data":oops}',
        b'{"event":"e","tm_index":37,"tm_label":18,"seq":2,"ua":oops}',
        b'{"seq":2,"tr_label":"18","tr_index":"37","event":"e","ua":oops}',
        b'{"event":"e",' + IDS + b',"data":"\x00"}',
    ],
)
def test_ids_before_the_data_of_broken_json_are_read(broken: bytes) -> None:
    found = malformed(broken)
    assert (found.reason, found.event, found.ids, found.frame) == ("not-json", "e", (37, 18, 2), broken)


@pytest.mark.parametrize(
    "broken",
    [
        # A notice. The caller's User-Agent is: x","tm_index":5,"tm_label":6,"y":"
        b'{"event":"e","ua":"x","tm_index":5,"tm_label":6,"y":"","rest":oops}',
        b'{"event":"e","data":{"ua":"x"},"tm_trans":{"tm_index":5,"tm_label":6},"y":"","rest":oops}',
        b'{"event":"e","data":{"ua":""tm_index":5,"tm_label":6"}}',
        b'{"event":"e","data":{"ua":"\\"tm_index\\":5,\\"tm_label\\":6"},oops}',
        b'{"data":{"ua":"x"y"},"event":"e",' + IDS + b"}",  # the ids are genuine, but who can tell
        # Cut off: a number may have lost its end.
        b'{"event":"e","tm_index":37,"tm_label":18',
        b'{"event":"e","tm_trans":{"tm_index":37,"tm_label":18',
        b'{"event":"e","tm_trans":{"tm_index":37,"tm_label":18}',
        b'{"event":"e","tm_trans":{"tm_index":37,"tm_label":18}x',
        b'{"event":"e","tm_index":37,oops',
        # Nothing to go by.
        b"{",
        b"{{",
        b"{}}",
        b'{"event":"e"}"tm_index":5,"tm_label":6,oops',
        b'{"event"',
        b'{"event":',
        b'{"event":"e"',
        b'{"event":"e"}}',
        b'{"event":"e","event":"e",' + IDS + b",oops}",
        b'{"event":"e","tm_trans":oops,"tm_index":37,"tm_label":18}',
        b'{"event":"e","tm_trans":"x","tm_index":37,"tm_label":18,oops}',
        b'{"event":"e","tm_trans":{"tm_index":37,"tm_label":18,"seq":0},oops}',
        b'{"event":"e","tm_trans":{"tm_index":37,"tm_label":4294967296},oops}',
        b'{"event":"e","tm_trans":{"tm_index":true,"tm_label":18},oops}',
        b'{"event":"e","tm_trans":' + b"[" * 100_000,
        b'{\'event\':\'e\',"tm_trans":{"tm_index":37,"tm_label":18}}',
        b'{"adapter":{"synced":"x"',
    ],
)
def test_broken_json_never_picks_a_victim(broken: bytes) -> None:
    found = malformed(broken)
    assert (found.reason, found.ids) == ("not-json", None)


def test_broken_json_with_a_name_that_is_no_utf_8() -> None:
    found = malformed(b'{"event":"caf\xe9",' + IDS + b',"ua":oops}')
    assert (found.reason, found.event, found.ids) == ("not-json", "", (37, 18, 2))


@given(st.text(max_size=60), st.sampled_from(["", '"', '\\"']))
@example('x","tm_index":5,"tm_label":6,"y":"', "")
@example('"tm_trans":{"tm_index":5,"tm_label":6}', '"')
def test_no_header_of_a_broken_notice_names_a_transaction(header: str, closing: str) -> None:
    frame = f'{{"event":"e","ua":"{header}{closing}","tail":oops}}'.encode("utf-8", "replace")
    assert malformed(frame).ids is None


@given(st.text(max_size=60))
@example('x"},"tm_trans":{"tm_index":5,"tm_label":6},"y":{"z":"')
def test_no_header_of_a_broken_event_changes_its_ids(header: str) -> None:
    frame = (b'{"event":"e",' + IDS + b',"data":{"ua":"%b"},oops}') % header.encode("utf-8", "replace")
    assert malformed(frame).ids == (37, 18, 2)


# Payloads over the limit: only their first bytes are there.


def test_oversized_payloads_give_the_ids_in_their_head() -> None:
    head = (b'{"event":"e",' + IDS + b',"data":{"pad":"' + b"x" * HEAD)[:HEAD]
    assert malformed(Oversized(head, 2_000_000)) == Malformed(
        "too-large", "payload of 2000000 bytes", head, "e", (37, 18, 2)
    )
    head = (b"e:37:18:" + b"A" * HEAD)[:HEAD]
    found = malformed(Oversized(head, 2_000_000))
    assert (found.reason, found.event, found.ids) == ("too-large", "e", (37, 18, None))
    assert malformed(Oversized(b"e:::AAAA", 2_000_000)).ids is None


@pytest.mark.parametrize(
    "head", [b"", b"x" * HEAD, b"e:37:18", b'{"event":"e","tm_index":37,"tm_label":18', b"{"]
)
def test_oversized_payloads_cut_within_the_ids(head: bytes) -> None:
    found = malformed(Oversized(head, 2_000_000))
    assert (found.reason, found.ids) == ("too-large", None)


# Whatever comes: an event, never an exception.

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(BAD_IDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
keys = st.sampled_from(
    [
        "event",
        "tm_trans",
        "tm_index",
        "tm_label",
        "tr_index",
        "tr_label",
        "seq",
        "data",
        "adapter",
        "synced",
        "hello",
    ]
)
objects = st.dictionaries(keys, st.dictionaries(keys, json_values, max_size=4) | json_values, max_size=5)


def check(frame: bytes) -> None:
    found = parse(frame)
    if isinstance(found, Suspended):
        assert 0 <= found.index <= MAX
        assert 0 <= found.label <= MAX
        assert found.seq is None or 1 <= found.seq <= MAX
        assert {type(found.index), type(found.label)} == {int}
    if isinstance(found, Malformed):
        assert found.frame == frame
        if found.ids is not None:
            index, label, seq = found.ids
            assert 0 <= index <= MAX
            assert 0 <= label <= MAX
            assert seq is None or 1 <= seq <= MAX
    if isinstance(found, Suspended | Notice):
        assert isinstance(found.data, dict | bytes)
    if isinstance(found, Suspended | Notice | Malformed):
        assert len(found.event.encode()) <= 120


@given(st.binary(max_size=200))
def test_any_bytes_are_parsed(frame: bytes) -> None:
    check(frame)
    check(b"{" + frame)
    check(b"e:1:2:" + frame)


@given(objects)
def test_any_json_object_is_parsed(told: dict[str, Any]) -> None:
    check(dumps(told))


@given(
    st.sampled_from(
        [
            b'{"event":"e",' + IDS + b',"data":{"a":[1,"b",null]}}',
            b'{"event":"e","tr_index":"37","tr_label":"18","ua":"x"}',
            b'{"adapter":{"hello":1,"receipts":true,"gate":true}}',
            b"invite_request:37:1840980198:eyJydXJpIjoic2lwOmFAYiJ9",
            b"call_ended:::eyJjYWxsX2lkIjoiYyJ9",
        ]
    ),
    st.lists(
        st.tuples(st.integers(0, 200), st.integers(0, 3), st.binary(max_size=3)), min_size=1, max_size=4
    ),
)
def test_valid_frames_with_bytes_changed_are_parsed(
    frame: bytes, changes: list[tuple[int, int, bytes]]
) -> None:
    for at, taken, put in changes:
        at %= len(frame) + 1
        frame = frame[:at] + put + frame[at + taken :]
    check(frame)


@given(objects, st.integers(0, 300))
def test_frames_cut_off_anywhere_are_parsed(told: dict[str, Any], at: int) -> None:
    check(dumps(told)[:at])
    parse(Oversized(dumps(told)[:at], 1 << 21))


# Members that stand twice: parsers differ in which one counts, so a caller's header could be it.


@pytest.mark.parametrize(
    ("frame", "ids"),
    [
        # The caller's User-Agent is: x","event":"emergency_request","y":"
        (b'{"event":"e",' + IDS + b',"ua":"x","event":"emergency_request","y":""}', (37, 18, 2)),
        (b'{"event":"e",' + IDS + b',"ua":"x","tm_trans":{"tm_index":5,"tm_label":6},"y":""}', (37, 18, 2)),
        (b'{"event":"e",' + IDS + b',"ua":"x","\\u0065vent":"f","y":""}', (37, 18, 2)),
        (b'{"event":"e",' + IDS + b',"ua":"a\\\\","event":"f","b":"\\\\"}', (37, 18, 2)),
        (b'{"event":"e",' + IDS + b',"data":{"account":"a","ua":"x","account":"b"}}', (37, 18, 2)),
        (b'{"event":"e",' + IDS + b',"data":{"list":[{"a":"1","a":"2"}]}}', (37, 18, 2)),
        (b'{"event":"e",' + IDS + b',"ua":"x","tr_index":5,"tr_label":6}', (37, 18, 2)),
        (b'{"event":"e","tm_index":37,"tm_label":18,"seq":2,"ua":"x",' + IDS + b"}", (37, 18, 2)),
        (b'{"event":"e","tm_index":37,"tm_label":18,"seq":2,"ua":"x","tr_label":6}', (37, 18, 2)),
        # Where both may be the caller's, nobody is answered.
        (b'{"event":"e","event":"e",' + IDS + b"}", None),
        (b'{"event":"e","tm_trans":{"tm_index":37,"tm_label":18,"tm_index":5}}', None),
        (b'{"event":"e","tm_trans":{"tm_index":37,"tr_index":5,"tm_label":18}}', None),
        (b'{"ua":"x","event":"e","event":"f",' + IDS + b"}", None),
        (b'{"event":"e","ua":"x",' + IDS + b"," + IDS + b"}", None),
    ],
)
def test_what_stands_twice_is_malformed_with_the_ids_that_lead(
    frame: bytes, ids: tuple[int, int, int] | None
) -> None:
    found = malformed(frame)
    assert (found.reason, found.ids, found.frame) == ("twice", ids, frame)
    if (unparsed := peek_ids(frame)) is not None:
        assert read_on(unparsed) == found


def test_base64_data_in_which_a_member_stands_twice_is_malformed() -> None:
    frame = b"e:37:18:" + base64.b64encode(b'{"a":"1","a":"2"}')
    assert (malformed(frame).reason, malformed(frame).ids) == ("twice", (37, 18, None))


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=3), below, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=3), _JSON, max_size=4), st.booleans(), st.data())
def test_a_member_that_stands_once_is_read_and_one_that_stands_twice_never(
    value: dict[str, Any], ascii_: bool, data: st.DataObject
) -> None:
    text = json.dumps(value, ensure_ascii=ascii_)
    assert decode_json(text) == value
    if value:
        name = json.dumps(data.draw(st.sampled_from(sorted(value))), ensure_ascii=ascii_)
        again = json.dumps(data.draw(_JSON), ensure_ascii=ascii_)
        with pytest.raises(CodecError, match="stands twice"):
            decode_json(text[:-1] + f",{name}:{again}}}")


@pytest.mark.parametrize("command", [b'{"a":1,"a":2}', b'{"a":{"b":"x","b":"y"}}'])
def test_a_command_that_jansson_would_refuse_is_not_pushed(command: bytes) -> None:
    with pytest.raises(CodecError, match="stands twice"):
        check_command(command)
