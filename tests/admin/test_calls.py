"""Timelines of calls: from journals as replicas write them, and from what is in flight."""

from __future__ import annotations

import time
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter import contract, settings
from adapter.admin import calls
from adapter.admin.calls import Wanted
from adapter.admin.commanded import Ended, with_commands
from adapter.admin.timelines import Moment, Noted, Timeline, request_data, timelines
from adapter.errors import StoreUnavailable
from adapter.inflight.operator import OperatorStore
from adapter.inflight.redis import RedisStore
from adapter.model.beat import Beat
from adapter.model.ladder import Rung, Status
from adapter.model.transaction import Outcome, Settlement, State, Transaction, TransactionId
from adapter.observe.journal import Journal
from adapter.observe.journal_entry import Kind, Step
from adapter.observe.sink import Commanded
from adapter.ports.broker import Reply
from tests.harness.process import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from tests.harness.redis import RedisServer

NOW = 1_700_000_000.0
ID = TransactionId("sbc1", 37, 1840980198, 1)
CALL_ID = "1-4711@10.0.0.7"


def body(id_: TransactionId = ID, **data: Any) -> bytes:
    return contract.encode_request(contract.Request("invite_request", id_.node, data, *id_[1:], deadline=NOW))


def call(id_: TransactionId = ID, call_id: str = CALL_ID, at: float = NOW, **data: Any) -> Transaction:
    return Transaction(id_, "invite_request", at + 2.0, at, body(id_, **data), "r1~ab", call_id=call_id)


def by(replica: str, *steps: Step) -> list[Noted]:
    return [Noted(replica, step) for step in steps]


def event(at: float, id_: TransactionId = ID) -> Step:
    return Step(Kind.EVENT, at, id_, "invite_request", CALL_ID, {"arrived": NOW})


def resume(at: float, outcome: str = "decided", id_: TransactionId = ID) -> Step:
    return Step(Kind.RESUME, at, id_, "invite_request", CALL_ID, {"outcome": outcome, "seconds": at - NOW})


def reply(at: float, **more: Any) -> Step:
    return Step(Kind.REPLY, at, ID, more=more)


def asked(at: float, service: str, status: str, took: float = 0.0) -> Step:
    """What became of a service; "" with a step of the ladder: what decided."""
    more = {"service": service, "status": status, "seconds": took}
    return Step(Kind.STEP, at, ID, "invite_request", more=more)


def published(at: float) -> Step:
    return Step(Kind.PUBLISHED, at, ID)


def read(at: float) -> Step:
    return Step(Kind.READ, at, ID)


def one(noted: Sequence[Noted], *records: Transaction, now: float = NOW + 10) -> Timeline:
    (found,) = timelines(noted, records, now)
    return found


def shown(timeline: Timeline) -> list[tuple[str, str, float | None]]:
    """Step, where, and what it took."""
    moments = timeline.moments
    return [(each.step, each.where, each.took and round(each.took, 5)) for each in moments]


def texts(timeline: Timeline) -> list[str]:
    return [moment.text for moment in timeline.moments]


