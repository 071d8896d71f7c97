from __future__ import annotations

import contextlib
import json
import math
import re
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter import command_contract, contract
from adapter.contract import MAX_BODY, Request
from adapter.errors import AdapterError, CodecError, ProtocolError, VersionError
from adapter.message_fields import FIELDS, Place
from tests.contract_files.files import differing, files

# Names.


@given(st.text(max_size=20), st.text(max_size=20))
def test_routing_keys_are_two_words(event: str, node: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*", contract.routing_key(event, node))


@pytest.mark.parametrize(
    ("event", "node", "key"),
    [
        ("invite_request", "sbc1", "invite_request.sbc1"),
        ("invite.request", "10.0.0.5:8448", "invite_request.10_0_0_5_8448"),
        ("a#b*c", "é", "a_b_c._"),
        ("CGR-Auth", "n", "CGR-Auth.n"),
    ],
)
def test_routing_key(event: str, node: str, key: str) -> None:
    assert contract.routing_key(event, node) == key


def test_queue_names() -> None:
    assert contract.service_queue("lcr") == "evapi.decide.lcr"
    assert contract.results_queue("10.0.0.5:8448") == "evapi.results.10.0.0.5:8448"
    assert contract.commands_queue("sbc1") == "evapi.commands.sbc1"


# Requests.

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
    | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
maps = st.dictionaries(
    st.text(max_size=8), st.dictionaries(st.text(max_size=8), values, max_size=3), max_size=3
)
numbers = st.integers(0, 0xFFFFFFFF)
times = st.integers(0, 1 << 45).map(lambda ms: ms / 1000)
names = st.text(max_size=255)
requests = st.builds(Request, names, names, values, numbers, numbers, st.integers(1), times, maps)
requests = requests.filter(lambda request: request.seq is None or request.seq < 1 << 63)


@given(requests)
def test_a_request_comes_back_as_it_was(request_: Request) -> None:
    found = contract.decode_request(contract.encode_request(request_))
    assert found == request_
    assert not found.is_notice


@given(names, names, values)
def test_a_notice_comes_back_as_it_was(event: str, node: str, data: Any) -> None:
    body = contract.encode_request(Request(event, node, data))
    assert set(msgpack.unpackb(body)) == {"event", "node", "data"}
    assert contract.decode_request(body) == Request(event, node, data)
    assert contract.decode_request(body).is_notice


def test_the_body_is_the_contract_s() -> None:
    request_ = Request("invite_request", "sbc1", {"ruri": "sip:a@b"}, 37, 1840980198, 2, 1790000000.1234)
    assert msgpack.unpackb(contract.encode_request(request_)) == {
        "event": "invite_request",
        "node": "sbc1",
        "tm_index": 37,
        "tm_label": 1840980198,
        "seq": 2,
        "deadline": 1790000000123,
        "data": {"ruri": "sip:a@b"},
    }


WHOLE: dict[str, Any] = {
    "event": "e",
    "node": "n",
    "tm_index": 1,
    "tm_label": 2,
    "seq": 3,
    "deadline": 5000,
    "data": {},
}


def body(**changes: Any) -> bytes:
    packed: bytes = msgpack.packb({**WHOLE, **changes})
    return packed


def test_unknown_keys_are_ignored() -> None:
    found = contract.decode_request(body(later={"version": 1}, version=2))
    assert found == Request("e", "n", {}, 1, 2, 3, 5.0)


FORMER = {"screening": {"action": "allow"}, "fraud": {}}


@pytest.mark.parametrize("as_json", [False, True])
def test_what_former_services_decided_goes_along(as_json: bool) -> None:
    found = contract.decode_request(
        contract.encode_request(Request("e", "n", {}, 1, 2, 3, 5.0, FORMER), as_json)
    )
    assert found.decisions == FORMER


def test_a_request_of_one_service_has_no_decisions() -> None:
    packed = contract.encode_request(Request("e", "n", {}, 1, 2, 3, 5.0))
    assert "decisions" not in msgpack.unpackb(packed)
    assert contract.decode_request(packed).decisions == {}


def test_a_request_without_deadline_or_data() -> None:
    assert contract.decode_request(body(deadline=None)).deadline is None
    assert contract.decode_request(msgpack.packb({"event": "e", "node": "n"})) == Request("e", "n", None)


@pytest.mark.parametrize("version", [-1, 0, contract.VERSION])
def test_versions_up_to_ours_are_read(version: int) -> None:
    assert contract.decode_request(body(), version).event == "e"


def test_a_higher_version_is_refused() -> None:
    with pytest.raises(VersionError, match="version: x-version 2, this reader knows 1"):
        contract.decode_request(body(), contract.VERSION + 1)


def test_a_higher_version_is_refused_before_its_body_is_read() -> None:
    with pytest.raises(VersionError):
        contract.decode_request(b"\xc1", contract.VERSION + 1)


@pytest.mark.parametrize(
    "changes",
    [
        {"event": None},
        {"event": 1},
        {"event": b"e"},
        {"node": ["n"]},
        {"tm_index": "1"},
        {"tm_index": None},
        {"tm_label": 2.0},
        {"tm_label": True},
        {"seq": None},
        {"seq": b"3"},
        {"deadline": "5000"},
        {"deadline": True},
        {"deadline": math.nan},
        {"decisions": None},
        {"decisions": "allow"},
        {"decisions": [{"action": "allow"}]},
        {"decisions": {"fraud": "allow"}},
        {"decisions": {b"fraud": {}}},
        {"deadline": math.inf},
        {"deadline": []},
    ],
)
def test_requests_of_wrong_types(changes: dict[str, Any]) -> None:
    with pytest.raises(CodecError) as caught:
        contract.decode_request(body(**changes))
    assert caught.value.reason == "not-a-request"


@pytest.mark.parametrize("missing", ["event", "node", "tm_index", "tm_label", "seq"])
def test_requests_with_a_key_missing(missing: str) -> None:
    told = {key: value for key, value in WHOLE.items() if key != missing}
    with pytest.raises(CodecError) as caught:
        contract.decode_request(msgpack.packb(told))
    assert caught.value.reason == "not-a-request"


BAD_MSGPACK = [
    b"",
    b"\xc1",
    b"\x81",
    b"\x81\xa5event",
    b"\x80\x80",  # two values
    b"\x81\x01\x02",  # a key that is no string
    b"\x81\x90\x02",
    b"\x81\xa1\xff\x01",  # not UTF-8
    b"\xdf\xff\xff\xff\xff",  # a map of 4 billion
    b"\xdd\xff\xff\xff\xff",
    b"\xc6\xff\xff\xff\xff",
    b"\x81\xa1a\xc7\x05\xff\x00\x00\x00\x00\x00",  # a broken timestamp
    b"\x91" * 3000 + b"\x01",
]


@pytest.mark.parametrize("bad", BAD_MSGPACK)
def test_bodies_that_are_no_msgpack(bad: bytes) -> None:
    for decode in (contract.decode_request, contract.decode_reply):
        with pytest.raises(CodecError) as caught:
            decode(bad)
        assert caught.value.reason in ("not-msgpack", "not-a-map", "format")


@pytest.mark.parametrize("bad", [None, 1, "event", b"event", [], [["event", "e"]]])
def test_bodies_that_are_no_map(bad: Any) -> None:
    for decode in (contract.decode_request, contract.decode_reply):
        with pytest.raises(CodecError) as caught:
            decode(msgpack.packb(bad))
        assert caught.value.reason in ("not-a-map", "format")


@given(st.binary(max_size=60))
def test_any_body_is_a_request_or_a_codec_error(raw: bytes) -> None:
    with contextlib.suppress(CodecError):
        contract.decode_request(raw)


@given(st.dictionaries(st.sampled_from([*WHOLE, "more"]), values))
def test_any_map_is_a_request_or_a_codec_error(told: dict[str, Any]) -> None:
    try:
        found = contract.decode_request(msgpack.packb(told))
    except CodecError:
        return
    assert isinstance(found.event, str)
    assert {type(found.tm_index), type(found.tm_label), type(found.seq)} in ({int}, {type(None)})


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


UNPACKABLE = [1 << 64, -(1 << 63) - 1, "\ud800", {"k\udfff": 1}, {1, 2}, object(), nested(2000)]


@pytest.mark.parametrize("bad", UNPACKABLE, ids=range(len(UNPACKABLE)))
def test_what_msgpack_cannot_hold(bad: Any) -> None:
    with pytest.raises(CodecError) as caught:
        contract.encode_request(Request("e", "n", {"first": "x" * 100, "bad": bad}, 1, 2, 3, 4.0))
    assert caught.value.reason == "unencodable"
    with pytest.raises(CodecError) as caught:
        contract.encode_reply({"first": "x" * 100, "bad": bad})
    assert caught.value.reason == "unencodable"
    # Nothing of it is left in the packer.
    assert contract.encode_reply({"a": 1}) == b"\x81\xa1a\x01"


def test_what_is_packed_can_be_unpacked_however_deep() -> None:
    for depth in range(500, 1100):
        try:
            packed = contract.encode_request(Request("e", "n", nested(depth)))
        except CodecError:
            break
        assert contract.decode_request(packed).event == "e"
    else:
        raise AssertionError("no limit found")


# Replies.

decisions = st.dictionaries(st.text(max_size=8), values, max_size=4)


@given(decisions)
def test_a_reply_comes_back_as_it_was(decision: dict[str, Any]) -> None:
    assert contract.decode_reply(contract.encode_reply(decision)) == decision


@given(st.dictionaries(st.text(), st.none() | st.integers() | st.text()))
def test_a_json_reply(decision: dict[str, Any]) -> None:
    for text in (
        json.dumps(decision).encode(),
        json.dumps(decision, ensure_ascii=False).encode("utf-8", "replace"),
    ):
        assert set(contract.decode_reply(text)) == set(json.loads(text))


@given(st.binary(max_size=60))
def test_any_reply_is_a_map_or_a_codec_error(raw: bytes) -> None:
    with contextlib.suppress(CodecError):
        assert isinstance(contract.decode_reply(raw), dict)


@pytest.mark.parametrize("decision", [None, 1, "text", [1]])
def test_a_decision_that_is_no_map(decision: Any) -> None:
    with pytest.raises(CodecError):
        contract.encode_reply(decision)


def test_bodies_up_to_the_limit() -> None:
    overhead = len(msgpack.packb({"a": b"x" * 70_000})) - 70_000
    for kept in (MAX_BODY, MAX_BODY + 1):
        packed = msgpack.packb({"a": b"x" * (kept - overhead)})
        text = b'{"a":"%b"}' % (b"x" * (kept - 8))
        assert len(packed) == len(text) == kept
        if kept <= MAX_BODY:
            assert contract.decode_reply(packed)
            assert contract.decode_reply(text)
            continue
        for raw in (packed, text):
            with pytest.raises(
                CodecError, match=f"too-large: body of {kept} bytes, at most {MAX_BODY} allowed"
            ):
                contract.decode_reply(raw)
        with pytest.raises(CodecError, match="too-large"):
            contract.decode_request(packed)


def test_errors_say_whose_fault_it_is() -> None:
    assert issubclass(VersionError, CodecError)
    assert issubclass(CodecError, ProtocolError)
    assert issubclass(ProtocolError, AdapterError)
    assert str(CodecError("reason")) == "reason"
    assert str(CodecError("reason", "detail")) == "reason: detail"


def test_a_request_that_no_reader_would_take_is_not_packed() -> None:
    request = Request("e", "n", b"x" * contract.MAX_BODY, 1, 2, 3, 4.0)
    with pytest.raises(CodecError) as caught:
        contract.encode_request(request)
    assert caught.value.reason == "too-large"


# The contract as files: more in tests/contract_files.


def test_every_header_is_in_the_table() -> None:
    names = {**vars(contract), **vars(command_contract)}
    named = {value for name, value in names.items() if name.startswith("HEADER_")}
    assert named == {row.name for row in FIELDS[Place.HEADER]}, "a row in adapter/message_fields.py for each"


def test_the_files_are_what_the_code_makes() -> None:
    assert differing(files()) == [], "run make contract, and look at what has changed"
