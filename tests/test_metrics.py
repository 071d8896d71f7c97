"""What is counted under which name, and that no peer makes as many series as it likes."""

from __future__ import annotations

from prometheus_client import generate_latest

from adapter.metrics import MAX_EVENTS, Metrics
from adapter.transaction import Outcome


def resumes(metrics: Metrics) -> dict[str, float]:
    """How many there were, by event."""
    (family,) = [found for found in metrics.registry.collect() if found.name == "evapi_outcomes"]
    return {sample.labels["event"]: sample.value for sample in family.samples}


def test_events_that_nobody_named_share_a_series_once_there_are_too_many() -> None:
    metrics = Metrics(["invite_request"])
    for number in range(MAX_EVENTS + 50):
        metrics.resumed("sbc1", f"event {number}", Outcome.DECIDED, 0.1)
    metrics.resumed("sbc1", "invite_request", Outcome.DECIDED, 0.1)
    metrics.resumed("sbc1", "event 7", Outcome.DECIDED, 0.1)
    found = resumes(metrics)
    assert len(found) == MAX_EVENTS + 1
    assert (found["invite_request"], found["event 7"], found["other"]) == (1, 2, 51)


def test_those_of_the_policy_have_their_own_however_many_they_are() -> None:
    named = [f"event {number}" for number in range(MAX_EVENTS * 2)]
    metrics = Metrics(named)
    for event in [*named, "another"]:
        metrics.resumed("sbc1", event, Outcome.DECIDED, 0.1)
    assert resumes(metrics) == {**dict.fromkeys(named, 1), "other": 1}


def test_each_set_is_its_own() -> None:
    first, second = Metrics(), Metrics()
    first.resumed("sbc1", "e", Outcome.TIMEOUT, 2.0)
    assert resumes(second) == {}
    text = generate_latest(first.registry).decode()
    assert 'evapi_outcomes_total{event="e",node="sbc1",outcome="timeout"} 1.0' in text
    assert 'evapi_decision_seconds_sum{outcome="timeout"} 2.0' in text
    assert "_created" not in text
