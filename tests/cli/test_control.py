"""``evapi-adapter drain``, ``pause`` and ``resume``: nothing is lost, and it says what it did."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from adapter.cli import control
from adapter.cluster.rendezvous import choose
from adapter.inflight.operator import OperatorStore
from adapter.model.beat import Beat, node_order, replica_order
from tests.cli.command import Done, on_terminal
from tests.cli.ground import Ground, in_thread, on_ground
from tests.harness.process import free_port
from tests.harness.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.harness.rabbitmq import RabbitServer
    from tests.harness.redis import RedisServer


@pytest.fixture
async def ground(redis_server: RedisServer, rabbitmq: RabbitServer) -> AsyncIterator[Ground]:
    async with on_ground(redis_server.url, rabbitmq.url, f"http://127.0.0.1:{free_port()}") as found:
        yield found


@pytest.fixture
async def store(ground: Ground) -> AsyncIterator[OperatorStore]:
    found = OperatorStore(ground.redis_url, "test~1", prefix=ground.node)
    yield found
    await found.close()


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who does not obey is not waited for as long as an operator would."""
    monkeypatch.setattr(control, "WAIT", 0.5)


@pytest.fixture
async def alone(ground: Ground) -> str:
    """One replica, without RabbitMQ; its full name."""
    bridge = await ground.replica("one", amqp_url="", consumer="tests.system.test_bridge:service")
    await bridge.replicas.beat()
    return bridge.inflight.replica


def row(done: Done) -> dict[str, Any]:
    """Of ``-o json``, where it was done."""
    assert done.code == 0, done.err
    found: dict[str, Any] = json.loads(done.out)
    assert list(found) == ["replica", "node", "state", "served_by", "reason"]
    return found


