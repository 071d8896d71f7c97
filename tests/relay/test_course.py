"""Courses: what follows from the answers of several services."""

from __future__ import annotations

import json
import tracemalloc
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.model.ladder import Rung, Status
from adapter.model.transaction import Outcome
from adapter.relay import course
from adapter.relay.course import Answer, Step, next_step
from adapter.relay.plan import Mode, Plan, Retry, Service, resolved
from adapter.wire import to_kamailio

OPTIONAL = Service("fraud", optional=True)
KNOWN = {"fraud": OPTIONAL}


def plan(mode: Mode = Mode.ALL, services: str = "screening fraud least_cost", **more: Any) -> Plan:
    """A plan; the service ``fraud`` is optional."""
    return resolved(Plan(mode=mode, services=tuple(services.split()), **more), KNOWN)


def decided(service: str, **decision: Any) -> Answer:
    """An answer that decides."""
    return Answer(service, Status.DECIDED, json.dumps(decision).encode())


def asked(step: Step) -> list[str]:
    """Who is waited for."""
    return [each.name for each in step.ask]


def end(step: Step) -> tuple[Outcome, Any, Rung]:
    """How the call ends."""
    assert step.done is not None, "it goes on"
    text = step.done.decision
    return step.done.outcome, None if text is None else json.loads(text), step.done.rung


def test_lines_are_read_as_they_were_written() -> None:
    answers = [
        decided("fraud", action="allow", why="tab \t, break \n, ü"),
        Answer("screening", Status.FAILED, course.why("no\nsuch\taccount")),
        Answer("", Status.EXTENDED),
    ]
    whole = b"".join(map(course.line, answers))
    assert course.lines(whole) == [
        *answers[:1],
        Answer("screening", Status.FAILED, b"no such account"),
        answers[2],
    ]
    assert course.lines(b"what is this\n" + whole) == course.lines(whole)
    assert course.lines(b"") == []


def test_all_are_asked_at_once_and_merged_in_order() -> None:
    rules = plan()
    assert asked(next_step(rules, [])) == ["screening", "fraud", "least_cost"]
    answers = [decided("least_cost", action="route", uri="sip:a"), decided("screening", action="allow", a=1)]
    assert asked(next_step(rules, answers)) == ["fraud"]
    answers.append(decided("fraud", action="allow", a=2, b=3))
    merged = {"action": "route", "uri": "sip:a", "a": 2, "b": 3}
    assert end(next_step(rules, answers)) == (Outcome.DECIDED, merged, Rung.SERVICE)


def test_a_reject_of_one_that_is_needed_ends_all_at_once() -> None:
    answers = [decided("screening", action="reject", code=603)]
    assert end(next_step(plan(), answers)) == (
        Outcome.DECIDED,
        {"action": "reject", "code": 603},
        Rung.SERVICE,
    )


def test_a_reject_of_an_optional_one_is_merged() -> None:
    answers = [decided("fraud", action="reject", code=603)]
    assert asked(next_step(plan(), answers)) == ["screening", "least_cost"]
    answers += [decided("screening", action="allow"), decided("least_cost", action="route")]
    outcome, decision, _ = end(next_step(plan(), answers))
    assert (outcome, decision) == (Outcome.DECIDED, {"action": "route", "code": 603})


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (Status.FAILED, Outcome.FAILED),
        (Status.TIMEOUT, Outcome.TIMEOUT),
        (Status.UNTAKEN, Outcome.TIMEOUT),
        (Status.UNROUTABLE, Outcome.UNROUTABLE),
        (Status.UNAVAILABLE, Outcome.UNAVAILABLE),
        (Status.MALFORMED, Outcome.MALFORMED),
        (Status.OVERSIZED, Outcome.OVERSIZED),
    ],
)
@pytest.mark.parametrize("mode", [Mode.ALL, Mode.CHAIN])
def test_one_that_is_needed_fails_the_call_and_an_optional_one_does_not(
    mode: Mode, status: Status, outcome: Outcome
) -> None:
    assert end(next_step(plan(mode), [Answer("screening", status)])) == (outcome, None, Rung.SERVICE)
    answers = [
        decided("screening", action="allow"),
        Answer("fraud", status),
        decided("least_cost", uri="sip:a"),
    ]
    assert end(next_step(plan(mode), answers))[1] == {"action": "allow", "uri": "sip:a"}


