"""Transactions under the include: resumed once, or counted why not."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.simulator import NotResumed, SimTransaction, SimulatedKamailio, State, TooManySuspensions
from adapter.simulator.frames import loads
from adapter.wire.event import Notice, Suspended
from tests.simulator.client import Client, resume_of
from tests.wire import jansson


async def test_a_resume() -> None:
    async with SimulatedKamailio() as sim, Client(sim) as client:
        ends: list[SimTransaction] = []
        sim.on_end = ends.append
        call = await sim.suspend("e", {})
        assert (call.state, call.answer) == (State.SUSPENDED, None)
        await client.say(resume_of(call))
        answer = await call.resumed()
        assert answer["decision"] == {"n": 1}
        assert answer["tm_trans"] == {"tm_index": call.index, "tm_label": call.label, "seq": 1}
        assert (call.state, ends) == (State.RESUMED, [call])
        assert call.due_at == call.suspended_at <= call.ended_at
        assert call.latency == call.ended_at - call.suspended_at
        assert (sim.counters.suspended, sim.counters.resumed, sim.counters.outcomes) == (1, 1, {"decided": 1})
        assert await call.resumed() is answer


async def test_two_wait_for_one_resume() -> None:
    async with SimulatedKamailio() as sim, Client(sim) as client:
        call = await sim.suspend("e", {})
        waiting = [asyncio.create_task(call.resumed()) for _ in range(2)]
        await client.say(resume_of(call))
        assert await waiting[0] is await waiting[1]


async def test_no_resume_in_time() -> None:
    async with SimulatedKamailio() as sim:
        call = await sim.suspend("e", {})
        with pytest.raises(TimeoutError):
            await call.resumed(timeout=0)
        assert call.state is State.SUSPENDED


async def test_a_transaction_suspended_twice() -> None:
    async with SimulatedKamailio() as sim, Client(sim) as client:
        await client.frame()
        call = await sim.suspend("first", {})
        with pytest.raises(ValueError, match="cannot be suspended"):
            await sim.suspend("second", {}, again=call)
        first = resume_of(call)
        await client.say(first)
        await call.resumed()
        assert await sim.suspend("second", {}, again=call) is call
        assert (call.seq, call.event, call.state, call.answer) == (2, "second", State.SUSPENDED, None)
        await client.frame()
        assert await client.event() == Suspended("second", call.index, call.label, 2, {})
        await client.say(first)  # the stale answer, dropped
        await sim.until(lambda: sim.counters.stale == 1)
        assert call.state is State.SUSPENDED
        second = resume_of(call)
        await client.say(second, second)
        assert (await call.resumed())["decision"] == {"n": 2}
        await sim.until(lambda: sim.counters.duplicates == 1)
        assert (sim.counters.resumed, sim.counters.refused) == (2, 0)


async def test_the_thirteenth_suspension() -> None:
    async with SimulatedKamailio() as sim, Client(sim) as client:
        call = await sim.suspend("e", {})
        for _ in range(11):
            await client.say(resume_of(call))
            await call.resumed()
            await sim.suspend("e", {}, again=call)
        assert call.seq == 12
        await client.say(resume_of(call))
        await call.resumed()
        with pytest.raises(TooManySuspensions):
            await sim.suspend("e", {}, again=call)


async def test_fr_timer() -> None:
    async with SimulatedKamailio(fr_timer=0.02) as sim, Client(sim) as client:
        ends: list[SimTransaction] = []
        sim.on_end = ends.append
        answered = await sim.suspend("answered", {})
        silent = [await sim.suspend("silent", {}) for _ in range(3)]
        await client.say(resume_of(answered))
        await answered.resumed()
        again = await sim.suspend("again", {}, again=answered)
        for call in (*silent, again):
            with pytest.raises(NotResumed) as caught:
                await call.resumed()
            assert caught.value.state is State.UNANSWERED
            assert call.latency >= 0.019
        assert sim.counters.unanswered == 4
        assert [call.event for call in ends[1:]] == ["silent"] * 3 + ["again"]
        await client.say(*map(resume_of, silent))
        await sim.until(lambda: sim.counters.not_found == 3)
        assert sim.counters.resumed == 1
        with pytest.raises(ValueError, match="cannot be suspended"):
            await sim.suspend("e", {}, again=silent[0])


async def test_cancel() -> None:
    async with SimulatedKamailio() as sim, Client(sim) as client:
        await client.frame()
        call, unheard = await sim.suspend("e", {}), await sim.suspend("e", {})
        await client.frame()
        await client.frame()
        sim.cancel(call)
        sim.cancel(unheard, event=None)
        ids = {"tm_index": call.index, "tm_label": call.label, "seq": 1}
        call_id = f"{call.index}.{call.label}@simulated"
        assert await client.event() == Notice("call_cancelled", {**ids, "call_id": call_id})
        with pytest.raises(NotResumed, match="cancelled"):
            await call.resumed()
        await client.say(resume_of(call), resume_of(unheard))
        await sim.until(lambda: sim.counters.not_found == 2)
        call.cancel()
        assert (sim.counters.cancelled, sim.counters.resumed) == (2, 0)


async def test_what_is_over_is_forgotten_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    async with SimulatedKamailio() as sim, Client(sim) as client:
        over, running = await sim.suspend("over", {}), await sim.suspend("running", {})
        await client.say(resume_of(over))
        await over.resumed()
        now = time.monotonic()
        monkeypatch.setattr("adapter.simulator.tm.monotonic", lambda: now + 5.1)
        await client.say(resume_of(over))
        await sim.until(lambda: sim.counters.not_found == 1)
        await client.say(resume_of(running))
        await running.resumed()
        await sim.suspend("e", {}, again=running)
        monkeypatch.setattr("adapter.simulator.tm.monotonic", lambda: now + 11)
        await client.say(resume_of(running))  # suspended again, it was not forgotten
        await running.resumed()
        assert (sim.counters.duplicates, sim.counters.not_found) == (0, 1)


@pytest.mark.parametrize(
    ("changes", "counter"),
    [
        ({"tm_index": "1"}, "bad_ids"),
        ({"tm_label": "1"}, "bad_ids"),
        ({"tm_label": None}, "bad_ids"),
        ({"tm_index": True}, "bad_ids"),
        ({"tm_index": -1}, "not_found"),
        ({"seq": 2}, "stale"),
        ({"seq": "1"}, "stale"),
    ],
)
async def test_resumes_with_wrong_ids(changes: dict[str, Any], counter: str) -> None:
    async with SimulatedKamailio() as sim, Client(sim) as client:
        call = await sim.suspend("e", {})
        await client.say(resume_of(call, **changes))
        await sim.until(lambda: getattr(sim.counters, counter) == 1)
        assert call.state is State.SUSPENDED


async def test_frames_that_kamailio_cannot_read() -> None:
    async with SimulatedKamailio() as sim, Client(sim) as client:
        call = await sim.suspend("e", {})
        good = resume_of(call)
        bad = [b"oops", good.replace(b'"n"', b'"\\u0000"'), good.replace(b'{"n": 1}', b"NaN")]
        bad += [good.replace(b"{", b'{"outcome":"x",', 1), good.replace(b'{"n": 1}', b"18446744073709551616")]
        await client.say(*bad)
        await sim.until(lambda: sim.counters.not_json == len(bad))
        other = [
            b"[]",
            b'{"adapter":1}',
            b'{"adapter":{"from":"later"}}',
            b'{"tm_trans":{}}',
            b'{"tm_trans":[]}',
        ]
        await client.say(*other, b'{"command":"say"}')
        await sim.until(lambda: sim.commands)
        assert list(sim.commands) == [{"command": "say"}]
        assert (sim.counters.other, sim.counters.bad_ids) == (3, 2)
        assert call.state is State.SUSPENDED


values = st.recursive(
    st.none()
    | st.integers()
    | st.floats()
    | st.text(max_size=4)
    | st.sampled_from(["\0", "\ud800", 1 << 63, -(1 << 63), 1e308]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(values.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=12))
def test_frames_are_parsed_as_by_jansson(text: bytes) -> None:
    for payload in (text, b'{"a":1,"a":%b}' % text, b'{"a":%b}' % text, b"[%b\0" % text):
        try:
            loads(payload)
        except ValueError:
            assert not jansson.takes(payload), payload
        else:
            assert jansson.takes(payload), payload


def test_frames_too_deep_or_too_large_for_jansson() -> None:
    for payload in (b"[" * 100_000, b'{"a":1e999}', b'{"a":%b}' % (b"9" * 5000)):
        assert not jansson.takes(payload)
        with pytest.raises(ValueError):
            loads(payload)
