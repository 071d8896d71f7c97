"""MQTT 5, by paho-mqtt and aiomqtt; and what MQTT 3.1.1 cannot."""

from __future__ import annotations

import asyncio
import json
import shlex
import time
from typing import TYPE_CHECKING, Any

import aiomqtt
import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.cli.command import evapi_adapter
from tests.harness.rabbitmq import version
from tests.harness.readme import CONSUMERS, block
from tests.harness.until import until
from tests.protocols.conftest import Calls, decides

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.harness.rabbitmq import RabbitServer

SPEAKS_5 = version() >= (3, 13)
ONLY_5 = pytest.mark.skipif(
    not SPEAKS_5, reason="RabbitMQ speaks MQTT 5 since 3.13: see test_an_older_server"
)
ONLY_3 = pytest.mark.skipif(SPEAKS_5, reason="of RabbitMQ before 3.13")


@pytest.fixture(scope="session", autouse=True)
def bound(rabbitmq: RabbitServer) -> None:
    """Events go to MQTT clients by what README says."""
    done = evapi_adapter("topology", "apply", "--mqtt", EVAPI_AMQP_URL=rabbitmq.url)
    assert done.code == 0, done.err


def answer(message: Any, by: str) -> tuple[str, str, Properties] | None:
    """The topic, the body and the properties of the reply; None of a notice, or one that is late."""
    asked = message.properties
    user = dict(getattr(asked, "UserProperty", ()))
    if not hasattr(asked, "ResponseTopic") or time.time() * 1000 >= int(user["x-deadline"]):
        return None
    reply = Properties(PacketTypes.PUBLISH)
    reply.CorrelationData = asked.CorrelationData
    if json.loads(message.payload)["data"]["user"] == "fails":
        reply.UserProperty = ("x-status", "failed")
    return asked.ResponseTopic, json.dumps({"action": "allow", "by": by}), reply


class Paho:
    """A client that subscribes to a test's events; ``replies`` with whatever protocol it speaks."""

    def __init__(
        self,
        server: RabbitServer,
        event: str,
        protocol: Any = paho.MQTTv5,
        login: tuple[str, str] = ("guest", "guest"),
    ) -> None:
        self.subscribed = False
        self.refused = ""
        self.messages: list[Any] = []
        self._client = made = paho.Client(CallbackAPIVersion.VERSION2, protocol=protocol)
        made.username_pw_set(*login)
        made.on_connect = self._on_connect
        made.on_subscribe = self._on_subscribe
        made.on_message = self._on_message
        made.on_disconnect = self._on_disconnect
        self._topic = f"{event}/+"
        made.connect("127.0.0.1", server.ports["mqtt"])
        made.loop_start()

    def _on_connect(self, client: paho.Client, _: object, __: object, reason: Any, ___: object) -> None:
        self.refused = str(reason) if reason.is_failure else ""
        client.subscribe(self._topic, qos=1)

    def _on_disconnect(self, _: object, __: object, ___: object, reason: Any, ____: object) -> None:
        self.refused = self.refused or str(reason)

    def _on_subscribe(self, _: object, __: object, ___: object, reasons: Any, ____: object) -> None:
        refused = [str(each) for each in reasons if each.is_failure]
        self.subscribed, self.refused = not refused, "; ".join(refused)

    def _on_message(self, client: paho.Client, _: object, message: Any) -> None:
        self.messages.append(message)
        replied = answer(message, "paho") if message.properties is not None else None
        if replied is not None:
            topic, body, properties = replied
            client.publish(topic, body, qos=1, properties=properties)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
async def consumer(rabbitmq: RabbitServer, calls: Calls) -> AsyncIterator[Paho]:
    made = Paho(rabbitmq, calls.event)
    await until(lambda: made.subscribed)
    yield made
    made.close()


@ONLY_5
async def test_it_decides(calls: Calls, consumer: Paho) -> None:
    await decides(calls, "paho")
    calls.sim.notify(calls.event, {"user": "nobody waits"})
    await until(lambda: len(consumer.messages) == 3)
    assert not hasattr(consumer.messages[-1].properties, "ResponseTopic")


@ONLY_5
async def test_each_instance_gets_each_request(rabbitmq: RabbitServer, calls: Calls, consumer: Paho) -> None:
    """RabbitMQ has no shared subscriptions: the first reply is the decision, the other comes late."""
    other = Paho(rabbitmq, calls.event)
    try:
        await until(lambda: other.subscribed)
        assert (await calls.ask(user="alice"))["outcome"] == "decided"
        await until(lambda: len(consumer.messages) == len(other.messages) == 1)
    finally:
        other.close()


@ONLY_5
async def test_aiomqtt_decides(rabbitmq: RabbitServer, calls: Calls) -> None:
    subscribed = asyncio.Event()

    async def consume() -> None:
        async with aiomqtt.Client(
            "127.0.0.1",
            rabbitmq.ports["mqtt"],
            username="guest",
            password="guest",
            protocol=aiomqtt.ProtocolVersion.V5,
        ) as made:
            await made.subscribe(f"{calls.event}/+", qos=1)
            subscribed.set()
            async for message in made.messages:
                replied = answer(message, "aiomqtt")
                if replied is not None:
                    topic, body, properties = replied
                    await made.publish(topic, body, qos=1, properties=properties)

    consuming = asyncio.create_task(consume())
    await subscribed.wait()
    await decides(calls, "aiomqtt")
    consuming.cancel()
    await asyncio.gather(consuming, return_exceptions=True)


@ONLY_5
async def test_the_rights_that_it_needs(rabbitmq: RabbitServer, calls: Calls) -> None:
    """By README's lines: it decides its own event, and gets no other."""
    lines = block("sh", "mqtt-subscription", CONSUMERS).replace("invite_request", calls.event)
    for line in lines.splitlines():
        await asyncio.to_thread(rabbitmq.ctl, *shlex.split(line, comments=True)[1:])
    try:
        allowed = Paho(rabbitmq, calls.event, login=("screening", "SERVICE_PASSWORD"))
        refused = Paho(rabbitmq, "another", login=("screening", "SERVICE_PASSWORD"))
        await until(lambda: allowed.subscribed)
        await decides(calls, "paho")
        await until(lambda: refused.refused)
        for each in (allowed, refused):
            each.close()
    finally:
        rabbitmq.delete_user("screening")


async def test_mqtt_3_takes_requests_and_cannot_reply(rabbitmq: RabbitServer, calls: Calls) -> None:
    """It has neither a correlation id nor a topic to reply to; it may take notices."""
    observer = Paho(rabbitmq, calls.event, paho.MQTTv311)
    try:
        await until(lambda: observer.subscribed)
        calls.sim.notify(calls.event, {"user": "alice"})
        await until(lambda: observer.messages)
        (message,) = observer.messages
        assert json.loads(message.payload)["data"] == {"user": "alice"}
        assert message.properties is None
    finally:
        observer.close()


@ONLY_3
async def test_an_older_server(rabbitmq: RabbitServer, calls: Calls) -> None:
    refused = Paho(rabbitmq, calls.event)
    try:
        await until(lambda: refused.refused)
        assert not refused.subscribed
    finally:
        refused.close()
