"""Metrics of services that decide calls together: bounded, and beginning at 0."""

from __future__ import annotations

import pytest
from prometheus_client import generate_latest

from adapter.model.ladder import Rung, Status
from adapter.model.transaction import TransactionId
from adapter.observe.course_metrics import MAX_SERVICES, SHADOW_RESULTS, CourseMetrics
from adapter.observe.metrics import Metrics
from adapter.observe.trip_metrics import MAX_EVENTS
from adapter.relay.plan import Breaker, Plan, Service, resolved
from tests.harness.promtool import check_metrics

ID = TransactionId("sbc1", 37, 1, 1)
NOW = 1_700_000_000.0


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def courses(metrics: Metrics) -> CourseMetrics:
    return metrics.courses


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"evapi_{name}", labels)


def answered(courses: CourseMetrics, service: str, status: str, seconds: float = 0.1) -> None:
    courses.stepped(NOW, ID, "invite_request", service, status, seconds)


def decided(courses: CourseMetrics, step: str, event: str = "invite_request") -> None:
    courses.stepped(NOW, ID, event, "", step, 1.0)


def test_the_series_of_a_policy_begin_with_it(metrics: Metrics, courses: CourseMetrics) -> None:
    known = {"fraud": Service("fraud", breaker=Breaker())}
    plan = resolved(Plan(services=("fraud",), backup_names=("lcr",), shadow_shares=(("new", 1.0),)), known)
    courses.begin(Plan(services=("plain",)), {"e": plan, "plain_request": Plan()})
    for service in ("fraud", "lcr"):
        assert value(metrics, "service_answers_total", service=service, status="decided") == 0
        assert value(metrics, "service_seconds_count", service=service) == 0
    assert value(metrics, "shadow_replies_total", service="new", result="late") == 0
    assert value(metrics, "breaker_open", service="fraud") == 0
    assert value(metrics, "breaker_opened_total", service="fraud") == 0
    assert value(metrics, "steps_total", event="e", step="service") == 0
    assert value(metrics, "breaker_open", service="lcr") is None, "it has none"
    assert value(metrics, "service_seconds_count", service="plain") is None, "it alone decides its calls"
    assert value(metrics, "steps_total", event="plain_request", step="service") is None


def test_what_was_counted_before_stays(metrics: Metrics, courses: CourseMetrics) -> None:
    plan = resolved(Plan(services=("fraud", "lcr")), {"fraud": Service("fraud", breaker=Breaker())})
    answered(courses, "fraud", Status.DECIDED)
    decided(courses, "service", "e")
    courses.breaker("fraud", True)
    courses.begin(plan, {"e": plan})
    assert value(metrics, "service_answers_total", service="fraud", status="decided") == 1
    assert value(metrics, "steps_total", event="e", step="service") == 1
    assert value(metrics, "breaker_open", service="fraud") == 1


def test_an_open_breaker_goes_with_its_policy_and_comes_back_with_it(
    metrics: Metrics, courses: CourseMetrics
) -> None:
    """Else it would be open for ever: nobody asks the service any more."""
    plan = resolved(Plan(services=("fraud", "lcr")), {"fraud": Service("fraud", breaker=Breaker())})
    courses.breaker("fraud", True)
    courses.begin(Plan(), {})
    assert value(metrics, "breaker_open", service="fraud") is None
    courses.begin(plan, {})
    assert value(metrics, "breaker_open", service="fraud") == 1
    assert value(metrics, "breaker_opened_total", service="fraud") == 1


def test_a_service_s_answers_by_status_each_of_which_begins_at_0(
    metrics: Metrics, courses: CourseMetrics
) -> None:
    answered(courses, "fraud", Status.DECIDED)
    answered(courses, "fraud", "timeout")
    found = {each: value(metrics, "service_answers_total", service="fraud", status=each) for each in Status}
    assert found == {each: 1.0 if each in {"decided", "timeout"} else 0.0 for each in Status}


