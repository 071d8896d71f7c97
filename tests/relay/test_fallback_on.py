"""The fallback of a call that nobody decided, by outcome."""

from __future__ import annotations

import json
from typing import Any

import pytest

from adapter.errors import PolicyError
from adapter.model.transaction import Outcome
from adapter.relay.plan import Plan
from adapter.relay.policy import parse
from adapter.relay.policy_keys import MAX_FALLBACK, WITH_FALLBACK
from tests.relay_bench import Bench, reply, suspended

ALLOW, BUSY, ROUTE = (
    {"action": "allow"},
    {"action": "reject", "code": 486},
    {"action": "route", "uri": "sip:x"},
)


def found(raw: dict[str, Any], outcome: Outcome, event: str = "a") -> Any:
    return json.loads(parse(raw).plan(event).fallback_of(outcome))


def test_every_outcome_that_nobody_decided_may_have_its_own() -> None:
    raw = {
        "default": {"fallback": ALLOW, "fallback_on": {each.value: {"of": each} for each in WITH_FALLBACK}}
    }
    assert len(WITH_FALLBACK) == len(Outcome) - 2
    assert [found(raw, each) for each in WITH_FALLBACK] == [{"of": each.value} for each in WITH_FALLBACK]


def test_the_others_have_the_fallback() -> None:
    raw = {"default": {"fallback": ALLOW, "fallback_on": {"timeout": BUSY}}}
    assert found(raw, Outcome.TIMEOUT) == BUSY
    assert found(raw, Outcome.FAILED) == ALLOW


def test_an_events_own_are_added_to_the_defaults() -> None:
    raw = {
        "default": {"fallback_on": {"timeout": BUSY, "failed": BUSY}},
        "events": {"a": {"fallback_on": {"failed": ALLOW, "overload": ROUTE}}},
    }
    outcomes = (Outcome.TIMEOUT, Outcome.FAILED, Outcome.OVERLOAD)
    assert [found(raw, each) for each in outcomes] == [BUSY, ALLOW, ROUTE]
    assert found(raw, Outcome.FAILED, "other") == BUSY


def test_an_events_own_fallback_counts_before_what_the_default_has_by_outcome() -> None:
    raw = {
        "default": {"fallback_on": {"timeout": BUSY}},
        "events": {"a": {"fallback": ALLOW}, "b": {"fallback": ALLOW, "fallback_on": {"timeout": ROUTE}}},
    }
    assert found(raw, Outcome.TIMEOUT) == ALLOW
    assert found(raw, Outcome.TIMEOUT, "b") == ROUTE
    assert found(raw, Outcome.FAILED, "b") == ALLOW


def test_where_none_is_set_nothing_is_kept() -> None:
    assert parse({"events": {"a": {"deadline": 1}}}).plan("a").fallback_on == {} == Plan().fallback_on


@pytest.mark.parametrize("value", [{"x": "y" * MAX_FALLBACK}, {"x": "\0"}, {"x": 1 << 63}, "reject", None])
def test_each_is_checked_as_the_fallback_is(value: Any) -> None:
    with pytest.raises(PolicyError) as caught:
        parse({"default": {"fallback_on": {"failed": value}}})
    assert caught.value.variable == "default.fallback_on.failed"


async def test_calls_under_way_keep_theirs() -> None:
    bench = Bench(parse({"default": {"fallback_on": {"failed": BUSY}}}))
    await bench.events(suspended(1))
    bench.now += 0.1
    bench.policy.replace(parse({"default": {"fallback_on": {"failed": ALLOW}}}))
    await bench.events(suspended(2))
    await bench.reply(reply(1, status="failed"), reply(2, status="failed"))
    assert [frame["decision"] for frame in bench.links.frames] == [BUSY, ALLOW]


async def test_a_reply_that_cannot_be_written_any_more_is_overload() -> None:
    bench = Bench(parse({"default": {"fallback_on": {"overload": BUSY}}}))
    await bench.events(suspended(1))
    bench.links.backlog = 1.5
    await bench.reply(reply(1))
    assert [(frame["outcome"], frame["decision"]) for frame in bench.links.frames] == [("overload", BUSY)]


async def test_a_reply_that_is_too_long_for_the_link_is_oversized() -> None:
    bench = Bench(parse({"default": {"fallback_on": {"oversized": BUSY}}}))
    bench.links.longest = 8_000
    await bench.events(suspended(1))
    await bench.reply(reply(1, decision={"pad": "x" * 9_000}))
    assert [(frame["outcome"], frame["decision"]) for frame in bench.links.frames] == [("oversized", BUSY)]
