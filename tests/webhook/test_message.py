from __future__ import annotations

import json

import pytest

from adapter.contract import MAX_BODY, Request
from consumers.webhook.message import Call, body, headers, time_left

REQUEST = Request(
    "invite_request", "sbc1", {"user": "4420", "blob": b"\x00\xff"}, 37, 184, 1, 1_700_000_000.5
)


def test_a_request() -> None:
    call = Call(REQUEST, "sbc1:37:184:1:tag", "00-a-b-01")
    assert json.loads(body(call, MAX_BODY)) == {
        "event": "invite_request",
        "node": "sbc1",
        "correlation_id": "sbc1:37:184:1:tag",
        "tm_index": 37,
        "tm_label": 184,
        "seq": 1,
        "deadline": 1_700_000_000_500,
        "data": {"user": "4420", "blob": {"base64": "AP8="}},
    }
    assert headers(call, "webhook") == {
        "content-type": "application/json",
        "accept": "application/json",
        "accept-encoding": "identity",
        "user-agent": "evapi-adapter",
        "x-event": "invite_request",
        "x-node": "sbc1",
        "x-service": "webhook",
        "x-correlation-id": "sbc1:37:184:1:tag",
        "x-deadline": "1700000000500",
        "traceparent": "00-a-b-01",
    }


def test_a_notice_has_neither_ids_nor_deadline() -> None:
    call = Call(Request("call_ended", "sbc1", b"\x01"))
    assert json.loads(body(call, MAX_BODY)) == {
        "event": "call_ended",
        "node": "sbc1",
        "data": {"base64": "AQ=="},
    }
    assert not {"x-correlation-id", "x-deadline", "traceparent"} & headers(call, "webhook").keys()


@pytest.mark.parametrize("data", [{"a": float("nan")}, {"a": "\ud800"}, {b"a": 1}, object()])
def test_what_is_no_json_is_told_without_the_data(data: object) -> None:
    with pytest.raises(ValueError, match="cannot be written as JSON"):
        body(Call(Request("e", "n", data)), MAX_BODY)


def test_names_of_any_kind_fit_a_header() -> None:
    call = Call(Request("anruf%\r\nx: é\ud800", "sbc 1", {}), "id\n")
    made = headers(call, "webhook")
    assert made["x-event"] == "anruf%25%0D%0Ax:%20%C3%A9?"
    assert made["x-node"] == "sbc%201"
    assert made["x-correlation-id"] == "id%0A"


def test_the_time_left_is_never_negative() -> None:
    assert time_left(1.2345) == {"x-time-left": "1234"}
    assert time_left(-1) == {"x-time-left": "0"}
