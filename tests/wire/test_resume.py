"""What Kamailio is told: resumes and the frames beside them."""

from __future__ import annotations

import datetime
import json
from enum import IntEnum
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from adapter.errors import CodecError
from adapter.model.transaction import Outcome, TransactionId
from adapter.wire import to_kamailio
from tests.wire import jansson

ID = TransactionId("sbc1", 37, 1840980198, 1)
ROUTE = {"action": "route", "uri": "sip:gw7.example.net"}


def framed(decision: bytes) -> bytes:
    return to_kamailio.resume(ID, "invite_request", Outcome.DECIDED, decision)


def test_a_resume_is_the_contract_s_example() -> None:
    assert framed(to_kamailio.decision_json(ROUTE)) == (
        b'{"tm_trans":{"tm_index":37,"tm_label":1840980198,"seq":1},'
        b'"event":"invite_request",'
        b'"outcome":"decided",'
        b'"correlation_id":"sbc1:37:1840980198:1",'
        b'"decision":{"action":"route","uri":"sip:gw7.example.net"}}'
    )


@pytest.mark.parametrize("outcome", list(Outcome))
@pytest.mark.parametrize(
    "id_", [ID, TransactionId("a:b", 0, 0xFFFFFFFF, 12), TransactionId('n"\\é', 0, 0, 1)]
)
@pytest.mark.parametrize("name", ["invite_request", 'na"me\\', "é😀", ""])
def test_every_resume_is_read_by_kamailio(outcome: Outcome, id_: TransactionId, name: str) -> None:
    frame = to_kamailio.resume(id_, name, outcome, b'{"action":"reject"}')
    assert jansson.takes(frame)
    told = json.loads(frame)
    assert told == {
        "tm_trans": {"tm_index": id_.index, "tm_label": id_.label, "seq": id_.seq},
        "event": name,
        "outcome": outcome.value,
        "correlation_id": str(id_),
        "decision": {"action": "reject"},
    }
    assert {type(value) for value in told["tm_trans"].values()} == {int}


def test_the_contract_s_outcomes() -> None:
    names = "decided timeout unroutable unavailable overload malformed failed oversized operator"
    assert [str(outcome) for outcome in Outcome] == names.split()


class Code(IntEnum):
    BUSY = 486


@pytest.mark.parametrize(
    "decision",
    [
        {},
        ROUTE,
        {"code": Code.BUSY, "list": (1, 2), "real": 1e308, "least": 5e-324, "none": None, "yes": True},
        {"most": (1 << 63) - 1, "least": -(1 << 63)},
        {"digits": "9" * 40, "backslash": "\\u0000", "\\u0000": 1},
        {"text": "é \u2028 \uffff \U0010ffff \x7f \x1f \t \"'\\/"},
        {"": {"": {"": []}}},
        {"real": 12345678901234567890.0},
    ],
)
def test_decisions_that_kamailio_takes(decision: dict[str, Any]) -> None:
    text = to_kamailio.decision_json(decision)
    assert jansson.takes(framed(text))
    assert json.loads(text) == json.loads(json.dumps(decision))


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("\0", "nul"),
        ("a\0b", "nul"),
        ("\ud800", "not-json"),
        (1 << 63, "integer"),
        (-(1 << 63) - 1, "integer"),
        pytest.param(10**5000, "not-json", id="huge"),
        (float("nan"), "not-json"),
        (float("inf"), "not-json"),
        (b"bytes", "not-json"),
        (datetime.date(2026, 1, 1), "not-json"),
        ({1, 2}, "not-json"),
        (object(), "not-json"),
        ({1: "a", "1": "b"}, "key"),
        ({None: 1}, "key"),
        ({1.5: 1}, "key"),
        ({True: 1}, "key"),
        ({b"a": 1}, "not-json"),
        ({"\0": 1}, "nul"),
        ({"\udfff": 1}, "not-json"),
    ],
)
@pytest.mark.parametrize(
    "around",
    [
        lambda bad: bad,
        lambda bad: {"action": "route", "deep": [{"er": (1, [bad])}]},
        lambda bad: {"first": "\\u0000", "n": 1 << 62, "then": bad},
    ],
)
def test_decisions_that_kamailio_would_not_take(around: Any, bad: Any, reason: str) -> None:
    with pytest.raises(CodecError) as caught:
        to_kamailio.decision_json(around(bad))
    assert caught.value.reason == reason


def test_a_time_becomes_text() -> None:
    at = datetime.datetime(2026, 1, 1, 12, 30, tzinfo=datetime.UTC)
    assert to_kamailio.decision_json({"at": [at]}) == b'{"at":["2026-01-01T12:30:00+00:00"]}'


def test_a_decision_that_holds_itself() -> None:
    decision: dict[str, Any] = {}
    decision["self"] = decision
    with pytest.raises(CodecError, match="not-json: ValueError: Circular reference"):
        to_kamailio.decision_json(decision)


def nested(depth: int, inner: str = "") -> Any:
    """``depth`` levels, the innermost a list, or the value within it."""
    return json.loads("[" * depth + inner + "]" * depth)


@pytest.mark.parametrize(("levels", "inner"), [(200, ""), (199, "1"), (199, "{}")])
def test_decisions_are_as_deep_as_that(levels: int, inner: str) -> None:
    assert jansson.takes(framed(to_kamailio.decision_json(nested(levels, inner))))


@pytest.mark.parametrize(("levels", "inner"), [(201, ""), (200, "1"), (400, "{}")])
def test_and_no_deeper(levels: int, inner: str) -> None:
    with pytest.raises(CodecError, match="depth: more than 200 levels"):
        to_kamailio.decision_json(nested(levels, inner))


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([1 << 63, (1 << 63) - 1, -(1 << 63), -(1 << 63) - 1, 10**18, 10**30, "\0", "\\u0000"])
    | st.floats()
    | st.text(st.characters(), max_size=6)
)
texts = st.text(st.characters(), max_size=6)
decisions = st.dictionaries(
    texts,
    st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
        max_leaves=8,
    ),
    max_size=4,
)


@given(decisions)
@example({"a": "\\u0000", "b": 10**18})
def test_decision_json_refuses_exactly_what_jansson_refuses(decision: dict[str, Any]) -> None:
    try:
        raw: bytes | None = json.dumps(decision, ensure_ascii=False, allow_nan=False).encode()
    except ValueError:  # NaN, an infinity, a lone surrogate: no JSON at all
        raw = None
    if raw is not None and jansson.takes(framed(raw)):
        text = to_kamailio.decision_json(decision)
        assert jansson.takes(framed(text))
        assert json.loads(text) == decision
    else:
        with pytest.raises(CodecError):
            to_kamailio.decision_json(decision)


@given(decisions)
def test_no_decision_breaks_the_frame_around_it(decision: dict[str, Any]) -> None:
    try:
        text = to_kamailio.decision_json(decision)
    except CodecError:
        return
    told = json.loads(framed(text))
    assert told["tm_trans"] == {"tm_index": 37, "tm_label": 1840980198, "seq": 1}
    assert told["decision"] == decision


def test_frames_beside_resumes() -> None:
    assert to_kamailio.sync("4f2a:17") == b'{"adapter":{"sync":"4f2a:17"}}'
    told = to_kamailio.status("ready", 'pod"1\\', "sbc1")
    assert told == b'{"adapter":{"status":"ready","replica":"pod\\"1\\\\","node":"sbc1"}}'
    assert jansson.takes(told)
    # The configuration tells them from resumes by these bytes.
    assert to_kamailio.sync("a:1").startswith(b'{"adapter":')
    assert told.startswith(b'{"adapter":')
