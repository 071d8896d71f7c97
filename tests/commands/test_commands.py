"""Each command gets one outcome: what is written, what is told, what is known already."""

from __future__ import annotations

from typing import Any

import pytest

from adapter.command_contract import CommandOutcome
from adapter.commands.execution import LOOKS
from adapter.model.transaction import State
from tests.commands.bench import Bench

HANGUP = {"command": "hangup", "args": {"call_id": "a@b"}, "id": "h1"}
CALLS = {"command": "calls", "id": "k1"}


@pytest.fixture
async def bench() -> Bench:
    return Bench()


async def test_a_command_is_written_and_its_result_is_the_reply(bench: Bench) -> None:
    await bench.asked({"command": "calls", "args": {"from": "sip:a"}, "id": "k1"})
    assert bench.written == [{"command": "k1", "name": "calls", "args": {"from": "sip:a"}}]
    bench.now += 0.25
    await bench.told({"result": "k1", "outcome": "done", "data": {"calls": []}, "detail": "well"})
    ((id_, reply),) = bench.replies
    assert (id_, reply) == ("c1", reply)
    assert reply is not None
    assert (reply.outcome, reply.node, reply.result, reply.took_ms, reply.detail) == (
        CommandOutcome.DONE,
        "sbc1",
        {"calls": []},
        250,
        "well",
    )
    assert bench.counted("sbc1", "calls", "done") == 1
    (heard,) = bench.heard.commands
    assert (heard.name, heard.id, heard.outcome, heard.seconds) == ("calls", "k1", "done", 0.25)


@pytest.mark.parametrize("outcome", ["refused", "not_found", "failed"])
async def test_what_kamailio_says_is_the_outcome(bench: Bench, outcome: str) -> None:
    await bench.asked(HANGUP)
    await bench.told({"result": "h1", "outcome": outcome})
    assert bench.outcomes == [("c1", outcome)]


async def test_an_outcome_that_is_none_counts_as_failed(bench: Bench) -> None:
    await bench.asked({"command": "reload", "id": "x"})
    await bench.told({"result": "x", "outcome": "fine"})
    assert bench.outcomes == [("c1", "failed")]
    assert bench.counted("sbc1", "own", "failed") == 1


async def test_without_an_id_the_correlation_id_is_it(bench: Bench) -> None:
    await bench.asked({"command": "calls"}, correlation_id="corr-7")
    assert bench.written[0]["command"] == "corr-7"
    await bench.asked({"command": "calls"}, correlation_id="is no id!")
    assert len(bench.written[0]["command"]) == 16


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ({"command": 7}, "name"),
        ({"command": "hang up"}, "name"),
        ({"command": "x" * 65}, "name"),
        ({"command": "calls", "args": [1]}, "args must be a map"),
        ({"command": "calls", "id": "a#b"}, "an id is"),
        ({"command": "calls", "id": "x" * 101}, "an id is"),
        ({"command": "calls", "args": {"n": 1 << 70}}, "64 bits"),
    ],
    ids=str,
)
async def test_what_is_no_command_is_refused(bench: Bench, body: dict[str, Any], detail: str) -> None:
    await bench.asked(body)
    ((_, reply),) = bench.replies
    assert reply is not None
    assert reply.outcome is CommandOutcome.REFUSED
    assert detail in reply.detail
    assert bench.written == []


async def test_a_node_that_takes_none_is_unavailable(bench: Bench) -> None:
    await bench.asked(CALLS, "sbc9")
    bench.links.gated = False
    await bench.asked(CALLS)
    assert bench.outcomes == [("c1", "unavailable")] * 2
    assert bench.written == []


async def test_no_result_in_time_is_a_timeout(bench: Bench) -> None:
    await bench.asked(CALLS, within=2.0)
    await bench.later(1.9)
    assert bench.replies == []
    await bench.later(0.2)
    assert bench.outcomes == [("c1", "timeout")]
    await bench.told({"result": "k1", "outcome": "done"})
    assert len(bench.replies) == 1, "what comes later is no second reply"


class TestRepeated:
    async def test_one_that_is_over_gets_the_former_outcome(self, bench: Bench) -> None:
        await bench.asked(CALLS)
        await bench.told({"result": "k1", "outcome": "done", "data": {"n": 1}})
        assert len(bench.written) == 1
        await bench.later(59.0)
        await bench.asked(CALLS, correlation_id="c2")
        assert bench.outcomes == [("c1", "done"), ("c2", "done")]
        reply = bench.replies[1][1]
        assert reply is not None
        assert reply.result == {"n": 1}
        assert bench.written == []
        assert bench.counted("sbc1", "calls", "done") == 1, "carried out once, counted once"

    async def test_one_that_is_under_way_gets_the_same_outcome(self, bench: Bench) -> None:
        await bench.asked(CALLS)
        bench.ask(CALLS, correlation_id="c2")
        await bench.turn()
        assert len(bench.written) == 1
        await bench.told({"result": "k1", "outcome": "done"})
        assert sorted(bench.outcomes) == [("c1", "done"), ("c2", "done")]

    async def test_unavailable_too(self, bench: Bench) -> None:
        bench.links.gated = False
        await bench.asked(CALLS)
        bench.links.gated = True
        await bench.asked(CALLS)
        assert bench.outcomes == [("c1", "unavailable")] * 2

    async def test_to_another_node_it_is_another_command(self, bench: Bench) -> None:
        await bench.asked(CALLS)
        await bench.asked(CALLS, "sbc2")
        assert [each["command"] for each in bench.written] == ["k1", "k1"]
        await bench.told({"result": "k1", "outcome": "done"}, "sbc2")
        assert [reply.node for _, reply in bench.replies if reply] == ["sbc2"]


