from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.decisions import MAX_CACHE, Cached
from consumers.webhook.outcomes import LONGEST_REST, Decided, Failure, Response, Silent, Verdict, judge
from consumers.webhook.settings import Reason


def judged(status: int, body: bytes | None = None, notice: bool = False, **headers: str | None) -> Verdict:
    return judge(Response(status, body, **headers), notice=notice, now=784_111_777.0)


def test_a_decision() -> None:
    assert judged(200, b' {"action": "allow"}\n') == Decided({"action": "allow"})


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        ("max-age=30", 30),
        ("public, Max-Age=30 , must-revalidate", 30),
        ('max-age="30"', 30),
        ("max-age=30, s-maxage=5", 5),
        ("max-age=30, max-age=60", 30),
        (f"max-age={10**30}", MAX_CACHE),
        ("max-age=0", None),
        ("max-age=30, no-store", None),
        ("private, max-age=30", None),
        ("no-cache, max-age=30", None),
        ("max-age=-1", None),
        ("max-age=soon", None),
        ("max-age", None),
        ("", None),
        (None, None),
    ],
)
def test_a_decision_holds_for_its_max_age(told: str | None, seconds: int | None) -> None:
    found = judged(200, b'{"action":"allow"}', cache_control=told)
    assert isinstance(found, Decided)
    assert found.decision == {"action": "allow"}
    assert (found.decision.seconds if isinstance(found.decision, Cached) else None) == seconds


@pytest.mark.parametrize("status", [202, 204])
def test_no_answer(status: int) -> None:
    assert judged(status) == Silent()


@pytest.mark.parametrize("status", [200, 201, 202, 204, 206])
def test_a_notice_is_noted(status: int) -> None:
    assert judged(status, b"thanks", notice=True) == Silent()


@pytest.mark.parametrize(
    "body, told",
    [
        (b"", "no JSON"),
        (b"ok", "no JSON"),
        (b'{"code": NaN}', "no JSON"),
        (b"\xff{}", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"[]", "a list"),
        (b"null", "a NoneType"),
        (None, "longer than max_response"),
    ],
)
def test_what_is_no_decision_fails(body: bytes | None, told: str) -> None:
    found = judged(200, body)
    assert isinstance(found, Failure)
    assert told in found.text
    assert found.reason is None


def test_what_is_compressed_fails() -> None:
    found = judged(200, b"{}", encoding="gzip")
    assert isinstance(found, Failure)
    assert "compressed" in found.text
    assert judged(200, b"{}", encoding="identity") == Decided({})


@pytest.mark.parametrize(
    "status, reason",
    [
        (201, None),
        (301, None),
        (307, None),
        (400, None),
        (404, None),
        (408, None),
        (429, Reason.BUSY),
        (500, Reason.SERVER),
        (502, Reason.SERVER),
        (503, Reason.BUSY),
        (504, Reason.SERVER),
    ],
)
def test_what_fails_and_why(status: int, reason: Reason | None) -> None:
    found = judged(status, b'{"action": "allow"}')
    assert isinstance(found, Failure)
    assert found.reason is reason
    assert str(status) in found.text


@pytest.mark.parametrize(
    "told, rest",
    [
        ("2", 2.0),
        (" 0 ", 0.0),
        ("86400", 60.0),
        ("9" * 5000, 60.0),
        ("Sun, 06 Nov 1994 08:49:39 GMT", 2.0),
        ("Sun, 06 Nov 1994 08:49:30 GMT", 0.0),
        ("soon", None),
        ("-1", None),
        ("2.5", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after(told: Any, rest: float | None) -> None:
    found = judged(503, retry_after=told)
    assert isinstance(found, Failure)
    assert found.rest == rest


@given(
    st.integers(100, 999), st.none() | st.binary() | st.just(b'{"a":1}'), st.booleans(), st.none() | st.text()
)
def test_whatever_comes_means_something(
    status: int, body: bytes | None, notice: bool, told: str | None
) -> None:
    found = judge(Response(status, body, told, told), notice=notice, now=0.0)
    assert isinstance(found, Decided | Silent | Failure)
    if isinstance(found, Failure) and found.rest is not None:
        assert 0 <= found.rest <= LONGEST_REST
