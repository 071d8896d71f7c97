"""Calls that several services decide: asked, waited for, gone on with and ended."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from adapter import contract
from adapter.inflight.local import LocalStore
from adapter.model.correlation import Ids, keys_of
from adapter.model.transaction import State
from adapter.ports.broker import Published, Reply
from adapter.relay.policy import parse
from adapter.wire.event import Suspended
from tests.relay_bench import Bench, id_of, suspended

if TYPE_CHECKING:
    from collections.abc import Mapping

KEYS = keys_of(["a key that services do not have"])
FALLBACK = {"action": "reject", "code": 503, "reason": "No decision"}


def bench_of(
    event: Mapping[str, Any],
    services: Mapping[str, Any] | None = None,
    store: LocalStore | None = None,
    name: str = "r1",
    tagged: bool = True,
) -> Bench:
    """A bench whose ids have tags, as a rule, with a policy for ``invite_request``."""
    policy = parse({"events": {"invite_request": event}, "services": services or {}})
    ids = Ids(KEYS, services=lambda: policy.services) if tagged else None
    return Bench(policy, store, name=name, ids=ids)


def to(bench: Bench, service: str, last: int = -1) -> str:
    """The correlation id of a request for a service."""
    found = [each for each in bench.broker.published if each.queue == f"evapi.decide.{service}"]
    id_ = found[last].correlation_id
    assert id_ is not None
    return id_


def answer(bench: Bench, service: str, /, **decision: Any) -> Reply:
    """A service's decision."""
    return Reply(to(bench, service), json.dumps(decision).encode(), "application/json", None, service)


def failure(bench: Bench, service: str, **more: Any) -> Reply:
    """A service's failure."""
    return Reply(to(bench, service), b"", None, more.pop("status", "failed"), service, **more)


def queues(bench: Bench) -> list[str]:
    """Whom was asked, in order."""
    return [each.queue.removeprefix("evapi.decide.") for each in bench.broker.published]


def resume(bench: Bench) -> dict[str, Any]:
    """The only resume."""
    (frame,) = bench.links.frames
    return {key: frame.get(key) for key in ("outcome", "decision", "services", "step")}


ALL: dict[str, Any] = {"mode": "all", "services": ["screening", "fraud", "least_cost"]}
OPTIONAL = {"fraud": {"within": 0.3, "optional": True}}


async def test_all_are_asked_at_once_each_on_its_queue_and_merged() -> None:
    bench = bench_of(ALL)
    await bench.events(suspended())
    assert queues(bench) == ["screening", "fraud", "least_cost"]
    assert len({each.correlation_id for each in bench.broker.published}) == 3
    await bench.reply(answer(bench, "fraud", action="allow", score=3))
    await bench.reply(answer(bench, "least_cost", action="route", uri="sip:a@example.net"))
    assert bench.links.frames == []
    await bench.reply(answer(bench, "screening", action="allow"))
    assert resume(bench) == {
        "outcome": "decided",
        "decision": {"action": "route", "score": 3, "uri": "sip:a@example.net"},
        "services": {"screening": "decided", "fraud": "decided", "least_cost": "decided"},
        "step": "service",
    }
    assert bench.steps[-1] == ("", "service")


async def test_a_batch_of_replies_may_end_a_call() -> None:
    bench = bench_of(ALL)
    await bench.events(suspended())
    await bench.reply(*(answer(bench, each, action="allow") for each in ("fraud", "screening", "least_cost")))
    assert resume(bench)["outcome"] == "decided"


async def test_an_optional_service_that_is_silent_costs_its_time_and_no_more() -> None:
    bench = bench_of(ALL, OPTIONAL)
    await bench.events(suspended())
    await bench.reply(*(answer(bench, each, action="allow") for each in ("screening", "least_cost")))
    await bench.tick(0.29)
    assert bench.links.frames == []
    await bench.tick(0.02)
    assert resume(bench)["services"] == {"screening": "decided", "fraud": "timeout", "least_cost": "decided"}
    await bench.reply(answer(bench, "fraud", action="reject"))
    assert len(bench.links.frames) == 1
    assert bench.counted("late_replies_total", node="sbc1") == 1


