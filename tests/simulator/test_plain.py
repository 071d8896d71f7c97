"""The plain configuration, and what it does for want of a check."""

from __future__ import annotations

from adapter.simulator import SimulatedKamailio, State
from adapter.wire import to_kamailio
from tests.simulator.client import Client, resume_of


async def test_plain_refuses_a_second_resume() -> None:
    async with SimulatedKamailio("plain") as sim, Client(sim) as client:
        await sim.until(lambda: sim.clients == 1)
        call = await sim.suspend("e", b"")
        await client.say(resume_of(call), resume_of(call))
        await sim.until(lambda: sim.counters.refused == 1)
        assert (sim.counters.resumed, sim.counters.duplicates) == (1, 0)


async def test_plain_resumes_the_second_question_with_the_first_answer() -> None:
    async with SimulatedKamailio("plain") as sim, Client(sim) as client:
        call = await sim.suspend("first", b"")
        first = resume_of(call)
        await client.say(first)
        await call.resumed()
        await sim.suspend("second", b"", again=call)
        await client.say(first)
        assert (await call.resumed())["decision"] == {"n": 1}
        assert sim.counters.wrong_question == 1


async def test_plain_takes_a_sync_for_the_resume_before_it() -> None:
    async with SimulatedKamailio("plain") as sim, Client(sim) as client:
        await client.say(to_kamailio.sync("l:1"), b"oops")
        await sim.until(lambda: sim.counters.frames_in == 2)
        assert (sim.counters.other, sim.counters.not_found) == (2, 0)
        call = await sim.suspend("first", b"")
        await client.say(resume_of(call))
        await call.resumed()
        await sim.suspend("second", b"", again=call)
        await client.say(to_kamailio.sync("l:2"))
        assert "adapter" in await call.resumed()
        assert sim.counters.receipts == 0


async def test_plain_fails_on_ids_that_are_strings() -> None:
    async with SimulatedKamailio("plain") as sim, Client(sim) as client:
        call = await sim.suspend("e", b"")
        await client.say(resume_of(call, tm_index=str(call.index)))
        await sim.until(lambda: sim.counters.bad_ids == 1)
        assert call.state is State.SUSPENDED
