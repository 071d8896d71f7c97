"""A configuration without the include: more answers than the pace carries."""

from __future__ import annotations

import pytest

from adapter.simulator import SimulatedKamailio
from consumers import Request, Service
from tests.relay_bench import Bench, id_of, reply, suspended
from tests.system.conftest import bridged

ROUTE = {"action": "route", "uri": "sip:gw7.example.net"}


@pytest.fixture
async def bench() -> Bench:
    made = Bench()
    made.links.plain = True
    return made


class TestThePaceIsExceeded:
    @pytest.mark.parametrize(("backlog", "outcome"), [(0.9, "decided"), (1.1, "overload"), (2.9, "overload")])
    async def test_a_decision_is_written_within_half_of_the_time_left_else_the_fallback(
        self, bench: Bench, backlog: float, outcome: str
    ) -> None:
        await bench.events(suspended(1))
        bench.links.backlog = backlog
        await bench.reply(reply(1, decision=ROUTE))
        (frame,) = bench.links.frames
        assert frame["outcome"] == outcome
        shed = bench.counted("answers_shed_total", node="sbc1", got="fallback")
        assert shed == (1 if outcome == "overload" else 0)

    async def test_what_nobody_would_wait_for_is_not_written_at_all(self, bench: Bench) -> None:
        await bench.events(suspended(1))
        bench.links.backlog = 3.1
        await bench.reply(reply(1, decision=ROUTE))
        assert bench.links.sent == []
        assert bench.counted("answers_shed_total", node="sbc1", got="silence") == 1
        await bench.tick()
        assert await bench.state(id_of(1)) is None, "it is over"

    async def test_a_timeout_is_still_written_a_little_late(self, bench: Bench) -> None:
        await bench.events(suspended(1))
        bench.now += 2.1
        bench.links.backlog = 0.9
        await bench.relay.expire("sbc1")
        (frame,) = bench.links.frames
        assert (frame["outcome"], bench.counted("answers_shed_total", node="sbc1", got="fallback")) == (
            "timeout",
            0,
        )


service = Service("long")
LONG = 6_000


@service.on("long")
async def _decide(request: Request) -> dict[str, object]:
    return {"action": "reject", "code": 486, "notes": "x" * LONG}


async def test_three_times_what_the_pace_carries_costs_those_alone_who_are_too_many() -> None:
    """At 800 KB/s half of the deadline's second carries 65 of them."""
    options = {"consumer": "tests.test_relay_plain:service"}
    rules: dict[str, object] = {"default": {"deadline": 1.0}}
    async with SimulatedKamailio("plain") as sim, bridged(sim, "sbc1", options, rules) as bridge:
        await sim.until(lambda: bridge.nodes.readers)
        calls = [await sim.suspend("long", {}) for _ in range(200)]
        answers = [await call.resumed() for call in calls]
        decided = [
            call
            for call, answer in zip(calls, answers, strict=True)
            if answer["outcome"] == "decided" and call.latency < 1.0
        ]
        assert len(decided) >= 0.8 * 65
        assert {answer["outcome"] for answer in answers} == {"decided", "overload"}
        assert all(call.latency < 1.0 for call in calls)