class TestTimeline:
    def test_from_kamailio_to_kamailio(self) -> None:
        steps = by(
            "r1~ab",
            event(NOW + 0.001),
            published(NOW + 0.003),
            reply(NOW + 0.020, service="lcr", received=NOW + 0.004, replied=NOW + 0.016),
            resume(NOW + 0.021),
            read(NOW + 0.121),
        )
        found = one(steps)
        assert (found.id, found.event, found.call_id) == (ID, "invite_request", CALL_ID)
        assert (found.state, found.outcome, found.unfinished) == ("resumed", "decided", False)
        assert found.seconds == pytest.approx(0.021, abs=1e-6)
        assert shown(found) == [
            ("event", "kamailio", None),
            ("claimed", "adapter", 0.001),
            ("published", "rabbitmq", 0.002),
            ("received", "consumer", 0.001),
            ("replied", "consumer", 0.012),
            ("reply", "adapter", 0.004),
            ("resume", "adapter", 0.001),
            ("read", "kamailio", 0.1),
        ]
        assert texts(found) == [
            "event arrived: invite_request",
            "claimed by r1",
            "published, confirmed",
            "received by lcr",
            "lcr replied",
            "reply came from lcr",
            "resume written: decided",
            "read by Kamailio",
        ]
        assert found.moments[5].more == {"replica": "r1~ab", "service": "lcr"}

    def test_whatever_the_order_in_which_they_are_found(self) -> None:
        steps = by("r1", event(NOW), published(NOW), reply(NOW), resume(NOW), read(NOW))
        assert one(steps[::-1]) == one(steps)

    def test_a_consumer_may_have_it_before_the_broker_has_confirmed(self) -> None:
        answer = reply(NOW + 0.005, service="lcr", received=NOW + 0.002, replied=NOW + 0.004)
        found = one(by("r1", event(NOW + 0.001), published(NOW + 0.003), answer))
        assert [each[0] for each in shown(found)][2:5] == ["received", "published", "replied"]
        assert [each[2] for each in shown(found)][2:5] == [0.001, 0.002, 0.002]

    def test_without_the_consumer_s_times_it_is_one_step(self) -> None:
        found = one(by("r1", event(NOW), published(NOW + 0.003), reply(NOW + 0.020), resume(NOW + 0.021)))
        assert shown(found)[3] == ("reply", "adapter", 0.017)
        assert texts(found)[3] == "reply came from a consumer"

    @pytest.mark.parametrize(("off", "told"), [(3.0, "+2.98 s"), (-3.0, "-3 s"), (0.02, "+5 ms")])
    def test_a_consumer_s_clock_that_differs_is_put_right_and_told(self, off: float, told: str) -> None:
        received, replied = NOW + off + 0.004, NOW + off + 0.010
        answer = reply(NOW + 0.025, service="lcr", received=received, replied=replied)
        found = one(by("r1", event(NOW), published(NOW + 0.001), answer, resume(NOW + 0.03)))
        steps = {moment.step: moment for moment in found.moments}
        assert NOW <= steps["received"].at <= steps["replied"].at <= steps["reply"].at
        assert steps["replied"].took == pytest.approx(0.006, abs=1e-6)
        assert steps["replied"].text == f"lcr replied; its clock is about {told} off"
        assert "clock_off" in steps["replied"].more

    @pytest.mark.parametrize(("received", "replied"), [(NOW + 5, NOW + 1), (NOW, NOW + 60)])
    def test_times_that_cannot_be_are_left_out(self, received: float, replied: float) -> None:
        found = one(by("r1", event(NOW), reply(NOW + 1, service="lcr", received=received, replied=replied)))
        assert texts(found)[2:] == ["reply came from lcr, whose clock is of no use"]

    def test_answered_at_once_there_is_only_the_resume(self) -> None:
        found = one(by("r1", resume(NOW + 0.001, "overload"), read(NOW + 0.1)))
        assert [each[0] for each in shown(found)] == ["event", "resume", "read"]
        assert found.moments[0].at == pytest.approx(NOW)
        assert found.outcome == "overload"

    def test_a_timeout_waited_since_it_was_published(self) -> None:
        found = one(by("r1", event(NOW), published(NOW + 0.01), resume(NOW + 2.01, "timeout")))
        assert shown(found)[3] == ("resume", "adapter", 2.0)

    def test_which_policy_gave_the_fallback(self) -> None:
        late = replace(resume(NOW + 2, "timeout"), more={**resume(NOW + 2, "timeout").more, "policy": "abc"})
        found = one(by("r1", event(NOW), late))
        assert texts(found)[-1] == "resume written: timeout, fallback of policy abc"
        assert found.moments[-1].more == {"replica": "r1", "outcome": "timeout", "policy": "abc"}

    def test_of_what_was_decided_the_policy_is_in_json_alone(self) -> None:
        done = replace(resume(NOW), more={**resume(NOW).more, "policy": "abc"})
        found = one(by("r1", event(NOW), done))
        assert texts(found)[-1] == "resume written: decided"
        assert found.moments[-1].more["policy"] == "abc"

    def test_a_reply_after_it_is_told_as_too_late(self) -> None:
        answer = reply(NOW + 2.5, service="slow")
        found = one(by("r1", event(NOW), published(NOW), resume(NOW + 2, "timeout"), answer))
        assert texts(found)[-1] == "reply came from slow, too late: nobody waited"
        assert shown(found)[-1][0] == "late"

    def test_adopted_by_whom_and_published_again(self) -> None:
        mine = by("r1~ab", event(NOW), published(NOW + 0.1))
        again = Step(Kind.ADOPTED, NOW + 1.5, ID), published(NOW + 1.6), resume(NOW + 1.7)
        found = one([*by("r2~cd", *again), *mine])
        assert texts(found) == [
            "event arrived: invite_request",
            "claimed by r1",
            "published, confirmed",
            "adopted by r2",
            "published, confirmed",
            "resume written: decided",
        ]
        assert list(shown(found)[4]) == ["published", "rabbitmq", pytest.approx(0.1)]

    def test_two_lives_of_a_replica_are_told_apart(self) -> None:
        found = one([*by("r1~ab", event(NOW)), *by("r1~cd", Step(Kind.ADOPTED, NOW + 1, ID))])
        assert texts(found)[1:] == ["claimed by r1~ab", "adopted by r1~cd"]

    @pytest.mark.parametrize(("at", "told"), [(NOW + 1, ""), (NOW + 3, ", too late: nobody waited")])
    def test_by_an_operator(self, at: float, told: str) -> None:
        answer = reply(at, service="operator:eve@host")
        found = one(by("r1", event(NOW), answer, resume(NOW + 2, "operator")))
        (moment,) = [each for each in found.moments if each.where == "operator"]
        assert moment.text == f"answered by eve@host{told}"

    def test_what_is_over_and_nobody_tells_how(self) -> None:
        found = one(by("r1", event(NOW), published(NOW)))
        assert (found.state, found.outcome, found.seconds) == ("unknown", None, None)
        assert found.unfinished

    def test_resumed_and_not_known_to_be_read(self) -> None:
        assert one(by("r1", event(NOW), resume(NOW + 1))).unfinished

    def test_the_event_may_be_older_than_the_journals(self) -> None:
        found = one(by("r1", published(NOW), read(NOW + 1)))
        assert [each[0] for each in shown(found)] == ["published", "read"]
        assert (found.event, found.call_id) == ("", "")

    def test_payloads_where_they_are_kept(self) -> None:
        kept = replace(event(NOW), more={"arrived": NOW, "request": body(ruri="sip:b@h")})
        end = replace(resume(NOW), more={"outcome": "decided", "seconds": 0.0, "decision": b"{}"})
        found = one(by("r1", kept, end))
        assert (found.data, found.decision) == ({"ruri": "sip:b@h"}, b"{}")
        assert one(by("r1", event(NOW), resume(NOW))).data is None

    def test_a_request_that_nobody_understands_is_none(self) -> None:
        assert request_data(b"\xc1") is None
        assert request_data(b"") is None


