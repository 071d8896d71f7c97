"""Calls of several services where things come at once, twice, late, or to another replica."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from adapter import contract
from adapter.errors import StoreUnavailable
from adapter.inflight.failover import FailoverStore
from adapter.inflight.local import LocalStore
from adapter.model.correlation import Ids
from adapter.model.transaction import State
from adapter.ports.broker import Publication, Published, Reply
from adapter.relay.breaker import IDLE
from adapter.relay.course_calls import KEPT
from adapter.relay.early_replies import LOOKS
from adapter.relay.policy import parse
from adapter.relay.translate import Claimer, claim
from adapter.wire.event import Suspended
from tests.inflight.faulty import FaultyStore
from tests.relay.test_courses import ALL, KEYS, answer, bench_of, failure, queues, resume, to
from tests.relay_bench import Bench, id_of, suspended

if TYPE_CHECKING:
    from collections.abc import Sequence


def pair(event: dict[str, Any], services: dict[str, Any] | None = None) -> tuple[Bench, Bench]:
    """Two replicas on one store."""
    store = LocalStore("r1", clock=lambda: first.now)
    first = bench_of(event, services, store)
    return first, bench_of(event, services, store.beside("r2"))


def behind(event: dict[str, Any], common: LocalStore) -> Bench:
    """The active replica on a store, which it tells later."""
    store = FailoverStore(
        FaultyStore(common.beside("r1")),
        clock=lambda: found.now,
        on_added=lambda record: found.trip.on_added(record),
    )
    policy = parse({"events": {"invite_request": event}})
    ids = Ids(KEYS, services=lambda: policy.services)
    found = Bench(policy, store, ids=ids)  # type: ignore[arg-type]
    return found


async def test_a_breaker_that_opens_before_a_request_is_out_costs_no_other_call_its_request() -> None:
    breaker = {"fraud": {"within": 0.3, "optional": True, "breaker": {"after": 1, "pause": 5.0}}}
    bench = bench_of({"mode": "all", "services": ["screening", "fraud"]}, breaker)
    await bench.events(suspended(1))
    bench.now += 0.3
    bench.look()
    bench.trip.on_events("sbc1", [suspended(2), suspended(3)])
    while len(bench.trip._courses._calls.waiting_for("screening")) < 3:
        await asyncio.sleep(0)
    bench.trip.tick()
    await bench.trip.idle()
    assert queues(bench).count("screening") == 3
    await bench.reply(*(answer_at(bench, "screening", last, action="allow") for last in (-1, -2)))
    assert len(bench.links.frames) == 2


def answer_at(bench: Bench, service: str, last: int, **decision: Any) -> Reply:
    return replace(answer(bench, service, **decision), correlation_id=to(bench, service, last))


SHADOWED: dict[str, Any] = {"shadows": ["next"], "deadline": 1.0, "max_deadline": 3.0}


async def test_a_shadow_that_answers_twice_does_not_decide_for_whoever_is_bound_to_the_event() -> None:
    bench = bench_of(SHADOWED)
    await bench.events(suspended())
    shadow = answer(bench, "next", action="reject")
    await bench.reply(shadow)
    await bench.reply(shadow)
    assert bench.links.frames == []


async def test_a_shadow_does_not_decide_at_a_replica_that_has_not_asked_it() -> None:
    first, second = pair(SHADOWED)
    await first.events(suspended())
    await second.reply(answer(first, "next", action="reject"))
    assert second.links.frames == []


async def test_a_shadow_may_ask_for_more_time_and_has_failed_by_that_no_more_than_others() -> None:
    bench = bench_of({"services": ["least_cost"], "shadows": ["next"]})
    await bench.events(suspended())
    await bench.reply(failure(bench, "next", status="extend", extend=500))
    await bench.reply(answer(bench, "next", action="allow"), answer(bench, "least_cost", action="allow"))
    assert bench.counted("shadow_replies_total", service="next", result="failed") == 0
    assert bench.counted("shadow_replies_total", service="next", result="same") == 1


@pytest.mark.parametrize("beside", ["observers", "shadows"])
async def test_a_request_beside_the_call_that_cannot_be_made_costs_nobody_else_his(beside: str) -> None:
    bench = bench_of({"services": ["least_cost"], beside: ["next"]}, {"next": {"format": "json"}})
    long = Suspended("invite_request", 37, 1, 1, bytes(contract.MAX_BODY * 9 // 10))
    await bench.events(long, suspended(2))
    assert queues(bench).count("least_cost") == 2
    assert queues(bench).count("next") == 1


async def test_more_time_of_no_length_is_no_failure() -> None:
    bench = bench_of({"services": ["least_cost"], "max_deadline": 3.0})
    await bench.events(suspended())
    await bench.reply(failure(bench, "least_cost", status="extend"))
    assert bench.links.frames == []


async def test_more_time_that_two_ask_for_at_once_is_given_once() -> None:
    bench = bench_of({**ALL, "deadline": 1.0, "max_deadline": 3.0})
    await bench.events(suspended())
    more = [failure(bench, each, status="extend", extend=500) for each in ("fraud", "screening")]
    await bench.reply(*more)
    record = await bench.record(id_of())
    assert record is not None
    assert record.course.count(b"extended") == 1


# The store fails, or another replica was faster


@pytest.mark.parametrize("verb", ["progress", "settle"])
async def test_a_reply_that_the_store_could_not_take_counts_when_it_comes_again(verb: str) -> None:
    bench = bench_of({"services": ["least_cost"], "backup": ["spare"]})
    await bench.events(suspended())
    reply = answer(bench, "least_cost", action="allow")
    whole = getattr(bench.store.inner, verb)

    async def away(*_: Any) -> Any:
        raise StoreUnavailable("away")

    setattr(bench.store.inner, verb, away)
    with pytest.raises(StoreUnavailable):
        await bench.reply(reply)
    setattr(bench.store.inner, verb, whole)
    await bench.reply(reply)
    assert resume(bench)["outcome"] == "decided"


async def test_nobody_is_asked_again_while_the_store_is_being_told_of_his_answer() -> None:
    bench = bench_of(ALL)
    await bench.events(suspended())
    whole, gates = bench.store.inner.progress, [asyncio.Event(), asyncio.Event()]

    async def slow(steps: Any, write_behind: bool = False) -> Any:
        gate = gates.pop(0)
        found = await whole(steps, write_behind)
        await gate.wait()
        return found

    bench.store.inner.progress = slow  # type: ignore[method-assign]
    first, second = gates
    tasks = [
        asyncio.ensure_future(bench.trip.on_replies([answer(bench, each, action="allow")]))
        for each in ("fraud", "screening")
    ]
    for gate in (first, second):
        await asyncio.sleep(0)
        gate.set()
        await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    assert len(queues(bench)) == 3


async def test_a_replica_that_asks_again_leaves_out_who_answered_another() -> None:
    first, second = pair(ALL)
    await first.events(suspended())
    await second.reply(answer(first, "screening", action="allow"))
    await first.recovery.ask_again("sbc1")
    await first.trip.idle()
    assert queues(first)[3:] == ["fraud", "least_cost"]


async def test_a_service_whose_reply_came_to_another_replica_was_not_silent() -> None:
    first, second = pair(ALL, {"fraud": {"within": 0.3, "breaker": {"after": 1, "pause": 5.0}}})
    await first.events(suspended())
    await second.reply(answer(first, "fraud", action="allow"))
    await first.tick(0.4)
    assert first.counted("breaker_open", service="fraud") == 0


async def test_who_has_more_time_from_another_replica_is_waited_for_and_then_forgotten() -> None:
    first, second = pair({**ALL, "deadline": 1.0, "max_deadline": 3.0}, {"screening": {"within": 0.8}})
    await first.events(suspended())
    second.now = first.now
    await second.reply(failure(first, "fraud", status="extend", extend=2000))
    await first.tick(0.8)  # screening is silent: the record tells of the new deadline
    await first.tick(0.3)
    assert ("fraud", "timeout") not in first.steps
    assert len(first.trip._courses._calls) == 1 - len(first.links.frames)
    await first.tick(2.0 + KEPT)
    assert first.trip._courses._calls.kept == 0


async def test_requests_that_are_published_again_are_those_alone_that_were_not_taken() -> None:
    bench = bench_of(ALL)
    refused = ["evapi.decide.fraud"]
    taken = bench.broker.publish

    async def publish(publications: Sequence[Publication]) -> list[Published]:
        await taken(publications)
        return [
            Published.UNAVAILABLE if refused == [each.queue] and refused.pop() else Published.CONFIRMED
            for each in publications
        ]

    bench.broker.publish = publish  # type: ignore[method-assign]
    await bench.events(suspended())
    await bench.tick(0.1)
    assert queues(bench) == ["screening", "fraud", "least_cost", "fraud"]


async def test_a_reply_that_comes_before_its_claim_is_looked_at_again() -> None:
    first, second = pair(ALL)
    await first.events(suspended())
    store = second.store.inner
    record = store._nodes["sbc1"].records.pop(id_of())
    await second.reply(*(answer(first, each, action="allow") for each in ALL["services"]))
    assert second.links.frames == []
    store._nodes["sbc1"].records[id_of()] = record
    await second.tick(LOOKS[0])
    assert resume(second)["outcome"] == "decided"
    await second.tick(LOOKS[-1])
    assert second.counted("late_replies_total", node="sbc1") == 0


CHAIN: dict[str, Any] = {"mode": "chain", "services": ["screening", "fraud", "least_cost"]}


@pytest.mark.parametrize(
    "event", [CHAIN, {"services": ["screening"], "backup": ["fraud", "least_cost"]}], ids=["chain", "backup"]
)
async def test_a_reply_to_what_another_replica_asked_next_counts_where_the_call_is_waited_for(
    event: dict[str, Any],
) -> None:
    first, second = pair(event)
    await first.events(suspended())
    said = failure(first, "screening") if "backup" in event else answer(first, "screening", action="allow")
    await second.reply(said)
    assert queues(second) == ["fraud"]
    await first.reply(answer(second, "fraud", action="reject"))
    assert resume(first)["decision"] == {"action": "reject"}
    assert first.counted("late_replies_total", node="sbc1") == 0


async def test_what_another_replica_added_is_known_from_then_on_to_who_tells_the_store_later() -> None:
    common = LocalStore("r0", clock=lambda: first.now)
    first, second = behind(CHAIN, common), bench_of(CHAIN, None, common.beside("r2"), name="r2")
    await first.events(suspended())
    await first.store.inner.flushed()  # type: ignore[attr-defined]
    await second.reply(answer(first, "screening", action="allow", reason="a long one, to make the line long"))
    await first.reply(answer(second, "fraud", action="allow"))
    assert queues(first) == ["screening", "least_cost"]
    await first.reply(answer(first, "least_cost", action="allow"))
    assert resume(first)["services"] == dict.fromkeys(CHAIN["services"], "decided")


async def test_several_services_are_asked_once_the_store_has_the_claim() -> None:
    """Before, a standby that waited in vain for the claim would ask all of them again."""
    common = LocalStore("r0", clock=lambda: first.now)
    first = behind(ALL, common)
    remote = first.store.inner._remote  # type: ignore[attr-defined]
    remote.held["claim"] = told = asyncio.Event()
    asking = asyncio.ensure_future(first.events(suspended()))
    while not remote.calls["claim"]:
        await asyncio.sleep(0)
    assert queues(first) == []
    told.set()
    await asking
    assert queues(first) == ALL["services"]


async def test_a_reply_that_comes_before_the_answer_that_led_to_its_request_is_looked_at_again() -> None:
    """The replica that asks tells the store of the answer side by side with the next request."""
    first, second = pair(CHAIN)
    await first.events(suspended())
    before = await first.record(id_of())
    assert before is not None
    await first.reply(answer(first, "screening", action="allow"))
    after = await first.record(id_of())
    assert after is not None
    records = second.store.inner._nodes["sbc1"].records
    records[id_of()] = before
    await second.reply(answer(first, "fraud", action="reject"))
    assert second.links.frames == []
    records[id_of()] = after
    await second.tick(LOOKS[0])
    assert resume(second)["services"] == {"screening": "decided", "fraud": "decided"}
    await second.tick(LOOKS[-1])
    assert second.counted("late_replies_total", node="sbc1") == 0


async def test_a_failure_of_whoever_is_bound_to_the_event_goes_on_at_another_replica_too() -> None:
    first, second = pair({"backup": ["spare"]})
    await first.events(suspended())
    (asked,) = first.broker.published
    assert asked.correlation_id is not None
    await second.reply(Reply(asked.correlation_id, b"", None, "failed", "anybody"))
    assert queues(second) == ["spare"]


async def test_what_another_replica_added_while_nobody_asked_is_gone_on_with() -> None:
    """The replica that has claimed tells the store later, and hears then what another has added."""
    common = LocalStore("r0", clock=lambda: first.now)
    first = behind({"mode": "all", "services": ["a", "b"]}, common)
    await first.events(suspended())
    await first.store.inner.flushed()  # type: ignore[attr-defined]
    record = common.peek(id_of())
    assert record is not None
    line = b'b\tdecided\t{"action":"allow"}\n'
    common._nodes["sbc1"].records[id_of()] = replace(record, course=line)
    await first.reply(answer(first, "a", action="allow"))
    await first.store.inner.flushed()  # type: ignore[attr-defined]
    await first.trip.idle()
    assert resume(first)["services"] == {"a": "decided", "b": "decided"}


# Breakers


FAST = {"services": ["fast", "slow"]}


async def test_a_probe_whose_call_another_service_has_ended_closes_the_breaker() -> None:
    bench = bench_of(FAST, {"slow": {"within": 0.3, "breaker": {"after": 1, "pause": 5.0}}})
    await bench.events(suspended(1))
    await bench.tick(0.3)
    await bench.reply(answer(bench, "fast", action="allow"))
    await bench.tick(5.0)
    await bench.events(suspended(2))
    await bench.reply(answer(bench, "fast", action="allow"))
    assert bench.counted("breaker_open", service="slow") == 1
    bench.now += 0.1
    await bench.reply(answer(bench, "slow", action="allow"))
    assert bench.counted("breaker_open", service="slow") == 0
    assert bench.counted("late_replies_total", node="sbc1") == 1


async def test_a_reply_after_its_time_closes_no_breaker() -> None:
    bench = bench_of(FAST, {"slow": {"within": 0.3, "breaker": {"after": 1, "pause": 5.0}}})
    await bench.events(suspended(1))
    await bench.tick(0.3)
    await bench.reply(answer(bench, "slow", action="allow"))
    assert bench.counted("breaker_open", service="slow") == 1


async def test_one_call_alone_tries_a_service_however_long_it_may_take() -> None:
    bench = bench_of(FAST, {"slow": {"breaker": {"after": 1, "pause": 0.1}}})
    await bench.events(suspended(1))
    bench.now += 2.0
    await bench.trip.expire("sbc1")
    await bench.trip.idle()
    await bench.tick(0.1)
    for label in (2, 3, 4):
        await bench.events(suspended(label))
        await bench.tick(0.2)
    assert queues(bench).count("slow") == 2


async def test_a_breaker_that_no_call_tries_is_not_open_for_ever() -> None:
    bench = bench_of(FAST, {"slow": {"within": 0.3, "breaker": {"after": 2, "pause": 5.0}}})
    await bench.events(suspended(1), suspended(2))
    await bench.tick(0.3)
    assert bench.counted("breaker_open", service="slow") == 1
    await bench.tick(5.0 + IDLE)
    assert bench.counted("breaker_open", service="slow") == 0
    await bench.events(suspended(3))
    await bench.tick(0.3)  # one more silence opens it again
    assert bench.counted("breaker_open", service="slow") == 1


async def test_a_hung_service_is_told_once_of_each_call_that_its_deadline_ends() -> None:
    bench = bench_of({"services": ["fraud"]}, {"fraud": {"breaker": {"after": 1, "pause": 5.0}}})
    await bench.events(suspended(1), suspended(2))
    bench.now += 2.0
    await bench.trip.expire("sbc1")
    await bench.trip.idle()
    assert [each for each in bench.steps if each[0]] == [("fraud", "timeout")] * 2


async def test_a_queue_that_is_full_says_nothing_of_its_service() -> None:
    bench = bench_of(FAST, {"slow": {"within": 0.3, "breaker": {"after": 2, "pause": 5.0}}})
    await bench.events(suspended(1))
    await bench.tick(0.3)
    await bench.events(suspended(2))
    await bench.reply(failure(bench, "slow", status=None, rejected="maxlen"))
    await bench.events(suspended(3))
    await bench.tick(0.3)
    assert bench.counted("breaker_open", service="slow") == 1


# What is kept


async def test_a_decision_too_long_for_a_node_is_not_given_instead_of_itself() -> None:
    cached = {"services": ["least_cost"], "cache": {"key": ["user"], "stale": 60}}
    bench = bench_of(cached)
    await bench.events(suspended(1))
    await bench.reply(replace(answer(bench, "least_cost", action="allow", note="n" * 900), cache=30))
    bench.links.longest = 600
    await bench.events(suspended(2))
    last = bench.links.frames[-1]
    assert (last["outcome"], last["step"]) == ("oversized", "fallback")


async def test_a_call_that_somebody_has_answered_is_not_decided_by_an_equal_one() -> None:
    cached = {"mode": "all", "services": ["a", "b"], "cache": {"key": ["user"]}}
    first, second = pair(cached)
    await first.events(suspended(1))
    await first.reply(answer(first, "a", action="reject"))
    assert first.links.frames[-1]["decision"] == {"action": "reject"}
    await first.events(suspended(2))
    await first.reply(answer(first, "a", action="allow"))
    await first.events(suspended(3))
    for each in ("a", "b"):
        await first.reply(replace(answer(first, each, action="allow", of="another"), cache=30))
    second.cache.kept, second.now = first.cache.kept, first.now
    await second.adopt("r1", state=State.CLAIMED)
    await second.reply(answer(second, "b", action="allow"))
    assert second.links.frames[-1]["decision"] == {"action": "allow"}


async def test_a_failure_does_not_say_for_how_long_a_later_decision_holds() -> None:
    cached = {"services": ["a"], "cache": {"key": ["user"]}, "retry": {"on": ["failed"]}}
    bench = bench_of(cached, {"a": {"accepts": ["allow"]}})
    await bench.events(suspended())
    await bench.reply(replace(answer(bench, "a", action="route"), cache=30))
    await bench.reply(answer(bench, "a", action="allow"))
    assert bench.cache.kept == {}


async def test_an_event_that_waited_is_claimed_by_the_policy_that_counted_when_it_came() -> None:
    bench = bench_of({"services": ["a"], "deadline": 1.0})
    arrived = bench.now
    bench.now += 0.1
    bench.policy.replace(parse({"events": {"invite_request": {"services": ["b"], "deadline": 5.0}}}))
    claimer = Claimer("r1", "sbc1", "")
    for at, seconds in ((arrived, 1.0), (bench.now, 5.0)):
        found, _ = claim(suspended(), claimer, bench.policy, at)
        assert found.deadline - at == pytest.approx(seconds)
