"""The relay where things come twice, late, in any order, or break."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from adapter.cluster.role import STANDBY_DELAY
from adapter.model.beat import Beat
from adapter.model.transaction import State
from adapter.ports.broker import Published
from adapter.relay.early_replies import LOOKS
from adapter.relay.policy import Policy
from adapter.wire import event as wire
from adapter.wire import netstring
from adapter.wire.event import Malformed
from tests.harness.examples import examples
from tests.relay_bench import LEASE, Bench, Pair, id_of, reply, suspended

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from adapter.model.transaction import Settlement


@pytest.fixture
async def bench() -> Bench:
    return Bench()


async def nothing_settled(settlements: Sequence[Settlement], *_: Any) -> list[None]:
    """What a store that is away says of what another replica owns."""
    return [None] * len(settlements)


class TestTwice:
    async def test_two_replicas_publish_and_resume_once(self) -> None:
        pair = Pair()
        await pair.events(suspended())
        await pair.tick(STANDBY_DELAY)
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
        await pair.tick(STANDBY_DELAY)
        assert pair.second.broker.published == []
        assert pair.resumes == {str(id_of()): 1}

    async def test_of_two_replies_in_one_batch_the_first_counts(self, bench: Bench) -> None:
        await bench.events(suspended())
        await bench.reply(reply(decision={"n": 1}), reply(decision={"n": 2}))
        assert [frame["decision"] for frame in bench.links.frames] == [{"n": 1}]
        assert bench.counted("late_replies_total", node="sbc1") == 1

    async def test_a_reply_to_nothing_is_counted(self, bench: Bench) -> None:
        await bench.reply(reply(99), reply(1, status="failed"))
        for pause in LOOKS:  # each is past the one before
            assert bench.counted("late_replies_total", node="sbc1") == 0, "its claim may come yet"
            await bench.tick(pause)
        assert bench.links.sent == []
        assert bench.counted("late_replies_total", node="sbc1") == 2
        await bench.tick(1.0)
        assert bench.store.called("settle") == 1 + len(LOOKS), "it is forgotten"

    async def test_a_reply_that_overtakes_the_claim_of_another_replica_counts(self) -> None:
        pair = Pair()
        await pair.second.events(suspended())
        await pair.second.reply(reply())
        await pair.second.tick(LOOKS[0])
        assert pair.second.outcomes == []
        await pair.first.events(suspended())
        await pair.second.tick(LOOKS[1])
        assert pair.second.outcomes == [(1, "decided")]
        await pair.second.tick(1.0)
        assert pair.second.counted("late_replies_total", node="sbc1") == 0

    async def test_so_does_one_whose_claim_comes_while_it_is_looked_at(self) -> None:
        """Refused, and claimed before it is asked why: it is not late for that."""
        pair = Pair()
        settle = pair.second.store.inner.settle

        async def overtaken(*args: Any) -> Any:
            found = await settle(*args)
            await pair.first.events(suspended())
            return found

        pair.second.store.inner.settle = overtaken  # type: ignore[assignment, method-assign]
        await pair.second.events(suspended())
        await pair.second.reply(reply())
        await pair.second.tick(LOOKS[0])
        assert pair.second.outcomes == [(1, "decided")]
        assert pair.second.counted("late_replies_total", node="sbc1") == 0

    async def test_so_does_one_that_comes_while_the_store_is_away(self) -> None:
        pair = Pair()
        await pair.first.events(suspended())
        store = pair.second.store
        settle = store.inner.settle
        store.inner.settle = nothing_settled  # type: ignore[assignment, method-assign]
        pair.second.lose_store()
        await pair.second.reply(reply())
        assert pair.second.outcomes == []
        store.away, store.inner.settle = False, settle  # type: ignore[method-assign]
        pair.meet()
        await pair.second.tick(LOOKS[0])
        assert pair.second.outcomes == [(1, "decided")]
        assert pair.second.counted("late_replies_total", node="sbc1") == 0

    async def test_an_empty_batch_is_nothing(self, bench: Bench) -> None:
        await bench.reply()
        await bench.events()
        assert (bench.links.sent, bench.broker.published) == ([], [])

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

    async def test_replicas_that_do_not_know_each_other_yet_do_too(self) -> None:
        pair = Pair(known=False)
        await pair.events(suspended())
        assert (len(pair.first.broker.published), pair.second.broker.published) == (1, [])
        assert pair.second.counted("duplicate_events_total", node="sbc1") == 1

    async def test_also_when_the_first_answer_comes_after_the_second_question(self, bench: Bench) -> None:
        await bench.events(suspended(seq=1))
        bench.now += 2.0
        await bench.trip.expire("sbc1")
        await bench.events(suspended(seq=2))
        await bench.reply(reply(seq=1, decision={"n": 1}), reply(seq=2, decision={"n": 2}))
        answers = [(frame["tm_trans"]["seq"], frame["outcome"]) for frame in bench.links.frames]
        assert answers == [(1, "timeout"), (2, "decided")]
        assert bench.links.frames[1]["decision"] == {"n": 2}
        assert bench.counted("late_replies_total", node="sbc1") == 1


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
        await bench.trip.expire("sbc1")
        assert bench.outcomes == [(2, "decided"), (1, "timeout")]

    async def test_a_batch_that_is_cancelled_is_nothing(self, bench: Bench) -> None:
        bench.look()
        bench.trip.on_events("sbc1", [suspended(1)])
        assert "1 batches under way" in repr(bench.trip)
        (task,) = bench.trip._tasks
        task.cancel()
        with capture_logs() as logs:
            await bench.trip.idle()
        assert logs == []
        assert repr(bench.trip) == "<Trip r1 claiming, 0 batches under way, 0 frames held>"

    async def test_what_has_no_link_to_be_written_to_stays_settled_and_is_not_counted(
        self, bench: Bench
    ) -> None:
        await bench.events(suspended())
        bench.links.nodes.clear()
        bench.links.max_payload = lambda node: netstring.MAX_OUT  # type: ignore[method-assign]
        with capture_logs() as logs:
            await bench.reply(reply())
        assert [entry["event"][:8] for entry in logs] == ["no link:"]
        assert await bench.state(id_of()) is State.SETTLED
        labels = {"node": "sbc1", "event": "invite_request", "outcome": "decided"}
        assert bench.counted("outcomes_total", **labels) == 0
        bench.links.nodes.add("sbc1")
        await bench.recover()
        assert bench.outcomes == [(1, "decided")]
        assert bench.counted("outcomes_total", **labels) == 1

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
    @settings(max_examples=examples(40), deadline=None)
    async def test_every_suspension_is_resumed_once(self, random: Random, labels: int) -> None:
        """Two replicas, copies of events, replies and refusals in any order; then the deadlines."""
        pair = Pair()
        both = (pair.first, pair.second)
        wanted = {(label, seq) for label in range(labels) for seq in (1, 2)}
        for bench in both:
            bench.policy.replace(Policy(in_flight=labels))
            bench.broker.answers = {"other": Published.UNROUTABLE, "doubtful": Published.UNAVAILABLE}
        steps: list[Any] = [
            (kind, bench, label, seq)
            for kind in ("event", "reply", "read", "broken", "failed", "expire", "broker")
            for bench in both
            for label, seq in wanted
        ]
        random.shuffle(steps)
        seen: set[str] = set()
        for kind, bench, label, seq in steps:
            name = ("other", "invite_request", "doubtful", "invite_request")[label % 4]
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
                    await pair.tick(random.choice((0.0, 0.0, 0.1)))
                    await bench.trip.expire("sbc1")
                case "broker":
                    bench.broker.ready = random.random() < 0.7
                    beats = [Beat(each.broker.ready, nodes=frozenset(["sbc1"])) for each in both]
                    pair.meet(*beats)
        for _ in range(3):  # all that is held is claimed by somebody
            pair.meet()
            await pair.tick(LEASE)
        pair.move(2.0)
        for bench in both:
            await bench.trip.expire("sbc1")
        assert pair.resumes == dict.fromkeys(seen, 1)
        outcomes = Counter(outcome for bench in both for _, outcome in bench.outcomes)
        assert sum(outcomes.values()) == len(seen)
        assert await pair.first.store.count("sbc1") == 0
