"""What happens by the clock, with the clock moved by hand."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from adapter.cluster.role import RETURN_WAIT, STANDBY_DELAY
from adapter.model.beat import Beat
from adapter.relay import ticker as ticker_module
from adapter.relay.ticker import BUSY_INTERVAL, SWEEP_INTERVAL, Ticker
from tests.harness.until import until
from tests.relay_bench import Bench, suspended

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adapter.model.transaction import Transaction


class Nodes:
    """Those that read, and how often it was looked after them."""

    def __init__(self, readers: Sequence[str]) -> None:
        self.readers = list(readers)
        self.looked = 0

    def refresh(self) -> None:
        self.looked += 1


class Swept(Bench):
    """A trip with a ticker."""

    def __init__(self, nodes: Sequence[str] = ("sbc1",)) -> None:
        super().__init__(nodes=nodes)
        self.nodes = Nodes(nodes)
        self.ticker = Ticker(self.trip, self.nodes, self.nodes, self.metrics.process)  # type: ignore[arg-type]


class TestSweep:
    async def test_only_nodes_that_read_are_answered(self) -> None:
        swept = Swept(("sbc1", "sbc2"))
        for node in ("sbc1", "sbc2"):
            await swept.events(suspended(), node=node)
        swept.now += 2.0
        swept.look()
        swept.nodes.readers = ["sbc2"]
        await swept.ticker.sweep()
        assert [node for node, *_ in swept.links.sent] == ["sbc2"]
        swept.nodes.readers = []
        await swept.ticker.sweep()
        swept.nodes.readers = ["sbc1", "sbc2"]
        await swept.ticker.sweep()
        assert [node for node, *_ in swept.links.sent] == ["sbc2", "sbc1"]

    async def test_only_nodes_that_are_this_replicas(self) -> None:
        swept = Swept(("sbc1", "sbc2"))
        for node in ("sbc1", "sbc2"):
            await swept.events(suspended(), node=node)
        swept.now += 2.0
        swept.look(r3=Beat(nodes=frozenset(["sbc1"])))
        await swept.ticker.sweep()
        assert [call[1] for call in swept.store.calls if call[0] == "expire"] == ["sbc2"]

    async def test_the_store_is_not_asked_where_nothing_is_due(self) -> None:
        swept = Swept()
        await swept.events(suspended())
        await swept.ticker.sweep()
        assert swept.store.called("expire") == 0
        swept.now += 2.0
        swept.look()
        await swept.ticker.sweep()
        assert swept.outcomes == [(1, "timeout")]


class TestRun:
    async def run(
        self,
        monkeypatch: pytest.MonkeyPatch,
        swept: Swept,
        seconds: float,
    ) -> None:
        """Run for a while of the clock."""
        end = swept.now + seconds

        async def sleep(interval: float) -> None:
            sweeping = swept.ticker._sweeping
            while sweeping is not None and not sweeping.done():
                await asyncio.sleep(0)
            await swept.trip.idle()
            swept.now += interval
            swept.look()
            if swept.now >= end:
                raise asyncio.CancelledError

        fake = SimpleNamespace(sleep=sleep, gather=asyncio.gather, create_task=asyncio.create_task)
        monkeypatch.setattr(ticker_module, "asyncio", fake)
        monkeypatch.setattr(ticker_module, "time", SimpleNamespace(monotonic=lambda: swept.now))
        with pytest.raises(asyncio.CancelledError):
            await swept.ticker.run()
        await swept.ticker.stop()

    async def test_a_deadline_is_met_within_one_interval(self, monkeypatch: pytest.MonkeyPatch) -> None:
        swept = Swept()
        await swept.events(suspended())
        await self.run(monkeypatch, swept, 2.0 + 2 * SWEEP_INTERVAL)
        assert swept.outcomes == [(1, "timeout")]
        waited = swept.counted("decision_seconds_sum", outcome="timeout")
        assert 2.0 <= waited <= 2.0 + 1.5 * SWEEP_INTERVAL

    async def test_after_a_fallback_it_looks_more_often_for_a_while(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        swept = Swept()
        await swept.events(suspended())
        looks: list[float] = []
        swept.ticker._also = [lambda _: looks.append(swept.now)]
        await self.run(monkeypatch, swept, 2.0 + 5 * SWEEP_INTERVAL)
        waits = [after - before for before, after in pairwise(looks)]
        assert waits[:50] == pytest.approx([SWEEP_INTERVAL] * 50, abs=1e-4)
        assert waits[-3:] == pytest.approx([BUSY_INTERVAL] * 3, abs=1e-4)

    async def test_what_waits_for_somebody_else_is_met_too(self, monkeypatch: pytest.MonkeyPatch) -> None:
        swept = Swept()
        swept.broker.ready = False
        await swept.events(suspended())
        await self.run(monkeypatch, swept, STANDBY_DELAY)
        assert swept.outcomes == [(1, "unavailable")]
        waited = swept.counted("decision_seconds_sum", outcome="unavailable")
        assert RETURN_WAIT - 1e-6 <= waited <= RETURN_WAIT + 1.5 * SWEEP_INTERVAL
        assert swept.nodes.looked == pytest.approx(STANDBY_DELAY / SWEEP_INTERVAL, abs=1)

    async def test_a_store_that_keeps_it_waiting_does_not_stop_the_ticks(self) -> None:
        swept = Swept()
        never = asyncio.Event()
        expire = swept.store.inner.expire

        async def slow(node: str, **_: bool) -> list[Transaction]:
            await never.wait()
            return await expire(node)

        swept.look()
        swept.store.inner.expire = slow  # type: ignore[method-assign, assignment]
        swept.store.inner.due = lambda node: True  # type: ignore[method-assign]
        looks: list[float] = []
        ticker = Ticker(swept.trip, swept.nodes, swept.nodes, swept.metrics.process, [looks.append])  # type: ignore[arg-type]
        task = asyncio.create_task(ticker.run())
        async with asyncio.timeout(10):
            while swept.nodes.looked < 3:
                await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await ticker.stop()
        assert len(looks) >= 2
        assert looks == sorted(looks)

    async def test_a_look_while_the_store_is_slow_is_made_up_for(self) -> None:
        swept = Swept()
        slow, asked = asyncio.Event(), 0

        async def expire(_: str, **__: bool) -> list[Transaction]:
            nonlocal asked
            asked += 1
            await slow.wait()
            return []

        swept.look()
        swept.store.inner.expire = expire  # type: ignore[method-assign, assignment]
        swept.store.inner.due = lambda node: True  # type: ignore[method-assign]
        for looks in (1, 2, 3):
            asked, slow = 0, asyncio.Event()
            for _ in range(looks):
                swept.ticker._sweep_soon()
                await until(lambda: asked)
            assert asked == 1
            slow.set()
            sweeping = swept.ticker._sweeping
            assert sweeping is not None
            await sweeping
            assert asked == min(looks, 2)

    async def test_a_fault_of_ours_ends_it(self) -> None:
        swept = Swept()
        swept.look()
        swept.store.inner.expire = None  # type: ignore[method-assign, assignment]
        swept.store.inner.due = lambda node: True  # type: ignore[method-assign]
        with pytest.raises(TypeError):
            await swept.ticker.run()