def test_optional_ones_alone_that_all_fail_decide_nothing() -> None:
    rules = resolved(
        Plan(mode=Mode.ALL, services=("a", "b")), {name: Service(name, optional=True) for name in "ab"}
    )
    answers = [Answer("b", Status.TIMEOUT), Answer("a", Status.FAILED)]
    assert end(next_step(rules, answers)) == (Outcome.FAILED, None, Rung.SERVICE)


NO_SAY = Answer("screening", Status.NONE, b"it has no say in the call")


@pytest.mark.parametrize("mode", [Mode.ALL, Mode.CHAIN])
def test_who_has_no_say_adds_nothing_to_a_merged_decision(mode: Mode) -> None:
    rules = plan(mode)
    answers = [NO_SAY, Answer("fraud", Status.TIMEOUT), decided("least_cost", action="allow", a=1)]
    assert asked(next_step(rules, answers[:1]))[0] == "fraud"
    assert end(next_step(rules, answers)) == (Outcome.DECIDED, {"action": "allow", "a": 1}, Rung.SERVICE)
    assert course.statuses(rules, answers, Outcome.DECIDED) == {
        "screening": Status.NONE,
        "fraud": Status.TIMEOUT,
        "least_cost": Status.DECIDED,
    }


@pytest.mark.parametrize("mode", list(Mode))
def test_nobody_has_a_say(mode: Mode) -> None:
    """Then a backup is asked: nobody has decided."""
    names = "screening fraud least_cost"
    rules = plan(mode, names, quorum=2, backup_names=("late",), retry=Retry(failed=True))
    answers = [NO_SAY._replace(service=name) for name in names.split()]
    assert asked(next_step(rules, answers)) == ["late"]
    last = NO_SAY._replace(service="late")
    assert end(next_step(rules, [*answers, last])) == (Outcome.FAILED, None, Rung.SERVICE)


def test_the_outcome_is_that_of_who_tried() -> None:
    rules = plan(Mode.FIRST, "screening least_cost")
    answers = [NO_SAY, Answer("least_cost", Status.TIMEOUT)]
    assert end(next_step(rules, answers))[0] is Outcome.TIMEOUT


def test_who_has_no_say_counts_for_no_quorum() -> None:
    rules = plan(Mode.QUORUM, quorum=2)
    answers = [NO_SAY, decided("fraud", action="allow")]
    assert asked(next_step(rules, answers)) == ["least_cost"]
    answers.append(decided("least_cost", action="allow"))
    assert end(next_step(rules, answers))[0] is Outcome.DECIDED


def test_a_chain_asks_one_after_the_other_and_tells_what_was_decided() -> None:
    rules = plan(Mode.CHAIN)
    answers: list[Answer] = []
    for name in ("screening", "fraud", "least_cost"):
        assert asked(next_step(rules, answers)) == [name]
        assert list(course.decisions(rules, answers)) == [each.service for each in answers]
        answers.append(decided(name, **{name: 1}))
    assert end(next_step(rules, answers))[1] == {"screening": 1, "fraud": 1, "least_cost": 1}


@pytest.mark.parametrize("ends", [{"action": "reject"}, {"action": "route", "final": True}])
def test_a_chain_ends_with_a_reject_or_a_final_decision(ends: dict[str, Any]) -> None:
    step = next_step(plan(Mode.CHAIN), [decided("screening", **ends)])
    assert end(step)[:2] == (Outcome.DECIDED, ends)
    assert asked(next_step(plan(Mode.CHAIN), [decided("screening", action="route", final=1)])) == ["fraud"]


def test_a_quorum_of_equal_actions_decides() -> None:
    rules = plan(Mode.QUORUM, quorum=2)
    answers = [decided("least_cost", action="allow", a=1), decided("screening", action="reject")]
    assert asked(next_step(rules, answers)) == ["fraud"]
    answers.append(decided("fraud", action="allow", a=2))
    assert end(next_step(rules, answers)) == (Outcome.DECIDED, {"action": "allow", "a": 1}, Rung.SERVICE)


