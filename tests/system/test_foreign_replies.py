"""Valid replies by AMQP 1.0 that RabbitMQ cannot translate: at each delivery it closes the connection."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING
from uuid import uuid4

import aiohttp
from structlog.testing import capture_logs

from adapter.broker.rabbitmq import AmqpBroker
from adapter.contract import results_queue
from adapter.simulator import SimulatedKamailio
from consumers import Service, allow
from tests.cli.command import in_pipes
from tests.consumers.asker import running
from tests.harness.amqp10 import Sender, message
from tests.system.conftest import bridged

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.harness.rabbitmq import RabbitServer

TOO_LONG = "application/" + "x" * 300
"""A content type, as AMQP 1.0 allows it; AMQP 0.9.1 has 255 bytes."""
POISONED = 3
PATIENT: dict[str, object] = {"default": {"deadline": 20.0}}
"""No call is to be lost, however busy the machine is."""
CALLS = 40
"""Between one such reply and the next."""


@contextlib.asynccontextmanager
async def deciding(url: str, event: str) -> AsyncIterator[None]:
    service = Service(event)
    service.on(event)(lambda _: allow())
    async with running(service, url):
        yield


async def test_calls_go_on_and_it_is_told_which_queue_and_what_to_do(
    rabbitmq: RabbitServer, scaled: dict[str, str], node: str
) -> None:
    event, queue = f"foreign-{uuid4().hex[:8]}", results_queue(node)
    async with (
        SimulatedKamailio() as sim,
        deciding(scaled["amqp_url"], event),
        bridged(sim, node, {**scaled, "replica": "r1"}, PATIENT) as bridge,
    ):
        broker = bridge.broker
        assert isinstance(broker, AmqpBroker)
        foreign = Sender(rabbitmq.port, queue, addressed=rabbitmq.amqp10_queues)
        with capture_logs() as logs:
            for number in range(POISONED):
                foreign.send(message(f"{node}:{number}:1:1", TOO_LONG, b"{}"))
                for _ in range(CALLS):
                    await sim.suspend(event, {})
                await sim.until(lambda: broker.dropped.get(queue) == number + 1)
        foreign.send(message(f"{node}:9:1:1", "application/json", b"{}"))  # that one can be
        foreign.close()
        await sim.until(lambda: sim.counters.resumed == sim.counters.suspended)
        assert sim.counters.outcomes == {"decided": POISONED * CALLS}
        assert sim.counters.duplicates == 0
        assert broker.counters.connects == 1, "publishing lived on"
        assert broker.dropped == {queue: POISONED}
        told = [entry for entry in logs if entry["event"].startswith("a message was dropped")]
        assert [entry["queue"] for entry in told] == [queue] * POISONED
        assert all("255 bytes" in entry["do"] for entry in told)
        url = f"http://{bridge._settings.http}/readyz"
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            said = json.loads(await answer.text())["details"][f"queue {queue}"]
        assert said.startswith(f"{POISONED} replies dropped")
        await bridge.replicas.beat()
        settings = {**scaled, "nodes": f"{node}={sim.address}", "redis_prefix": node}
        variables = {f"EVAPI_{name.upper()}": value for name, value in settings.items()}
        done = await asyncio.to_thread(in_pipes, "doctor", "-o", "jsonl", **variables)
    rows = [json.loads(line) for line in done.out.splitlines()]
    (row,) = [row for row in rows if row["check"] == "dropped"]
    assert (row["of"], row["status"]) == (queue, "warning")
    assert row["seen"].startswith(f"{POISONED} messages of {queue} dropped")
    assert "AMQP 1.0" in row["todo"]


async def test_what_waits_from_before_the_start_holds_up_nobody(
    rabbitmq: RabbitServer, scaled: dict[str, str], node: str
) -> None:
    event, queue = f"foreign-{uuid4().hex[:8]}", results_queue(node)
    async with SimulatedKamailio() as sim, deciding(scaled["amqp_url"], event):
        async with bridged(sim, node, {**scaled, "replica": "r1"}, PATIENT):
            pass
        foreign = Sender(rabbitmq.port, queue, addressed=rabbitmq.amqp10_queues)
        for number in range(POISONED):
            foreign.send(message(f"{node}:{number}:1:1", TOO_LONG, b"{}"))
            foreign.send(message(f"{node}:{number}:2:1", "application/json", b"{}"))
        foreign.close()
        async with bridged(sim, node, {**scaled, "replica": "r2"}, PATIENT) as bridge:
            broker = bridge.broker
            assert isinstance(broker, AmqpBroker)
            await sim.until(lambda: broker.dropped.get(queue) == POISONED)
            for _ in range(CALLS):
                await sim.suspend(event, {})
            await sim.until(lambda: sim.counters.resumed == CALLS)
            assert sim.counters.outcomes == {"decided": CALLS}
            await asyncio.sleep(0)
            assert broker.counters.connects == 1
