"""EVAPI_MQTT without the right to read amq.topic: told, and no call is lost by it."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast
from uuid import uuid4

from adapter.admin.checks_rights import ADAPTER, BY_MQTT
from adapter.simulator import SimulatedKamailio
from tests.harness.pika_service import PikaService
from tests.harness.until import until
from tests.system.conftest import bridged

if TYPE_CHECKING:
    from adapter.broker.rabbitmq import AmqpBroker
    from tests.harness.rabbitmq import RabbitServer


async def test_calls_go_on_without_the_right(rabbitmq: RabbitServer) -> None:
    user = f"adapter-{uuid4().hex[:8]}"
    options = {"amqp_url": rabbitmq.add_user(user, "secret", *ADAPTER), "mqtt": "true"}
    event, node = f"event-{user}", f"sbc-{user}"
    with PikaService(rabbitmq.url, event, [event], lambda _: {"action": "allow"}):
        async with SimulatedKamailio() as sim, bridged(sim, node, options) as bridge:
            broker = cast("AmqpBroker", bridge.broker)
            broker.limits.bind_first = 0.1
            assert (await (await sim.suspend(event, {})).resumed())["outcome"] == "decided"
            # They are made beside the calls.
            await until(lambda: "amq.topic" in broker.problems.get(f"node {node} bindings", ""))
            rabbitmq.permit(user, *BY_MQTT)
            await until(lambda: f"node {node} bindings" not in broker.problems)
    rabbitmq.delete_user(user)