def test_a_quorum_that_cannot_be_reached_fails_at_once() -> None:
    rules = plan(Mode.QUORUM, quorum=2)
    answers = [Answer("fraud", Status.TIMEOUT), decided("screening", action="allow")]
    assert asked(next_step(rules, answers)) == ["least_cost"]
    assert end(next_step(rules, [*answers, decided("least_cost", action="reject")]))[0] is Outcome.TIMEOUT
    rules = replace(rules, quorum=3)
    assert end(next_step(rules, answers))[0] is Outcome.TIMEOUT
    differing = [decided("fraud", action="a"), decided("screening", action="b")]
    assert end(next_step(rules, differing))[0] is Outcome.FAILED


def test_the_first_decision_counts_and_a_failure_waits_for_the_others() -> None:
    rules = plan(Mode.FIRST)
    assert asked(next_step(rules, [])) == ["screening", "fraud", "least_cost"]
    answers = [Answer("screening", Status.FAILED)]
    assert asked(next_step(rules, answers)) == ["fraud", "least_cost"]
    assert end(next_step(rules, [*answers, decided("fraud", a=1)]))[1] == {"a": 1}
    answers += [Answer("fraud", Status.UNROUTABLE), Answer("least_cost", Status.TIMEOUT)]
    assert end(next_step(rules, answers)) == (Outcome.FAILED, None, Rung.SERVICE)


def test_a_service_is_tried_again_as_often_as_the_policy_says() -> None:
    rules = plan(Mode.FIRST, "least_cost", retry=Retry(failed=True, times=2))
    failed = Answer("least_cost", Status.FAILED)
    for number in range(3):
        assert asked(next_step(rules, [failed] * number)) == ["least_cost"]
    assert end(next_step(rules, [failed] * 3))[0] is Outcome.FAILED
    assert end(next_step(rules, [failed, decided("least_cost", a=1)])) == (
        *(Outcome.DECIDED, {"a": 1}),
        Rung.RETRY,
    )
    untaken = Answer("least_cost", Status.UNTAKEN)
    assert end(next_step(rules, [untaken]))[0] is Outcome.TIMEOUT


def test_a_retry_is_told_of_those_whose_decision_counts() -> None:
    rules = plan(Mode.ALL, "screening least_cost", retry=Retry(failed=True))
    answers = [Answer("screening", Status.FAILED), decided("screening", action="allow")]
    assert end(next_step(rules, [*answers, decided("least_cost", action="allow")]))[2] is Rung.RETRY
    assert end(next_step(rules, [*answers, decided("least_cost", action="reject")]))[2] is Rung.SERVICE


def test_what_comes_after_the_end_of_a_service_does_not_count() -> None:
    rules = plan(Mode.FIRST, "screening least_cost")
    answers = [Answer("screening", Status.TIMEOUT), decided("screening", a=1)]
    assert asked(next_step(rules, answers)) == ["least_cost"]
    assert course.statuses(rules, answers, Outcome.DECIDED) == {"screening": Status.TIMEOUT}


def test_backups_are_asked_one_after_the_other_once_nobody_else_decides() -> None:
    rules = plan(Mode.FIRST, "least_cost", backup_names=("b", "c"))
    answers = [Answer("least_cost", Status.TIMEOUT)]
    assert asked(next_step(rules, answers)) == ["b"]
    answers.append(Answer("b", Status.FAILED))
    assert asked(next_step(rules, answers)) == ["c"]
    assert end(next_step(rules, [*answers, decided("c", a=1)])) == (Outcome.DECIDED, {"a": 1}, Rung.BACKUP)
    answers.append(Answer("c", Status.UNAVAILABLE))
    assert end(next_step(rules, answers)) == (Outcome.TIMEOUT, None, Rung.SERVICE)


def test_more_time_is_no_answer() -> None:
    rules = plan(Mode.FIRST, "least_cost")
    answers = [Answer("least_cost", Status.EXTENDED)]
    assert asked(next_step(rules, answers)) == ["least_cost"]
    assert course.extended(answers)
    assert not course.extended([])
    assert course.statuses(rules, answers, Outcome.TIMEOUT) == {"least_cost": Status.TIMEOUT}