class TestInFlight:
    def test_it_waits_for_a_decision(self) -> None:
        found = one(by("r1~ab", event(NOW), published(NOW + 0.1)), call(a=1), now=NOW + 0.5)
        assert (found.state, found.outcome, found.unfinished) == ("claimed", None, False)
        assert found.moments[-1] == Moment(
            NOW + 0.5,
            "open",
            "consumer",
            "in flight: waits for a decision; 1.5 s until the deadline; with r1",
            pytest.approx(0.4),  # type: ignore[arg-type]
            {"replica": "r1~ab"},
        )
        assert found.data == {"a": 1}

    def test_of_a_course_each_service_and_what_decided(self) -> None:
        steps = by(
            "r1~ab",
            event(NOW),
            published(NOW + 0.001),
            asked(NOW + 0.020, "screening", "decided", 0.019),
            asked(NOW + 0.301, "fraud", "timeout", 0.3),
            asked(NOW + 0.400, "fraud2", "decided", 0.099),
            asked(NOW + 0.400, "", "backup", 0.4),
            resume(NOW + 0.401),
        )
        found = one(steps)
        assert shown(found)[3:] == [
            ("answer", "consumer", 0.019),
            ("answer", "consumer", 0.3),
            ("answer", "consumer", 0.099),
            ("ladder", "adapter", 0.0),
            ("resume", "adapter", 0.001),
        ]
        assert texts(found)[3:] == [
            "screening decided",
            "fraud did not answer in time",
            "fraud2 decided",
            "decided by backup",
            "resume written: decided",
        ]
        assert found.moments[4].more == {"replica": "r1~ab", "service": "fraud", "status": "timeout"}
        assert found.moments[6].more == {"replica": "r1~ab", "status": "backup"}
        assert (found.rung, found.services) == (
            "backup",
            {"screening": "decided", "fraud": "timeout", "fraud2": "decided"},
        )

    @pytest.mark.parametrize(
        ("service", "status", "where", "text"),
        [
            ("lcr", Status.FAILED, "consumer", "lcr failed"),
            ("", Status.TIMEOUT, "consumer", "a consumer did not answer in time"),
            ("lcr", Status.UNTAKEN, "rabbitmq", "nobody took the request of lcr from its queue"),
            ("lcr", Status.UNROUTABLE, "rabbitmq", "lcr has no queue"),
            (
                *("lcr", Status.UNAVAILABLE, "adapter"),
                "lcr was not waited for: its breaker is open, or RabbitMQ is away",
            ),
            ("lcr", Status.EXTENDED, "consumer", "lcr was given more time"),
            ("lcr", Status.MALFORMED, "consumer", "the reply of lcr was not understood"),
            ("lcr", Status.OVERSIZED, "consumer", "the reply of lcr was too long"),
            ("{0}", "{1}", "adapter", "{0}: {1}"),
            ("", Rung.STALE, "adapter", "answered from the cache (stale)"),
            ("", Rung.FALLBACK, "adapter", "answered by the fallback"),
        ],
    )
    def test_each_status_is_said(self, service: str, status: str, where: str, text: str) -> None:
        found = one(by("r1", event(NOW), asked(NOW + 1, service, status)))
        assert (found.moments[-1].where, found.moments[-1].text) == (where, text)

    def test_of_a_course_each_reply_is_its_service_s_and_timed_by_it(self) -> None:
        answers = [
            reply(NOW + 0.010, service="fraud", received=NOW + 0.004, replied=NOW + 0.009),
            reply(NOW + 0.030, service="lcr", received=NOW + 0.002, replied=NOW + 0.022),
        ]
        found = one(by("r1", event(NOW), published(NOW + 0.001), *answers))
        times = {moment.text: moment.took for moment in found.moments}
        assert times["fraud replied"] == pytest.approx(0.005, abs=1e-6)
        assert times["lcr replied"] == pytest.approx(0.020, abs=1e-6)
        assert times["reply came from lcr"] == pytest.approx(0.008, abs=1e-6)

    def test_a_former_decision_is_no_fallback_of_a_policy(self) -> None:
        late = resume(NOW + 2, "timeout")
        late = replace(late, more={**late.more, "policy": "abc"})
        found = one(by("r1", event(NOW), asked(NOW + 2, "", "stale", 2.0), late))
        assert texts(found)[-1] == "resume written: timeout"
        assert found.moments[-1].more["policy"] == "abc"
        given = one(by("r1", event(NOW), asked(NOW + 2, "", "fallback", 2.0), late))
        assert texts(given)[-1] == "resume written: timeout, fallback of policy abc"

    def test_of_a_service_that_was_asked_again_the_later_status_counts(self) -> None:
        found = one(by("r1", event(NOW), asked(NOW + 1, "lcr", "failed"), asked(NOW + 2, "lcr", "decided")))
        assert found.services == {"lcr": "decided"}
        assert found.rung is None, "it goes on"

    def test_what_no_journal_has_is_told_by_its_record(self) -> None:
        found = one([], call(), now=NOW + 3)
        assert (found.event, found.call_id) == ("invite_request", CALL_ID)
        assert texts(found) == [
            "event arrived: invite_request",
            "in flight: waits to be published; past its deadline by 1.0 s; with r1",
        ]

    def test_it_waits_to_be_read(self) -> None:
        record = replace(call(), state=State.SETTLED, outcome=Outcome.TIMEOUT, request=b"")
        found = one(by("r1", event(NOW)), record)
        assert (found.state, found.outcome) == ("settled", "timeout")
        assert texts(found)[-1] == "in flight: settled, not known to be read by Kamailio yet; with r1"
        done = one(by("r1", event(NOW), resume(NOW + 2, "timeout"), read(NOW + 3)), record)
        assert done.moments[-1].step == "read", "its record goes with the next tick"

    def test_a_clock_of_redis_that_is_behind_makes_no_time_before_the_last_step(self) -> None:
        found = one(by("r1", event(NOW), published(NOW + 0.1)), call(), now=NOW - 5)
        assert found.moments[-1].at == NOW + 0.1


