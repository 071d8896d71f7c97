"""STOMP, by stomp.py. It knows no queue of its own for a service: see ``SUBSCRIPTION``."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
import stomp

from tests.harness.until import until
from tests.protocols.conftest import Calls, decides

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.harness.rabbitmq import RabbitServer

SUBSCRIPTION = {
    "durable": "true",
    "auto-delete": "false",
    "exclusive": "false",  # RabbitMQ 4: true by default, and durable is not looked at then
    "x-dead-letter-exchange": "evapi.dead",
}
"""Beside ``x-queue-name``: a service's queue as the SDK would declare it."""


class Consumer(stomp.ConnectionListener):  # type: ignore[misc]  # it has no types
    """Replies to where ``reply-to`` says, and acknowledges."""

    def __init__(self, server: RabbitServer, event: str, headers: dict[str, str]) -> None:
        # Of STOMP 1.1 and later the host is the vhost.
        self.connection = stomp.Connection12([("127.0.0.1", server.ports["stomp"])], vhost="/")
        self.connection.set_listener("", self)
        self.subscribed = False
        self.requests: list[Any] = []
        self.connection.connect("guest", "guest", wait=True)
        self.connection.subscribe(
            f"/exchange/evapi.events/{event}.*",
            id="1",
            ack="client-individual",
            headers={**headers, "receipt": "subscribed"},
        )

    def on_receipt(self, frame: Any) -> None:
        self.subscribed |= frame.headers["receipt-id"] == "subscribed"

    def on_message(self, frame: Any) -> None:
        self.requests.append(frame)
        headers, request = frame.headers, json.loads(frame.body)
        if "reply-to" in headers and time.time() * 1000 < int(headers["x-deadline"]):
            more = {"x-status": "failed"} if request["data"]["user"] == "fails" else {}
            reply = {"correlation-id": headers["correlation-id"], **more}
            self.connection.send(
                headers["reply-to"], json.dumps({"action": "allow", "by": "stomp"}), headers=reply
            )
        self.connection.ack(headers["ack"])

    def close(self) -> None:
        self.connection.disconnect()


@pytest.fixture(params=["own queue", "exclusive"])
def consumer(request: pytest.FixtureRequest, rabbitmq: RabbitServer, calls: Calls) -> Iterator[Consumer]:
    named = {"x-queue-name": f"evapi.decide.{calls.event}", **SUBSCRIPTION}
    made = Consumer(rabbitmq, calls.event, named if request.param == "own queue" else {})
    yield made
    made.close()


async def test_it_decides(calls: Calls, consumer: Consumer) -> None:
    await until(lambda: consumer.subscribed)
    await decides(calls, "stomp")
    calls.sim.notify(calls.event, {"user": "nobody waits"})
    await until(lambda: len(consumer.requests) == 3)
    assert "reply-to" not in consumer.requests[-1].headers


async def test_instances_share_a_queue(rabbitmq: RabbitServer, calls: Calls) -> None:
    named = {"x-queue-name": f"evapi.decide.{calls.event}", **SUBSCRIPTION}
    instances = [Consumer(rabbitmq, calls.event, named) for _ in range(2)]
    try:
        await until(lambda: all(each.subscribed for each in instances))
        for _ in range(4):
            await calls.ask(user="alice")
        assert [len(each.requests) for each in instances] == [2, 2]
    finally:
        for each in instances:
            each.close()
