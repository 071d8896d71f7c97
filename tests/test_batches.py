"""Several requests, or replies, in one message."""

from __future__ import annotations

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter import batches, contract
from adapter.contract import Request, decode_request, encode_request, request_of
from adapter.errors import CodecError

IDS = st.text(min_size=1, max_size=60) | st.text("n", min_size=255, max_size=255)
DATA = st.dictionaries(st.text(max_size=9), st.integers(0, 9) | st.binary(max_size=9) | st.text(max_size=9))
ASKED = st.tuples(IDS, DATA, st.integers(1, 120_000), st.sampled_from(["", "00-1-2-01"]))
FEW = 2


@given(st.lists(ASKED, min_size=2, max_size=40))
def test_each_request_is_what_it_would_be_alone(
    several: list[tuple[str, dict[str, object], int, str]],
) -> None:
    bodies = [
        encode_request(
            Request("e", "n", data, 1, seq, 3, 4.5, {"first": {"action": "allow"}} if seq % 2 else {})
        )
        for seq, (_, data, _, _) in enumerate(several)
    ]
    parts = [
        batches.request(body, id_, left, trace)
        for body, (id_, _, left, trace) in zip(bodies, several, strict=True)
    ]
    for part, alone, (id_, _, _, trace) in zip(parts, bodies, several, strict=True):
        assert len(part) <= batches.size(alone, id_, trace)
    body = batches.joined(parts)
    assert batches.is_one(body)
    assert body == msgpack.packb(msgpack.unpackb(body))
    for alone, (id_, _, left, trace), found in zip(bodies, several, batches.asked(body), strict=True):
        assert (found.correlation_id, batches.alone(found.request)) == (id_, alone)
        assert request_of(found.request) == decode_request(alone)
        traced = {contract.HEADER_TRACEPARENT: trace} if trace else {}
        assert found.headers == {contract.HEADER_TIME_LEFT: left} | traced


@given(st.lists(st.tuples(IDS, st.binary(max_size=99), st.none() | DATA), max_size=40))
def test_each_reply_is_what_it_would_be_alone(
    several: list[tuple[str, bytes, dict[str, object] | None]],
) -> None:
    body = batches.joined([batches.reply(*each) for each in several])
    found, wrong = batches.replied(body)
    assert [(id_, said, headers or None) for id_, headers, said in found] == [
        (id_, said, headers or None) for id_, said, headers in several
    ]
    assert wrong == ""


def test_a_reply_may_hold_its_decision_as_it_is() -> None:
    body = msgpack.packb([{"correlation_id": "n:1:1:1", "body": {"action": "allow"}, "unknown": 1}])
    (found,), _ = batches.replied(body)
    assert contract.decode_reply(found.body) == {"action": "allow"}


NONE = [
    1,
    {},
    {"correlation_id": "", "body": b""},
    {"correlation_id": 7, "body": b""},
    {"correlation_id": "n:1:1:1"},
    {"correlation_id": "n:1:1:1", "body": "text"},
    {"correlation_id": "n", "body": b"", "headers": []},
    {"correlation_id": "n" * 256, "body": b""},
    {"correlation_id": "n" + 85 * "\u20ac", "body": b""},
]
BROKEN = [b"", b"\x80", b"{}", b"\x92\xc1", b"\x9f", b"\xdc\xff\xff", b"\x91" * 2000, b"\x91\x01"]


@pytest.mark.parametrize("part", NONE)
def test_one_reply_that_is_none_costs_the_others_nothing(part: object) -> None:
    good = {"correlation_id": "n:1:1:1", "body": b"{}"}
    found, wrong = batches.replied(msgpack.packb([good, part, good]))
    assert len(found) == FEW
    assert wrong


def test_no_request_has_an_id_that_its_reply_could_not_have_alone() -> None:
    """A property of AMQP has 255 bytes: the consumer that wrote a longer one would fail at it."""
    for id_ in ("n" * 256, "n" + 85 * "\u20ac"):
        with pytest.raises(CodecError):
            batches.asked(msgpack.packb([{"correlation_id": id_, "event": "e", "node": "n"}]))


@pytest.mark.parametrize("body", BROKEN)
def test_what_is_no_batch_of_requests(body: bytes) -> None:
    with pytest.raises(CodecError):
        batches.asked(body)


def test_what_is_not_put_with_others() -> None:
    small = encode_request(Request("e", "n", {}, 1, 1, 1, 1.0))
    assert batches.takes(small)
    large = encode_request(Request("e", "n", {"x": "y" * batches.MAX_BYTES}, 1, 1, 1, 1.0))
    in_json = encode_request(Request("e", "n", {}, 1, 1, 1, 1.0), as_json=True)
    assert not any(map(batches.takes, (large, in_json, b"", b"\x8e", b"\xde\x00\x10")))
    assert not any(map(batches.is_one, (small, large, in_json, b"")))


def test_a_request_with_a_time_in_it_can_be_sent_on_alone() -> None:
    """No adapter writes one, and whoever may write to a service's queue can."""
    odd = {"correlation_id": "n:1:1:1", "event": "e", "data": msgpack.Timestamp(1_800_000_000, 5_000)}
    (found,) = batches.asked(msgpack.packb([odd]))
    assert msgpack.unpackb(batches.alone(found.request)) == {"event": "e", "data": odd["data"]}
    (told,), wrong = batches.replied(msgpack.packb([{"correlation_id": "n:1:1:1", "body": odd}]))
    assert (contract.decode_reply(told.body)["event"], wrong) == ("e", "")
