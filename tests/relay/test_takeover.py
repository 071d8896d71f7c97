"""What the relay takes over: from other replicas, from a link that is gone, from an earlier Kamailio."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from adapter.cluster.role import STANDBY_DELAY
from adapter.model.beat import Beat
from adapter.model.transaction import RESEND_FOR, State
from adapter.ports.broker import Published
from adapter.wire.event import Malformed
from tests.relay_bench import LEASE, Bench, Pair, id_of, reply, suspended

if TYPE_CHECKING:
    from adapter.model.transaction import Transaction, TransactionId

CLAIMED, SETTLED = State.CLAIMED, State.SETTLED


@pytest.fixture
async def bench() -> Bench:
    return Bench()


class TestAdoption:
    async def test_what_was_claimed_is_asked_again_and_what_was_settled_resumed_again(self) -> None:
        pair = Pair()
        first, second = pair.first, pair.second
        await first.events(suspended(1), suspended(2), suspended(3))
        await first.reply(reply(2, decision={"n": 2}))
        await first.reply(reply(3))
        await first.read(id_of(3))
        with capture_logs() as logs:
            assert await second.adopt("r1", state=CLAIMED) == 1
            assert second.links.sent == []
            assert await second.adopt("r1", state=SETTLED) == 1
        assert second.broker.published == [first.broker.published[0]]
        assert second.links.frames == [first.links.frames[0]]
        assert second.links.again == [id_of(2)], "it may have been written before"
        for state in ("claimed", "settled"):
            assert second.counted("adopted_total", node="sbc1", state=state) == 1
        told = [
            (entry["of"], entry["state"], entry["count"]) for entry in logs if entry["event"] == "adopted"
        ]
        assert told == [(["r1"], "claimed", 1), (["r1"], "settled", 1)]
        assert await second.adopt("r1", state=CLAIMED) == await second.adopt("r1", state=SETTLED) == 0
        await second.reply(reply(1))
        assert second.outcomes == [(2, "decided"), (1, "decided")]
        assert second.links.again == [id_of(2), id_of(1)], "who had it may have answered before it told"

    async def test_what_is_past_its_deadline_is_not_asked_again_but_a_timeout(self) -> None:
        pair = Pair()
        await pair.first.events(suspended())
        pair.move(3.0)
        assert await pair.second.adopt("r1", state=CLAIMED) == 1
        assert pair.second.broker.published == []
        await pair.second.trip.expire("sbc1")
        assert pair.second.outcomes == [(1, "timeout")]

    async def test_what_the_broker_refuses_then_is_answered(self) -> None:
        pair = Pair()
        await pair.first.events(suspended())
        pair.second.broker.answers["invite_request"] = Published.REFUSED
        assert await pair.second.adopt("r1", state=CLAIMED) == 1
        assert pair.second.outcomes == [(1, "unavailable")]

    @pytest.mark.parametrize("state", State)
    async def test_nothing_to_adopt_says_nothing(self, bench: Bench, state: State) -> None:
        with capture_logs() as logs:
            assert await bench.adopt("r9", state=state) == 0
        assert logs == []

    async def test_what_was_adopted_is_the_adopters_and_its_former_owner_writes_it_no_more(self) -> None:
        pair = Pair()
        await pair.first.events(suspended())
        await pair.first.reply(reply())
        assert await pair.second.adopt("r1", state=SETTLED) == 1
        pair.first.links.sent.clear()
        await pair.first.recover()
        assert pair.first.links.sent == []


class TestAskAgain:
    async def test_whoever_claimed_it_and_nothing_that_is_settled_or_past(self) -> None:
        pair = Pair()
        await pair.first.events(suspended(1))
        await pair.tick(LEASE)
        await pair.first.events(suspended(2), suspended(3))
        await pair.second.events(suspended(4))
        await pair.second.tick(STANDBY_DELAY)
        await pair.first.reply(reply(3))
        pair.move(LEASE)
        pair.second.broker.published.clear()
        await pair.second.recovery.ask_again("sbc1")
        await pair.second.trip.idle()
        assert pair.second.broker.asked == [str(id_of(2)), str(id_of(4))]
        assert pair.second.links.sent == []

    async def test_nothing_to_ask_publishes_nothing(self, bench: Bench) -> None:
        bench.broker.broken = RuntimeError("nothing is to be published")
        with capture_logs() as logs:
            await bench.recovery.ask_again("sbc1")
            await bench.trip.idle()
        assert logs == []


class TestGiveUp:
    """The broker is gone, and all that it has taken with it."""

    async def test_what_this_replica_has_asked_is_answered_and_nothing_else(self) -> None:
        pair = Pair()
        first, second = pair.first, pair.second
        await first.events(suspended(1), suspended(2))
        await first.reply(reply(2))
        await second.events(suspended(3))
        await second.tick(STANDBY_DELAY)
        await first.recovery.give_up("sbc1")
        assert first.outcomes == [(2, "decided"), (1, "unavailable")]
        assert second.links.sent == []
        await second.reply(reply(3))
        assert second.outcomes == [(3, "decided")]


class TestRecover:
    """A link is back: what it did not carry to its end is written again, by its owner and once."""

    async def test_what_is_settled_and_was_not_read(self, bench: Bench) -> None:
        await bench.events(*(suspended(label) for label in range(1, 5)))
        await bench.reply(reply(1), reply(2), reply(3))
        await bench.read(id_of(1))
        bench.links.sent.clear()
        bench.links.under_way = {id_of(2)}
        await bench.recover()
        assert bench.outcomes == [(3, "decided")]
        assert bench.links.again == [id_of(3)]
        bench.links.under_way = {id_of(2), id_of(3)}
        await bench.recover()
        assert len(bench.links.sent) == 1
        assert await bench.state(id_of(4)) is CLAIMED

    async def test_what_is_read_and_the_store_is_not_told_of_is_not_written_again(self) -> None:
        bench = Bench()
        await bench.events(suspended())
        await bench.reply(reply())
        bench.trip.on_read([id_of()])
        await bench.recovery.recover("sbc1")
        assert len(bench.links.sent) == 1

    async def test_what_is_settled_while_the_store_is_asked_is_not_written_twice(self, bench: Bench) -> None:
        await bench.events(suspended())
        scan, send = bench.store.inner.scan, bench.links.send

        def queued(node: str, payload: bytes, wait: float, id_: TransactionId, again: bool = False) -> bool:
            bench.links.under_way = {*bench.links.under_way, id_}  # as with a real link
            return send(node, payload, wait, id_, again)

        async def slow(node: str) -> list[Transaction]:
            await bench.trip.on_replies([reply()])
            return await scan(node)

        bench.links.send = queued  # type: ignore[method-assign, assignment]
        bench.store.inner.scan = slow  # type: ignore[method-assign]
        await bench.recover()
        assert bench.outcomes == [(1, "decided")]

    async def test_what_another_replica_settled_is_left_to_it(self) -> None:
        pair = Pair()
        await pair.first.events(suspended())
        await pair.second.reply(reply())
        await pair.first.recover()
        assert pair.first.links.sent == []
        await pair.second.recover()
        assert len(pair.second.links.sent) == 2

    async def test_only_while_somebody_waits_for_it(self, bench: Bench) -> None:
        await bench.events(suspended())
        await bench.reply(reply())
        bench.links.sent.clear()
        bench.now += 2.0 + RESEND_FOR
        await bench.recover()
        assert bench.links.sent == []

    async def test_what_could_not_be_written_at_all(self, bench: Bench) -> None:
        await bench.events(suspended())
        bench.links.nodes.clear()
        bench.now += 2.0
        await bench.trip.expire("sbc1")
        bench.links.nodes.add("sbc1")
        await bench.recover()
        assert bench.outcomes == [(1, "timeout")]


class TestForgetNode:
    async def test_what_a_node_that_is_no_more_left_is_forgotten(self, bench: Bench) -> None:
        await bench.events(suspended(1), suspended(2))
        bench.links.nodes.clear()
        await bench.reply(reply(2))
        assert await bench.recovery.forget_node("sbc1") == 2
        assert [await bench.record(id_of(label)) for label in (1, 2)] == [None, None]
        assert bench.counted("bygone_total", node="sbc1") == 2
        assert await bench.recovery.forget_node("sbc1") == 0
        assert bench.outcomes == []


class TestLife:
    """A suspension dies with the Kamailio that made it."""

    @pytest.mark.parametrize("how", ["reply", "timeout", "recover", "adopt"])
    async def test_an_answer_to_an_earlier_life_is_not_written_and_forgotten(self, how: str) -> None:
        pair = Pair()
        first, second = pair.first, pair.second
        first.links.incarnations = {"sbc1": "one"}
        await first.events(suspended())
        record = await first.record(id_of())
        assert record is not None
        assert record.incarnation == "one"
        if how in ("recover", "adopt"):
            first.links.nodes.clear()
            first.now += 2.0
            await first.trip.expire("sbc1")
            first.links.nodes.add("sbc1")
        first.links.incarnations = second.links.incarnations = {"sbc1": "two"}
        match how:
            case "reply":
                await first.reply(reply())
            case "timeout":
                first.now += 2.0
                await first.trip.expire("sbc1")
                await first.trip.idle()
            case "recover":
                await first.recover()
            case "adopt":
                assert await second.adopt("r1", state=SETTLED) == 1
        assert first.links.sent == second.links.sent == []
        counted = [each.counted("bygone_total", node="sbc1") for each in (first, second)]
        assert sorted(counted) == [0, 1]
        assert await first.record(id_of()) is None
        await first.events(suspended())
        assert len(first.broker.published) == 1, "its id is remembered"

    async def test_it_is_not_asked_again_either(self, bench: Bench) -> None:
        bench.links.incarnations = {"sbc1": "one"}
        await bench.events(suspended(1))
        bench.links.incarnations = {"sbc1": "two"}
        await bench.events(suspended(2))
        bench.broker.published.clear()
        await bench.recovery.ask_again("sbc1")
        await bench.trip.idle()
        assert bench.broker.asked == [str(id_of(2))]

    async def test_a_frame_that_is_held_belongs_to_the_life_that_it_came_from(self) -> None:
        bench = Bench(name="r2")
        bench.look(r1=Beat(nodes=frozenset(["sbc1"])))
        bench.links.incarnations = {"sbc1": "one"}
        await bench.events(suspended())
        bench.links.incarnations = {"sbc1": "two"}
        await bench.tick(STANDBY_DELAY + 0.001)
        record = await bench.record(id_of())
        assert record is not None
        assert record.incarnation == "one"
        await bench.reply(reply())
        assert bench.links.sent == []

    @pytest.mark.parametrize(("then", "now"), [("", "two"), ("one", ""), ("", ""), ("one", "one")])
    async def test_where_it_is_not_known_to_be_another_the_answer_is_written(
        self, bench: Bench, then: str, now: str
    ) -> None:
        bench.links.incarnations = {"sbc1": then}
        await bench.events(suspended(1), Malformed("base64", "", b"e:37:2:?", "e", (37, 2, None)))
        bench.links.incarnations = {"sbc1": now}
        await bench.reply(reply(1))
        assert bench.outcomes == [(2, "malformed"), (1, "decided")]
