"""Receipts and the health gate."""

from __future__ import annotations

import time

import pytest

from adapter.simulator import NotResumed, SimulatedKamailio, State
from adapter.wire import event as wire
from adapter.wire import to_kamailio
from tests.simulator.client import Client, resume_of


async def test_receipts_go_to_everybody() -> None:
    async with SimulatedKamailio() as sim, Client(sim) as one:
        await one.frame()
        async with Client(sim) as other:
            await other.frame()
            await one.frame()
            await one.say(to_kamailio.sync("a:1"))
            assert await one.event() == wire.Synced("a:1")
            assert await other.event() == wire.Synced("a:1")
            assert sim.counters.receipts == 1


async def test_receipts_withheld() -> None:
    async with SimulatedKamailio() as sim, Client(sim) as client:
        await client.frame()
        sim.withhold_receipts()
        await client.say(to_kamailio.sync("a:1"))
        await sim.until(lambda: sim.counters.receipts_withheld == 1)
        sim.withhold_receipts(False)
        await client.say(to_kamailio.sync("a:2"))
        assert await client.event() == wire.Synced("a:2")


async def test_frames_lost_on_request() -> None:
    async with SimulatedKamailio() as sim, Client(sim) as client:
        await client.frame()
        call = await sim.suspend("e", {})
        await client.frame()
        sim.lose_frames(2)
        await client.say(resume_of(call), to_kamailio.sync("a:1"), to_kamailio.sync("a:2"))
        assert await client.event() == wire.Synced("a:2")
        assert (sim.counters.lost, sim.counters.frames_in, call.state) == (2, 1, State.SUSPENDED)


async def test_the_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    async with SimulatedKamailio() as sim, Client(sim) as one, Client(sim) as other:

        async def tell(client: Client, state: str, replica: str) -> None:
            before = sim.counters.statuses
            await client.say(to_kamailio.status(state, replica, "sbc1"))
            await sim.until(lambda: sim.counters.statuses == before + 1)

        assert not sim.gate_open
        await tell(one, "ready", "r1")
        assert sim.gate_open
        await tell(other, "draining", "r2")
        assert sim.gate_open  # r1 is still there
        await tell(one, "degraded", "r1")
        assert not sim.gate_open
        assert {name: (told.state, told.node) for name, told in sim.statuses.items()} == {
            "r1": ("degraded", "sbc1"),
            "r2": ("draining", "sbc1"),
        }
        async with Client(sim) as third:
            await tell(third, "ready", "r3")
            assert sim.gate_open
        await sim.until(lambda: not sim.gate_open)  # its link is gone
        await tell(other, "ready", "r2")
        assert sim.gate_open
        later = time.monotonic() + 3.1
        monkeypatch.setattr("adapter.simulator.routes.monotonic", lambda: later)
        assert not sim.gate_open


async def test_nothing_is_suspended_while_the_gate_is_closed() -> None:
    async with SimulatedKamailio(gate=True) as sim, Client(sim) as client:
        closed = await sim.suspend("e", {})
        assert (closed.state, sim.counters.gated, sim.counters.suspended) == (State.LOCAL, 1, 0)
        with pytest.raises(NotResumed, match="local"):
            await closed.resumed()
        await client.say(to_kamailio.status("ready", "r1", "sbc1"))
        await sim.until(lambda: sim.gate_open)
        opened = await sim.suspend("e", {})
        assert opened.state is State.SUSPENDED
        await client.say(resume_of(opened), to_kamailio.status("draining", "r1", "sbc1"))
        await opened.resumed()
        await sim.until(lambda: not sim.gate_open)
        assert (await sim.suspend("e", {}, again=opened)).state is State.LOCAL
        assert (sim.counters.gated, sim.counters.suspended) == (2, 1)
