"""As whom RabbitMQ knows the adapter, which it says in each request."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from adapter.amqp.connection import Connection
from adapter.amqp.servers import parse_urls
from adapter.broker.rabbitmq import AmqpBroker, sender
from adapter.broker.rabbitmq.limits import Limits
from adapter.broker.rabbitmq.sender import known_as
from adapter.ports.broker import Published
from tests.broker.support import Recorder, bind, patient, request_of, unique
from tests.harness.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pika.adapters.blocking_connection import BlockingChannel

    from tests.harness.rabbitmq import RabbitServer


@pytest.fixture
async def connection(rabbitmq: RabbitServer) -> AsyncIterator[Connection]:
    made = await Connection.open_any(parse_urls(rabbitmq.url), Limits(1, 1.0, 1.0))
    yield made
    await made.close(1.0)


async def test_a_login_by_password_is_known(connection: Connection) -> None:
    assert await sender.user(connection) == "guest"


async def test_one_by_certificate_asks_the_server(connection: Connection, client: BlockingChannel) -> None:
    """Nothing comes of the question, even where a queue gets every event."""
    client.exchange_declare("evapi.events", "topic", durable=True)
    queue = unique("all")
    client.queue_declare(queue, exclusive=True)
    client.queue_bind(queue, "evapi.events", "#")
    connection.server = connection.server.with_user("not-told").update_query(auth="external")
    assert await sender.user(connection) == "guest"
    assert connection.alive
    assert client.basic_get(queue) == (None, None, None)


async def test_who_is_not_who_the_url_says_learns_it(
    rabbitmq: RabbitServer, client: BlockingChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a token (OAuth 2) RabbitMQ knows a client by what that says, whatever the name in the URL."""

    async def user(_: Connection) -> str:
        return "as-in-the-url"

    monkeypatch.setattr(sender, "user", user)
    event, node = unique("asked"), unique("sbc")
    broker = AmqpBroker(rabbitmq.url, limits=patient())
    await broker.start(Recorder())
    try:
        await until(lambda: broker.ready)
        queue = bind(client, event)
        results: list[Published] = []
        async with asyncio.timeout(10):
            while results != [Published.CONFIRMED]:
                results = await broker.publish([request_of(event, node)])
                assert results[0] in (Published.UNAVAILABLE, Published.CONFIRMED)
                await asyncio.sleep(0.02)
        _, properties, _ = client.basic_get(queue, auto_ack=True)
        assert properties.user_id == "guest"
        assert client.basic_get(queue) == (None, None, None), "what was refused went nowhere"
    finally:
        await broker.close()


def test_what_a_refusal_says() -> None:
    said = "PRECONDITION_FAILED - user_id property set to 'x' but authenticated user was 'an adapter'"
    assert known_as(Exception(406, said)) == "an adapter"
    assert known_as(Exception("PRECONDITION_FAILED - fast reply consumer does not exist")) == ""
    assert known_as(None) == ""