@pytest.mark.parametrize("more", [{}, {"within": 1.99}])
@pytest.mark.parametrize("mode", ["all", "chain"])
async def test_an_optional_service_that_is_silent_does_not_cost_the_decision(
    mode: str, more: dict[str, Any]
) -> None:
    """Whether or not the policy says how long it may take."""
    event = {"mode": mode, "services": ["screening", "fraud"], "deadline": 2.0}
    bench = bench_of(event, {"fraud": {"optional": True, **more}})
    await bench.events(suspended())
    await bench.reply(answer(bench, "screening", action="allow"))
    await bench.tick(1.7)
    assert bench.links.frames == []
    await bench.tick(0.15)
    assert resume(bench) == {
        "outcome": "decided",
        "decision": {"action": "allow"},
        "services": {"screening": "decided", "fraud": "timeout"},
        "step": "service",
    }


async def test_one_service_cannot_answer_for_another() -> None:
    bench = bench_of(ALL)
    await bench.events(suspended())
    forged = Reply(to(bench, "fraud"), b'{"action":"allow"}', "application/json", None, "screening")
    await bench.reply(forged, forged, forged)
    assert bench.links.frames == []
    plain = Ids(KEYS).text(id_of())
    await bench.reply(Reply(plain, b'{"action":"allow"}', "application/json", None, "screening"))
    assert bench.links.frames == []
    record = await bench.record(id_of())
    assert record is not None
    assert record.course.count(b"\n") == 1


async def test_a_chain_tells_each_what_the_former_decided() -> None:
    bench = bench_of({"mode": "chain", "services": ["screening", "least_cost"]})
    await bench.events(suspended())
    assert queues(bench) == ["screening"]
    await bench.reply(answer(bench, "screening", action="allow", account="a"))
    assert queues(bench) == ["screening", "least_cost"]
    asked = contract.decode_request(bench.broker.published[-1].body)
    assert asked.decisions == {"screening": {"action": "allow", "account": "a"}}
    await bench.reply(answer(bench, "least_cost", action="route"))
    assert resume(bench)["decision"] == {"action": "route", "account": "a"}


async def test_fields_and_format_of_a_service() -> None:
    bench = bench_of(ALL, {"fraud": {"fields": ["user"], "format": "json"}})
    await bench.events(Suspended("invite_request", 37, 1, 1, {"user": "a", "secret": "b"}))
    bodies = {each.queue.removeprefix("evapi.decide."): each.body for each in bench.broker.published}
    assert json.loads(bodies["fraud"])["data"] == {"user": "a"}
    assert contract.decode_request(bodies["screening"]).data == {"user": "a", "secret": "b"}


async def test_a_decision_that_is_not_accepted_counts_as_failed_and_is_kept() -> None:
    bench = bench_of(ALL, {"fraud": {"accepts": ["allow", "reject"]}})
    await bench.events(suspended())
    await bench.reply(answer(bench, "fraud", action="route", uri="sip:evil@example.net"))
    found = resume(bench)
    assert (found["outcome"], found["decision"]) == ("failed", FALLBACK)
    assert found["services"] == {"fraud": "failed"}
    (letter,) = bench.broker.letters
    assert (letter.reason, letter.detail) == ("not-accepted", "fraud may not decide 'route'")


@pytest.mark.parametrize("tagged", [True, False])
async def test_who_has_no_say_costs_the_call_nothing(tagged: bool) -> None:
    """Nor is a decision without an action odd: another one's is enough. What it may decide is no matter."""
    event = {"services": ["screening", "fraud"], "mode": "all", "retry": {"on": ["failed"]}}
    bench = bench_of(event, {"screening": {"accepts": ["allow"]}}, tagged=tagged)
    await bench.events(suspended(1))
    with capture_logs() as logs:
        await bench.reply(failure(bench, "screening", status="none"), answer(bench, "fraud", score=1))
    assert resume(bench)["decision"] == {"score": 1}
    assert resume(bench)["services"] == {"screening": "none", "fraud": "decided"}
    assert bench.broker.letters == []
    assert {entry["event"] for entry in logs} == {"resumed"}


