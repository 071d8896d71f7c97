"""What `policy explain` says of an event is what then happens to it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from adapter.admin.policy_explained import BUILT_IN, Explanation, explain
from adapter.model.transaction import Outcome
from adapter.ports.broker import Published
from adapter.relay.plan import FALLBACK
from adapter.relay.policy import Policy, parse
from adapter.relay.policy_keys import WITH_FALLBACK
from adapter.wire.event import Malformed
from tests.relay_bench import Bench, reply, suspended

REPLY = {"action": "redirect", "uris": ["sip:b@example.net"]}
BLINK = 0.001
EVENTS = ("a", "b-c", "other")

decisions = st.builds(lambda code: {"action": "reject", "code": code}, st.integers(400, 699))
plans = st.fixed_dictionaries(
    {},
    optional={
        "deadline": st.sampled_from([0.5, 2.5, 7.0]),
        "fallback": decisions,
        "fallback_on": st.dictionaries(st.sampled_from([each.value for each in WITH_FALLBACK]), decisions),
        "services": st.sampled_from([[], ["screening"], ["least_cost"]]),
        "emergency": st.booleans(),
        "format": st.sampled_from(["json", "msgpack"]),
    },
)
policies = st.fixed_dictionaries(
    {},
    optional={
        "default": plans,
        "events": st.dictionaries(st.sampled_from(EVENTS[:2]), plans),
    },
)
limits = st.fixed_dictionaries({"in_flight": st.integers(1, 3), "emergency": st.integers(0, 2)})


@given(policies, limits, st.sampled_from(EVENTS), st.sampled_from(list(Outcome)))
def test_it_is_what_then_happens(
    raw: dict[str, Any], limits: dict[str, int], event: str, outcome: Outcome
) -> None:
    policy = parse({**raw, "limits": limits})
    told = explain(policy, event, b'{"user":"100"}')
    bench = asyncio.run(play(policy, told, event, outcome))
    last = bench.links.frames[-1]
    given = told.outcomes[outcome]
    assert last["outcome"] == outcome
    assert last["decision"] == (REPLY if given.decision is None else json.loads(given.decision))
    if given.decision is not None:
        assert json.loads(given.decision) == at(raw, given.source, FALLBACK)
    assert told.plan.deadline == at(raw, told.sources["deadline"], 2.0)
    for publication in bench.broker.published:
        assert told.asked is not None
        assert publication.body.startswith(b"{") == (at(raw, told.sources["format"], "msgpack") == "json")


async def play(policy: Policy, told: Explanation, event: str, outcome: Outcome) -> Bench:
    """Have an event end so."""
    bench = Bench(policy)
    if outcome is Outcome.UNROUTABLE:
        bench.broker.answers[event] = Published.UNROUTABLE
    elif outcome is Outcome.UNAVAILABLE:
        bench.broker.answers[event] = Published.REFUSED
    elif outcome is Outcome.OVERLOAD:
        await fill(bench, event, told.limit)
    if outcome is Outcome.MALFORMED:
        await bench.events(Malformed("base64", "", b"", event, (37, 1, 1)))
    else:
        await bench.events(suspended(1, event))
    answers = {
        Outcome.DECIDED: reply(1, decision=REPLY),
        Outcome.OPERATOR: reply(1, decision=REPLY, by_operator=True),
        Outcome.FAILED: reply(1, status="failed"),
        Outcome.OVERSIZED: reply(1, decision={"pad": "x" * 40_000}),
    }
    if outcome in answers:
        await bench.reply(answers[outcome])
    elif outcome is Outcome.TIMEOUT:
        await wait(bench, told.plan.deadline)
    return bench


async def fill(bench: Bench, event: str, limit: int) -> None:
    """As many as may be in flight with it."""
    await bench.events(*(suspended(2 + number, event) for number in range(limit)))
    assert bench.links.frames == []


async def wait(bench: Bench, deadline: float) -> None:
    """Not a moment less than the deadline."""
    bench.now += deadline - BLINK
    await bench.trip.expire("sbc1")
    assert bench.links.frames == []
    bench.now += 2 * BLINK
    await bench.trip.expire("sbc1")
    await bench.trip.idle()


def at(raw: dict[str, Any], source: str, built_in: Any) -> Any:
    """What stands at a key of the policy."""
    if source == BUILT_IN:
        return built_in
    found: Any = raw
    for key in source.split("."):
        found = found[key]
    return found


class TestData:
    def asked(self, data: bytes, event: str = "a") -> tuple[bool, str]:
        found = explain(Policy(), event, data).asked
        assert found is not None
        return found.is_map, found.problem

    def test_an_object_is_a_map(self) -> None:
        assert self.asked(b'{"user":"100"}') == (True, "")
        assert self.asked(b'{"user":"100"}', "with:colon") == (True, "")

    def test_the_rest_are_bytes(self) -> None:
        for data in (b"", b"[1]", b"{not json", b"\xff"):
            assert self.asked(data) == (False, "")

    def test_what_would_be_malformed(self) -> None:
        assert "out of range" in self.asked(b'{"n":18446744073709551616}')[1]
        assert "printable" in self.asked(b"{}", "a\n")[1]

    def test_none_was_given(self) -> None:
        assert explain(Policy(), "a").asked is None