class TestDrain:
    async def test_under_calls_another_takes_over_and_hands_back_and_none_is_lost(
        self, ground: Ground
    ) -> None:
        event = f"invite_{ground.node.replace('-', '_')}"  # of this test alone: the server is shared
        both = await ground.pair("one", "two")
        bridges = dict(zip(("one", "two"), both, strict=True))
        preferred = choose(ground.node, [bridge.inflight.replica for bridge in both])
        first = next(name for name, bridge in bridges.items() if bridge.inflight.replica == preferred)
        await until(lambda: bridges[first].roles.of(ground.node).is_confirmed_active)
        other = "two" if first == "one" else "one"
        ground.service(ground.node, events=[event])
        ended: list[Any] = []
        ground.sim.on_end = ended.append
        offering = asyncio.create_task(ground.sim.offer(50, 1000, event, {}))
        try:
            drained = row(await ground.run("drain", first, "--reason", "kernel", "-o", "json"))
            assert drained["state"] == "drained"
            assert drained["reason"] == "kernel"
            assert drained["served_by"] == {ground.node: bridges[other].inflight.replica}
            assert not bridges[first].readiness.checks()["accepting"]
            takes = bridges[other].metrics.registry
            taken = counted(takes)
            await until(lambda: counted(takes) > taken)
            resumed = row(await ground.run("resume", first, "-o", "json"))
            assert (resumed["replica"], resumed["state"]) == (drained["replica"], "resumed")
            assert resumed["served_by"] == {ground.node: drained["replica"]}, "hashing prefers it"
        finally:
            offering.cancel()
            await asyncio.wait([offering])
        await ground.sim.until(lambda: ground.sim.waiting == 0)
        assert len(ended) > 20
        assert {call.answer["outcome"] for call in ended} == {"decided"}
        assert ground.sim.counters.duplicates == 0, "nothing was asked twice"

    async def test_the_last_one_that_serves_a_node_wants_a_yes(self, ground: Ground, alone: str) -> None:
        done = await ground.run("drain", "one")
        assert (done.code, done.out) == (2, "")
        assert (
            f"--yes: is needed where nobody can be asked: No other replica serves {ground.node}" in done.err
        )
        code, shown, _ = await asyncio.to_thread(on_terminal, "drain", "one", answer="n", **ground.env)
        assert code == 1
        assert "nothing was ordered" in shown
        code, shown, _ = await asyncio.to_thread(on_terminal, "drain", "one", answer="y", **ground.env)
        assert code == 0, shown
        assert "evapi-adapter resume one" in shown
        assert max(map(len, shown.splitlines())) <= 80 or "Drain it?" in shown
        again = row(await ground.run("drain", alone, "--yes", "-o", "json"))
        assert again["served_by"] == {ground.node: None}

    async def test_a_replica_that_nobody_knows(self, ground: Ground, alone: str) -> None:
        done = await ground.run("drain", "nosuch", "--yes")
        assert (done.code, done.out) == (1, "")
        assert done.err == f"evapi-adapter: no replica is called 'nosuch'; there is {alone}\n"

    async def test_a_name_that_two_have(self, ground: Ground, alone: str, store: OperatorStore) -> None:
        store.replica = "one~zzzz"
        await store.beat(Beat())
        done = await ground.run("drain", "one", "--yes", EVAPI_LEASE="60")
        assert done.code == 1
        assert f"more than one replica is called 'one': are {alone}, one~zzzz" in done.err
        assert row(await ground.run("drain", alone, "--yes", "-o", "json"))["replica"] == alone

    @pytest.mark.usefixtures("short")
    async def test_one_that_does_not_obey(self, ground: Ground, store: OperatorStore) -> None:
        await store.beat(Beat(nodes=frozenset([ground.node])))
        done = await ground.run("drain", "test", "--yes", EVAPI_LEASE="60")
        assert done.code == 1
        assert "test~1 does not obey within 0.5 s; the order stands: does it hang?" in done.err
        assert replica_order("test~1") in await store.orders()

    @pytest.mark.usefixtures("short")
    async def test_one_that_is_silent(self, ground: Ground, store: OperatorStore) -> None:
        """It serves nothing, so nobody need be asked; should it come back, it obeys."""
        await store.beat(Beat(nodes=frozenset([ground.node])))
        done = await ground.run("drain", "test", "--set", "lease=0.0001", EVAPI_LEASE="")
        assert done.code == 1
        assert "does it hang?" in done.err
        assert replica_order("test~1") in await store.orders()

    async def test_orders_of_replicas_that_are_gone_are_removed(
        self, ground: Ground, alone: str, store: OperatorStore
    ) -> None:
        await store.order(replica_order("gone~1"), {"order": "drain"})
        await store.order(node_order("elsewhere"), {"order": "pause"})
        done = await ground.run("drain", "one", "--yes")
        assert done.code == 0
        assert "the order for gone~1 is removed: that replica is gone" in done.err
        assert set(await store.orders()) == {replica_order(alone), node_order("elsewhere")}
        await store.order(replica_order("gone~2"), {})
        assert (await ground.run("resume", "one")).code == 0
        assert set(await store.orders()) == {node_order("elsewhere")}


