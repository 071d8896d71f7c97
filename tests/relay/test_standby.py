"""Who claims what, and when: the active replica, standbys, those that cannot publish, and drains."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from adapter.cluster.drain import Drain
from adapter.cluster.role import HANDOVER_WAIT, RETURN_WAIT, STANDBY_DELAY
from adapter.model.beat import Beat
from adapter.wire.event import Malformed, Notice, peek_ids
from tests.relay_bench import LEASE, NOW, Bench, Pair, id_of, reply, suspended

if TYPE_CHECKING:
    from adapter.model.transaction import TransactionId

SERVING = Beat(nodes=frozenset(["sbc1"]))
CUT_OFF = Beat(broker=False, nodes=frozenset(["sbc1"]))
DRAINING = Beat(accepting=False, nodes=frozenset(["sbc1"]))
MOMENT = 0.001
BROKEN = Malformed("base64", "", b"e:37:2:?", "e", (37, 2, 1))


@pytest.fixture
async def bench() -> Bench:
    return Bench()


@pytest.fixture
async def standby() -> Bench:
    """Beside r1, which rendezvous hashing prefers."""
    bench = Bench(name="r2")
    bench.look(r1=SERVING)
    return bench


class TestStandby:
    async def test_it_leaves_what_the_active_one_claims_to_it(self) -> None:
        pair = Pair()
        await pair.events(suspended(1), suspended(2))
        assert pair.first.broker.asked == [str(id_of(1)), str(id_of(2))]
        assert "2 frames held" in repr(pair.second.trip)
        await pair.tick(STANDBY_DELAY)
        await pair.tick(10 * STANDBY_DELAY)
        assert pair.second.broker.published == []
        assert pair.second.store.called("claim") == 0
        assert pair.second.counted("duplicate_events_total", node="sbc1") == 2
        assert pair.second.counted("standby_claims_total", node="sbc1") == 0

    async def test_it_keeps_what_a_store_that_goes_away_did_not_tell_it_of(self, standby: Bench) -> None:
        """Who was to claim it may die meanwhile."""
        await standby.events(suspended(1))
        standby.membership.bus = True

        async def goes(ids: object) -> list[TransactionId]:
            standby.lose_store()
            return []

        standby.store.inner.unclaimed = goes  # type: ignore[method-assign]
        await standby.tick(STANDBY_DELAY)
        assert standby.trip.held == 1
        del standby.store.inner.unclaimed
        standby.store.away = False
        standby.others.clear()
        standby.look()
        await standby.tick(LEASE + MOMENT)
        standby.look()
        await standby.tick()
        assert standby.broker.asked == [str(id_of(1))]
        assert standby.trip.held == 0

    async def test_it_reads_the_whole_only_of_what_it_claims(self, standby: Bench) -> None:
        head = b'{"event":"invite_request","tm_trans":{"tm_index":37,"tm_label":%d,"seq":1}'
        whole, broken = head % 1 + b',"data":{"user":"100"}}', head % 2 + b',"data":'
        await standby.events(*(glimpse for frame in (whole, broken) if (glimpse := peek_ids(frame))))
        assert standby.counted("events_total", node="sbc1", kind="suspended") == 2
        assert standby.store.calls == []
        await standby.tick(STANDBY_DELAY)
        assert standby.broker.asked == [str(id_of(1))]
        assert standby.outcomes == [(2, "malformed")]

    async def test_it_claims_what_nobody_has_after_the_delay_and_not_before(self, standby: Bench) -> None:
        await standby.events(suspended(1), BROKEN)
        await standby.tick(STANDBY_DELAY - MOMENT)
        assert standby.store.calls == []
        await standby.tick(2 * MOMENT)
        assert standby.broker.asked == [str(id_of(1))]
        assert standby.outcomes == [(2, "malformed")]
        assert standby.counted("standby_claims_total", node="sbc1") == 2
        await standby.tick(STANDBY_DELAY)
        assert len(standby.broker.published) == 1

    async def test_kamailio_is_asked_first_whether_the_active_one_has_answered_and_died(
        self, standby: Bench
    ) -> None:
        await standby.events(suspended(1))
        await standby.tick(STANDBY_DELAY + MOMENT)
        await standby.events(suspended(2))
        standby.look(r1=Beat())
        await standby.tick(MOMENT)
        await standby.events(suspended(3))
        await standby.reply(reply(1), reply(2), reply(3))
        assert standby.outcomes == [(1, "decided"), (2, "decided"), (3, "decided")]
        assert standby.links.again == [id_of(1), id_of(2)]

    async def test_only_what_nobody_has(self) -> None:
        pair = Pair()
        await pair.first.events(suspended(1))
        await pair.second.events(suspended(1), suspended(2))
        await pair.tick(STANDBY_DELAY)
        assert pair.second.broker.asked == [str(id_of(2))]
        assert pair.second.counted("duplicate_events_total", node="sbc1") == 1

    async def test_two_standbys_claim_it_once(self, standby: Bench) -> None:
        other = Bench(store=standby.store.inner.beside("r0"))
        other.look(r1=SERVING, r2=SERVING)
        standby.look(r0=Beat())
        for each in (standby, other):
            each.trip.on_events("sbc1", [suspended()])
        for each in (standby, other):
            each.now += STANDBY_DELAY
            each.trip.tick()  # both ask before one of them claims
        await standby.trip.idle()
        await other.trip.idle()
        assert len(standby.broker.published + other.broker.published) == 1

    async def test_the_deadline_counts_from_the_arrival(self, standby: Bench) -> None:
        await standby.events(suspended())
        await standby.tick(STANDBY_DELAY)
        (publication,) = standby.broker.published
        assert publication.deadline == NOW + 2.0
        record = await standby.record(id_of())
        assert record is not None
        assert (record.claimed_at, record.deadline) == (NOW, NOW + 2.0)
        await standby.reply(reply())
        assert standby.counted("decision_seconds_sum", outcome="decided") == pytest.approx(STANDBY_DELAY)

    async def test_who_becomes_active_claims_what_it_held_at_the_next_tick(self, standby: Bench) -> None:
        await standby.events(suspended(1))
        standby.look(r1=Beat())
        await standby.tick()
        assert standby.broker.asked == [str(id_of(1))]

    async def test_who_becomes_active_while_it_asks_what_is_unclaimed_claims_all(
        self, standby: Bench
    ) -> None:
        """A store that has gone away meanwhile knows of nothing that is unclaimed."""
        unclaimed = standby.store.inner.unclaimed

        async def late(ids: list[TransactionId]) -> list[TransactionId]:
            standby.look(r1=CUT_OFF)
            await unclaimed(ids)
            return []

        standby.store.inner.unclaimed = late  # type: ignore[method-assign, assignment]
        await standby.events(suspended(1))
        await standby.tick(STANDBY_DELAY + MOMENT)
        assert standby.broker.asked == [str(id_of(1))]

    async def test_or_before_it_asks(self, standby: Bench) -> None:
        await standby.events(suspended(1))
        standby.now += STANDBY_DELAY + MOMENT
        standby.trip.tick()
        standby.look(r1=CUT_OFF)
        await standby.trip.idle()
        assert standby.store.called("unclaimed") == 0
        assert standby.broker.asked == [str(id_of(1))]

    @pytest.mark.parametrize("beat", [CUT_OFF, DRAINING, Beat(), Beat(nodes=frozenset(["sbc2"]))])
    async def test_who_is_alone_able_is_active(self, standby: Bench, beat: Beat) -> None:
        standby.look(r1=beat)
        await standby.events(suspended(1))
        assert standby.broker.asked == [str(id_of(1))]

    async def test_notices_and_dead_letters_are_the_active_ones(self, standby: Bench) -> None:
        await standby.events(Notice("call_ended", {}), BROKEN)
        await standby.tick(STANDBY_DELAY)
        assert standby.broker.published == []
        assert standby.broker.letters == []
        assert standby.outcomes == [(2, "malformed")]

    async def test_nodes_are_held_apart(self) -> None:
        standby = Bench(name="r2", nodes=("sbc1", "sbc2"))
        standby.look(r1=Beat(nodes=frozenset(["sbc1", "sbc2"])))
        await standby.events(suspended(1), node="sbc1")
        await standby.events(suspended(2), node="sbc2")
        standby.look(r1=SERVING)
        await standby.tick()
        assert standby.broker.asked == [str(id_of(2, node="sbc2"))]
        await standby.tick(STANDBY_DELAY)
        assert standby.broker.asked == [str(id_of(2, node="sbc2")), str(id_of(1))]


class TestLease:
    """Who has not been heard of may have been taken over from."""

    async def test_until_its_first_beat_it_is_a_standby(self) -> None:
        bench = Bench()
        bench.trip.on_events("sbc1", [suspended()])
        await bench.tick()
        assert bench.broker.published == []
        bench.look()
        await bench.tick()
        assert bench.broker.asked == [str(id_of())]

    async def test_with_its_lease_over_it_waits_to_hear_who_is_active(self, bench: Bench) -> None:
        bench.look()
        await bench.tick(LEASE)
        assert bench.roles.of("sbc1").is_active
        await bench.tick(MOMENT)
        assert not bench.roles.of("sbc1").is_active
        bench.trip.on_events("sbc1", [suspended()])
        await bench.tick(2 * STANDBY_DELAY)
        assert bench.store.calls == []
        bench.look(r3=SERVING)
        await bench.tick()
        assert bench.store.called("unclaimed") == 1, "it is a standby whose time has come"
        assert bench.broker.asked == [str(id_of())]

    async def test_a_store_that_hangs_until_the_lease_is_over_loses_nothing(self, bench: Bench) -> None:
        """While it is away nothing counts as unclaimed, and its calls fail before the beat does."""
        bench.look()
        await bench.tick(LEASE)
        await bench.tick(MOMENT)
        bench.trip.on_events("sbc1", [suspended()])
        bench.store.away = True
        await bench.tick(2 * STANDBY_DELAY)
        assert bench.broker.asked == []
        bench.membership.lost(bench.now)
        await bench.tick()
        assert bench.broker.asked == [str(id_of())]


class TestStoreAway:
    async def test_the_active_one_goes_on_and_standbys_stay_still(self) -> None:
        pair = Pair()
        for each in (pair.first, pair.second):
            each.lose_store()
        for _ in range(10):
            await pair.tick(LEASE)
        await pair.events(suspended())
        assert pair.first.broker.asked == [str(id_of())]
        for _ in range(10):
            await pair.tick(STANDBY_DELAY)
        assert pair.second.broker.published == []

    async def test_for_a_lease_after_the_return_a_standby_waits_for_others_claims(
        self, standby: Bench
    ) -> None:
        standby.lose_store()
        await standby.events(suspended(1))
        standby.store.away = False
        standby.look()
        await standby.tick(LEASE - MOMENT)
        assert standby.store.called("unclaimed") == 0
        standby.look()
        await standby.tick(2 * MOMENT)
        assert standby.broker.asked == [str(id_of(1))]

    async def test_with_the_broker_gone_as_well_a_lone_replica_still_answers(self, bench: Bench) -> None:
        bench.look()
        bench.lose_store()
        bench.broker.ready = False
        await bench.events(suspended(1))
        await bench.tick(RETURN_WAIT)
        assert bench.outcomes == [(1, "unavailable")]

    async def test_nor_with_others_that_cannot_know_of_it(self) -> None:
        """By their last list it is still the active one, so they stay still."""
        pair = Pair()
        for each in (pair.first, pair.second):
            each.lose_store()
        pair.first.broker.ready = False
        await pair.events(suspended())
        await pair.tick(RETURN_WAIT)
        await pair.tick(LEASE)
        assert pair.first.outcomes == [(1, "unavailable")]
        assert (pair.second.broker.published, pair.second.links.sent) == ([], [])


class TestJustActive:
    """The one before does not know it yet, and claims what it tells the store of a moment later."""

    def at_once(self, bench: Bench) -> list[bool]:
        return [call[3] for call in bench.store.calls if call[0] == "claim"]

    async def test_it_leaves_time_to_the_one_before_and_goes_by_the_store(self, standby: Bench) -> None:
        assert not standby.roles.of("sbc1").is_active
        standby.look(r1=CUT_OFF, r8=SERVING)
        assert standby.roles.of("sbc1").is_active, "of r2 and r8 it is r2"
        await standby.events(suspended(1))
        await standby.tick(HANDOVER_WAIT - MOMENT)
        assert standby.broker.asked == []
        await standby.tick(2 * MOMENT)
        assert standby.broker.asked == [str(id_of(1))]
        assert self.at_once(standby) == [False]
        assert standby.store.called("unclaimed") == 0, "it is the active one"

    async def test_what_the_one_before_has_told_of_is_not_asked_twice(self) -> None:
        pair = Pair()
        first, second = pair.first, pair.second
        await pair.events(suspended(1))
        second.look(r1=CUT_OFF, r8=SERVING)
        await second.tick(HANDOVER_WAIT + MOMENT)
        assert first.broker.asked == [str(id_of(1))]
        assert second.broker.asked == []

    async def test_once_all_have_beaten_it_waits_for_nobody(self, standby: Bench) -> None:
        assert not standby.roles.of("sbc1").is_active
        standby.look(r1=CUT_OFF, r8=SERVING)
        assert standby.roles.of("sbc1").is_active
        standby.now += LEASE / 2
        standby.look()
        await standby.events(suspended(1))
        await standby.reply(reply(1))
        assert standby.outcomes == [(1, "decided")]
        assert self.at_once(standby) == [True]

    @pytest.mark.parametrize("before", [DRAINING, CUT_OFF])
    async def test_nor_does_it_ask_twice_what_one_claims_that_only_just_cannot_serve(
        self, before: Beat
    ) -> None:
        """A standby reads late: what it reads first as the active one, the one before may have answered."""
        pair = Pair()
        assert not pair.second.roles.of("sbc1").is_active
        pair.meet(first=before)
        await pair.first.events(suspended(1))  # it drains: Kamailio does not know it yet
        await pair.first.reply(reply(1))
        await pair.second.events(suspended(1))
        await pair.second.tick(HANDOVER_WAIT + MOMENT)
        assert pair.second.broker.asked == []
        assert pair.resumes == {str(id_of(1)): 1}

    async def test_it_waits_for_nobody_where_nobody_else_reads_the_node(self, standby: Bench) -> None:
        assert not standby.roles.of("sbc1").is_active
        standby.look(r1=Beat())
        await standby.events(suspended(1))
        assert self.at_once(standby) == [True]


class TestRelaxed:
    """Whether what comes may be read late."""

    async def test_where_another_claims_it(self) -> None:
        pair = Pair()
        found = [each.roles.of("sbc1").relaxed for each in (pair.first, pair.second)]
        assert found == [False, True]

    async def test_not_where_the_others_may_have_lost_the_broker_as_well(self) -> None:
        pair = Pair()
        for each in (pair.first, pair.second):
            each.broker.ready = False
            assert not each.roles.of("sbc1").relaxed


class TestDrain:
    async def test_nothing_new_is_claimed_and_what_is_claimed_is_answered(self) -> None:
        pair = Pair()
        first = pair.first
        await first.events(suspended(1))
        first.roles.drain = Drain.DRAINED
        assert "draining" in repr(first.trip)
        pair.meet(first=DRAINING)
        await pair.events(suspended(2), Notice("call_ended", {}))
        assert first.broker.asked == [str(id_of(1))]
        assert pair.second.broker.asked == [None, str(id_of(2))]
        await pair.tick(LEASE)
        assert first.links.sent == []
        await first.reply(reply(1), reply(2))
        assert first.outcomes == [(1, "decided"), (2, "decided")]

    async def test_what_nobody_else_is_there_for_is_answered_at_once(self, bench: Bench) -> None:
        bench.roles.drain = Drain.DRAINED
        await bench.events(suspended(1), BROKEN)
        assert bench.outcomes == [(1, "unavailable"), (2, "malformed")]
        assert bench.broker.published == []


class TestSweeps:
    """Whose it is to answer what is past its deadline."""

    def sweepers(self, pair: Pair) -> list[str]:
        return [each.name for each in (pair.first, pair.second) if each.roles.of("sbc1").sweeps]

    async def test_the_active_ones(self) -> None:
        pair = Pair()
        assert self.sweepers(pair) == ["r1"]
        pair.meet(first=Beat())
        pair.first.links.unsound.add("sbc1")
        assert self.sweepers(pair) == ["r2"]

    async def test_where_nobody_can_publish_one_that_can_write(self) -> None:
        pair = Pair()
        pair.first.broker.ready = pair.second.broker.ready = False
        pair.meet(first=CUT_OFF, second=CUT_OFF)
        assert self.sweepers(pair) == ["r1"]
        pair.meet(first=Beat(broker=False), second=CUT_OFF)
        pair.first.links.unsound.add("sbc1")
        assert self.sweepers(pair) == ["r2"]
        pair.second.links.unsound.add("sbc1")
        pair.meet(first=Beat(broker=False), second=Beat(broker=False))
        assert self.sweepers(pair) == []

    async def test_not_with_its_own_lease_over(self) -> None:
        pair = Pair()
        pair.move(LEASE + MOMENT)
        assert self.sweepers(pair) == []

    async def test_without_the_store_each_what_it_knows_of(self) -> None:
        pair = Pair()
        pair.first.lose_store()
        pair.second.lose_store()
        assert self.sweepers(pair) == ["r1", "r2"]


class TestLinkNotSound:
    async def test_it_is_left_to_a_replica_that_can_write_the_answer(self, bench: Bench) -> None:
        bench.look(r2=SERVING)
        bench.links.unsound.add("sbc1")
        await bench.events(suspended(1))
        await bench.tick(LEASE - MOMENT)
        assert bench.store.calls == []

    async def test_where_there_is_none_it_is_asked_all_the_same(self, bench: Bench) -> None:
        bench.links.unsound.add("sbc1")
        await bench.events(suspended(1))
        assert bench.broker.asked == [str(id_of(1))]


class TestWhatAnotherReplicaHasRead:
    async def test_the_link_is_told_of_the_reply_to_what_another_has_claimed(self) -> None:
        pair = Pair()
        await pair.second.events(suspended(1))  # the link of the first one swallows it
        await pair.tick(STANDBY_DELAY + MOMENT)
        await pair.events(suspended(2))
        pair.move(MOMENT)
        await pair.first.reply(reply(2))
        assert pair.first.links.told_missed == []
        await pair.first.reply(reply(1))
        ((node, ago),) = pair.first.links.told_missed
        assert [node, ago] == ["sbc1", pytest.approx(STANDBY_DELAY + 2 * MOMENT, abs=1e-3)]
