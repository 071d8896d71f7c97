"""What happens by the clock, with the clock moved by hand."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from adapter import sweeper as sweeper_module
from adapter.errors import StoreUnavailable
from adapter.sweeper import SWEEP_INTERVAL, Sweeper
from adapter.transaction import State
from tests.relay_bench import Bench, id_of, reply, suspended

if TYPE_CHECKING:
    from collections.abc import Sequence

LEASE = 1.0


class Replica(Bench):
    """A relay with a sweeper, beside others on the same store. Counts the calls of its store."""

    def __init__(self, name: str, beside: Replica | None = None, nodes: Sequence[str] = ("sbc1",)) -> None:
        super().__init__(store=beside.store.inner.beside(name) if beside else None, nodes=nodes)
        self.nodes = SimpleNamespace(up=list(nodes))
        self.calls: list[tuple[Any, ...]] = []
        inner = self.store.inner
        for verb in ("adopt", "expire", "beat"):
            self._watch(inner, verb)
        self.sweeper = Sweeper(self.store, self.relay, self.nodes, self.metrics, LEASE)  # type: ignore[arg-type]

    def _watch(self, inner: Any, verb: str) -> None:
        call = getattr(inner, verb)

        async def watched(*args: Any) -> Any:
            self.calls.append((verb, *args))
            return await call(*args)

        setattr(inner, verb, watched)

    async def beat(self) -> None:
        await self.sweeper.beat()
        await self.relay.idle()

    def called(self, verb: str) -> int:
        return sum(call[0] == verb for call in self.calls)


class Pair:
    """A first replica, whose clock the store goes by, and a second one."""

    def __init__(self, nodes: Sequence[str] = ("sbc1",)) -> None:
        self.first = Replica("r1", nodes=nodes)
        self.second = Replica("r2", beside=self.first, nodes=nodes)

    def move(self, seconds: float) -> None:
        self.first.now += seconds
        self.second.now += seconds


class TestBeat:
    async def test_it_is_seen_and_makes_the_store_ready(self) -> None:
        pair = Pair()
        assert not pair.first.sweeper.store_ready
        with capture_logs() as logs:
            await pair.first.beat()
            await pair.second.beat()
            await pair.second.beat()
        assert pair.first.sweeper.store_ready
        assert [(entry["event"], entry["replicas"]) for entry in logs] == [
            ("in-flight store: ready", ["r1"]),
            ("in-flight store: ready", ["r1", "r2"]),
        ]

    async def test_it_measures_what_is_in_flight(self) -> None:
        first = Replica("r1", nodes=("sbc1", "sbc2"))
        await first.events(suspended(1), suspended(2), suspended(3))
        await first.events(suspended(1), node="sbc2")
        await first.reply(reply(3))
        await first.beat()
        assert first.counted("in_flight", node="sbc1") == 2
        assert first.counted("in_flight", node="sbc2") == 1

    @pytest.mark.parametrize("verb", ["beat", "count", "adopt"])
    async def test_a_store_that_is_away_is_said_once_and_lived_through(self, verb: str) -> None:
        pair = Pair()
        await pair.first.beat()
        pair.move(LEASE * 1.5)
        second = pair.second
        await second.beat()
        second.sweeper._adopted.clear()
        second.store.away = {verb}
        with capture_logs() as logs:
            for _ in range(3):
                await second.beat()
        assert not second.sweeper.store_ready
        assert [(entry["event"], entry["log_level"]) for entry in logs] == [
            ("in-flight store: away", "error")
        ]
        second.store.away = set()
        await second.beat()
        assert second.sweeper.store_ready

    @pytest.mark.parametrize("lost", ["settle", "beat"])
    async def test_after_a_fault_what_was_settled_unknown_to_us_is_resumed(self, lost: str) -> None:
        first = Replica("r1")
        await first.beat()
        await first.events(suspended(1))
        first.store.lost = {lost, "settle"}
        with pytest.raises(StoreUnavailable):
            await first.relay.on_replies([reply(1)])
        await first.beat()
        first.store.lost = set()
        await first.beat()
        assert first.outcomes == [(1, "decided")]
        first.links.sent.clear()
        await first.beat()
        assert first.outcomes == [], "once"

    async def test_a_store_that_was_never_there_is_not_ready(self) -> None:
        first = Replica("r1")
        first.store.away = {"beat"}
        await first.beat()
        assert not first.sweeper.store_ready


class TestAdoption:
    async def test_the_dead_are_adopted_once(self) -> None:
        pair = Pair()
        await pair.first.beat()
        await pair.first.events(suspended(1), suspended(2))
        await pair.first.reply(reply(2))
        pair.move(LEASE + 0.01)
        for _ in range(5):
            await pair.second.beat()
        second = pair.second
        assert [call[1:] for call in second.calls if call[0] == "adopt"] == [("sbc1", ["r1"])] * 2
        assert [each.correlation_id for each in second.broker.published] == [str(id_of(1))]
        assert second.outcomes == [(2, "decided")]
        record = await second.record(id_of(1))
        assert record is not None
        assert (record.owner, record.state) == ("r2", State.CLAIMED)
        assert second.sweeper.store_ready

    async def test_the_living_are_left_alone(self) -> None:
        pair = Pair()
        await pair.first.events(suspended())
        for _ in range(10):
            await pair.first.beat()
            pair.move(LEASE)  # not a moment longer
            await pair.second.beat()
        assert pair.second.called("adopt") == pair.first.called("adopt") == 0

    async def test_the_relay_learns_who_lives(self) -> None:
        pair = Pair()
        assert list(pair.second.relay.replicas) == ["r2"]
        await pair.first.beat()
        await pair.second.beat()
        assert set(pair.second.relay.replicas) == {"r1", "r2"}
        pair.move(LEASE + 0.01)
        pair.second.store.away = {"beat"}
        await pair.second.beat()
        assert set(pair.second.relay.replicas) == {"r1", "r2"}
        pair.second.store.away = set()
        await pair.second.beat()
        assert set(pair.second.relay.replicas) == {"r2"}

    async def test_who_has_left_is_not_waited_for(self) -> None:
        pair = Pair()
        await pair.first.beat()
        await pair.first.store.leave()
        pair.move(LEASE * 1.5)
        await pair.second.beat()
        assert pair.second.called("adopt") == 0

    async def test_an_earlier_life_of_this_process_is_one_of_the_dead(self) -> None:
        before = Replica("host-1~aaaa")
        await before.beat()
        await before.events(suspended())
        after = Replica("host-1~bbbb", beside=before)
        before.now += LEASE * 1.5
        after.now = before.now
        await after.beat()
        assert len(after.broker.published) == 1

    async def test_on_a_node_that_comes_up_later_then(self) -> None:
        pair = Pair(nodes=("sbc1", "sbc2"))
        await pair.first.beat()
        await pair.first.events(suspended(), node="sbc2")
        pair.move(LEASE * 1.5)
        second = pair.second
        second.nodes.up = ["sbc1"]
        await second.beat()
        await second.beat()
        assert second.broker.published == []
        second.nodes.up = ["sbc1", "sbc2"]
        for _ in range(3):
            await second.beat()
        assert len(second.broker.published) == 1
        adopted = [call[1] for call in second.calls if call[0] == "adopt"]
        assert adopted == ["sbc1", "sbc2", "sbc2"]

    async def test_who_came_back_and_died_again_is_adopted_again(self) -> None:
        pair = Pair()
        await pair.first.beat()
        pair.move(LEASE * 1.5)
        await pair.second.beat()
        await pair.first.beat()
        await pair.second.beat()
        await pair.first.events(suspended())
        pair.move(LEASE * 1.5)
        await pair.second.beat()
        assert len(pair.second.broker.published) == 1

    async def test_several_dead_at_a_time_and_more_than_one_call_takes(self) -> None:
        pair = Pair()
        third = Replica("r3", beside=pair.first)
        for replica, labels in ((pair.first, range(600)), (third, range(600, 1200))):
            await replica.beat()
            await replica.events(*(suspended(label) for label in labels))
        pair.move(LEASE + 0.5)
        for _ in range(5):
            await pair.second.beat()
        assert len({each.correlation_id for each in pair.second.broker.published}) == 1200
        assert len(pair.second.broker.published) == 1200
        assert [call[2] for call in pair.second.calls if call[0] == "adopt"] == [["r1", "r3"]] * 4

    async def test_an_adoption_that_failed_is_tried_again(self) -> None:
        pair = Pair()
        await pair.first.beat()
        await pair.first.events(suspended())
        pair.move(LEASE * 1.5)
        pair.second.store.away = {"adopt"}
        await pair.second.beat()
        pair.second.store.away = set()
        await pair.second.beat()
        assert len(pair.second.broker.published) == 1


class TestSweep:
    async def test_only_nodes_that_can_be_told(self) -> None:
        first = Replica("r1", nodes=("sbc1", "sbc2"))
        for node in ("sbc1", "sbc2"):
            await first.events(suspended(), node=node)
        first.now += 2.0
        first.nodes.up = ["sbc2"]
        await first.sweeper.sweep()
        assert [node for node, *_ in first.links.sent] == ["sbc2"]
        first.nodes.up = []
        await first.sweeper.sweep()
        first.nodes.up = ["sbc1", "sbc2"]
        await first.sweeper.sweep()
        assert [node for node, *_ in first.links.sent] == ["sbc2", "sbc1"]

    async def test_a_store_that_is_away_is_lived_through(self) -> None:
        first = Replica("r1")
        await first.events(suspended())
        first.now += 2.0
        first.store.away = {"expire"}
        await first.sweeper.sweep()
        first.store.away = set()
        await first.sweeper.sweep()
        assert first.outcomes == [(1, "timeout")]


class TestRun:
    async def run(self, monkeypatch: pytest.MonkeyPatch, replica: Replica, seconds: float) -> None:
        """Run for a while of the replica's own clock."""
        end = replica.now + seconds

        async def sleep(interval: float) -> None:
            replica.now += interval
            if replica.now >= end:
                raise asyncio.CancelledError

        loop = SimpleNamespace(time=lambda: replica.now)
        fake = SimpleNamespace(sleep=sleep, gather=asyncio.gather, get_running_loop=lambda: loop)
        monkeypatch.setattr(sweeper_module, "asyncio", fake)
        with pytest.raises(asyncio.CancelledError):
            await replica.sweeper.run()

    async def test_it_beats_four_times_a_lease_and_sweeps_in_between(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = Replica("r1")
        await self.run(monkeypatch, first, LEASE * 10)
        assert 36 <= first.called("beat") <= 41
        assert 490 <= first.called("expire") <= 501

    async def test_a_deadline_is_met_within_one_interval(self, monkeypatch: pytest.MonkeyPatch) -> None:
        first = Replica("r1")
        await first.events(suspended())
        await self.run(monkeypatch, first, 2.0 + 2 * SWEEP_INTERVAL)
        assert first.outcomes == [(1, "timeout")]
        waited = first.counted("decision_seconds_sum", outcome="timeout")
        assert 2.0 <= waited <= 2.0 + 1.5 * SWEEP_INTERVAL

    async def test_a_store_that_goes_and_comes_back(self, monkeypatch: pytest.MonkeyPatch) -> None:
        first = Replica("r1")
        await first.events(suspended())
        first.store.away = {"beat", "expire", "count"}
        await self.run(monkeypatch, first, 5.0)
        assert not first.sweeper.store_ready
        assert first.links.sent == []
        first.store.away = set()
        await self.run(monkeypatch, first, LEASE)
        assert first.sweeper.store_ready
        assert first.outcomes == [(1, "timeout")]

    async def test_it_really_runs_until_cancelled(self) -> None:
        first = Replica("r1")
        await first.events(suspended())
        first.now += 2.0
        task = asyncio.create_task(first.sweeper.run())
        async with asyncio.timeout(10):
            while not first.links.sent:
                await asyncio.sleep(0.001)
        assert first.sweeper.store_ready
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
