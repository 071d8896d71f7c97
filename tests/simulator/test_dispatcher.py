"""Slow and silent peers, and the source for bench."""

from __future__ import annotations

import asyncio
import json

import pytest

from adapter.simulator import SimTransaction, SimulatedKamailio, State
from adapter.wire.event import Notice, Suspended
from tests.simulator.client import Client, resume_of, until_event


async def test_nothing_is_read_until_told() -> None:
    async with SimulatedKamailio() as sim, Client(sim) as client:
        sim.stop_reading()
        await client.say(b"{}", b"{}")
        sim.notify("meanwhile", {})
        assert await client.hello()
        assert await client.event() == Notice("meanwhile", {})
        assert sim.counters.bytes_in == 0
        sim.start_reading()
        await sim.until(lambda: sim.counters.frames_in == 2)


async def test_a_slow_reader_takes_a_little_at_a_time() -> None:
    async with SimulatedKamailio(faulty_reader=False) as sim, Client(sim) as client:
        sim.start_reading(rate=50_000)
        takes: list[int] = []
        await client.say(b"[%b]" % (b" " * 3000))
        while sim.counters.frames_in == 0:
            before = sim.counters.bytes_in
            await sim.until(lambda: sim.counters.bytes_in > before)
            takes.append(sim.counters.bytes_in - before)
        assert takes == [1000, 1000, 1000, 8]
        sim.start_reading()
        await client.say(b"[%b]" % (b" " * 3000))
        await sim.until(lambda: sim.counters.frames_in == 2)


async def test_a_client_that_does_not_read_stops_everything() -> None:
    async with SimulatedKamailio() as sim, Client(sim) as good, Client(sim, buffer=4096) as bad:
        reading = asyncio.create_task(until_event(good, "after"))
        await _stall(sim)
        call = await sim.suspend("e", {})
        for _ in range(200):
            sim.notify("big", BIG)
        sim.notify("after", {})
        await good.say(resume_of(call))
        async with Client(sim) as late:  # the kernel takes it, Kamailio does not
            await _turns()
            assert (sim.stalled, sim.clients, sim.counters.frames_in, reading.done()) == (True, 2, 0, False)
            await until_event(bad, "after")
            await reading
            await call.resumed()
            assert await late.hello()
        assert not sim.stalled
        assert sim.counters.stalls >= 1
        assert sim.counters.stalled_seconds > 0


@pytest.mark.parametrize("end", ["client", "simulator"])
async def test_the_end_of_a_client_that_does_not_read_frees_the_others(end: str) -> None:
    async with SimulatedKamailio() as sim, Client(sim) as good:
        bad = await Client(sim, buffer=4096).__aenter__()
        reading = asyncio.create_task(until_event(good, "after"))
        await _stall(sim)
        sim.notify("after", {})
        if end == "client":
            bad.sock.close()  # with bytes unread, so a reset
            await reading
            await sim.until(lambda: sim.clients == 1)
        else:
            sim.refuse()
            sim.disconnect(reset=True)
            reading.cancel()
            bad.sock.close()
            assert sim.clients == 0
        assert not sim.stalled


BIG = {"pad": "x" * 50_000}


async def _turns() -> None:
    """Let all others do what they can do at once."""
    for _ in range(20):
        await asyncio.sleep(0)


async def _stall(sim: SimulatedKamailio) -> None:
    """Emit until a client that does not read is in the way of the others, which do."""
    while not sim.stalled:
        sim.notify("big", BIG)
        await _turns()


async def test_sip_workers_wait_for_a_full_queue() -> None:
    async with SimulatedKamailio() as sim, Client(sim, buffer=4096) as client:
        await client.frame()
        await _stall(sim)
        for _ in range(278):
            await sim.suspend("e", {})
        blocked = asyncio.create_task(sim.suspend("blocked", {}))
        await asyncio.sleep(0)
        assert not blocked.done()
        while not isinstance(found := await client.event(), Suspended) or found.event != "blocked":
            pass
        assert (await blocked).state is State.SUSPENDED


async def test_two_wait_for_a_condition() -> None:
    async with SimulatedKamailio() as sim:
        waiting = [asyncio.create_task(sim.until(lambda: sim.clients == 1)) for _ in range(2)]
        await asyncio.sleep(0)
        async with Client(sim):
            await asyncio.gather(*waiting)


async def test_waiting_for_what_does_not_happen() -> None:
    async with SimulatedKamailio() as sim:
        with pytest.raises(TimeoutError):
            await sim.until(lambda: False, timeout=0.01)


async def test_an_open_loop_of_events() -> None:
    async with SimulatedKamailio() as sim, Client(sim) as client:
        ends: list[SimTransaction] = []
        sim.on_end = ends.append
        offering = asyncio.create_task(
            sim.offer(5000, 400, "invite_request", lambda number: {"number": number})
        )
        for number in range(400):
            found = await client.event()
            while not isinstance(found, Suspended):
                found = await client.event()
            assert found.data == {"number": number}
            ids = {"tm_index": found.index, "tm_label": found.label, "seq": found.seq}
            await client.say(json.dumps({"tm_trans": ids, "outcome": "decided"}).encode())
        await offering
        await sim.until(lambda: len(ends) == 400)
        assert sim.counters.outcomes == {"decided": 400}
        due = sorted(call.due_at for call in ends)
        assert due[-1] - due[0] == pytest.approx(399 / 5000)
        assert all(call.due_at <= call.suspended_at <= call.ended_at for call in ends)


async def test_an_open_loop_waits_for_nobody() -> None:
    async with SimulatedKamailio("plain", fr_timer=0.001) as sim, Client(sim) as client:
        await sim.until(lambda: sim.clients == 1)
        await sim.offer(20_000, 100, "invite_request", b"same for all")
        await sim.until(lambda: sim.counters.unanswered == 100)
        found = await client.event()
        assert isinstance(found, Suspended)
        assert (found.event, found.data) == ("invite_request", b"same for all")
