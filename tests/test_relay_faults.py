"""The relay where things come twice, late, or not at all: copies, dead replicas, a store that is away."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from adapter.broker.base import Published
from adapter.errors import StoreUnavailable
from adapter.policy import Policy
from adapter.transaction import State
from adapter.wire import event as wire
from adapter.wire.event import Malformed, Notice
from tests.relay_bench import NOW, Bench, id_of, reply, suspended

if TYPE_CHECKING:
    from random import Random


@pytest.fixture
def bench() -> Bench:
    return Bench()


class Pair:
    """Two replicas on one store and one clock; both have a link to the node."""

    def __init__(self) -> None:
        self.first = Bench()
        store = self.first.store.inner
        self.second = Bench(store=store.beside("r2"))

    def move(self, seconds: float) -> None:
        for bench in (self.first, self.second):
            bench.now += seconds

    @property
    def resumes(self) -> Counter[str]:
        both = self.first.links.frames + self.second.links.frames
        return Counter(frame["correlation_id"] for frame in both)


class TestTwice:
    async def test_two_replicas_publish_and_resume_once(self) -> None:
        pair = Pair()
        await pair.first.events(suspended())
        await pair.second.events(suspended())
        assert len(pair.first.broker.published) == 1
        assert pair.second.broker.published == []
        assert pair.second.counted("duplicate_events_total", node="sbc1") == 1
        await pair.second.reply(reply())
        await pair.first.reply(reply())
        assert pair.first.links.sent == []
        assert pair.second.outcomes == [(1, "decided")]
        assert pair.first.counted("late_replies_total", node="sbc1") == 1

    async def test_the_event_again_after_its_end_is_not_asked_again(self) -> None:
        pair = Pair()
        await pair.first.events(suspended())
        await pair.first.reply(reply())
        await pair.first.read(id_of())
        await pair.second.events(suspended())
        assert pair.second.broker.published == []
        assert pair.resumes == {str(id_of()): 1}

    async def test_of_two_replies_in_one_batch_the_first_counts(self, bench: Bench) -> None:
        await bench.events(suspended())
        await bench.reply(reply(decision={"n": 1}), reply(decision={"n": 2}))
        assert [frame["decision"] for frame in bench.links.frames] == [{"n": 1}]
        assert bench.counted("late_replies_total", node="sbc1") == 1

    async def test_a_reply_to_nothing_is_counted(self, bench: Bench) -> None:
        await bench.reply(reply(99), reply(1, status="failed"))
        assert bench.links.sent == []
        assert bench.counted("late_replies_total", node="sbc1") == 2

    async def test_an_empty_batch_is_nothing(self, bench: Bench) -> None:
        await bench.reply()
        await bench.events()
        assert bench.links.sent == bench.broker.published == []

    async def test_the_second_suspension_gets_its_own_answer(self, bench: Bench) -> None:
        await bench.events(suspended(seq=1))
        await bench.reply(reply(seq=1, decision={"n": 1}))
        await bench.read(id_of(seq=1))
        await bench.events(suspended(seq=2))
        await bench.reply(reply(seq=1, decision={"n": 1}))
        assert len(bench.links.sent) == 1
        await bench.reply(reply(seq=2, decision={"n": 2}))
        answers = [(frame["tm_trans"]["seq"], frame["decision"]["n"]) for frame in bench.links.frames]
        assert answers == [(1, 1), (2, 2)]

    async def test_also_when_the_first_answer_comes_after_the_second_question(self, bench: Bench) -> None:
        await bench.events(suspended(seq=1))
        bench.now += 2.0
        await bench.relay.expire("sbc1")
        await bench.events(suspended(seq=2))
        await bench.reply(reply(seq=1, decision={"n": 1}), reply(seq=2, decision={"n": 2}))
        answers = [(frame["tm_trans"]["seq"], frame["outcome"]) for frame in bench.links.frames]
        assert answers == [(1, "timeout"), (2, "decided")]
        assert bench.links.frames[1]["decision"] == {"n": 2}
        assert bench.counted("late_replies_total", node="sbc1") == 1


class TestDrain:
    async def test_nothing_new_is_claimed_and_what_is_claimed_is_answered(self, bench: Bench) -> None:
        await bench.events(suspended(1))
        bench.relay.claiming = False
        assert "draining" in repr(bench.relay)
        broken = Malformed("base64", "", b"e:37:3:?", "e", (37, 3, 1))
        await bench.events(suspended(2), broken, Notice("call_ended", {}))
        assert [each.event for each in bench.broker.published] == ["invite_request", "call_ended"]
        assert [letter.body for letter in bench.broker.letters] == [b"e:37:3:?"]
        await bench.reply(reply(1), reply(2))
        assert bench.outcomes == [(1, "decided")]


class TestAdoption:
    async def test_what_was_claimed_is_asked_again_and_what_was_settled_resumed_again(self) -> None:
        pair = Pair()
        await pair.first.events(suspended(1), suspended(2), suspended(3))
        await pair.first.reply(reply(2, decision={"n": 2}))
        await pair.first.reply(reply(3))
        await pair.first.read(id_of(3))
        second = pair.second
        with capture_logs() as logs:
            assert await second.adopt("r1") == 2
        assert second.broker.published == [pair.first.broker.published[0]]
        assert second.links.frames == [pair.first.links.frames[0]]
        assert second.counted("adopted_total", node="sbc1", state="claimed") == 1
        assert second.counted("adopted_total", node="sbc1", state="settled") == 1
        (entry,) = (entry for entry in logs if entry["event"] == "adopted")
        assert (entry["of"], entry["claimed"], entry["settled"]) == (["r1"], 1, 1)
        assert await second.adopt("r1") == 0
        await second.reply(reply(1))
        assert second.outcomes == [(2, "decided"), (1, "decided")]

    async def test_what_is_past_its_deadline_is_not_asked_again_but_a_timeout(self) -> None:
        pair = Pair()
        await pair.first.events(suspended())
        pair.first.now = pair.second.now = NOW + 3.0
        assert await pair.second.adopt("r1") == 1
        assert pair.second.broker.published == []
        await pair.second.relay.expire("sbc1")
        assert pair.second.outcomes == [(1, "timeout")]

    async def test_what_the_broker_refuses_then_is_answered(self) -> None:
        pair = Pair()
        await pair.first.events(suspended())
        pair.second.broker.answers["invite_request"] = Published.UNAVAILABLE
        assert await pair.second.adopt("r1") == 1
        assert pair.second.outcomes == [(1, "unavailable")]

    async def test_nothing_to_adopt_says_nothing(self, bench: Bench) -> None:
        with capture_logs() as logs:
            assert await bench.adopt("r9") == 0
        assert logs == []

    async def test_a_store_that_is_away_is_the_callers_matter(self, bench: Bench) -> None:
        bench.store.away = {"adopt"}
        with pytest.raises(StoreUnavailable):
            await bench.adopt("r9")


class TestNoStore:
    async def test_what_cannot_be_claimed_gets_its_fallback_without(self, bench: Bench) -> None:
        bench.store.away = {"claim"}
        broken = Malformed("base64", "", b"e:37:2:?", "e", (37, 2, 1))
        with capture_logs() as logs:
            await bench.events(suspended(1), broken)
        assert bench.outcomes == [(1, "unavailable"), (2, "malformed")]
        assert bench.broker.published == []
        assert bench.counted("store_errors_total", verb="claim") == 1
        assert {"event": "in-flight store", "verb": "claim", "error": "no claim"}.items() <= next(
            entry for entry in logs if entry["event"] == "in-flight store"
        ).items()
        bench.store.away = {"resumed"}
        with capture_logs() as logs:
            await bench.read(id_of(1))
        assert bench.counted("store_errors_total", verb="resumed") == 1
        assert [entry["log_level"] for entry in logs] == ["debug"], "one outage is told of once"

    async def test_what_was_refused_and_cannot_be_settled(self, bench: Bench) -> None:
        bench.broker.answers["other"] = Published.UNROUTABLE
        bench.store.away = {"settle"}
        await bench.events(suspended(1), suspended(2, event="other"))
        assert bench.outcomes == [(2, "unroutable")]
        assert bench.counted("store_errors_total", verb="settle") == 1

    async def test_replies_are_left_to_be_delivered_again(self, bench: Bench) -> None:
        await bench.events(suspended(1))
        bench.store.away = {"settle"}
        with pytest.raises(StoreUnavailable):
            await bench.relay.on_replies([reply(1)])
        assert bench.links.sent == []
        assert bench.counted("late_replies_total", node="sbc1") == 0
        assert bench.counted("store_errors_total", verb="settle") == 1
        bench.store.away = set()
        await bench.reply(reply(1))
        assert bench.outcomes == [(1, "decided")]

    async def test_deadlines_wait_for_it(self, bench: Bench) -> None:
        await bench.events(suspended(1))
        bench.now += 3.0
        bench.store.away = {"expire"}
        await bench.relay.expire("sbc1")
        assert bench.links.sent == []
        assert bench.counted("store_errors_total", verb="expire") == 1
        bench.store.away = set()
        await bench.relay.expire("sbc1")
        assert bench.outcomes == [(1, "timeout")]


class TestNoBroker:
    async def test_it_leaves_the_event_to_a_replica_that_can_publish(self, bench: Bench) -> None:
        other = Bench(store=bench.store.inner.beside("r2"))
        bench.broker.ready = False
        bench.relay.replicas = other.relay.replicas = ("r1", "r2")
        bench.relay.on_events("sbc1", [suspended(1)])
        await asyncio.sleep(0)
        await other.events(suspended(1))
        await bench.relay.idle()
        assert bench.links.sent == []
        assert len(other.broker.published) == 1
        assert bench.counted("duplicate_events_total", node="sbc1") == 1

    async def test_where_nobody_can_it_answers(self, bench: Bench) -> None:
        bench.broker.ready = False
        bench.relay.replicas = ("r1", "r2")
        await bench.events(suspended(1))
        assert bench.outcomes == [(1, "unavailable")]


class TestInDoubt:
    async def test_what_was_settled_though_the_answer_was_lost_is_resumed(self, bench: Bench) -> None:
        await bench.events(suspended(1), suspended(2), suspended(3))
        bench.store.lost = {"settle", "expire"}
        with pytest.raises(StoreUnavailable):
            await bench.relay.on_replies([reply(1)])
        bench.now += 3.0
        await bench.relay.expire("sbc1")
        assert bench.links.sent == []
        assert bench.relay.in_doubt
        bench.store.lost = set()
        await bench.reply(reply(1))  # delivered again, and late by now
        assert bench.links.sent == []
        await bench.relay.recover("sbc1")
        assert bench.outcomes == [(1, "decided"), (2, "timeout"), (3, "timeout")]

    async def test_what_is_under_way_or_read_is_left_alone(self, bench: Bench) -> None:
        await bench.events(suspended(1), suspended(2), suspended(3))
        await bench.reply(reply(1), reply(2))
        bench.store.away = {"resumed"}
        await bench.read(id_of(1))
        bench.store.away = set()
        bench.links.waiting = {id_of(2)}
        await bench.relay.recover("sbc1")
        assert bench.outcomes == [(1, "decided"), (2, "decided")]
        assert await bench.state(id_of(1)) is None
        assert await bench.state(id_of(2)) is State.SETTLED
        assert await bench.state(id_of(3)) is State.CLAIMED

    async def test_what_another_replica_settled_is_left_to_it(self, bench: Bench) -> None:
        other = Bench(store=bench.store.inner.beside("r2"))
        await bench.events(suspended(1))
        await other.reply(reply(1))
        await bench.relay.recover("sbc1")
        assert bench.links.sent == []

    async def test_a_store_that_is_away_still_keeps_what_was_read(self, bench: Bench) -> None:
        await bench.events(suspended(1))
        await bench.reply(reply(1))
        bench.store.away = {"resumed"}
        await bench.read(id_of(1))
        with pytest.raises(StoreUnavailable):
            await bench.relay.recover("sbc1")
        bench.store.away = set()
        await bench.relay.recover("sbc1")
        assert bench.outcomes == [(1, "decided")]


class TestFaultsOfItsOwn:
    async def test_a_batch_that_fails_is_logged_and_its_deadline_answers(self, bench: Bench) -> None:
        bench.broker.broken = RuntimeError("boom")
        with capture_logs() as logs:
            await bench.events(suspended(1))
        (entry,) = (entry for entry in logs if entry["log_level"] == "error")
        assert entry["exc_info"] is bench.broker.broken
        bench.broker.broken = None
        await bench.events(suspended(2))
        await bench.reply(reply(2))
        bench.now += 2.0
        await bench.relay.expire("sbc1")
        assert bench.outcomes == [(2, "decided"), (1, "timeout")]

    async def test_a_batch_that_is_cancelled_is_nothing(self, bench: Bench) -> None:
        bench.relay.on_events("sbc1", [suspended(1)])
        assert "1 batches under way" in repr(bench.relay)
        (task,) = bench.relay._tasks
        task.cancel()
        with capture_logs() as logs:
            await bench.relay.idle()
        assert logs == []
        assert repr(bench.relay) == "<Relay r1 claiming, 0 batches under way>"

    async def test_a_node_without_a_link_here(self, bench: Bench) -> None:
        with capture_logs() as logs:
            bench.broker.ready = False
            await bench.events(suspended(), node="sbc9")
        (entry,) = (entry for entry in logs if entry["log_level"] == "error")
        assert (entry["event"], entry["correlation_id"]) == ("no link to resume by", str(id_of(node="sbc9")))
        assert (
            bench.counted("outcomes_total", node="sbc9", event="invite_request", outcome="unavailable") == 0
        )

    @pytest.mark.parametrize("depth", [*range(975, 1000), 5_000])
    async def test_data_nested_to_the_limit(self, bench: Bench, depth: int) -> None:
        """What the parser still takes must not break what handles it: the whole read would be lost."""
        nested = b"[" * depth + b"%d" % (1 << 64) + b"]" * depth
        frame = b'{"event":"e","tm_trans":{"tm_index":37,"tm_label":1,"seq":1},"data":{"a":%b}}' % nested
        found = wire.parse(frame)
        assert isinstance(found, wire.Suspended | wire.Malformed)
        await bench.events(found, suspended(2))
        assert bench.outcomes == [(1, "malformed")]
        assert len(bench.broker.published) == 1


class TestAnyOrder:
    @given(st.randoms(use_true_random=True), st.integers(1, 12))
    @settings(max_examples=40, deadline=None)
    async def test_every_suspension_is_resumed_once(self, random: Random, labels: int) -> None:
        """Two replicas, copies of events, replies and refusals in any order; then the deadlines."""
        pair = Pair()
        both = (pair.first, pair.second)
        wanted = {(label, seq) for label in range(labels) for seq in (1, 2)}
        for bench in both:
            bench.relay._policy = Policy(in_flight=labels)
            bench.broker.answers = {"other": Published.UNROUTABLE}
        steps: list[Any] = [
            (kind, bench, label, seq)
            for kind in ("event", "reply", "read", "broken", "failed", "expire")
            for bench in both
            for label, seq in wanted
        ]
        random.shuffle(steps)
        seen: set[str] = set()
        for kind, bench, label, seq in steps:
            name = "other" if label % 4 == 0 else "invite_request"
            match kind:
                case "event":
                    seen.add(str(id_of(label, seq)))
                    await bench.events(suspended(label, event=name, seq=seq))
                case "reply":
                    await bench.reply(reply(label, seq), reply(label, seq, status="failed"))
                case "failed":
                    await bench.reply(reply(label, seq, rejected="rejected"))
                case "broken" if label % 3 == 0:
                    seen.add(str(id_of(label, seq)))
                    await bench.events(Malformed("x", "", b"", "e", (37, label, seq)))
                case "read" if await bench.state(id_of(label, seq)) is State.SETTLED:
                    await bench.read(id_of(label, seq))
                case "expire":
                    pair.move(random.choice((0.0, 0.0, 0.1)))
                    await bench.relay.expire("sbc1")
        pair.move(2.0)
        for bench in both:
            await bench.relay.expire("sbc1")
        assert pair.resumes == dict.fromkeys(seen, 1)
        counted = sum(
            bench.counted("outcomes_total", node="sbc1", event=event, outcome=outcome)
            for bench in both
            for event in ("invite_request", "other", "e")
            for outcome in ("decided", "timeout", "unroutable", "overload", "malformed", "failed")
        )
        assert counted == len(seen)
        assert await pair.first.store.count("sbc1") == 0
