"""Two decisions, key by key, and what is counted of many."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.admin.differences import EXAMPLES, Compared, Difference, Result, Tally, differences

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
DECISIONS = st.dictionaries(st.sampled_from(["action", "uri", "code", "headers", "é"]), VALUES, max_size=4)


def call(label: int, result: Result, *differ: Difference, detail: str = "") -> Compared:
    return Compared(
        f"sbc1:1:{label}:1", f"{label}@h", 1.0, "decided", result, detail, differences=tuple(differ)
    )


@pytest.mark.parametrize(
    ("was", "now", "fields", "found"),
    [
        ({"action": "allow"}, {"action": "allow"}, "", []),
        ({"action": "allow"}, {"action": "reject", "code": 403}, "", ["action", "code"]),
        ({"uri": "sip:a", "action": "route"}, {"uri": "sip:b", "action": "reject"}, "", ["action", "uri"]),
        ({"uri": "sip:a", "action": "route"}, {"uri": "sip:b", "action": "route"}, "action", []),
        ({"uri": "sip:a"}, {"uri": "sip:b"}, "action uri", ["uri"]),
        ({"uri": None}, {}, "", []),
        ({"code": 1}, {"code": True}, "", ["code"]),
        ({"code": 1}, {"code": "1"}, "", ["code"]),
        ({"code": 0}, {"code": False}, "", ["code"]),
        ({"headers": {"a": 1, "b": 2}}, {"headers": {"b": 2, "a": 1}}, "", []),
        ({"routes": ["a", "b"]}, {"routes": ["b", "a"]}, "", ["routes"]),
    ],
)
def test_key_by_key(was: dict[str, Any], now: dict[str, Any], fields: str, found: list[str]) -> None:
    differ = differences(was, now, fields.split())
    assert [each.field for each in differ] == found
    assert all((each.was, each.now) == (was.get(each.field), now.get(each.field)) for each in differ)


@given(DECISIONS, DECISIONS)
def test_none_differ_if_and_only_if_they_are_the_same_json(was: dict[str, Any], now: dict[str, Any]) -> None:
    found = differences(was, now)
    plain = [{key: value for key, value in each.items() if value is not None} for each in (was, now)]
    one, other = (json.dumps(each, sort_keys=True) for each in plain)
    assert (found == ()) == (one == other)
    turned = {Difference(each.field, each.now, each.was).key for each in differences(now, was)}
    assert {each.key for each in found} == turned
    assert differences(was, was) == ()


def test_what_is_counted() -> None:
    tally = Tally()
    away = Difference("action", "route", "reject")
    to_b, to_c = Difference("uri", "sip:a", "sip:b"), Difference("uri", "sip:a", "sip:c")
    assert not tally.all_same, "nothing was asked"
    tally.add(call(1, Result.SAME))
    assert tally.all_same
    tally.add(call(2, Result.DIFFERENT, to_c))
    tally.add(call(3, Result.DIFFERENT, away, to_b))
    tally.add(call(4, Result.DIFFERENT, to_b))
    tally.add(call(5, Result.FAILED, detail="boom"))
    tally.add(call(6, Result.NO_ANSWER, detail="silent"))
    tally.add(call(7, Result.FAILED, detail="boom"))
    assert tally.as_row() == {"asked": 7, "same": 1, "different": 3, "failed": 2, "no_answer": 1}
    assert not tally.all_same
    assert [(each.difference, each.calls, each.example) for each in tally.changes] == [
        (to_b, 2, "sbc1:1:3:1"),
        (to_c, 1, "sbc1:1:2:1"),
        (away, 1, "sbc1:1:3:1"),
    ]
    assert tally.details == {(Result.FAILED, "boom"): 2, (Result.NO_ANSWER, "silent"): 1}
    assert [each.id.split(":")[2] for each in (*tally.differ, *tally.undecided)] == list("234567")


@pytest.mark.parametrize("result", [Result.FAILED, Result.NO_ANSWER, Result.DIFFERENT])
def test_one_that_is_not_the_same_is_enough(result: Result) -> None:
    tally = Tally()
    tally.add(call(1, Result.SAME))
    tally.add(call(2, result))
    assert not tally.all_same


def test_examples_are_few() -> None:
    tally = Tally()
    for label in range(3 * EXAMPLES):
        tally.add(call(label, Result.DIFFERENT, Difference("uri", "a", f"{label}")))
        tally.add(call(label, Result.FAILED))
    assert len(tally.differ) == len(tally.undecided) == EXAMPLES
    assert tally.asked == 6 * EXAMPLES
    assert len(tally.changes) == 3 * EXAMPLES, "differences are all counted"