async def test_one_service_without_a_say_ends_a_call_as_failed() -> None:
    bench = bench_of({"services": ["screening"]})
    await bench.events(suspended(1))
    await bench.reply(failure(bench, "screening", status="none"))
    assert bench.outcomes == [(1, "failed")]


@pytest.mark.parametrize("action", [["allow"], {"allow": 1}, None, 1])
async def test_an_action_that_is_no_word_is_not_accepted_and_costs_no_other_call(action: Any) -> None:
    bench = bench_of({"services": ["screening"]}, {"screening": {"accepts": ["allow"]}})
    await bench.events(suspended(1), suspended(2))
    odd, good = (bench.broker.asked[at] or "" for at in (0, 1))
    body = json.dumps({"action": action}).encode()
    replies = [Reply(odd, body, "application/json"), Reply(good, b'{"action":"allow"}', "application/json")]
    await bench.reply(*replies)
    assert sorted(each["outcome"] for each in bench.links.frames) == ["decided", "failed"]
    assert [each.reason for each in bench.broker.letters] == ["not-accepted"]


async def test_no_queue_fails_the_call_unless_there_is_a_backup() -> None:
    bench = bench_of({"services": ["least_cost"], "backup": ["backup_1", "backup_2"]})
    bench.broker.answers["invite_request"] = Published.UNROUTABLE
    await bench.events(suspended())
    assert queues(bench) == ["least_cost", "backup_1", "backup_2"]
    found = resume(bench)
    assert (found["outcome"], found["step"]) == ("unroutable", "fallback")
    assert found["services"] == dict.fromkeys(["least_cost", "backup_1", "backup_2"], "unroutable")


async def test_a_backup_decides_with_the_time_left() -> None:
    bench = bench_of({"services": ["least_cost"], "backup": ["spare"]}, {"least_cost": {"within": 0.5}})
    await bench.events(suspended())
    await bench.tick(0.5)
    assert queues(bench) == ["least_cost", "spare"]
    await bench.reply(answer(bench, "spare", action="route"))
    found = resume(bench)
    assert (found["outcome"], found["step"]) == ("decided", "backup")
    assert found["services"] == {"least_cost": "timeout", "spare": "decided"}


async def test_a_failure_is_tried_again() -> None:
    bench = bench_of({"services": ["least_cost"], "retry": {"on": ["failed"], "times": 1}})
    await bench.events(suspended())
    await bench.reply(failure(bench, "least_cost"))
    assert queues(bench) == ["least_cost", "least_cost"]
    await bench.reply(answer(bench, "least_cost", action="allow"))
    assert (resume(bench)["outcome"], resume(bench)["step"]) == ("decided", "retry")


async def test_a_request_that_nobody_takes_is_tried_again_and_then_lost() -> None:
    bench = bench_of({"services": ["least_cost"], "retry": {"on": ["untaken"], "times": 1}})
    await bench.events(suspended())
    (first,) = bench.broker.published
    assert first.deadline is not None
    assert first.expires == pytest.approx(first.deadline - 1.4)
    untaken = failure(bench, "least_cost", status=None, rejected="expired")
    await bench.reply(untaken)
    assert queues(bench) == ["least_cost", "least_cost"]
    await bench.reply(untaken)
    found = resume(bench)
    assert (found["outcome"], found["services"]) == ("timeout", {"least_cost": "untaken"})
    assert bench.counted("hop_seconds_count", hop="consumer") == 0, "no consumer had it"


async def test_more_time_once_as_far_as_the_policy_goes() -> None:
    bench = bench_of({"services": ["least_cost"], "deadline": 1.0, "max_deadline": 1.5})
    await bench.events(suspended())
    more = failure(bench, "least_cost", status="extend", extend=2000)
    with capture_logs() as logs:
        await bench.reply(more)
    assert logs == [], "nothing has failed"
    assert await bench.state(id_of()) is State.CLAIMED
    bench.now += 1.2
    await bench.trip.expire("sbc1")
    assert bench.links.frames == []
    await bench.reply(more)
    bench.now += 0.2
    await bench.reply(answer(bench, "least_cost", action="allow"))
    assert resume(bench)["outcome"] == "decided"
    assert ("least_cost", "extended") in bench.steps


