"""Settings of the queues that change from replica to replica, and rights that are missing."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import aiohttp

from adapter import settings
from adapter.app import Bridge
from adapter.broker.rabbitmq.results_consumer import ResultsConsumer
from adapter.relay import policy
from adapter.simulator import SimulatedKamailio, State
from consumers import Service, allow
from tests.consumers.asker import running
from tests.harness.process import free_port
from tests.harness.until import until
from tests.system.conftest import bridged

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest

    from tests.harness.rabbitmq import RabbitServer

EVENT = "changing"
LEASE = {"lease": "5"}
"""Seconds; a busy machine may stand still for more than one, which another test is about."""
OLD = {**LEASE, "results_expires": "60"}
NEW = {**LEASE, "results_expires": "61", "queue_type": "quorum"}
PACE = 0.01
RULES = policy.parse({"default": {"deadline": 10.0}})
"""A busy machine may take two seconds to declare a quorum queue: this is about replies that never come."""


@contextlib.asynccontextmanager
async def deciding(url: str) -> AsyncIterator[None]:
    service = Service(f"changing-{uuid4().hex[:8]}")
    service.on(EVENT)(lambda _: allow())
    async with running(service, url):
        yield


class Calls:
    """Asks until it is told to stop."""

    def __init__(self, sim: SimulatedKamailio) -> None:
        self._sim = sim
        self._task = asyncio.create_task(self._run())
        self.asked = 0

    async def _run(self) -> None:
        while True:
            await self._sim.suspend(EVENT, {})
            self.asked += 1
            await asyncio.sleep(PACE)

    async def more(self, number: int = 30) -> None:
        """Return once so many more have been decided."""
        wanted = self._sim.counters.outcomes["decided"] + number
        await self._sim.until(lambda: self._sim.counters.outcomes["decided"] >= wanted)

    async def end(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])


async def replica(
    stack: contextlib.AsyncExitStack, sim: SimulatedKamailio, node: str, name: str, options: dict[str, str]
) -> Bridge:
    """A replica that is ready, and is closed with the stack."""
    made = Bridge(settings.load(**{**_own(sim, node), "replica": name, **options}), RULES)
    stack.push_async_callback(made.close)
    await made.start()
    await until(lambda: all(made.readiness.checks().values()) and made.replicas.serves(node))
    return made


def _own(sim: SimulatedKamailio, node: str) -> dict[str, Any]:
    """Settings of one replica."""
    return {
        "nodes": f"{node}={sim.address}",
        "http": f"127.0.0.1:{free_port()}",
        "redis_prefix": node,
        "confirm_timeout": "10",
    }


async def test_a_rolling_update_that_changes_the_queues_loses_no_call(
    scaled: dict[str, str], node: str
) -> None:
    async with SimulatedKamailio() as sim, deciding(scaled["amqp_url"]), contextlib.AsyncExitStack() as made:
        pair = [await replica(made, sim, node, name, {**scaled, **OLD}) for name in ("r1", "r2")]
        calls = Calls(sim)
        await calls.more()
        for place, name in enumerate(("r1", "r2")):
            fresh = await replica(made, sim, node, f"{name}-new", {**scaled, **NEW})
            await calls.more()
            leaving, pair[place] = pair[place], fresh
            await leaving.draining.run()
            await leaving.close()
            await calls.more()
        await calls.end()
        await sim.until(lambda: sum(sim.counters.outcomes.values()) == sim.counters.suspended)
        assert sim.counters.suspended >= calls.asked
        assert set(sim.counters.outcomes) == {"decided"}
        await until(lambda: all(node in each.broker.beside for each in pair))  # both have a link by then
        (queue,) = {each.broker.beside[node] for each in pair}
        assert queue.startswith(f"evapi.results.{node}.")


async def test_one_that_drains_claims_until_another_has_connected_and_consumes(
    scaled: dict[str, str], node: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new replica connects to a node that has links enough once one of these is given up.

    It begins to consume the node's replies then, which may take it long.
    """
    options = {**scaled, **LEASE, "links_per_node": "1"}
    may_connect, may_consume, consume = asyncio.Event(), asyncio.Event(), ResultsConsumer.open
    async with SimulatedKamailio() as sim, deciding(scaled["amqp_url"]), contextlib.AsyncExitStack() as made:
        old = await replica(made, sim, node, "old", options)
        await old.replicas.beat()  # which tells that it has a link
        new = Bridge(settings.load(**{**_own(sim, node), **options, "replica": "new"}), RULES)
        made.push_async_callback(new.close)
        await new.start()
        await until(lambda: len(old.membership.replicas) == 2 and all(new.readiness.checks().values()))
        assert not new.nodes.readers, "there is a link already"
        place = new.placement.update

        async def late(serves: bool) -> None:
            await may_connect.wait()
            await place(serves)

        async def late_too(consumer: ResultsConsumer) -> None:
            await may_consume.wait()
            await consume(consumer)

        monkeypatch.setattr(new.placement, "update", late)
        monkeypatch.setattr(ResultsConsumer, "open", late_too)
        calls = Calls(sim)
        await calls.more()
        draining = asyncio.create_task(old.draining.run())
        await until(lambda: not new.membership.others[old.membership.replica].accepting)
        await calls.more()
        assert not draining.done()
        may_connect.set()
        await until(lambda: node in new.nodes.readers and not new.broker.takes_replies(node))
        await calls.more()
        assert not draining.done()
        may_consume.set()
        await draining
        await old.close()
        await calls.more()
        await calls.end()
        await sim.until(lambda: sum(sim.counters.outcomes.values()) == sim.counters.suspended)
        assert set(sim.counters.outcomes) == {"decided"}


async def test_one_that_may_not_read_the_replies_is_not_ready_and_leaves_the_calls_to_another(
    rabbitmq: RabbitServer, scaled: dict[str, str], node: str
) -> None:
    user = f"user-{uuid4().hex[:8]}"
    url = rabbitmq.add_user(user, "secret", ".*", ".*", r"^(?!evapi\.results).*")
    deaf = {**scaled, "amqp_url": url, "replica": "r1"}
    async with (
        SimulatedKamailio() as sim,
        deciding(scaled["amqp_url"]),
        bridged(sim, node, deaf, ready=False) as first,
    ):
        await sim.until(lambda: node in first.broker.unheard and not first.broker.takes_replies(node))
        await sim.until(lambda: first.broker.ready and first.replicas.store_ready)
        url = f"http://{first._settings.http}/readyz"
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            said = json.loads(await answer.text())
            assert (answer.status, said["checks"]["replies"]) == (503, False)
        assert "lacks a permission" in said["details"][f"replies {node}"]
        assert not first.replicas.serves(node)
        await sim.until(lambda: not sim.gate_open)  # it was open until the refusal came
        rules = {"default": {"deadline": 10.0}}
        async with bridged(sim, node, {**scaled, "replica": "r2"}, rules) as second:
            await sim.until(lambda: second.roles.of(node).is_active and first.roles.of(node).served)
            calls = [await sim.suspend(EVENT, {}) for _ in range(50)]
            for call in calls:
                assert (await call.resumed())["outcome"] == "decided"
            assert {call.state for call in calls} == {State.RESUMED}
            assert first.broker.counts["published"] == 0