@pytest.mark.parametrize("status", list(Status))
def test_only_who_was_waited_for_has_a_time(metrics: Metrics, courses: CourseMetrics, status: Status) -> None:
    answered(courses, "fraud", status, 0.25)
    waited = status in {"decided", "failed", "none", "malformed", "oversized", "timeout"}
    assert value(metrics, "service_seconds_count", service="fraud") == waited
    assert value(metrics, "service_seconds_sum", service="fraud") == (0.25 if waited else 0)


def test_who_has_no_name_is_somebody(metrics: Metrics, courses: CourseMetrics) -> None:
    """A course without named services, but with a backup: whoever is bound to the event is asked first."""
    answered(courses, "", Status.TIMEOUT)
    assert value(metrics, "service_answers_total", service="anybody", status="timeout") == 1
    assert value(metrics, "steps_total", event="invite_request", step="backup") is None


def test_what_decided_by_event_and_step(metrics: Metrics, courses: CourseMetrics) -> None:
    decided(courses, "backup")
    found = {each: value(metrics, "steps_total", event="invite_request", step=each) for each in Rung}
    assert found == {each: float(each == "backup") for each in Rung}
    assert value(metrics, "service_answers_total", service="anybody", status="decided") is None


def test_so_many_services_have_series_of_their_own(metrics: Metrics, courses: CourseMetrics) -> None:
    for number in range(MAX_SERVICES + 5):
        answered(courses, f"s{number}", Status.DECIDED)
    assert value(metrics, "service_answers_total", service=f"s{MAX_SERVICES - 1}", status="decided") == 1
    assert value(metrics, "service_answers_total", service=f"s{MAX_SERVICES}", status="decided") is None
    assert value(metrics, "service_answers_total", service="other", status="decided") == 5
    assert value(metrics, "service_seconds_count", service="other") == 5


def test_so_many_events_have_series_of_their_own(metrics: Metrics, courses: CourseMetrics) -> None:
    for number in range(MAX_EVENTS + 5):
        decided(courses, "service", f"e{number}")
    assert value(metrics, "steps_total", event=f"e{MAX_EVENTS - 1}", step="service") == 1
    assert value(metrics, "steps_total", event=f"e{MAX_EVENTS}", step="service") is None
    assert value(metrics, "steps_total", event="other", step="service") == 5


def test_a_breaker_is_counted_each_time_that_it_opens(metrics: Metrics, courses: CourseMetrics) -> None:
    said = []
    for is_open in (False, True, True, False, True):
        courses.breaker("fraud", is_open)
        said.append([value(metrics, f"breaker_{each}", service="fraud") for each in ("open", "opened_total")])
    assert said == [[0, 0], [1, 1], [1, 1], [0, 1], [1, 2]]


def test_breakers_that_share_a_series_are_open_while_one_is(metrics: Metrics, courses: CourseMetrics) -> None:
    for number in range(MAX_SERVICES):
        answered(courses, f"s{number}", Status.DECIDED)
    courses.breaker("a", True)
    courses.breaker("b", True)
    courses.breaker("a", False)
    assert value(metrics, "breaker_open", service="other") == 1
    courses.breaker("b", False)
    assert value(metrics, "breaker_open", service="other") == 0
    assert value(metrics, "breaker_opened_total", service="other") == 2


def test_a_shadow_s_replies_by_result(metrics: Metrics, courses: CourseMetrics) -> None:
    courses.shadow("fraud2", "different")
    found = {
        each: value(metrics, "shadow_replies_total", service="fraud2", result=each) for each in SHADOW_RESULTS
    }
    assert found == {"same": 0, "different": 1, "failed": 0, "late": 0}


def test_promtool_finds_nothing_to_say(metrics: Metrics, courses: CourseMetrics) -> None:
    answered(courses, "fraud", Status.DECIDED)
    decided(courses, "service")
    courses.breaker("fraud", True)
    courses.shadow("fraud2", "same")
    check_metrics(generate_latest(metrics.registry).decode())