def test_the_earliest_first_each_suspension_for_itself() -> None:
    second = ID._replace(seq=2)
    found = timelines(by("r1", resume(NOW + 9, id_=second), event(NOW)), [call(second, at=NOW + 8)], NOW + 9)
    assert [each.id for each in found] == [ID, second]
    assert timelines([], [], NOW) == []


OF_CALLS = [kind for kind in Kind if kind is not Kind.COMMAND]
"""A command is of no suspension: `unpack` makes no step of it."""


@given(st.lists(st.sampled_from(OF_CALLS), max_size=8), st.booleans(), st.randoms())
def test_any_steps_at_all_make_a_timeline(kinds: list[Kind], in_flight: bool, random: Any) -> None:
    """Whatever is missing, or came twice: times never fall, and nothing is raised."""
    made: dict[Kind, Callable[[float], Step]] = {
        Kind.EVENT: event,
        Kind.PUBLISHED: published,
        Kind.REPLY: lambda at: reply(at, service="s", received=at - random.random(), replied=at),
        Kind.RESUME: resume,
        Kind.READ: read,
        Kind.ADOPTED: lambda at: Step(Kind.ADOPTED, at, ID),
        Kind.STEP: lambda at: asked(at, "fraud", random.choice([*Status, "unheard-of"]), random.random()),
    }
    noted = [Noted(f"r{at % 3}", made[kind](NOW + random.random() * 5)) for at, kind in enumerate(kinds)]
    for found in timelines(noted, [call()] if in_flight else [], NOW + 1):
        times = [moment.at for moment in found.moments]
        assert times == sorted(times)
        assert all(moment.took is None or moment.took >= 0 for moment in found.moments)


