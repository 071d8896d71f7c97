"""What the source counts, and what it asks for."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.bench.load import Latency, Load
from adapter.bench.names import CALL, LIFE, TAKES, TOOK, WAIT
from adapter.bench.source import Source, Tally, padded
from adapter.simulator import SimTransaction, SimulatedKamailio, State
from tests.simulator.client import TIMEOUT, Client


def call(due: float, begun: float, ended: float, **decision: Any) -> Any:
    """One that was decided."""
    answer = {"outcome": "decided", "decision": decision}
    times = {"due_at": due, "suspended_at": begun, "ended_at": ended}
    return SimpleNamespace(state=State.RESUMED, answer=answer, **times)


def latencies(told: dict[str, Any]) -> dict[str, Latency]:
    return {name: Latency(**told[name]) for name in ("latency", "added", "lag")}


class TestTally:
    def test_latency_counts_from_when_the_call_was_due(self) -> None:
        tally = Tally(since=10.0)
        tally.ended(call(10.0, 10.001, 10.005, **{TOOK: 3_000}))
        told = tally.told()
        assert (told["offered"], told["answered"], told["outcomes"]) == (1, 1, {"decided": 1})
        assert {name: found.p50 for name, found in latencies(told).items()} == {
            "latency": pytest.approx(5_000, rel=0.001),
            "added": pytest.approx(2_000, rel=0.001),
            "lag": pytest.approx(1_000, rel=0.001),
        }

    def test_a_call_of_the_warm_up_does_not_count_but_its_answer_later_does(self) -> None:
        tally = Tally(since=10.0)
        tally.ended(call(9.0, 9.0, 9.5))
        tally.ended(call(9.9, 9.9, 10.1))
        told = tally.told()
        assert (told["offered"], told["answered"], told["outcomes"]) == (0, 1, {})

    def test_an_answer_after_the_end_is_not_in_time_but_has_a_latency(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tally = Tally(since=10.0)
        monkeypatch.setattr("adapter.bench.source.monotonic", lambda: 20.0)
        tally.over()
        tally.ended(call(19.0, 19.0, 21.0))
        told = tally.told()
        assert (told["offered"], told["answered"]) == (1, 0)
        assert latencies(told)["latency"].p50 == pytest.approx(2_000_000, rel=0.001)

    def test_a_call_without_an_answer_has_no_latency(self) -> None:
        tally = Tally(since=10.0)
        given_up = SimpleNamespace(
            state=State.CANCELLED, answer=None, due_at=11.0, suspended_at=11.0, ended_at=30.0
        )
        tally.ended(given_up)  # type: ignore[arg-type]
        told = tally.told()
        assert (told["offered"], told["answered"], told["outcomes"]) == (1, 0, {"unanswered": 1})
        assert latencies(told)["latency"].longest == 0

    def test_a_fallback_is_told_by_its_outcome(self) -> None:
        tally = Tally(since=0.0)
        fallback = call(1.0, 1.0, 3.0, action="reject")
        fallback.answer["outcome"] = "timeout"
        tally.ended(fallback)
        assert tally.told()["outcomes"] == {"timeout": 1}


@given(st.integers(0, 2_000), st.integers(0, 60_000_000))
def test_data_have_the_size_that_is_asked_for(size: int, takes: int) -> None:
    bare = {TAKES: takes}
    found = padded(bare, size)
    encoded = len(json.dumps(found, separators=(",", ":")))
    assert found[TAKES] == takes
    assert encoded == size or found == bare
    assert encoded >= size or size < len(json.dumps({**bare, "pad": ""}, separators=(",", ":")))


async def answer(client: Client, after: int = 0) -> None:
    """Answer every call but the first few, until nobody sends any more."""
    seen = 0
    while payload := await client.frame():
        asked = json.loads(payload)
        if "tm_trans" not in asked:
            continue
        seen += 1
        if seen > after:
            decision = {TOOK: asked["data"].get(TAKES, 0)}
            told = {"tm_trans": asked["tm_trans"], "outcome": "decided", "decision": decision}
            await client.say(json.dumps(told).encode())


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What it says before a load is over."""
    said: list[dict[str, Any]] = []
    monkeypatch.setattr("adapter.bench.source.say", said.append)
    return said


