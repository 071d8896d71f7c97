"""What the simulated Kamailio has for measurements: saturation, and callers who all hang up."""

from __future__ import annotations

import asyncio

from adapter.simulator import SimTransaction, SimulatedKamailio, State
from adapter.wire.event import Suspended
from tests.simulator.client import Client, resume_of


async def test_saturation_keeps_as_many_waiting_as_it_is_told() -> None:
    async with SimulatedKamailio() as sim, Client(sim) as client:
        await client.frame()  # hello
        ended: list[SimTransaction] = []
        sim.on_end = ended.append
        offering = asyncio.create_task(sim.saturate(3, 60, "e", {"a": 1}))
        waiting = [await client.event() for _ in range(3)]
        for answered in range(1, 6):
            event = waiting.pop(0)
            assert isinstance(event, Suspended)
            assert event.data == {"a": 1}
            found = sim._tm.find(event.index, event.label)
            assert found is not None
            await client.say(resume_of(found))
            waiting.append(await client.event())
            assert (sim.waiting, sim.counters.suspended, len(ended)) == (3, 3 + answered, answered)
        offering.cancel()
        await asyncio.gather(offering, return_exceptions=True)


async def test_saturation_ends_with_its_time_though_nobody_answers() -> None:
    async with SimulatedKamailio() as sim:
        await sim.saturate(2, 0.01, "e", {})
        assert sim.counters.suspended == sim.waiting == 2


async def test_every_caller_hangs_up() -> None:
    async with SimulatedKamailio() as sim, Client(sim) as client:
        calls = [await sim.suspend("e", {}) for _ in range(3)]
        await client.say(resume_of(calls[0]))
        await calls[0].resumed()
        assert sim.waiting == 2
        sim.hang_up()
        assert [call.state for call in calls] == [State.RESUMED, State.CANCELLED, State.CANCELLED]
        assert (sim.waiting, sim.counters.cancelled) == (0, 2)


async def test_none_waits_after_a_restart() -> None:
    async with SimulatedKamailio() as sim:
        await sim.suspend("e", {})
        sim.restart()
        assert sim.waiting == 0


async def test_calls_offered_with_the_same_data_have_the_same_event() -> None:
    async with SimulatedKamailio() as sim, Client(sim) as client:
        await client.frame()
        await sim.offer(10_000, 3, "e", {"a": "ü"})
        events = [await client.event() for _ in range(3)]
        assert all(isinstance(event, Suspended) and event.data == {"a": "ü"} for event in events)
        assert len({event.label for event in events if isinstance(event, Suspended)}) == 3
