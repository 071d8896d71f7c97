from __future__ import annotations

import fnmatch
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.watched import TableError
from consumers.screening import EXAMPLE_LIST, Patterns, make_service, parse_rules
from consumers.testing import Undecided, ask

ALLOWED = {"action": "allow"}


def blocked(reason: str) -> dict[str, Any]:
    return {"action": "reject", "code": 403, "reason": reason}


@pytest.mark.parametrize(
    "data, decision",
    [
        ({"caller": "+447700900000", "user": "441632960000"}, blocked("Caller is blocked")),
        ({"caller": "07700900000", "user": "441632960000"}, ALLOWED),
        ({"caller": "+447700900123", "user": "441632960000"}, ALLOWED),
        ({"from": '"+447700900123" <sip:+447700900124@x>'}, blocked("Caller is blocked")),
        (
            {"from": "sip:Anonymous@anonymous.invalid", "ruri": "sip:1@x"},
            blocked("Anonymous calls are not taken"),
        ),
        ({"from": "sip:bob@x", "ruri": "sip:00449012345@x"}, blocked("Premium numbers are not served")),
        ({"callee": "+441", "user": "+449", "ruri": "sip:+449@x"}, ALLOWED),
        ({"caller": "+447700900123", "user": "+449"}, ALLOWED),
    ],
)
async def test_the_packaged_example(data: dict[str, str], decision: dict[str, Any]) -> None:
    assert await ask(make_service(EXAMPLE_LIST), "screening_request", data) == decision


@pytest.mark.parametrize("data", [{}, {"caller": 1}, b"x", None])
async def test_a_request_that_names_nobody_fails(data: Any) -> None:
    with pytest.raises(Undecided, match="neither caller nor callee"):
        await ask(make_service(EXAMPLE_LIST), "screening_request", data)


def test_the_kinds_of_pattern() -> None:
    rules = parse_rules(
        "block caller 44* prefix\nblock caller 4420* longer\nblock caller +442079460000 exact\n"
        "block caller 49?0* glob\nblock caller *spam* named\nblock caller [x]* bracket\n"
        "block callee * everybody\nblock caller 331\n"
    )
    said = {
        caller: rules.reason_against({"caller": caller})
        for caller in ("441", "44208", "442079460000", "4930", "49301", "4931", "xspamx", "[x]1", "x1", "331")
    }
    assert said == {
        "441": "prefix",
        "44208": "longer",
        "442079460000": "exact",
        "4930": "glob",
        "49301": "glob",
        "4931": None,
        "xspamx": "named",
        "[x]1": "bracket",
        "x1": None,
        "331": "Screened out",
    }
    assert rules.reason_against({"caller": "bob", "callee": ""}) == "everybody"


def test_an_allow_rule_of_either_side_wins() -> None:
    rules = parse_rules("block caller *\nblock callee *\nallow caller vip\nallow callee +1*\n")
    assert rules.reason_against({"caller": "vip", "callee": "999"}) is None
    assert rules.reason_against({"caller": "bob", "callee": "1212"}) is None
    assert rules.reason_against({"caller": "bob", "callee": "999"}) is not None


@pytest.mark.parametrize(
    "text, told",
    [
        ("# fine\n\ndeny caller 1\n", "line 3, column action: 'deny' is neither block nor allow"),
        ("block calling 1\n", "line 1, column side: 'calling' is neither caller nor callee"),
        ("block caller\n", "line 1, column pattern: a pattern has 1 to 128"),
        ("block caller +* all international\n", "line 1, column pattern: .* without"),
        ("block caller 1 a\0b\n", "line 1, column reason"),
    ],
)
def test_what_is_wrong_is_told_by_line_and_column(text: str, told: str) -> None:
    with pytest.raises(TableError, match=told):
        parse_rules(text)


def test_an_empty_list_blocks_nobody() -> None:
    assert parse_rules("# nobody yet\n").reason_against({"caller": "x"}) is None


def test_many_wildcards_take_no_time() -> None:
    patterns = Patterns()
    patterns.add("*1" * 60 + "x", "no")
    assert patterns.match("1" * 128) is None


words = st.text("ab*?", min_size=1, max_size=6)


@given(st.lists(words, max_size=8), st.text("ab", max_size=8))
def test_as_a_naive_search_would_find(globs: list[str], who: str) -> None:
    patterns = Patterns()
    for glob in globs:
        patterns.add(glob, glob)
    found = patterns.match(who)
    assert (found is not None) == any(fnmatch.fnmatchcase(who, glob) for glob in globs)
    assert found is None or fnmatch.fnmatchcase(who, found)
