"""What doctor says of the last calls, and of services that race for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgpack
import pytest

from adapter.admin.checks_calls import came_back, races
from adapter.admin.last_calls import by_event
from adapter.admin.services import Service
from adapter.observe.journal_entry import Kind
from adapter.relay import policy
from tests.admin.findings import bad

if TYPE_CHECKING:
    from collections.abc import Mapping

    from adapter.admin.checks_finding import Finding

FAULT = "failed: KeyError at lcr.py, line 5"


def resumed(outcome: str, *labels: int, event: str = "invite") -> Any:
    items = [(("n", 1, label, 1), event, "", outcome, 0.1, None) for label in labels]
    return (Kind.RESUME, 1.0, items)


def replied(fault: str | None, *labels: int) -> Any:
    return (Kind.REPLY, 1.0, [(("n", 1, label, 1), "lcr", None, None, fault) for label in labels])


def service(name: str, *bound: str, consumers: int = 1) -> Service:
    return Service(name, f"evapi.decide.{name}", 0, consumers, bound)


def told(*batches: Any, services: tuple[Service, ...] = ()) -> list[Finding]:
    return list(came_back(by_event([msgpack.packb(batches)]), services))


def test_an_event_that_no_queue_gets_is_told_with_who_handles_what() -> None:
    known = service("lcr", "invite_request"), service("fraud", "screening")
    (found,) = told(resumed("unroutable", 1, 2, event="invite-request"), services=known)
    assert bad([found]) == [("calls", "invite-request", "error")]
    assert "2 of its last 2 calls came back unroutable" in found.seen
    assert "lcr handles invite_request, fraud handles screening" in found.seen
    assert found.todo.startswith('$var(event) = "invite_request";')
    (found,) = told(resumed("unroutable", 1))
    assert "no service is known to handle any" in found.seen


def test_a_handler_that_raises_is_told_with_where() -> None:
    (found,) = told(replied(FAULT, 1, 2), resumed("failed", 1, 2), resumed("decided", 3))
    assert bad([found]) == [("calls", "invite", "error")]
    assert found.seen == f"2 of its last 3 calls came back failed: lcr: {FAULT}"


def test_what_is_not_understood() -> None:
    (found,) = told(replied("malformed: not JSON", 1), resumed("malformed", 1))
    assert found.seen.endswith("came back malformed: lcr: malformed: not JSON")
    (found,) = told(resumed("malformed", 1))
    assert "Kamailio sent frames" in found.seen
    assert found.todo.startswith("evapi-adapter dead-letters list")


@pytest.mark.parametrize(("failed", "status"), [(0, "ok"), (1, None), (2, "warning"), (150, "error")])
def test_how_many_are_how_bad(failed: int, status: str | None) -> None:
    ended = [resumed("failed", *range(failed)), resumed("decided", *range(1000, 1150))]
    assert [str(each.status) for each in told(*ended)] == ([] if status is None else [status])


def test_an_answer_that_is_written_again_counts_once() -> None:
    assert by_event([msgpack.packb([resumed("failed", 1), resumed("failed", 1)])])["invite"].total == 1


def test_entries_of_other_versions_are_left_out() -> None:
    old = (Kind.REPLY, 1.0, [(("n", 1, 1, 1), "lcr", None, None)])
    strange = [b"", b"\xc1", msgpack.packb([1]), msgpack.packb([old]), msgpack.packb({})]
    assert by_event([*strange, msgpack.packb([resumed("decided", 4)])])["invite"].decided == 1


class TestRaces:
    def found(self, rules: Mapping[str, Any], *services: Service) -> list[Finding]:
        return list(races(services, policy.parse(rules)))

    def test_two_that_are_bound_to_one_event_and_named_by_nobody(self) -> None:
        both = service("fraud", "invite"), service("lcr", "invite", "screening")
        (found,) = self.found({}, *both)
        assert bad([found]) == [("race", "invite", "warning")]
        assert found.seen == "fraud and lcr race for it"
        assert 'services = ["fraud", "lcr"]' in found.todo
        lines = found.todo.replace("    # ", "#").splitlines()
        assert policy.parse_text("\n".join(lines)).plan("invite").services == ("fraud", "lcr")

    def test_nobody_races_who_is_named_or_does_not_run_or_only_listens(self) -> None:
        both = service("fraud", "invite"), service("lcr", "invite")
        for rules in ({"events": {"invite": {"services": ["lcr"]}}}, {"default": {"services": ["lcr"]}}):
            assert self.found(rules, *both) == []
        assert self.found({}, service("fraud", "invite", consumers=0), both[1]) == []
        assert self.found({}, service("audit", "#"), both[1]) == []
