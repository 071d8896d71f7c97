"""A configuration without the include: more answers than the pace carries."""

from __future__ import annotations

import asyncio

import pytest

from adapter.cluster.role import READ_PAUSE
from adapter.cluster.view import NEVER
from adapter.model.beat import Beat, Snapshot
from adapter.model.transaction import Outcome, State, Transaction
from adapter.relay.standby_buffer import HeldFrame
from adapter.relay.translate import Claimer
from tests.relay_bench import Bench, id_of, reply, suspended

ROUTE = {"action": "route", "uri": "sip:gw7.example.net"}


@pytest.fixture
async def bench() -> Bench:
    made = Bench()
    made.links.plain = True
    return made


class TestThePaceIsExceeded:
    @pytest.mark.parametrize(("backlog", "outcome"), [(0.9, "decided"), (1.1, "overload"), (2.9, "overload")])
    async def test_a_decision_is_written_within_half_of_the_time_left_else_the_fallback(
        self, bench: Bench, backlog: float, outcome: str
    ) -> None:
        await bench.events(suspended(1))
        bench.links.backlog = backlog
        await bench.reply(reply(1, decision=ROUTE))
        (frame,) = bench.links.frames
        assert frame["outcome"] == outcome
        shed = bench.counted("answers_shed_total", node="sbc1", got="fallback")
        assert shed == (1 if outcome == "overload" else 0)

    async def test_what_nobody_would_wait_for_is_not_written_at_all(self, bench: Bench) -> None:
        await bench.events(suspended(1))
        bench.links.backlog = 3.1
        await bench.reply(reply(1, decision=ROUTE))
        assert bench.links.sent == []
        assert bench.counted("answers_shed_total", node="sbc1", got="silence") == 1
        await bench.tick()
        assert await bench.state(id_of(1)) is None, "it is over"

    async def test_a_timeout_is_still_written_a_little_late(self, bench: Bench) -> None:
        await bench.events(suspended(1))
        bench.now += 2.1
        bench.links.backlog = 0.9
        await bench.trip.expire("sbc1")
        (frame,) = bench.links.frames
        assert (frame["outcome"], bench.counted("answers_shed_total", node="sbc1", got="fallback")) == (
            "timeout",
            0,
        )


def decided(bench: Bench) -> Transaction:
    """A record that somebody has settled."""
    now, outcome = bench.now, Outcome.DECIDED
    return Transaction(
        id_of(1), "invite_request", now + 2, now, b"", "r2", State.SETTLED, outcome, b'{"action":"allow"}'
    )


def beat(bench: Bench, known: bool = True) -> None:
    """The store answers a beat that is sent now."""
    bench.membership.update(Snapshot({}, known), bench.now, bench.now)


class TestNothingDropsASecondAnswer:
    async def test_what_another_had_settled_is_withheld(self, bench: Bench) -> None:
        record = decided(bench)
        bench.trip.resume(record, adopted=True)
        assert bench.links.sent == []
        assert bench.counted("answers_withheld_total", node="sbc1") == 1

    @pytest.mark.parametrize("plain", [True, False])
    async def test_an_answer_in_doubt_waits_for_the_next_beat(self, bench: Bench, plain: bool) -> None:
        bench.links.plain = plain
        bench.now += 10
        record = decided(bench)
        bench.trip.resume(record, again=True)
        await asyncio.sleep(0)
        assert len(bench.links.sent) == (0 if plain else 1)
        bench.now += 0.1
        beat(bench)
        await bench.trip.idle()
        assert len(bench.links.sent) == 1
        assert bench.links.again == ([] if plain else [record.id])

    async def test_an_answer_in_doubt_is_written_once_however_often_it_is_found(self, bench: Bench) -> None:
        """One that stood still settles a reply, and finds the record as its own when its lease was over."""
        bench.now += 10
        bench.trip.resume(decided(bench), again=True)
        assert id_of(1) in bench.trip.under_way("sbc1")
        bench.trip.resume(decided(bench), again=True)
        await asyncio.sleep(0)
        bench.now += 0.1
        beat(bench)
        await bench.trip.idle()
        assert len(bench.links.sent) == 1

    async def test_and_is_withheld_where_the_store_has_forgotten(self, bench: Bench) -> None:
        beat(bench)
        bench.now += 10
        bench.trip.resume(decided(bench), again=True)
        await asyncio.sleep(0)
        bench.now += 0.1
        beat(bench, known=False)
        await bench.trip.idle()
        assert bench.links.sent == []
        assert bench.counted("answers_withheld_total", node="sbc1") == 1

    async def test_and_where_another_that_lost_the_store_may_have_written_it(self, bench: Bench) -> None:
        """Its claim is in the store, and its answer, if it gave one, is not."""
        bench.now += 10
        bench.membership.traces.mark("dead", bench.now + 0.05)
        bench.trip.resume(decided(bench), again=True)
        await asyncio.sleep(0)
        bench.now += 0.1
        beat(bench)
        await bench.trip.idle()
        assert bench.links.sent == []
        assert bench.counted("answers_withheld_total", node="sbc1") == 1

    async def test_a_standby_may_have_read_a_little_later_what_another_answered(self, bench: Bench) -> None:
        bench.membership.traces.mark("dead", bench.now)
        late, later = (
            HeldFrame(bench.now + seconds, Claimer("r1", "sbc1", ""), suspended(label))
            for label, seconds in enumerate((READ_PAUSE, READ_PAUSE + 0.001))
        )
        assert bench.trip._unclaimed.answerable("sbc1", [late, later]) == [later]
        assert bench.counted("left_unanswered_total", node="sbc1") == 1

    async def test_what_nobody_has_claimed_and_another_may_have_answered_is_left_and_counted(
        self, bench: Bench, capsys: pytest.CaptureFixture[str]
    ) -> None:
        preferred = Beat(nodes=frozenset(["sbc1"]), contact=0.0)
        bench.membership.update(Snapshot({"r3": preferred}, True), bench.now, bench.now)
        bench.now += 0.1
        frame = HeldFrame(bench.now, Claimer("r1", "sbc1", ""), suspended(1))
        bench.membership.traces.mark("dead", bench.now)
        finding = asyncio.create_task(bench.trip._unclaimed.find("sbc1", [frame]))
        await asyncio.sleep(0)
        bench.now += 0.1
        bench.membership.update(Snapshot({"r3": preferred}, True), bench.now, bench.now)
        assert await finding == []
        assert bench.counted("left_unanswered_total", node="sbc1") == 1
        assert "left unanswered" in capsys.readouterr().out

    async def test_what_was_done_is_done_in_the_store_first(self, bench: Bench) -> None:
        for label, plain in enumerate((True, False)):
            bench.links.plain = plain
            await bench.events(suspended(label))
            await bench.reply(reply(label, decision=ROUTE))
        asked = [call[-1] for call in bench.store.calls if call[0] in ("claim", "settle")]
        assert asked == [False, False, True, True]

    async def test_who_has_never_seen_the_others_claims_nothing(self) -> None:
        bench = Bench()
        bench.links.plain = True
        bench.membership.updated_at = NEVER
        bench.membership.lost(bench.now)
        await bench.events(suspended(1))
        assert bench.broker.published == []
        bench.links.plain = False
        await bench.events(suspended(2))
        assert len(bench.broker.published) == 1