def test_what_each_service_did_is_told_in_the_order_of_the_policy() -> None:
    answers = [Answer("fraud", Status.TIMEOUT), decided("screening", action="allow")]
    told = course.statuses(plan(), answers, Outcome.TIMEOUT)
    assert list(told.items()) == [
        ("screening", Status.DECIDED),
        ("fraud", Status.TIMEOUT),
        ("least_cost", Status.TIMEOUT),
    ]
    assert "least_cost" not in course.statuses(plan(), answers, Outcome.OPERATOR)


def test_the_rung_is_told_of_every_end() -> None:
    rules = plan(fallback_on={Outcome.TIMEOUT: b"{}"})
    assert course.rung(rules, [], Outcome.TIMEOUT) is Rung.FALLBACK_ON
    assert course.rung(rules, [], Outcome.FAILED) is Rung.FALLBACK
    assert course.rung(rules, [], Outcome.OPERATOR) is Rung.OPERATOR
    assert course.rung(rules, [], Outcome.DECIDED) is Rung.CACHE
    answers = [decided("screening", action="reject")]
    assert course.rung(rules, answers, Outcome.DECIDED) is Rung.SERVICE


def test_a_decision_is_kept_by_its_keys_alone() -> None:
    data = {"account": "a", "user": "u", "call_id": "1"}
    key = course.cache_key("invite", ["account", "user"], data)
    assert key == course.cache_key("invite", ["account", "user"], {**data, "call_id": "2"})
    others = [
        course.cache_key("other", ["account", "user"], data),
        course.cache_key("invite", ["account", "user"], {**data, "user": "v"}),
        course.cache_key("invite", ["user", "account"], data),
    ]
    assert key not in others
    assert course.cache_key("invite", ["account"], {"account": "a"}) != course.cache_key(
        "invite", ["user"], {"user": "a"}
    )
    assert course.cache_key("invite", ["gone"], data) is None
    assert course.cache_key("invite", ["a"], b"bytes") is None


WORDS = [*(each.encode() for each in Status), b"deferred", b""]
TEXTS = [
    *(b'{"action":"allow"}', b'{"action":"reject"}', b'{"final":true}', b'{"action":"allow"}\tmore'),
    *(b"", b"[1]", b"null", b"{", b"\xff", b'{"a":NaN}', b'{"a":"\\u0000"}', b'{"a":"\\ud800"}'),
    *('{"action":"allow"}'.encode("utf-16"), b'{"a":' * 2000 + b"1" + b"}" * 2000),
]
ODD = st.builds(
    lambda *parts: b"\t".join(parts) + b"\n",
    st.sampled_from([b"screening", b"fraud", b"least_cost", b"", b"\xff", b"n\xc3\xb6"]),
    st.sampled_from(WORDS),
    st.sampled_from(TEXTS),
)


@given(st.lists(st.binary() | ODD, max_size=8), st.sampled_from(Mode), st.booleans())
def test_whatever_another_build_has_written_ends_nothing_wrongly(
    parts: list[bytes], mode: Mode, retried: bool
) -> None:
    retry = Retry(failed=True, untaken=True) if retried else None
    rules = plan(mode, quorum=2, backup_names=("spare",), retry=retry)
    answers = course.lines(b"".join(parts))
    assert course.lines(b"".join(map(course.line, answers))) == answers
    step = next_step(rules, answers)
    for outcome in Outcome:
        course.told(course.statuses(rules, answers, outcome), course.rung(rules, answers, outcome))
    course.decisions(rules, answers)
    if step.done is not None and step.done.decision is not None:
        assert to_kamailio.decision_json(json.loads(step.done.decision))


def test_long_decisions_are_not_remembered() -> None:
    """A thousand of them, and of what was made of each, would take some hundred megabytes."""
    long = [decided("fraud", action="route", why="x" * 4096, number=number) for number in range(300)]
    tracemalloc.start()
    try:
        for each in long:
            assert course.lines(course.line(each)) == [each]
            assert course.action(each.text) == "route"
            both = [decided("screening", action="allow"), each]
            assert end(next_step(plan(services="screening fraud"), both))[1]["action"] == "route"
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 500_000, f"{kept} bytes are kept of {len(long)} decisions"
