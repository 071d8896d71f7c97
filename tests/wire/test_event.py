"""What Kamailio says, understood or not. What it is told is in test_resume."""

from __future__ import annotations

import json
from typing import Any

import pytest

from adapter.model.transaction import TransactionId
from adapter.wire.event import MAX_INCARNATION, Hello, Notice, Suspended, Synced, parse
from adapter.wire.to_kamailio import still_open
from tests.wire.frames import BAD_IDS, MAX, colon, dumps, malformed

# The colon form.


def test_colon_form_with_a_json_object_is_a_map() -> None:
    # As evapi_async_relay("invite_request:$T(id_index):$T(id_label):$(var(data){s.encode.base64})") emits it.
    frame = b"invite_request:37:1840980198:eyJydXJpIjoic2lwOmFAYiJ9"
    assert parse(frame) == Suspended("invite_request", 37, 1840980198, None, {"ruri": "sip:a@b"})


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"plain text",
        b"\x00\xff\xfe binary \x80",
        b"[1,2]",
        b'"text"',
        b" {}",  # not an object by its first byte
        b'{"open":',
        b'{"nan":NaN}',
        b'{"bad":"\xff"}',
        b'{"a":' * 100_000,
        b"{" + b"9" * 5000,
    ],
)
def test_colon_form_with_anything_else_is_bytes(data: bytes) -> None:
    assert parse(colon("e", 0, MAX, data)) == Suspended("e", 0, MAX, None, data)


def test_colon_form_without_ids_is_a_notice() -> None:
    assert parse(b"call_ended:::eyJjYWxsX2lkIjoiYyJ9") == Notice("call_ended", {"call_id": "c"})
    assert parse(b"call_ended:::") == Notice("call_ended", b"")


def test_colons_within_the_data_stay_there() -> None:
    assert malformed(b"e:1:2:YQ==:YQ==").reason == "base64"


@pytest.mark.parametrize(
    ("frame", "reason", "ids"),
    [
        (b"", "colon-form", None),
        (b"no colon at all", "colon-form", None),
        (b"e:", "colon-form", None),
        (b"e:37", "colon-form", None),
        (b"e:37:18", "colon-form", (37, 18, None)),  # no data, but by their place the ids are clear
        (b"e:37:18:***", "base64", (37, 18, None)),
        (b"e:37:18:YQ", "base64", (37, 18, None)),
        (b"e:37:18:YQ==x", "base64", (37, 18, None)),
        (b"e:37:18:Y Q==", "base64", (37, 18, None)),
        (b"e:37:18:\xff\xff==", "base64", (37, 18, None)),
        (b"e:::***", "base64", None),
        (b"e:37::YQ==", "ids", None),
        (b"e::18:YQ==", "ids", None),
        (b"e:-1:18:YQ==", "ids", None),
        (b"e:3.5:18:YQ==", "ids", None),
        (b"e:0x25:18:YQ==", "ids", None),
        (b"e: 37:18:YQ==", "ids", None),
        (b"e:\xb2\xb3:18:YQ==", "ids", None),
        (b"e:<null>:<null>:YQ==", "ids", None),
        (b"e:4294967296:18:YQ==", "ids", None),
        (b"e:37:4294967296:YQ==", "ids", None),
        (b"e:37:00000000018:YQ==", "ids", None),
        (b"e:%b:18:YQ==" % (b"9" * 5000), "ids", None),
        (b":37:18:YQ==", "event-name", (37, 18, None)),
        (b":::YQ==", "event-name", None),
        (b"%b:37:18:YQ==" % (b"e" * 121), "event-name", (37, 18, None)),
        (b"%b:37:18:YQ==" % ("é" * 61).encode(), "event-name", (37, 18, None)),
        (b"caf\xe9:37:18:YQ==", "event-name", (37, 18, None)),
        (b"a\x7fb:37:18:YQ==", "event-name", (37, 18, None)),
        # What cannot stand in a name says that this is no colon form.
        (b"a\nb:37:18:YQ==", "colon-form", None),
        (b"\x00:37:18:YQ==", "colon-form", None),
        (b' {"ua":37:18:YQ==', "colon-form", None),
        (b'[{"ua":37:18:YQ==', "colon-form", None),
        (b'"ua":37:18:YQ==', "colon-form", None),
        (b"\xef\xbb\xbf{}", "colon-form", None),
    ],
)
def test_a_colon_form_not_understood(frame: bytes, reason: str, ids: tuple[int, int, None] | None) -> None:
    found = malformed(frame)
    assert (found.reason, found.ids, found.frame) == (reason, ids, frame)


def test_a_name_of_120_bytes_is_taken() -> None:
    assert parse(b"%b:1:2:" % (b"e" * 120)) == Suspended("e" * 120, 1, 2, None, b"")
    assert parse(b"%b:1:2:" % ("é" * 60).encode()) == Suspended("é" * 60, 1, 2, None, b"")