async def test_who_is_asked_after_the_deadline_was_moved_is_told_the_later_one() -> None:
    bench = bench_of({"mode": "chain", "services": ["a", "b"], "deadline": 1.0, "max_deadline": 3.0})
    await bench.events(suspended())
    begun = bench.now
    await bench.reply(failure(bench, "a", status="extend", extend=2000))
    bench.now += 2.0
    await bench.reply(answer(bench, "a", action="allow"))
    asked = bench.broker.published[-1]
    assert asked.queue == "evapi.decide.b"
    told = contract.decode_request(asked.body).deadline
    assert told == pytest.approx(begun + 3.0, abs=0.001)
    assert asked.deadline == pytest.approx(begun + 3.0, abs=0.001)


async def test_more_time_is_over_at_the_longest_deadline() -> None:
    bench = bench_of({"services": ["least_cost"], "deadline": 1.0, "max_deadline": 1.5})
    await bench.events(suspended())
    await bench.reply(failure(bench, "least_cost", status="extend", extend=200))
    bench.now += 1.19
    await bench.trip.expire("sbc1")
    assert bench.links.frames == []
    bench.now += 0.02
    await bench.trip.expire("sbc1")
    found = resume(bench)
    assert (found["outcome"], found["services"]) == ("timeout", {"least_cost": "timeout"})


async def test_more_time_for_a_call_that_has_none_changes_nothing() -> None:
    for event in ({}, {"services": ["least_cost"], "backup": ["spare"]}):
        bench = bench_of(event)
        await bench.events(suspended())
        id_ = bench.broker.asked[0]
        assert id_ is not None
        await bench.reply(Reply(id_, b"", None, "extend", "least_cost", extend=500))
        assert bench.links.frames == []
        await bench.reply(Reply(id_, b'{"action":"allow"}', None, None, "least_cost"))
        assert bench.links.frames[0]["outcome"] == "decided"


BREAKER = {"fraud": {"within": 0.3, "optional": True, "breaker": {"after": 2, "pause": 5.0}}}


async def test_a_breaker_opens_after_silences_in_a_row_and_one_call_tries_again() -> None:
    bench = bench_of({"mode": "all", "services": ["screening", "fraud"]}, BREAKER)
    for label in (1, 2, 3):
        bench.now += 0.1 * (label == 3)
        await bench.events(suspended(label))
        await bench.reply(answer(bench, "screening", action="allow"))
    await bench.tick(0.21)  # the second silence opens it, and the third call is let go at once
    assert [each["services"]["fraud"] for each in bench.links.frames] == ["timeout", "timeout", "unavailable"]
    await bench.events(suspended(4))
    await bench.reply(answer(bench, "screening", action="allow"))
    assert bench.links.frames[-1]["services"] == {"screening": "decided", "fraud": "unavailable"}
    assert bench.counted("breaker_open", service="fraud") == 1
    await bench.tick(5.1)
    await bench.events(suspended(5), suspended(6))
    assert queues(bench)[-3:] == ["screening", "fraud", "screening"]
    await bench.reply(answer(bench, "fraud", action="allow"))
    assert bench.counted("breaker_open", service="fraud") == 0
    await bench.events(suspended(7))
    assert queues(bench)[-1] == "fraud"


async def test_a_hung_service_opens_its_breaker_at_deadlines_too() -> None:
    bench = bench_of({"services": ["fraud"]}, {"fraud": {"breaker": {"after": 2, "pause": 5.0}}})
    await bench.events(suspended(1))
    await bench.events(suspended(2))
    bench.now += 1.0
    await bench.events(suspended(3))
    bench.now += 1.1
    await bench.trip.expire("sbc1")
    await bench.trip.idle()
    assert [each["outcome"] for each in bench.links.frames] == ["timeout", "timeout", "unavailable"]


