"""How the kit gets on with what is around a consumer: supervisors, rights, queues, a server that goes."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import aiormq
import pytest
from pamqp.commands import Basic

from adapter.admin.checks_finding import Status
from adapter.admin.conformance.player import NobodyThere, Patience
from adapter.admin.conformance.questions import Call
from adapter.admin.conformance.relay import Relay
from adapter.admin.conformance.run import conform
from adapter.admin.rabbit import Rabbit
from adapter.broker.rabbitmq import topology
from adapter.errors import BrokerUnavailable
from tests.conformance.faulty import EVENT, Fault, consuming
from tests.harness.until import WITHIN

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from aiormq.abc import DeliveredMessage

    from tests.harness.proxy import Proxy
    from tests.harness.rabbitmq import RabbitServer

PATIENCE = Patience(quiet=0.0, grace=2.0)
CALL = Call(EVENT, "", timeout=1.0)
UNSEEN = {"acknowledges", "acknowledges-last"}


@pytest.fixture
def name() -> str:
    return f"kit-{uuid4().hex[:8]}"


async def told(url: str, name: str, **more: bool | str) -> dict[str, tuple[Status, str]]:
    """All that is not well, by check."""
    async with Rabbit(url) as rabbit:
        found = await conform(rabbit, name, CALL, patience=PATIENCE, **more)  # type: ignore[arg-type]
    return {
        check.name: (verdict.status, verdict.seen)
        for check, verdict in found
        if verdict.status is not Status.OK and check.name not in UNSEEN
    }


async def test_one_that_is_started_again_is_asked_the_rest(rabbitmq: RabbitServer, name: str) -> None:
    async with consuming(rabbitmq.url, name, Fault.DIES_ON_KEYS, restarted=True):
        found = await told(rabbitmq.url, name)
    assert {check: status for check, (status, _) in found.items()} == {"unknown-keys": Status.ERROR}


async def test_a_queue_of_another_name(rabbitmq: RabbitServer, name: str) -> None:
    async with consuming(rabbitmq.url, name):
        assert await told(rabbitmq.url, "another", queue=f"evapi.decide.{name}") == {}


async def test_where_only_one_consumer_is_active_nothing_is_redelivered(
    rabbitmq: RabbitServer, name: str
) -> None:
    async with consuming(rabbitmq.url, name, more={"x-single-active-consumer": True}):
        found = await told(rabbitmq.url, name)
    assert found == {"redelivery": (Status.UNKNOWN, "not checked: the kit could not take the request first")}


OWN = r"^evapi\.answers\..*$"
WRITE = r"^evapi\.(commands|operator|events|answers\..*)$"
READ = r"^evapi\.(dead-letters|dead\.by-node|answers\..*)$"
"""The rights that README gives an operator."""


@pytest.fixture
def operator(rabbitmq: RabbitServer, name: str) -> Iterator[str]:
    """The URL of a user with the rights of an operator, and no others."""
    yield rabbitmq.add_user(name, "secret", OWN, WRITE, READ)
    rabbitmq.delete_user(name)


class TestRights:
    async def test_of_an_operator(self, rabbitmq: RabbitServer, name: str, operator: str) -> None:
        """What comes by the exchange can be asked. What cannot be seen then is no fault."""
        async with consuming(rabbitmq.url, name):
            found = await told(operator, name, by_exchange=True)
        assert {status for status, _ in found.values()} == {Status.UNKNOWN}
        assert {"redelivery"} <= set(found) <= {"redelivery", "bytes", "batch", "unreadable"}

    async def test_two_more(self, rabbitmq: RabbitServer, name: str, operator: str) -> None:
        """With them, and with what an adapter declares, all is seen."""
        queue = f"^evapi\\.decide\\.{name}$"
        rabbitmq.permit(name, OWN, f"{WRITE}|^amq\\.default$", f"{READ}|{queue}")
        async with consuming(rabbitmq.url, name), Rabbit(rabbitmq.url) as rabbit:
            for exchange in topology.EXCHANGES:
                await rabbit.declare(exchange)
            await rabbit.bind(topology.DEAD_BINDINGS[0])
            assert await told(operator, name) == {}

    async def test_too_few(self, rabbitmq: RabbitServer, name: str, operator: str) -> None:
        async with consuming(rabbitmq.url, name):
            with pytest.raises(
                BrokerUnavailable, match=r"no rights to it|write amq\.default, or --by-exchange"
            ):
                await told(operator, name)


@asynccontextmanager
async def by_topic(url: str, queue: str) -> AsyncIterator[None]:
    """As an MQTT client: its queue is its own, and it replies to a topic."""
    async with aiormq.connect(url) as connection:
        channel = await connection.channel()

        async def decide(message: DeliveredMessage) -> None:
            asked = message.header.properties
            headers: Any = asked.headers
            properties = Basic.Properties(correlation_id=asked.correlation_id, headers={"x-service": "mqtt"})
            to, body = headers.get("x-reply-to-topic"), b'{"action":"allow"}'
            if to and headers["x-deadline"] > time.time() * 1000:
                if not asked.message_type or b"data" not in message.body or message.body[:1] != b"\x87":
                    properties.headers = {"x-service": "mqtt", "x-status": "failed"}
                await channel.basic_publish(body, exchange="amq.topic", routing_key=to, properties=properties)
            await message.channel.basic_ack(message.delivery_tag or 0)

        await channel.exchange_declare("evapi.events", exchange_type="topic", durable=True)
        await channel.queue_declare(queue, exclusive=True)
        await channel.queue_bind(queue, "evapi.events", f"{queue}.*")
        await channel.basic_consume(queue, decide)
        yield


async def test_one_that_replies_to_a_topic_from_a_queue_that_nobody_names(
    rabbitmq: RabbitServer, name: str
) -> None:
    call = Call(name, "", timeout=1.0)
    async with by_topic(rabbitmq.url, name), Rabbit(rabbitmq.url) as rabbit:
        found = await conform(rabbit, name, call, patience=PATIENCE, by_exchange=True, mqtt=True)
    status = {check.name: verdict.status for check, verdict in found}
    assert Status.ERROR not in [status[check] for check in ("answers", "reply-to", "other-node", "expired")]
    assert status["redelivery"] is Status.UNKNOWN


async def test_nobody_is_bound(rabbitmq: RabbitServer, name: str) -> None:
    call = Call(f"no-{name}", "")
    async with consuming(rabbitmq.url, name), Rabbit(rabbitmq.url) as rabbit:
        with pytest.raises(NobodyThere, match=f"no queue takes no-{name}"):
            await conform(rabbit, name, call, patience=PATIENCE, by_exchange=True)


async def test_a_server_that_goes(rabbitmq: RabbitServer, proxy: Proxy, name: str) -> None:
    def say(words: str) -> None:
        if words == "large":
            proxy.refuse()
            proxy.drop()

    async with consuming(rabbitmq.url, name), Rabbit(proxy.amqp_url) as rabbit:
        with pytest.raises(BrokerUnavailable):
            await conform(rabbit, name, CALL, patience=PATIENCE, say=say)


class TestRelay:
    async def test_by_tls(self, rabbitmq: RabbitServer, name: str) -> None:
        """The consumer speaks plainly with the kit."""
        async with Rabbit(rabbitmq.tls_url) as rabbit, Relay(rabbit.server, "127.0.0.1", 0) as relay:
            assert relay.url.startswith("amqp://guest:guest@127.0.0.1:")
            assert "guest:guest" not in relay.shown
            async with consuming(rabbitmq.url, name, through=relay.url):
                found = await conform(rabbit, name, CALL, relay=relay, wait=WITHIN, patience=PATIENCE)
        assert [check.name for check, verdict in found if verdict.status is not Status.OK] == []

    async def test_a_port_that_is_taken(self, rabbitmq: RabbitServer) -> None:
        async with Rabbit(rabbitmq.url) as rabbit:
            with pytest.raises(BrokerUnavailable, match=f"--listen 127.0.0.1:{rabbitmq.port}: "):
                async with Relay(rabbit.server, "127.0.0.1", rabbitmq.port):
                    pass