class TestHangup:
    async def test_it_is_done_when_the_call_is_gone(self, bench: Bench) -> None:
        await bench.asked(HANGUP)
        await bench.told({"result": "h1", "outcome": "done", "data": {"sent": 2}})
        assert bench.replies == []
        bench.written  # noqa: B018  the hang-up itself
        await bench.later(LOOKS[0])
        assert bench.written == [{"command": "h1#1", "name": "calls", "args": {"call_id": "a@b"}}]
        await bench.told({"result": "h1#1", "outcome": "not_found"})
        assert bench.outcomes == [("c1", "done")]
        reply = bench.replies[0][1]
        assert reply is not None
        assert reply.result == {"sent": 2}

    async def look(self, bench: Bench, number: int, wait: float) -> list[str]:
        """The call is still there. Gives what was written after it."""
        await bench.later(wait)
        assert [each["command"] for each in bench.written] == [f"h1#{number}"]
        await bench.told({"result": f"h1#{number}", "outcome": "done", "data": {"calls": [{}]}})
        return [each["command"] for each in bench.written]

    async def test_one_that_stays_is_hung_up_once_more_and_then_failed(self, bench: Bench) -> None:
        await bench.asked(HANGUP, within=30.0)
        await bench.told({"result": "h1", "outcome": "done"})
        assert [each["command"] for each in bench.written] == ["h1"]
        number = 0
        for again in (["h1#again"], []):
            for wait in LOOKS:
                number += 1
                written = await self.look(bench, number, wait)
            assert written == again
        assert bench.outcomes == [("c1", "failed")]
        assert "still there" in getattr(bench.replies[0][1], "detail", "")

    async def test_a_look_without_a_result_is_taken_again(self, bench: Bench) -> None:
        await bench.asked(HANGUP)
        await bench.told({"result": "h1", "outcome": "done"})
        await bench.later(LOOKS[0])
        await bench.later(1.0)
        assert [each["command"] for each in bench.written] == ["h1", "h1#1", "h1#2"]
        await bench.told({"result": "h1#1", "outcome": "not_found"})
        assert bench.replies == [], "an old look says nothing of now"
        await bench.told({"result": "h1#2", "outcome": "not_found"})
        assert bench.outcomes == [("c1", "done")]

    async def test_by_dialog_it_is_looked_for_by_the_call_id_in_it(self, bench: Bench) -> None:
        await bench.asked({"command": "hangup", "args": {"dialog": "d1:2:a:b@c"}, "id": "h1"})
        await bench.told({"result": "h1", "outcome": "done"})
        await bench.later(LOOKS[0])
        assert bench.written[-1]["args"] == {"call_id": "a:b@c"}


class TestReplicas:
    async def two(self) -> tuple[Bench, Bench]:
        first = Bench()
        second = Bench(first.store.beside("r2"))
        return first, second

    async def test_what_a_dead_one_had_is_written_again_under_its_id(self) -> None:
        first, second = await self.two()
        await first.asked(HANGUP, correlation_id="c7")
        await second.commands.look_after(["sbc1"], ["r1"])
        assert [each["command"] for each in second.written] == ["h1"]
        await second.told({"result": "h1", "outcome": "not_found"})
        assert second.outcomes == [("c7", "not_found")], "to whoever had asked the dead one"

    async def test_one_that_was_only_slow_tells_nothing_a_second_time(self) -> None:
        first, second = await self.two()
        await first.asked(CALLS)
        await second.commands.look_after(["sbc1"], ["r1"])
        await second.told({"result": "k1", "outcome": "done"})
        await first.told({"result": "k1", "outcome": "done"})
        assert second.outcomes == [("c1", "done")]
        assert first.outcomes == [("c1", "")], "acknowledged alone"

    async def test_one_that_is_delivered_again_is_gone_on_with(self) -> None:
        first, second = await self.two()
        await first.asked(CALLS)
        await second.asked(CALLS, redelivered=True)
        assert [each["command"] for each in second.written] == ["k1"]
        await second.told({"result": "k1", "outcome": "done"})
        assert second.outcomes == [("c1", "done")]

    async def test_one_that_is_over_is_told_again_where_nobody_knows_whether_it_was(self) -> None:
        first, second = await self.two()
        await first.asked(CALLS)
        await first.told({"result": "k1", "outcome": "done"})
        await second.asked(CALLS, redelivered=True)
        assert second.outcomes == [("c1", "done")]
        assert second.written == []

    async def test_what_the_dead_left_past_its_time_is_told_as_timeout(self) -> None:
        first, second = await self.two()
        await first.asked(CALLS, within=2.0)
        first.now = second.now = second.now + 3.0
        await second.commands.look_after(["sbc1"], ["r1"])
        await second.later(0.0)
        assert second.outcomes == [("c1", "timeout")]
        (record,) = await second.store.scan("sbc1")
        assert record.state is State.SETTLED


async def test_more_than_so_many_at_a_time_are_refused(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adapter.commands.commands.MOST", 2)
    for number in range(3):
        bench.ask({"command": "calls", "id": f"k{number}"}, correlation_id=f"c{number}")
    await bench.turn()
    assert bench.outcomes == [("c2", "refused")]
    assert [each["command"] for each in bench.written] == ["k0", "k1"]
