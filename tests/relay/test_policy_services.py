"""What a policy says of services becomes plans."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.relay.plan import (
    ANYBODY,
    Breaker,
    Caching,
    Mode,
    Plan,
    Retry,
    Service,
    Shadow,
    in_share,
)
from adapter.relay.policy import LivePolicy, parse, parse_text

WHOLE = """
[services.fraud]
within = 0.3
optional = true
format = "json"
fields = ["user", "account"]
accepts = ["allow", "reject"]
breaker = { after = 3, pause = 2 }

[services.idle]
optional = true

[events.invite_request]
deadline = 2.0
max_deadline = 3.0
mode = "quorum"
services = ["screening", "fraud", "least_cost"]
quorum = 2
observers = ["cdr"]
shadows = [{ service = "least_cost_next", share = 0.05 }, "all_of_it"]
retry = { on = ["failed", "untaken"], times = 2 }
backup = ["least_cost_b"]
cache = { key = ["account", "user"], stale = 60 }
"""
FRAUD = Service(
    "fraud", 0.3, True, True, ("user", "account"), frozenset({"allow", "reject"}), Breaker(3, 2.0)
)
SEVERAL = {"services": ["a", "b", "c"]}


def test_a_whole_one() -> None:
    policy = parse_text(WHOLE)
    plan = policy.plan("invite_request")
    assert plan.asked == (Service("screening"), FRAUD, Service("least_cost"))
    assert plan.backup == (Service("least_cost_b"),)
    assert plan.observers == (Service("cdr"),)
    assert plan.shadows == (Shadow(Service("least_cost_next"), 0.05), Shadow(Service("all_of_it")))
    assert (plan.mode, plan.quorum, plan.deadline, plan.max_deadline) == (Mode.QUORUM, 2, 2.0, 3.0)
    assert (plan.retry, plan.cache) == (Retry(True, True, 2), Caching(("account", "user"), 60.0))
    assert plan.courses
    named = {"screening", "fraud", "least_cost", "least_cost_b", "cdr", "least_cost_next", "all_of_it"}
    assert policy.services == named
    assert policy.unused == ("idle",)
    assert policy.longest_deadline == 3.0
    assert policy.plan("any other") == Plan()


def test_what_is_left_out() -> None:
    raw = {"services": {"x": {"breaker": {}}}, "events": {"a": {"retry": {}, "cache": {"key": ["user"]}}}}
    policy = parse(raw)
    plan = policy.plan("a")
    assert policy.known == {"x": Service("x", breaker=Breaker(5, 5.0))}
    assert (plan.retry, plan.cache) == (Retry(True, True, 1), Caching(("user",), 0.0))
    assert plan.asked == (ANYBODY,)
    assert plan.courses


@pytest.mark.parametrize(
    ("on", "found"),
    [
        (["failed"], Retry(failed=True)),
        (["untaken"], Retry(untaken=True)),
        (["untaken", "failed"], Retry(True, True)),
    ],
)
def test_what_is_asked_again(on: list[str], found: Retry) -> None:
    assert parse({"default": {"retry": {"on": on}}}).default.retry == found


def test_an_event_has_what_the_default_has() -> None:
    default = {**SEVERAL, "mode": "all", "observers": ["cdr"], "retry": {}, "cache": {"key": ["user"]}}
    policy = parse({"default": default, "events": {"a": {"backup": ["d"]}}})
    assert policy.plan("a") == replace(
        policy.default, backup_names=("d",), backup=(Service("d"),), own=frozenset()
    )


def test_an_event_leaves_out_what_the_default_has() -> None:
    ladder = {"retry": {}, "cache": {"key": ["user"]}, "observers": ["x"], "shadows": ["y"], "backup": ["z"]}
    own = {"retry": False, "cache": False, "observers": [], "shadows": [], "backup": []}
    policy = parse({"default": ladder, "events": {"a": own}})
    assert policy.default.courses
    assert not policy.plan("a").courses
    assert policy.plan("a") == Plan()


def test_an_events_own_mode_has_no_quorum_of_the_default() -> None:
    default = {**SEVERAL, "mode": "quorum", "quorum": 2}
    policy = parse({"default": default, "events": {"a": {"mode": "all"}, "b": {"mode": "quorum"}}})
    assert (policy.plan("a").mode, policy.plan("a").quorum) == (Mode.ALL, 0)
    assert (policy.plan("b").mode, policy.plan("b").quorum) == (Mode.QUORUM, 2)


def test_all_may_be_optional() -> None:
    raw = {"services": {name: {"optional": True} for name in "abc"}, "default": {**SEVERAL, "mode": "all"}}
    assert all(each.optional for each in parse(raw).default.asked)


@pytest.mark.parametrize("format", ["json", "msgpack"])
def test_the_format_of_one_service_is_that_of_its_simple_plan(format: str) -> None:  # noqa: A002
    raw = {"services": {"x": {"format": format}}, "default": {"format": "json", "services": ["x"]}}
    plan = parse(raw).default
    assert plan.as_json == (format == "json")
    assert not plan.courses


def test_within_may_be_longer_than_one_of_its_deadlines() -> None:
    raw: dict[str, Any] = {"services": {"x": {"within": 1.5}}}
    raw["events"] = {"a": {"deadline": 1, "services": ["x"]}, "b": {"backup": ["x"]}}
    assert parse(raw).plan("a").asked[0].within == 1.5
    raw = {"services": {"x": {"within": 3}}, "default": {"max_deadline": 3, "services": ["x"]}}
    assert parse(raw).default.asked[0].within == 3.0


class TestMaxDeadline:
    def test_it_may_be_the_deadline_itself(self) -> None:
        policy = parse({"default": {"max_deadline": 3}, "events": {"a": {"deadline": 3}}})
        plan = policy.plan("a")
        assert (plan.deadline, plan.max_deadline, plan.longest, plan.courses) == (3.0, None, 3.0, False)

    def test_the_longest_that_a_call_may_have_counts(self) -> None:
        now = [0.0]
        live = LivePolicy(parse({"events": {"a": {"max_deadline": 9}}}), lambda: now[0])
        assert live.longest_deadline == 9.0
        live.replace(parse({}))
        assert live.longest_deadline == 9.0


class TestShares:
    @given(st.text(), st.floats(0, 1, exclude_min=True))
    def test_a_call_is_in_it_by_its_id_alone(self, text: str, share: float) -> None:
        digest = hashlib.sha256(text.encode(errors="surrogatepass")).digest()
        point = int.from_bytes(digest[:4], "big") / 2**32
        assert in_share(Shadow(Service("x"), share), text) == (point < share)
        assert in_share(Shadow(Service("x")), text)

    def test_it_is_about_as_many_as_it_says(self) -> None:
        shadow = Shadow(Service("x"), 0.05)
        found = sum(in_share(shadow, f"{number}@example.net") for number in range(10_000))
        assert 400 < found < 600


BATCHES = """
[services.a]
batch = 64