class TestPause:
    async def test_the_gate_closes_what_comes_is_unavailable_and_it_opens_again(
        self, ground: Ground, alone: str, store: OperatorStore
    ) -> None:
        paused = row(await ground.run("pause", ground.node, "--reason", "test", "--yes", "-o", "json"))
        assert (paused["node"], paused["state"]) == (ground.node, "paused")
        assert paused["served_by"] == {ground.node: None}
        await ground.sim.until(lambda: not ground.sim.gate_open)
        call = await ground.sim.suspend("held", {})
        assert (await call.resumed())["outcome"] == "unavailable"
        order = (await store.orders())[node_order(ground.node)]
        assert (order["order"], order["reason"]) == ("pause", "test")
        assert "@" in order["by"]
        assert order["at"] == pytest.approx(await store.time(), abs=60)
        resumed = row(await ground.run("resume", ground.node, "-o", "json"))
        assert resumed["served_by"] == {ground.node: alone}
        assert await store.orders() == {}
        await ground.sim.until(lambda: ground.sim.gate_open)
        call = await ground.sim.suspend("held", {})
        assert (await call.resumed())["outcome"] == "decided"

    async def test_it_always_wants_a_yes(self, ground: Ground, alone: str, store: OperatorStore) -> None:
        done = await ground.run("pause", ground.node)
        assert (done.code, done.out) == (2, "")
        assert "--yes" in done.err
        code, shown, _ = await asyncio.to_thread(on_terminal, "pause", ground.node, answer="n", **ground.env)
        assert (code, await store.orders()) == (1, {})
        assert "get the local fallback. Pause it?" in shown

    async def test_a_node_that_nobody_knows(self, ground: Ground, alone: str) -> None:
        done = await ground.run("pause", "nosuch", "--yes")
        assert (done.code, done.out) == (1, "")
        assert done.err == f"evapi-adapter: no node is called 'nosuch'; there is {ground.node}\n"

    @pytest.mark.usefixtures("short")
    async def test_one_that_is_set_and_has_no_replica(self, ground: Ground, store: OperatorStore) -> None:
        assert row(await ground.run("pause", "sbc9", "--nodes", "sbc9=h:1", "--yes", "-o", "json"))
        assert set(await store.orders()) == {node_order("sbc9")}
        done = await ground.run("resume", "sbc9")
        assert done.code == 1, "nobody takes its calls"
        assert "within 0.5 s no replica is active for it" in done.err
        assert await store.orders() == {}

    @pytest.mark.usefixtures("short")
    async def test_replicas_that_do_not_obey(self, ground: Ground, store: OperatorStore) -> None:
        await store.beat(Beat(nodes=frozenset(["sbc1"]), about={"links": {"sbc1": "paced"}}))
        done = await ground.run("pause", "sbc1", "--yes", "--set", "lease=60", EVAPI_LEASE="")
        assert done.code == 1
        assert "not every replica obeys within 0.5 s; the order stands" in done.err


class TestResume:
    async def test_what_was_never_ordered(self, ground: Ground, alone: str) -> None:
        for name in ("one", ground.node):
            done = await ground.run("resume", name)
            assert done.code == 0, done.err
            assert done.err == f"{name} was neither drained nor paused\n"

    async def test_a_name_that_nobody_has(self, ground: Ground, alone: str) -> None:
        done = await ground.run("resume", "nosuch")
        assert (done.code, done.out) == (1, "")
        known = ", ".join(sorted([alone, ground.node]))
        assert done.err == f"evapi-adapter: no replica and no node is called 'nosuch'; there are {known}\n"

    async def test_one_name_for_both(
        self, ground: Ground, alone: str, store: OperatorStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in (node_order("one"), replica_order(alone)):
            await store.order(name, {})
        done = await ground.run("resume", "one")
        assert done.code == 1
        assert f"'one' may mean are node:one, replica:{alone}: write which" in done.err
        assert row(await ground.run("resume", "replica:one", "-o", "json"))["replica"] == alone
        monkeypatch.setattr(control, "WAIT", 0.1)
        assert (await ground.run("resume", "node:one")).code == 1, "no replica has that node"
        assert await store.orders() == {}

    async def test_a_replica_that_is_silent_or_gone(self, ground: Ground, store: OperatorStore) -> None:
        await store.order(replica_order("gone~1"), {})
        done = await ground.run("resume", "gone")
        assert done.code == 0
        assert "gone~1 is silent; the order is taken back all the same" in done.err
        assert await store.orders() == {}


class TestAway:
    @pytest.mark.parametrize("words", [("drain", "r1"), ("pause", "sbc1", "--yes"), ("resume", "sbc1")])
    async def test_redis(self, words: tuple[str, ...]) -> None:
        done = await in_thread(*words, EVAPI_REDIS_URL=f"redis://127.0.0.1:{free_port()}")
        assert (done.code, done.out) == (1, "")
        assert "connection refused" in done.err
        assert "Traceback" not in done.err


def counted(registry: Any) -> float:
    """How many a replica has answered."""
    return sum(
        sample.value
        for metric in registry.collect()
        for sample in metric.samples
        if sample.name == "evapi_outcomes_total"
    )