class TestSource:
    # At a rate all calls are made, however late; else a process that stands still makes none meanwhile.
    @pytest.mark.parametrize(("rate", "seconds"), [(100.0, 0.2), (None, 1.0)])
    async def test_a_load_on_two_nodes(
        self, lines: list[dict[str, Any]], rate: float | None, seconds: float
    ) -> None:
        async with SimulatedKamailio() as one, SimulatedKamailio() as two, Client(one) as a, Client(two) as b:
            answering = [asyncio.create_task(answer(client)) for client in (a, b)]
            source = Source({"bench1": one, "bench2": two})
            assert source.addresses == {"bench1": one.address, "bench2": two.address}
            assert await source.ready(TIMEOUT)
            asked = one.counters.suspended, two.counters.suspended
            told = await source.run(Load(rate, seconds, warm_up=0.1, window=2))
            calls = one.counters.suspended + two.counters.suspended - sum(asked)
            assert lines[0] == {"begun": True}
            assert lines[1]["ended"] > 0
            assert 0 < told["offered"] <= calls
            assert told["outcomes"] == {"decided": told["offered"]}
            assert min(one.counters.suspended - asked[0], two.counters.suspended - asked[1]) > 0
            if rate is not None:
                assert calls == 30
            for task in answering:
                task.cancel()
            await asyncio.gather(*answering, return_exceptions=True)

    async def test_what_is_told_of_a_call_follows_its_answer(self, lines: list[dict[str, Any]]) -> None:
        async with SimulatedKamailio() as sim, Client(sim) as client, Client(sim) as heard:
            answering = asyncio.create_task(answer(client))
            await Source({"bench1": sim}).run(Load(100.0, 0.1, warm_up=0.0, notices=3))
            told: list[str] = []
            async with asyncio.timeout(TIMEOUT):
                while len(told) < 3 * sim.counters.suspended:
                    found = json.loads(await heard.frame())
                    if found.get("event") in LIFE:
                        told.append(found["event"])
            assert Counter(told) == dict.fromkeys(LIFE, sim.counters.suspended)
            assert told[0] == LIFE[0]
            answering.cancel()
            await asyncio.gather(answering, return_exceptions=True)

    @pytest.mark.parametrize(("takes", "event"), [(0.0, CALL), (0.001, WAIT)])
    async def test_calls_that_take_time_have_another_event(
        self, lines: list[dict[str, Any]], takes: float, event: str
    ) -> None:
        async with SimulatedKamailio() as sim, Client(sim) as client:
            calls: list[SimTransaction] = []
            answering = asyncio.create_task(answer(client))
            told = await Source({"bench1": sim}).run(Load(100.0, 0.1, decision=takes, warm_up=0.0))
            calls += sim._tm._table.values()
            assert {call.event for call in calls} == {event}
            assert {call.answer["decision"][TOOK] for call in calls if call.answer} == {takes * 1_000_000}
            assert latencies(told)["added"].p50 <= latencies(told)["latency"].p50
            answering.cancel()
            await asyncio.gather(answering, return_exceptions=True)

    async def test_what_nobody_answers_is_given_up(
        self, lines: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("adapter.bench.source.GIVE_UP", 0.0)
        async with SimulatedKamailio() as sim:
            told = await Source({"bench1": sim}).run(Load(100.0, 0.1, warm_up=0.0))
            assert told["outcomes"] == {"unanswered": 10}
            assert sim.waiting == 0

    async def test_nobody_is_there(self) -> None:
        async with SimulatedKamailio() as sim:
            assert not await Source({"bench1": sim}).ready(0.01)

    async def test_the_first_question_gets_no_answer(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("adapter.bench.source.PROBE", 0.01)
        async with SimulatedKamailio() as sim, Client(sim) as client:
            answering = asyncio.create_task(answer(client, after=1))
            assert await Source({"bench1": sim}).ready(TIMEOUT)
            assert sim.counters.cancelled >= 1
            answering.cancel()
            await asyncio.gather(answering, return_exceptions=True)
