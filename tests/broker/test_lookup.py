"""Whether a queue is there, asked of the real RabbitMQ, whose log must not have anything of it."""

from __future__ import annotations

import contextlib
import secrets
from typing import TYPE_CHECKING, cast

import pytest
from structlog.testing import capture_logs

from adapter.amqp.connection import Connection
from adapter.amqp.servers import parse_urls
from adapter.amqp.topology import messages_in
from adapter.broker.rabbitmq import AmqpBroker
from adapter.broker.rabbitmq import lookup as lookup_module
from adapter.broker.rabbitmq.limits import Limits
from adapter.broker.rabbitmq.lookup import Lookup
from adapter.broker.rabbitmq.supervisor import Supervisor
from adapter.contract import commands_queue, results_queue
from tests.broker.support import Recorder, patient, reply
from tests.harness.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pika.adapters.blocking_connection import BlockingChannel

    from tests.harness.rabbitmq import RabbitServer


@contextlib.asynccontextmanager
async def connected(url: str) -> AsyncIterator[Connection]:
    made = await Connection.open_any(parse_urls(url), patient())
    try:
        yield made
    finally:
        await made.close(1.0)


async def waiting(url: str, queue: str, on: Connection | None = None) -> int | None:
    """How many messages wait in a queue. ``on``: what requests go by, if that is another connection."""
    async with connected(url) as usual:
        supervisor = Supervisor(Limits())
        found = await Lookup(lambda: on or usual, supervisor).messages_in(usual.channel, queue)
        await supervisor.finish(1.0)
        return found


async def noted(server: RabbitServer, queue: str) -> bool:
    """Whether the log, which is written a little later, has anything of a queue."""
    last = f"last.{secrets.token_hex(4)}"
    async with connected(server.url) as connection:
        assert await messages_in(await connection.channel(), last) is None
    await until(lambda: last in server.log.read_text(errors="replace"))
    return queue in server.log.read_text(errors="replace")


@pytest.fixture
def queue(client: BlockingChannel) -> str:
    name = f"there.{secrets.token_hex(4)}"
    client.queue_declare(name, durable=True)
    return name


async def test_one_that_is_not_there_leaves_no_error(rabbitmq: RabbitServer) -> None:
    queue = f"absent.{secrets.token_hex(4)}"
    assert await waiting(rabbitmq.url, queue) is None
    assert not await noted(rabbitmq, queue)


@pytest.mark.parametrize("kind", ["classic", "quorum"])
async def test_one_that_is_there_has_what_it_had(
    rabbitmq: RabbitServer, client: BlockingChannel, kind: str
) -> None:
    queue = f"there.{secrets.token_hex(4)}"
    client.queue_declare(queue, durable=True, arguments={"x-queue-type": kind})
    assert await waiting(rabbitmq.url, queue) is not None
    client.basic_publish("", queue, b"1")
    client.basic_publish("", queue, b"2")
    await until(lambda: client.queue_declare(queue, passive=True).method.message_count == 2)
    await waiting(rabbitmq.url, queue)
    assert [client.basic_get(queue, auto_ack=True)[2] for _ in range(2)] == [b"1", b"2"]
    await until(lambda: client.queue_declare(queue, passive=True).method.message_count == 0)


async def test_where_the_user_may_not_send_to_a_queue_it_is_asked_as_usual(
    rabbitmq: RabbitServer, queue: str
) -> None:
    user = f"reader-{secrets.token_hex(4)}"
    url = rabbitmq.add_user(user, "pw", ".*", "evapi.*", ".*")
    with capture_logs() as logs:
        for name, messages in ((queue, 0), (f"absent.{user}", None)):
            async with connected(url) as own:
                assert await waiting(rabbitmq.url, name, own) == messages
    assert logs == []
    rabbitmq.delete_user(user)


async def test_without_a_connection_for_requests_it_is_asked_as_usual(
    rabbitmq: RabbitServer, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookup_module, "PATIENCE", 0.05)
    async with connected(rabbitmq.url) as usual:
        lookup = Lookup(lambda: None, Supervisor(Limits()))
        assert await lookup.messages_in(usual.channel, queue) == 0
        assert await lookup.messages_in(usual.channel, f"absent.{queue}") is None


async def test_a_connection_that_is_blocked_is_not_asked(rabbitmq: RabbitServer, queue: str) -> None:
    class Blocked:
        alive = blocked = True

    assert await waiting(rabbitmq.url, queue, cast("Connection", Blocked())) == 0


async def test_who_consumes_the_queue_skips_the_question(
    rabbitmq: RabbitServer, client: BlockingChannel, receiver: Recorder, node: str
) -> None:
    broker = AmqpBroker(rabbitmq.url, limits=patient())
    await broker.start(receiver)
    broker.attach(node)
    await until(lambda: broker.ready and broker.hears(node))
    await until(lambda: client.queue_declare(commands_queue(node), passive=True).method.consumer_count)
    for queue in (results_queue(node), commands_queue(node)):
        assert await waiting(rabbitmq.url, queue) == 0
    reply(client, node, f"{node}:1:1:1", b"{}")
    await until(lambda: receiver.replies)
    assert [each.correlation_id for each in receiver.replies] == [f"{node}:1:1:1"]
    assert broker.counters.dead_letters == broker.counters.refused == 0
    await broker.close()


async def test_an_adapter_on_an_empty_server_leaves_no_error(
    rabbitmq: RabbitServer, receiver: Recorder, node: str
) -> None:
    for _ in range(2):
        broker = AmqpBroker(rabbitmq.url, limits=patient())
        await broker.start(receiver)
        broker.attach(node)
        await until(lambda broker=broker: broker.ready and broker.hears(node))  # type: ignore[misc]
        await broker.close()
    assert not await noted(rabbitmq, node)