# The JSON form.

SUSPENDED = Suspended("invite_request", 37, 1840980198, 2, {"ruri": "sip:a@b"})


@pytest.mark.parametrize(
    "told",
    [
        {"tm_trans": {"tm_index": 37, "tm_label": 1840980198, "seq": 2}, "ruri": "sip:a@b"},
        {"tm_trans": {"tm_index": 37, "tm_label": 1840980198, "seq": 2}, "data": {"ruri": "sip:a@b"}},
        {"tm_trans": {"tm_index": "37", "tm_label": "1840980198", "seq": "2"}, "ruri": "sip:a@b"},
        {"tm_trans": {"tr_index": 37, "tr_label": 1840980198, "seq": 2, "more": 1}, "ruri": "sip:a@b"},
        {"tm_index": 37, "tm_label": 1840980198, "seq": 2, "ruri": "sip:a@b"},
        {"tr_index": "37", "tr_label": "1840980198", "seq": 2, "ruri": "sip:a@b"},
        {"tm_trans": None, "tr_index": 37, "tm_label": 1840980198, "seq": 2, "data": {"ruri": "sip:a@b"}},
        {"tm_index": 37, "tm_label": 1840980198, "seq": 2, "data": {"ruri": "sip:a@b"}, "dropped": 1},
    ],
)
def test_json_forms_of_one_event(told: dict[str, Any]) -> None:
    assert parse(dumps({"event": "invite_request", **told})) == SUSPENDED
    assert parse(json.dumps({**told, "event": "invite_request"}, indent=2).encode()) == SUSPENDED


def test_what_is_left_of_the_object_is_the_data() -> None:
    ids = {"tm_trans": {"tm_index": 1, "tm_label": 2}}
    told = {"data": "no object", "seq": 9, "list": [1, {"a": None}], "": True}
    assert parse(dumps({"event": "e", **ids, **told})) == Suspended("e", 1, 2, None, told)


def test_cgrates_frame() -> None:
    frame = b'{"event":"CGR_AUTH_REQUEST","tr_index":"4","tr_label":"77","cgr_tenant":"cgrates.org"}'
    assert parse(frame) == Suspended("CGR_AUTH_REQUEST", 4, 77, None, {"cgr_tenant": "cgrates.org"})


@pytest.mark.parametrize(
    ("told", "data"),
    [
        ({}, {}),
        ({"data": {"call_id": "c"}}, {"call_id": "c"}),
        ({"call_id": "c"}, {"call_id": "c"}),
        ({"tm_trans": None, "a": 1}, {"a": 1}),
        ({"tm_trans": {}, "a": 1}, {"a": 1}),
        ({"tm_trans": {"tm_index": None, "tm_label": None}}, {}),
        ({"tm_index": None, "tm_label": None}, {}),
        ({"seq": 4}, {"seq": 4}),  # without ids it counts nothing
        ({"adapter": {"hello": 1}}, {"adapter": {"hello": 1}}),  # an event's name makes it an event
    ],
)
def test_json_without_ids_is_a_notice(told: dict[str, Any], data: dict[str, Any]) -> None:
    assert parse(dumps({"event": "call_ended", **told})) == Notice("call_ended", data)


def test_data_keeps_what_json_can_hold() -> None:
    data = {"ua": 'we"ird\\ \t\u0000\u2028é😀', "n": [-1, 1.5, 1 << 70, True, None], "": {"k": {}}}
    assert parse(dumps({"event": "e", "data": data})) == Notice("e", data)


@pytest.mark.parametrize("bad", BAD_IDS)
@pytest.mark.parametrize("key", ["tm_index", "tm_label", "seq"])
@pytest.mark.parametrize("nested", [True, False])
def test_json_with_an_id_that_is_none(key: str, bad: Any, nested: bool) -> None:
    ids = {"tm_index": 37, "tm_label": 18, "seq": 2, key: bad}
    if bad == 1e400:
        frame = dumps({"event": "e", **ids}).replace(b"Infinity", b"1e400")
    else:
        frame = dumps({"event": "e", **({"tm_trans": ids} if nested else ids)})
    found = malformed(frame)
    assert (found.reason, found.ids, found.event) == ("ids", None, "e")
    assert len(found.detail) < 80


@pytest.mark.parametrize("bad", [0, "0"])
def test_seq_counts_from_1(bad: object) -> None:
    found = malformed(dumps({"event": "e", "tm_trans": {"tm_index": 1, "tm_label": 2, "seq": bad}}))
    assert (found.reason, found.ids) == ("ids", None)


@pytest.mark.parametrize("seq", [1, MAX, None])
def test_seq_in_its_range(seq: int | None) -> None:
    frame = dumps({"event": "e", "tm_trans": {"tm_index": 0, "tm_label": MAX, "seq": seq}})
    assert parse(frame) == Suspended("e", 0, MAX, seq, {})