[services.b]
format = "msgpack"
batch = 2

[default]
services = ["a"]

[events.other]
format = "json"
services = ["b", "c"]
"""


def test_how_many_requests_of_a_service_may_be_in_one_message() -> None:
    policy = parse_text(BATCHES)
    assert (policy.default.batch, policy.default.courses) == (64, False)
    assert [each.batch for each in policy.plan("other").asked] == [2, 1]
    assert parse({}).default.batch == 1


@pytest.mark.parametrize(
    ("text", "batches"),
    [
        ("", 0),
        (BATCHES, 1),
        ("[services.a]\nbatch = 1\n", 0),
        ("[services.a]\nbatch = 2\n", 1),  # an observer, or one that nobody names
        ('[default]\nservices = ["a", "b", "c"]\n[services.a]\nbatch = 2\n[services.c]\nbatch = 9\n', 2),
        ('services.a.batch = 2\nservices.b.batch = 2\n[default]\nservices = ["a", "b"]\nmode = "chain"\n', 1),
    ],
)
def test_in_how_many_batches_requests_go_follows_the_policy(text: str, batches: int) -> None:
    live = LivePolicy(parse({}), lambda: 0.0)
    assert live.in_batches() == 0
    live.replace(parse_text(text))
    assert live.in_batches() == batches
