"""Fan-out: what is compared are a plain call and one of three services."""

from __future__ import annotations

from adapter.relay import policy
from adapter.relay.plan import Mode
from tests.bench import fanout
from tests.bench.fan_services import NAMES, one, three, two


def test_one_service_is_asked_on_its_queue_and_nothing_more() -> None:
    plan = policy.parse_text(fanout.policy(1)).default
    assert (plan.queue, plan.courses) == (f"evapi.decide.{NAMES[0]}", False)


def test_three_services_are_merged_and_none_of_them_ends_the_call_early() -> None:
    plan = policy.parse_text(fanout.policy(3)).default
    assert (plan.mode, plan.courses) == (Mode.ALL, True)
    assert [(each.name, each.optional) for each in plan.asked] == [(name, True) for name in NAMES]


def test_batches_are_those_of_the_three() -> None:
    plan = policy.parse_text(fanout.policy(3, 64)).default
    assert [(each.optional, each.batch) for each in plan.asked] == [(True, 64)] * 3
    assert policy.parse_text(fanout.policy(1)).default.batch == 1


def test_the_services_are_those_that_the_policy_names() -> None:
    assert [each.name for each in (one, two, three)] == list(NAMES)
