"""The relay while its broker is away, or does not take a request."""

from __future__ import annotations

import pytest

from adapter.cluster.role import RETURN_WAIT
from adapter.model.beat import Beat
from adapter.model.transaction import State
from adapter.ports.broker import Published
from tests.relay_bench import LEASE, Bench, Pair, id_of, reply, suspended

SERVING = Beat(nodes=frozenset(["sbc1"]))
CUT_OFF = Beat(broker=False, nodes=frozenset(["sbc1"]))
MOMENT = 0.001


@pytest.fixture
async def bench() -> Bench:
    return Bench()


class TestRepliesThatCannotBeConsumed:
    """The broker takes requests, and no reply would come here."""

    async def test_alone_it_answers_at_once_and_asks_nobody(self, bench: Bench) -> None:
        bench.broker.deaf = {"sbc1"}
        await bench.events(suspended())
        assert bench.outcomes == [(1, "unavailable")]
        assert bench.broker.published == []
        assert not bench.roles.of("sbc1").is_active

    async def test_where_another_serves_it_is_left_to_that_one(self) -> None:
        pair = Pair()
        pair.first.broker.deaf = {"sbc1"}
        pair.meet(first=Beat(nodes=frozenset(["sbc1"]), deaf=frozenset(["sbc1"])))
        await pair.events(suspended())
        assert pair.second.broker.asked == [str(id_of())]
        assert pair.first.broker.asked == []
        await pair.tick(LEASE)
        assert pair.first.links.sent == []

    async def test_what_was_not_taken_is_answered_where_nobody_serves(self, bench: Bench) -> None:
        bench.broker.answers["invite_request"] = Published.UNAVAILABLE
        await bench.events(suspended())
        bench.broker.deaf = {"sbc1"}
        await bench.tick()
        assert bench.outcomes == [(1, "unavailable")]


class TestBrokerAway:
    async def test_where_another_serves_it_is_left_to_that_one(self) -> None:
        pair = Pair()
        pair.first.broker.ready = False
        pair.meet(first=CUT_OFF)
        await pair.events(suspended())
        assert pair.second.broker.asked == [str(id_of())]
        await pair.tick(LEASE)
        await pair.tick(LEASE)
        assert pair.first.links.sent == []
        assert pair.first.counted("duplicate_events_total", node="sbc1") == 1

    async def test_in_the_end_it_answers_what_that_one_has_not_claimed(self) -> None:
        bench = Bench()
        bench.look(r2=SERVING)
        bench.broker.ready = False
        await bench.events(suspended())
        await bench.tick(LEASE - MOMENT)
        assert bench.store.calls == []
        bench.look()
        await bench.tick(2 * MOMENT)
        assert bench.outcomes == [(1, "unavailable")]
        assert await bench.state(id_of()) is State.SETTLED

    async def test_where_nobody_serves_it_answers_within_a_moment_of_the_loss(self, bench: Bench) -> None:
        bench.look(r2=CUT_OFF)
        bench.broker.ready = False
        await bench.events(suspended(1))
        await bench.tick(RETURN_WAIT - MOMENT)
        await bench.events(suspended(2))
        assert bench.links.sent == []
        await bench.tick(2 * MOMENT)
        assert bench.outcomes == [(1, "unavailable"), (2, "unavailable")]
        await bench.events(suspended(3))
        assert bench.outcomes[2:] == [(3, "unavailable")], "at once from then on"
        assert bench.broker.published == []

    async def test_a_broker_that_is_back_in_time_gets_it(self, bench: Bench) -> None:
        bench.broker.ready = False
        await bench.events(suspended(1), suspended(2))
        await bench.tick(RETURN_WAIT / 2)
        bench.broker.ready = True
        await bench.tick()
        assert bench.broker.asked == [str(id_of(1)), str(id_of(2))]
        assert bench.links.sent == []

    async def test_of_each_outage_anew(self, bench: Bench) -> None:
        """Though nothing happened while it was back."""
        bench.broker.ready = False
        await bench.events(suspended(1))
        await bench.tick(RETURN_WAIT)
        bench.broker.ready = True
        await bench.tick(LEASE)
        bench.broker.ready = False
        await bench.events(suspended(2))
        assert bench.outcomes == [(1, "unavailable")]
        bench.broker.ready = True
        await bench.tick(RETURN_WAIT / 2)
        assert bench.broker.asked == [str(id_of(2))]

    async def test_an_outage_counts_from_its_beginning_and_not_from_the_first_event(
        self, bench: Bench
    ) -> None:
        bench.broker.ready = False
        await bench.tick()
        await bench.tick(RETURN_WAIT)
        await bench.events(suspended(1))
        assert bench.outcomes == [(1, "unavailable")]


class TestNotTaken:
    """The broker took a request not, or nobody knows."""

    async def unsent(self, bench: Bench, **others: Beat) -> None:
        bench.look(**others)
        bench.broker.answers["invite_request"] = Published.UNAVAILABLE
        await bench.events(suspended())
        assert bench.broker.asked == [str(id_of())]
        assert bench.links.sent == []
        bench.broker.answers.clear()

    async def test_once_the_broker_is_back_it_is_published_again(self, bench: Bench) -> None:
        await self.unsent(bench)
        bench.broker.ready = False
        await bench.tick()
        bench.broker.ready = True
        await bench.tick(RETURN_WAIT / 2)
        await bench.tick(RETURN_WAIT)
        assert bench.broker.asked == [str(id_of())] * 2
        await bench.reply(reply())
        assert bench.outcomes == [(1, "decided")]

    async def test_once_and_not_more(self, bench: Bench) -> None:
        await self.unsent(bench)
        bench.broker.answers["invite_request"] = Published.UNAVAILABLE
        for _ in range(3):
            await bench.tick()
        assert len(bench.broker.published) == 2
        assert bench.outcomes == [(1, "unavailable")]

    async def test_where_nobody_can_publish_it_is_answered_in_a_moment(self, bench: Bench) -> None:
        await self.unsent(bench)
        bench.broker.ready = False
        await bench.tick()
        await bench.tick(RETURN_WAIT - MOMENT)
        assert bench.links.sent == []
        await bench.tick(2 * MOMENT)
        assert bench.outcomes == [(1, "unavailable")]
        bench.broker.ready = True
        await bench.tick()
        assert len(bench.broker.published) == 1

    async def test_it_is_left_to_a_replica_that_can(self, bench: Bench) -> None:
        await self.unsent(bench, r2=SERVING)
        bench.broker.ready = False
        await bench.tick()
        await bench.tick(RETURN_WAIT)
        assert bench.links.sent == []
        other = Bench(store=bench.store.inner.beside("r2"))
        assert await other.adopt("r1", state=State.CLAIMED) == 1
        assert other.broker.asked == [str(id_of())]
        await bench.tick(2 * LEASE)
        bench.broker.ready = True
        await bench.tick()
        assert len(bench.broker.published) == 1, "the other has it by now"

    async def test_a_request_that_the_broker_says_no_to_is_answered_at_once(self, bench: Bench) -> None:
        bench.broker.answers["invite_request"] = Published.REFUSED
        await bench.events(suspended())
        assert bench.outcomes == [(1, "unavailable")]
        await bench.tick()
        assert len(bench.broker.published) == 1
