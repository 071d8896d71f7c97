"""What an operator orders: a replica that claims nothing, a node of which nobody takes calls."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from structlog.testing import capture_logs

from adapter.cluster.membership import Membership
from adapter.inflight.operator import OperatorStore
from adapter.model.beat import Beat, Snapshot, node_order, replica_order
from adapter.simulator import SimulatedKamailio
from adapter.wire.event import Notice
from tests.cluster.questions import active, linked, served, writer
from tests.harness.until import until
from tests.relay_bench import LEASE, Bench, reply, suspended
from tests.replicas_bench import Group, Replica
from tests.system.conftest import bridged

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.harness.redis import RedisServer

NODE = "sbc1"
SERVING = Beat(nodes=frozenset([NODE]))
PAUSED = frozenset([node_order(NODE)])


def pause(bench: Bench, *nodes: str) -> None:
    """This replica has beaten and seen the order."""
    orders = frozenset(map(node_order, nodes))
    bench.membership.update(
        Snapshot({**bench.others, bench.name: Beat()}, True, orders), bench.now, bench.now
    )


class TestMembership:
    def test_an_order_is_for_the_replica_or_node_that_it_names(self) -> None:
        found = Membership("r1~ab", LEASE)
        found.update(Snapshot({}, True, frozenset([replica_order("r1~cd"), node_order("sbc2")])), 0.0, 0.0)
        assert not found.drain_ordered
        assert found.paused == {"sbc2"}
        assert active(found, "sbc1", True) == "r1~ab"
        found.update(Snapshot({}, True, frozenset([replica_order("r1~ab")])), 0.0, 0.0)
        assert found.drain_ordered
        assert found.paused == frozenset()

    def test_of_a_paused_node_nobody_is_active_and_nobody_serves_it(self) -> None:
        found = Membership("r2", LEASE)
        for orders, expected in ((PAUSED, None), (frozenset(), "r1")):
            found.update(Snapshot({"r1": SERVING}, True, orders), 0.0, 0.0)
            assert active(found, NODE, True) == expected
            assert served(found, NODE) is (expected is not None)
            assert linked(found, NODE), "its resumes are still to be written"
            assert writer(found, NODE, True) is not None

    def test_orders_hold_while_the_store_is_away(self) -> None:
        found = Membership("r2", LEASE)
        found.update(Snapshot({}, True, frozenset([*PAUSED, replica_order("r2")])), 0.0, 0.0)
        found.lost(1.0)
        assert found.drain_ordered
        assert found.paused == {NODE}


class TestPausedNode:
    async def test_what_is_suspended_nevertheless_is_unavailable_at_once(self) -> None:
        bench = Bench(nodes=(NODE, "sbc2"))
        bench.look()
        pause(bench, NODE)
        bench.trip.on_events(NODE, [suspended(1)])
        bench.trip.on_events("sbc2", [suspended(2)])
        await bench.trip.idle()
        assert bench.outcomes == [(1, "unavailable")]
        assert bench.broker.asked == ["sbc2:37:2:1"]

    async def test_what_is_in_flight_ends_as_usual(self) -> None:
        bench = Bench()
        await bench.events(suspended(1), suspended(2))
        pause(bench, NODE)
        await bench.trip.on_replies([reply(1)])
        assert bench.outcomes == [(1, "decided")]
        bench.now += 10.0
        pause(bench, NODE)
        assert bench.roles.of(NODE).sweeps
        await bench.trip.expire(NODE)
        assert bench.outcomes == [(1, "decided"), (2, "timeout")]

    async def test_of_two_replicas_one_answers_and_one_sweeps(self) -> None:
        group = Group("r1", "r2")
        await group.beat()
        for each in group.all:
            each.others = {other.name: SERVING for other in group.all if other is not each}
            pause(each, NODE)
            each.trip.on_events(NODE, [suspended(1)])
            await each.trip.idle()
        assert sum(len(each.outcomes) for each in group.all) == 1
        assert [each.roles.of(NODE).sweeps for each in group.all] == [True, False]
        assert [each.roles.of(NODE).is_active for each in group.all] == [False, False]

    async def test_notices_are_published_once(self) -> None:
        group = Group("r1", "r2")
        await group.beat()
        for each in group.all:
            each.others = {other.name: SERVING for other in group.all if other is not each}
            pause(each, NODE)
            each.trip.on_events(NODE, [Notice("call_ended", {})])
            await each.trip.idle()
        assert sum(len(each.broker.published) for each in group.all) == 1

    async def test_the_gate_is_told_not_to_count_on_it(self) -> None:
        first = Replica(nodes=(NODE, "sbc2"))
        await first.beat()
        assert first.replicas.serves(NODE)
        pause(first, NODE)
        assert not first.replicas.serves(NODE)
        assert first.replicas.serves("sbc2")


class TestDrainedReplica:
    async def test_it_says_so_and_another_takes_over(self) -> None:
        group = Group("r1", "r2")
        await group.beat()
        assert group.active() == ["r1"]
        assert group["r1"].takeover.chosen_for() == [NODE]
        first = group["r1"]
        orders = frozenset([replica_order("r1")])
        first.membership.update(Snapshot({"r2": SERVING}, True, orders), first.now, first.now)
        assert first.roles.obey()
        said = first.beats.state
        assert replace(said, identities={}) == Beat(
            accepting=False, nodes=frozenset([NODE]), priority=first.priority
        )

    async def test_what_people_may_want_to_know_goes_with_each_beat_and_changes_nothing(self) -> None:
        first = Replica()
        first.beats._about = lambda: {"version": "1"}
        await first.beat()
        beats = [call[1] for call in first.store.calls if call[0] == "beat"]
        assert {beat.about["version"] for beat in beats} == {"1"}
        assert Beat(about={"version": "1"}) == Beat(), "no change of state, which would be told at once"


@pytest.fixture
def node() -> str:
    """A node of this test alone, and the prefix of its keys."""
    return f"sbc-{uuid4().hex[:8]}"


class TestBridge:
    """One replica, with Redis and a simulated Kamailio."""

    async def test_drained_it_tells_kamailio_and_claims_again_once_that_is_over(
        self, node: str, redis_server: RedisServer
    ) -> None:
        options = {"redis_url": redis_server.url, "consumer": "tests.system.test_bridge:service"}
        operator = operator_store(redis_server.url, node)
        async with SimulatedKamailio() as sim, bridged(sim, node, options) as bridge, operator as store:
            name = replica_order(bridge.inflight.replica)
            with capture_logs() as logs:
                await store.order(name, {})
                await sim.until(lambda: [each.state for each in sim.statuses.values()] == ["draining"])
                await until(lambda: not bridge.roles.drain.claims)
                assert not bridge.readiness.checks()["accepting"]
                late = await sim.suspend("held", {})
                assert (await late.resumed())["outcome"] == "unavailable"
                await store.countermand(name)
                await sim.until(lambda: sim.gate_open)
            assert bridge.readiness.checks()["accepting"]
            assert bridge.roles.drain.claims
            call = await sim.suspend("held", {})
            assert (await call.resumed())["outcome"] == "decided"
            told = [entry["event"] for entry in logs if "operator" in entry["event"]]
            assert [each.partition(" by")[0] for each in told] == ["drained", "resumed"]

    async def test_a_paused_node_closes_its_gate(self, node: str, redis_server: RedisServer) -> None:
        options = {"redis_url": redis_server.url, "consumer": "tests.system.test_bridge:service"}
        operator = operator_store(redis_server.url, node)
        async with SimulatedKamailio() as sim, bridged(sim, node, options) as bridge, operator as store:
            await store.order(node_order(node), {})
            await sim.until(lambda: not sim.gate_open)
            call = await sim.suspend("held", {})
            assert (await call.resumed())["outcome"] == "unavailable"
            bridge._measure()
            assert bridge.metrics.cluster.paused.labels(node)._value.get() == 1
            await store.countermand(node_order(node))
            await sim.until(lambda: sim.gate_open)
            call = await sim.suspend("held", {})
            assert (await call.resumed())["outcome"] == "decided"


@asynccontextmanager
async def operator_store(url: str, prefix: str) -> AsyncIterator[OperatorStore]:
    store = OperatorStore(url, "operator", prefix=prefix)
    try:
        yield store
    finally:
        await store.close()