@pytest.mark.parametrize(
    ("text", "transaction"),
    [
        ("sbc1:37:1840980198:1", ("sbc1", 37, 1840980198)),
        ("sbc1:37:1840980198", ("sbc1", 37, 1840980198)),
        ("10.0.0.5:8448:37:5:1", ("10.0.0.5:8448", 37, 5)),
        ("1-4711@10.0.0.7", None),
        ("sbc1:37", None),
        ("", None),
    ],
)
def test_what_is_asked_for(text: str, transaction: tuple[str, int, int] | None) -> None:
    wanted = Wanted.parse(text)
    assert (wanted.text, wanted.transaction) == (text, transaction)
    assert wanted.takes(TransactionId("x", 1, 2, 3), text)
    assert not wanted.takes(TransactionId("x", 1, 2, 3), "other")


class World:
    """Replicas that write journals into a real Redis, and an operator."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.prefix = f"test-{uuid.uuid4().hex[:8]}"
        self.stores: dict[str, RedisStore] = {}
        self.operator = OperatorStore(url, "eve~cli", prefix=self.prefix, timeout=10.0)

    def replica(self, name: str) -> RedisStore:
        if name not in self.stores:
            self.stores[name] = RedisStore(self.url, name, prefix=self.prefix, timeout=10.0)
        return self.stores[name]

    async def write(self, replica: str, *told: Transaction) -> None:
        """What a replica writes of calls that were decided, with a command to each between."""
        journal = Journal()
        for each in told:
            journal.claimed(each.claimed_at, [each])
            journal.replied(each.claimed_at, [(each.id, Reply(str(each.id), b"", service="lcr"))])
            hangup = Commanded(each.id.node, "hangup", str(each.id), each.call_id, "done", 0.1, "")
            journal.commanded(each.claimed_at, hangup)
            journal.resumed(each.claimed_at, each, Outcome.DECIDED, 0.0, b"{}")
            journal.read(each.claimed_at, [each.id])
        entry = journal.take()
        assert entry is not None
        await self.replica(replica).note(entry, 600.0)

    async def find(self, text: str, *nodes: str) -> list[Timeline]:
        return await calls.find(self.operator, nodes, [*self.stores], Wanted.parse(text))

    async def close(self) -> None:
        for store in [*self.stores.values(), self.operator]:
            await store.close()


@pytest.fixture
async def world(redis_server: RedisServer) -> AsyncIterator[World]:
    found = World(redis_server.url)
    yield found
    await found.close()


def other(label: int, call_id: str = "other@h", node: str = "sbc1", seq: int = 1) -> Transaction:
    return call(TransactionId(node, 1, label, seq), call_id, time.time())


class TestFind:
    async def test_by_call_id_all_its_transactions_of_all_replicas_and_nothing_else(
        self, world: World
    ) -> None:
        await world.write("r1", other(1, CALL_ID), other(2), other(1, CALL_ID, seq=2))
        await world.write("r2", other(4), other(3, CALL_ID, node="sbc2"))
        await world.write("r2", other(5, CALL_ID + "x"))
        found = await world.find(CALL_ID)
        assert sorted(str(each.id) for each in found) == ["sbc1:1:1:1", "sbc1:1:1:2", "sbc2:1:3:1"]
        assert all(each.state == "resumed" for each in found)
        steps = [[moment.step for moment in each.moments if moment.step != "command"] for each in found]
        assert {len(each) for each in steps} == {5}
        assert sum(len(each.moments) for each in found) == 5 * len(found) + len(found), "a command for each"

    async def test_by_an_id_all_suspensions_of_its_transaction(self, world: World) -> None:
        await world.write("r1", other(1, seq=1), other(11), other(1, node="sbc2"))
        await world.write("r2", other(1, seq=2))
        for text in ("sbc1:1:1", "sbc1:1:1:1", "sbc1:1:1:2"):
            assert [str(each.id) for each in await world.find(text)] == ["sbc1:1:1:1", "sbc1:1:1:2"]

    async def test_a_call_id_may_look_like_an_id(self, world: World) -> None:
        await world.write("r1", other(1, "a:1:2"))
        assert [str(each.id) for each in await world.find("a:1:2")] == ["sbc1:1:1:1"]

    async def test_what_is_in_flight_with_or_without_a_journal(self, world: World) -> None:
        waits = other(1, CALL_ID)
        await world.replica("r1").claim([waits, other(2)], 10)
        for text in (CALL_ID, "sbc1:1:1:1"):
            (found,) = await world.find(text, "sbc1", "sbc2")
            assert (found.id, found.state) == (waits.id, "claimed")
        await world.write("r1", other(3, CALL_ID))
        await world.replica("r1").settle([Settlement(waits.id, Outcome.FAILED)])
        states = {each.id.label: each.state for each in await world.find(CALL_ID, "sbc1")}
        assert states == {1: "settled", 3: "resumed"}

    async def test_nothing(self, world: World) -> None:
        await world.write("r1", other(1))
        assert await world.find("nobody@h", "sbc1") == []
        assert await world.find("sbc1:9:9:9", "sbc1") == []

    async def test_a_journal_of_many_pages(self, world: World) -> None:
        for label in range(2 * calls.PAGE + 3):
            await world.write("r1", other(label, CALL_ID if label in (0, 2 * calls.PAGE + 2) else "x"))
        assert [each.id.label for each in await world.find(CALL_ID)] == [0, 2 * calls.PAGE + 2]

    async def test_an_entry_that_is_not_understood_is_passed_over(self, world: World) -> None:
        await world.replica("r1").note(b"\xc1" + CALL_ID.encode(), 60.0)
        await world.write("r1", other(1, CALL_ID))
        assert len(await world.find(CALL_ID)) == 1


class TestKept:
    async def test_of_no_journals(self, world: World) -> None:
        assert await calls.kept(world.operator, ["r1"]) == calls.Kept(None, False)

    async def test_since_when_and_whether_there_are_call_ids(self, world: World) -> None:
        await world.write("r1", other(1, ""))
        at = await world.operator.time()
        await world.write("r2", other(2, ""))
        found = await calls.kept(world.operator, ["r1", "r2", "r3"])
        assert found.since is not None
        assert at - 10 < found.since <= at
        assert not found.call_ids
        await world.write("r2", other(3, CALL_ID))
        assert (await calls.kept(world.operator, ["r1", "r2"])).call_ids


class TestSettings:
    def test_nodes_of_the_settings_where_they_are_given_and_of_the_replicas(self) -> None:
        told = {"links": {"c": "down"}}
        snapshot = {"r1": Beat(nodes=frozenset(["b"]), about=told), "r2": Beat(about={"links": 7})}
        given_ = settings.load(bridge=False, nodes="a=h:1")
        assert calls.node_names(given_, snapshot) == ["a", "b", "c"]
        assert calls.node_names(settings.load(bridge=False), snapshot) == ["b", "c"]
        assert calls.node_names(settings.load(bridge=False), {}) == []

    async def test_redis_away_is_told_with_its_url_and_without_the_password(self) -> None:
        url = f"redis://:hunter2@127.0.0.1:{free_port()}/0"
        chosen = settings.load(bridge=False, redis_url=url)
        with pytest.raises(StoreUnavailable) as caught:
            async with calls.opened(chosen, OperatorStore(url, "eve~cli", timeout=2.0)) as store:
                await store.snapshot()
        assert "hunter2" not in str(caught.value)
        assert str(caught.value).startswith("Redis at redis://:***@127.0.0.1:")
        assert "EVAPI_REDIS_URL" in str(caught.value)


def test_a_command_stands_at_the_suspension_that_it_came_after() -> None:
    second = TransactionId("sbc1", 37, 1840980198, 2)
    again = replace(event(NOW + 5, second), more={"arrived": NOW + 5})
    found = timelines(by("r1~ab", event(NOW), resume(NOW + 1), again), [], NOW)
    told = Commanded("sbc1", "hangup", "h1", CALL_ID, "not_found", 0.1, "")
    commands = [Ended("r1~ab", at, told) for at in (NOW + 6, NOW + 2, NOW - 9)]
    commands.append(Ended("r1~ab", NOW + 3, told._replace(call_id="another")))
    one, two = (
        [moment.at - NOW for moment in each.moments if moment.step == "command"]
        for each in with_commands(found, commands)
    )
    assert (one, two) == ([-9.0, 2.0], [6.0])