CACHE = {"services": ["least_cost"], "cache": {"key": ["account"], "stale": 60}, "deadline": 1.0}


def of_account(label: int, account: str = "a") -> Suspended:
    """An event that is equal to the others of its account."""
    return Suspended("invite_request", 37, label, 1, {"account": account, "call_id": str(label)})


async def test_a_decision_holds_for_as_long_as_its_service_says() -> None:
    bench = bench_of(CACHE)
    await bench.events(of_account(1))
    reply = answer(bench, "least_cost", action="route")
    reply.cache = 30  # type: ignore[misc]
    await bench.reply(reply)
    await bench.events(of_account(2), of_account(3, "b"))
    assert queues(bench) == ["least_cost"] * 2  # of the first and of the third
    assert bench.links.frames[1]["decision"] == {"action": "route"}
    assert (bench.links.frames[1]["outcome"], bench.links.frames[1]["step"]) == ("decided", "cache")


async def test_a_stale_decision_counts_once_nobody_decides() -> None:
    bench = bench_of(CACHE)
    await bench.events(of_account(1))
    reply = answer(bench, "least_cost", action="route")
    reply.cache = 1  # type: ignore[misc]
    await bench.reply(reply)
    bench.now += 2
    await bench.events(of_account(2))
    assert queues(bench) == ["least_cost"] * 2
    await bench.reply(failure(bench, "least_cost"))
    last = bench.links.frames[-1]
    assert (last["outcome"], last["decision"], last["step"]) == ("failed", {"action": "route"}, "stale")
    bench.now += 60
    await bench.events(of_account(3))
    await bench.reply(failure(bench, "least_cost"))
    assert (bench.links.frames[-1]["decision"], bench.links.frames[-1]["step"]) == (FALLBACK, "fallback")


async def test_a_decision_whose_service_does_not_say_so_is_not_kept() -> None:
    bench = bench_of({**CACHE, **ALL})
    await bench.events(of_account(1))
    replies = [answer(bench, each, action="allow") for each in ALL["services"]]
    replies[0].cache = 30  # type: ignore[misc]
    await bench.reply(*replies)
    assert bench.cache.kept == {}


async def test_the_fallback_by_outcome_is_told() -> None:
    bench = bench_of({**ALL, "fallback_on": {"failed": {"action": "allow"}}})
    await bench.events(suspended())
    await bench.reply(failure(bench, "screening"))
    assert (resume(bench)["decision"], resume(bench)["step"]) == ({"action": "allow"}, "fallback_on")


async def test_observers_get_a_copy_that_they_cannot_answer() -> None:
    bench = bench_of({"services": ["least_cost"], "observers": ["cdr"]})
    await bench.events(suspended())
    copy = next(each for each in bench.broker.published if each.queue == "evapi.decide.cdr")
    assert (copy.correlation_id, copy.deadline) == (None, None)
    assert contract.decode_request(copy.body).is_notice
    await bench.reply(answer(bench, "least_cost", action="allow"))
    assert resume(bench)["services"] == {"least_cost": "decided"}


async def test_a_shadow_is_compared_and_never_applied() -> None:
    bench = bench_of({"services": ["least_cost"], "shadows": ["next"]})
    for label, decision in ((1, {"action": "route"}), (2, {"action": "reject"})):
        await bench.events(suspended(label))
        shadow = answer(bench, "next", **decision)
        replies = [shadow, answer(bench, "least_cost", action="route")]
        for reply in replies if label == 1 else replies[::-1]:
            await bench.reply(reply)
    assert [each["decision"] for each in bench.links.frames] == [{"action": "route"}] * 2
    assert bench.counted("shadow_replies_total", service="next", result="same") == 1
    assert bench.counted("shadow_replies_total", service="next", result="different") == 1
    await bench.events(suspended(3))
    await bench.reply(answer(bench, "least_cost", action="route"))
    await bench.tick(4)
    assert bench.counted("shadow_replies_total", service="next", result="late") == 1