@pytest.mark.parametrize("missing", ["tm_index", "tm_label"])
def test_json_with_half_its_ids(missing: str) -> None:
    ids = {"tm_index": 37, "tm_label": 18, "seq": 2}
    del ids[missing]
    for told in ({"tm_trans": ids}, ids):
        found = malformed(dumps({"event": "e", **told}))
        assert (found.reason, found.ids) == ("ids", None)


@pytest.mark.parametrize("bad", [1, "37:18", [37, 18], True, 0, False, "", []])
def test_tm_trans_of_a_wrong_type(bad: object) -> None:
    found = malformed(dumps({"event": "e", "tm_trans": bad}))
    assert (found.reason, found.ids) == ("ids", None)


@pytest.mark.parametrize("bad", [None, 1, True, "", [], {}, "a\nb", "a\x00b", "e" * 121, "\ud800"])
def test_json_with_a_bad_name_still_gives_the_ids(bad: object) -> None:
    found = malformed(dumps({"event": bad, "tm_trans": {"tm_index": 37, "tm_label": 18, "seq": 2}}))
    assert (found.reason, found.event, found.ids) == ("event-name", "", (37, 18, 2))


def test_json_without_a_name_still_gives_the_ids() -> None:
    found = malformed(b'{"tm_trans":{"tm_index":37,"tm_label":18,"seq":2},"data":{}}')
    assert (found.reason, found.ids) == ("event-name", (37, 18, 2))
    assert malformed(b"{}").ids is None


def test_a_deeply_nested_id_is_not_written_out() -> None:
    for depth in range(900, 1000):
        frame = b'{"event":"e","tm_trans":{"tm_index":%b1%b,"tm_label":2}}' % (b"[" * depth, b"]" * depth)
        assert malformed(frame).ids is None


# Frames between adapters and configuration.


def test_hello() -> None:
    assert parse(b'{"adapter":{"hello":1,"receipts":true,"gate":true}}') == Hello(True, True)
    assert parse(b'{"adapter":{"hello":2,"gate":true,"more":[]},"more":1}') == Hello(False, True)
    assert parse(b'{"adapter":{"hello":1,"receipts":1,"gate":"true"}}') == Hello(False, False)


@pytest.mark.parametrize(
    ("told", "incarnation"),
    [("1763.25", "1763.25"), ("", ""), ("x" * 100, "x" * MAX_INCARNATION), ("\N{SNOWMAN}", "\N{SNOWMAN}")]
    + [(value, "") for value in (None, 7, 1.5, True, ["a"], {"a": 1})],
)
def test_hello_names_the_life_of_its_kamailio(told: object, incarnation: str) -> None:
    assert parse(dumps({"adapter": {"hello": 1, "receipts": True, "life": told}})) == Hello(
        True, False, incarnation
    )


@pytest.mark.parametrize(
    ("told", "version"), [("6.1.5", "6.1.5"), ("6\n.1", ""), *((value, "") for value in (None, 6.1, ["6"]))]
)
def test_hello_names_the_version_of_its_kamailio(told: object, version: str) -> None:
    found = parse(dumps({"adapter": {"hello": 1, "receipts": True, "version": told}}))
    assert found == Hello(True, False, version=version)


def test_no_receipts_count_where_several_workers_give_them() -> None:
    found = parse(b'{"adapter":{"hello":1,"receipts":true,"gate":true,"unordered":true}}')
    assert found == Hello(receipts=False, gate=True, unordered=True)


def test_receipt() -> None:
    assert parse(b'{"adapter":{"synced":"link:12"}}') == Synced("link:12")


@pytest.mark.parametrize(
    ("told", "still"),
    [(True, True), (False, False), (None, None), (1, None), (0, None), ("true", None), ([], None)],
)
def test_receipt_with_whether_a_suspension_still_waits(told: object, still: bool | None) -> None:
    assert parse(dumps({"adapter": {"synced": "link:12", "open": told}})) == Synced("link:12", still)


def test_the_question_whether_it_does() -> None:
    asked = still_open("link:?12", TransactionId("sbc1", 37, 1840980198, 2))
    assert asked == b'{"adapter":{"sync":"link:?12","asked":"37:1840980198","seq":2}}'
    assert parse(asked) is None


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"sync": "l:1"},
        {"status": "ready", "replica": "other", "node": "sbc1"},
        {"synced": 12},
        {"synced": None},
        {"from": "a later version"},
    ],
)
def test_adapter_frames_that_are_not_for_us(told: dict[str, Any]) -> None:
    assert parse(dumps({"adapter": told})) is None


@pytest.mark.parametrize("told", [None, 1, "hello", ["hello"], True])
def test_adapter_frames_of_a_wrong_type(told: object) -> None:
    found = malformed(dumps({"adapter": told}))
    assert (found.reason, found.ids) == ("adapter-frame", None)
