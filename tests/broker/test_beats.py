"""Beats of replicas over the real RabbitMQ."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from adapter.broker.rabbitmq import AmqpBroker
from tests.broker.support import Recorder
from tests.harness.until import until

if TYPE_CHECKING:
    from tests.harness.rabbitmq import RabbitServer


async def test_each_replica_hears_all_and_itself(rabbitmq: RabbitServer) -> None:
    heard: dict[str, list[bytes]] = {"one": [], "two": []}
    incarnation = uuid.uuid4().hex[:6]
    brokers = {name: AmqpBroker(rabbitmq.url) for name in heard}
    for name, broker in brokers.items():
        broker.join(f"{name}~{incarnation}", 1.0, heard[name].append)
        await broker.start(Recorder())
    try:
        for name, broker in brokers.items():

            def said(name: str = name, broker: AmqpBroker = broker) -> bool:
                broker.say(name.encode())  # until it is there, what is said is lost
                return all(name.encode() in each for each in heard.values())

            await until(said)
    finally:
        for broker in brokers.values():
            await broker.close()