async def test_an_operator_ends_a_call_whoever_is_asked() -> None:
    bench = bench_of(ALL)
    await bench.events(suspended())
    await bench.reply(
        Reply(str(id_of()), b'{"action":"allow"}', "application/json", "operator", "me", by_operator=True)
    )
    found = resume(bench)
    assert (found["outcome"], found["step"]) == ("operator", "operator")


async def test_a_replica_that_adopts_asks_those_alone_that_have_not_answered() -> None:
    store = LocalStore("r1", clock=lambda: first.now)
    first = bench_of(ALL, store=store)
    second = bench_of(ALL, store=store.beside("r2"))
    await first.events(suspended())
    await first.reply(answer(first, "screening", action="allow"))
    assert await second.adopt("r1", state=State.CLAIMED) == 1
    assert queues(second) == ["fraud", "least_cost"]
    await second.reply(*(answer(second, each, action="allow") for each in ("fraud", "least_cost")))
    assert resume(second)["services"] == dict.fromkeys(ALL["services"], "decided")


async def test_replies_may_come_to_a_replica_that_has_not_asked() -> None:
    store = LocalStore("r1", clock=lambda: first.now)
    chain = {"mode": "chain", "services": ["screening", "least_cost"]}
    first = bench_of(chain, store=store)
    second = bench_of(chain, store=store.beside("r2"))
    await first.events(suspended())
    await second.reply(answer(first, "screening", action="allow"))
    assert queues(second) == ["least_cost"]
    await second.reply(answer(second, "least_cost", action="route"))
    assert resume(second)["decision"] == {"action": "route"}


async def test_requests_that_the_broker_does_not_take_are_published_again() -> None:
    bench = bench_of(ALL)
    bench.broker.answers["invite_request"] = Published.UNAVAILABLE
    await bench.events(suspended())
    bench.broker.answers.clear()
    await bench.tick(0.1)
    assert queues(bench) == ["screening", "fraud", "least_cost"] * 2
    await bench.reply(*(answer(bench, each, action="allow") for each in ALL["services"]))
    assert resume(bench)["outcome"] == "decided"


async def test_requests_that_the_broker_does_not_take_twice_are_given_up() -> None:
    bench = bench_of(ALL)
    bench.broker.answers["invite_request"] = Published.UNAVAILABLE
    await bench.events(suspended())
    await bench.tick(0.1)
    assert resume(bench)["outcome"] == "unavailable"


async def test_one_named_service_is_asked_on_its_queue_with_the_plain_id() -> None:
    bench = bench_of({"services": ["least_cost"]})
    await bench.events(suspended())
    (asked,) = bench.broker.published
    assert (asked.queue, asked.correlation_id) == ("evapi.decide.least_cost", Ids(KEYS).text(id_of()))
    await bench.reply(answer(bench, "least_cost", action="route"))
    assert resume(bench)["step"] is None


async def test_a_call_that_another_replica_ended_is_forgotten() -> None:
    store = LocalStore("r1", clock=lambda: first.now)
    first = bench_of(ALL, store=store)
    second = bench_of(ALL, store=store.beside("r2"))
    await first.events(suspended())
    await second.reply(*(answer(first, each, action="allow") for each in ALL["services"]))
    assert len(second.links.frames) == 1
    await first.tick(10)
    assert "0 calls" in repr(first.trip._courses)
    assert first.links.frames == []


async def test_an_answer_that_another_replica_took_up_is_learned_of() -> None:
    store = LocalStore("r1", clock=lambda: first.now)
    first = bench_of(ALL, store=store)
    second = bench_of(ALL, store=store.beside("r2"))
    await first.events(suspended())
    await second.reply(*(answer(first, each, action="allow") for each in ("fraud", "least_cost")))
    record = await second.record(id_of())
    assert record is not None
    first.trip.on_added(record)
    await first.trip.idle()
    assert queues(first) == ["screening", "fraud", "least_cost"]
    await first.reply(answer(first, "screening", action="allow"))
    assert resume(first)["services"] == dict.fromkeys(ALL["services"], "decided")
