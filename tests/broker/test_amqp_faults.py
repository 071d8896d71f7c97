"""The server goes, hangs, blocks, and loses what it held: the broker says so and comes back by itself."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING

import pika
import pytest
from structlog.testing import capture_logs

from adapter import contract
from adapter.broker.rabbitmq import AmqpBroker
from adapter.broker.rabbitmq.limits import Limits
from adapter.ports.broker import DeadLetter, Published
from tests.broker.support import Recorder, attached, bind, hurried, request_of, trip, unique, waiting
from tests.harness.until import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pika.adapters.blocking_connection import BlockingChannel

    from tests.harness.rabbitmq import RabbitServer


@contextlib.contextmanager
def hanging(rabbitmq: RabbitServer) -> Iterator[None]:
    """It stands still meanwhile."""
    rabbitmq.pause()
    try:
        yield
    finally:
        rabbitmq.resume()


@pytest.mark.parametrize("queue", [contract.results_queue, contract.commands_queue])
async def test_a_queue_that_an_operator_deleted(
    broker: AmqpBroker, client: BlockingChannel, receiver: Recorder, event: str, node: str, queue: object
) -> None:
    assert callable(queue)
    await attached(broker, node)
    broker.limits.backoff_first = 0.3
    client.queue_delete(queue(node))
    part = f"node {node}" if queue is contract.results_queue else f"node {node} commands"
    await until(lambda: part in broker.problems)
    assert "a queue of it was deleted" in broker.problems[part]
    assert broker.ready
    await attached(broker, node)
    await until(lambda: not broker.problems)
    await trip(broker, client, receiver, event, node)
    assert broker.counters.connects == 1


async def test_an_exchange_that_an_operator_deleted(
    broker: AmqpBroker, client: BlockingChannel, receiver: Recorder, event: str, node: str
) -> None:
    await attached(broker, node)
    broker.limits.backoff_first = 0.3
    client.exchange_delete(contract.EVENTS_EXCHANGE)
    with capture_logs() as logs:
        assert await broker.publish([request_of(event, node)]) == [Published.UNAVAILABLE]
        await until(lambda: "publishing" in broker.problems)
        assert "no exchange 'evapi.events'" in broker.problems["publishing"]
        assert not broker.ready
        await until(lambda: broker.ready)
    lines = [entry["event"] for entry in logs if entry.get("part") == "publishing"]
    assert lines == ["broker down", "broker up"]
    assert broker.problems == {}
    await trip(broker, client, receiver, event, node)
    assert broker.counters.connects == 1


async def test_connections_closed_by_an_operator(
    rabbitmq: RabbitServer, receiver: Recorder, event: str, node: str
) -> None:
    changes: list[bool] = []
    broker = AmqpBroker(rabbitmq.url, on_ready=changes.append)
    await broker.start(receiver)
    await attached(broker, node)
    await until(lambda: broker.ready)
    with capture_logs() as logs:
        # One that is for bindings alone may have closed by itself meanwhile.
        closing = 'catch rabbit_networking:close_connection(Each, "maintenance")'
        closed = f"[{closing} || Each <- rabbit_networking:connections()]"
        await asyncio.to_thread(rabbitmq.eval, closed)
        await until(lambda: broker.counters.connects == 2 and broker.ready)
        await attached(broker, node)
        await until(lambda: not broker.problems)
    assert changes == [True, False, True]
    lines = [entry for entry in logs if entry.get("part") == "connection"]
    assert [entry["event"] for entry in lines] == ["broker down", "broker up"]
    assert "maintenance" in lines[0]["reason"]
    connection = pika.BlockingConnection(pika.URLParameters(rabbitmq.url))
    await trip(broker, connection.channel(), receiver, event, node)
    connection.close()
    await broker.close()
    assert changes == [True, False, True, False]


async def test_a_server_that_died_and_came_back(
    rabbitmq: RabbitServer, hasty: AmqpBroker, receiver: Recorder, event: str, node: str
) -> None:
    connection = pika.BlockingConnection(pika.URLParameters(rabbitmq.url))
    client, queue = connection.channel(), unique("durable")
    client.queue_declare(queue, durable=True, arguments={"x-expires": 60_000})
    client.queue_bind(queue, contract.EVENTS_EXCHANGE, f"{event}.*")
    await attached(hasty, node)
    assert await hasty.publish([request_of(event, node, b"before")]) == [Published.CONFIRMED]
    connection.close()
    asking = asyncio.create_task(publish_until_refused(hasty, event, node))
    rabbitmq.kill()
    try:
        assert await asking == [Published.UNAVAILABLE]
        await until(lambda: not hasty.ready)
        asked = request_of(event, node, b"during")
        assert await hasty.publish([asked] * 3) == [Published.UNAVAILABLE] * 3
        hasty.dead_letter(DeadLetter("x", "", b"", node))
        assert hasty.counters.dead_letters_dropped == 1
        await until(lambda: "connect" in hasty.problems.get("connection", "").lower())
    finally:
        await asyncio.to_thread(rabbitmq.start)
    await attached(hasty, node)
    await until(lambda: hasty.ready and not hasty.problems)
    connection = pika.BlockingConnection(pika.URLParameters(rabbitmq.url))
    client = connection.channel()
    assert waiting(client, queue) == 0
    await trip(hasty, client, receiver, event, node)
    client.queue_delete(queue)
    connection.close()


async def publish_until_refused(broker: AmqpBroker, event: str, node: str) -> list[Published]:
    while True:
        results = await broker.publish([request_of(event, node)])
        if results != [Published.CONFIRMED]:
            return results


async def test_a_memory_alarm(
    rabbitmq: RabbitServer, client: BlockingChannel, receiver: Recorder, event: str, node: str
) -> None:
    changes: list[bool] = []
    broker = AmqpBroker(rabbitmq.url, on_ready=changes.append, limits=Limits(confirm_timeout=30.0))
    await broker.start(receiver)
    await attached(broker, node)
    await until(lambda: broker.ready)
    bind(client, event)
    with capture_logs() as logs:
        await asyncio.to_thread(rabbitmq.memory_alarm, True)
        try:
            # No confirm is waited for: the first publication makes the server say that it is blocked.
            assert await broker.publish([request_of(event, node)]) == [Published.UNAVAILABLE]
            assert not broker.ready
            assert "blocked" in repr(broker)
            await until(lambda: "short of memory" in broker.problems.get("publishing", ""))
            assert changes == [True, False]
            assert await broker.publish([request_of(event, node)]) == [Published.UNAVAILABLE]
            assert broker.counters.unconfirmed == 0
            broker.dead_letter(DeadLetter("x", "", b"", node))
            assert broker.counters.dead_letters_dropped == 1
            other = unique("sbc")
            broker.attach(other)
            broker.attach(node, 7)
        finally:
            await asyncio.to_thread(rabbitmq.memory_alarm, False)
        await until(lambda: changes == [True, False, True])
    assert broker.problems == {}
    lines = [entry["event"] for entry in logs if entry.get("part") == "publishing"]
    assert lines == ["broker down", "broker up"]
    await trip(broker, client, receiver, unique("event"), node)
    await attached(broker, other)
    assert broker.counters.connects == 1
    await broker.close()


async def test_an_alarm_that_is_there_at_the_start(
    rabbitmq: RabbitServer, client: BlockingChannel, receiver: Recorder, event: str, node: str
) -> None:
    """The server says so at the first publication; until it is over nothing can be opened anew."""
    bind(client, event)
    broker = AmqpBroker(rabbitmq.url)
    broker.limits.max_unconfirmed = 0
    with capture_logs() as logs:
        await asyncio.to_thread(rabbitmq.memory_alarm, True)
        try:
            await broker.start(receiver)
            await until(lambda: broker.ready)
            assert await broker.publish([request_of(event, node)]) == [Published.UNAVAILABLE]
            await until(lambda: [entry for entry in logs if "never confirmed" in entry.get("reason", "")])
            await until(lambda: "short of memory" in broker.problems.get("publishing", ""))
        finally:
            await asyncio.to_thread(rabbitmq.memory_alarm, False)
        await until(lambda: broker.ready)
    assert broker.problems == {}
    assert broker.counters.connects == 1
    await broker.close()


async def test_a_server_that_hangs(
    rabbitmq: RabbitServer, hasty: AmqpBroker, receiver: Recorder, event: str, node: str
) -> None:
    """What was written before it was noticed may still be in the server's hands; nothing after that."""
    connection = pika.BlockingConnection(pika.URLParameters(rabbitmq.url))
    client, queue = connection.channel(), unique("queue")
    client.queue_declare(queue, durable=True, arguments={"x-expires": 60_000})
    client.queue_bind(queue, contract.EVENTS_EXCHANGE, f"{event}.*")
    connection.close()
    await attached(hasty, node)
    with capture_logs() as logs:
        with hurried(hasty), hanging(rabbitmq):
            assert await hasty.publish([request_of(event, node, b"unnoticed")]) == [Published.UNAVAILABLE]
            assert not hasty.ready
            assert hasty.counters.unconfirmed == 1
            asked = [request_of(event, node, b"noticed")]
            assert await hasty.publish(asked) == [Published.UNAVAILABLE]
            assert hasty.counters.unconfirmed == 1
            await until(lambda: "no answer within 0.5 s" in hasty.problems.get("connection", ""))
            assert await hasty.publish(asked) == [Published.UNAVAILABLE]
            hasty.dead_letter(DeadLetter("x", "", b"noticed", node))
        await attached(hasty, node)
        await until(lambda: hasty.ready and not hasty.problems)
    reasons = [entry["reason"] for entry in logs if entry["event"] == "broker down"]
    assert reasons[0] == "the server is silent: it confirms nothing"
    assert any("no answer within 0.1 s" in reason for reason in reasons)
    connection = pika.BlockingConnection(pika.URLParameters(rabbitmq.url))
    client = connection.channel()
    assert await hasty.publish([request_of(event, node, b"after")]) == [Published.CONFIRMED]
    bodies: list[bytes] = []
    while b"after" not in bodies:
        _, _, body = client.basic_get(queue, auto_ack=True)
        bodies += [body] if body is not None else []
    assert b"noticed" not in bodies
    assert hasty.counters.dead_letters_dropped == 1
    await trip(hasty, client, receiver, unique("event"), node)
    client.queue_delete(queue)
    connection.close()


async def test_a_server_that_hangs_for_a_moment(
    rabbitmq: RabbitServer, receiver: Recorder, client: BlockingChannel, event: str, node: str
) -> None:
    """It is not ready from the moment of silence, and again with the answer to the probe."""
    bind(client, event)
    changes: list[bool] = []
    broker = AmqpBroker(rabbitmq.url, limits=Limits(confirm_timeout=0.5), on_ready=changes.append)
    await broker.start(receiver)
    await until(lambda: broker.ready)
    with capture_logs() as logs:
        with hanging(rabbitmq):
            assert await broker.publish([request_of(event, node)]) == [Published.UNAVAILABLE]
            assert changes == [True, False]
            broker.limits.confirm_timeout = 30.0  # for the answer to the probe
            assert broker.problems == {"publishing": "the server is silent: it confirms nothing"}
            assert await broker.publish([request_of(event, node)]) == [Published.UNAVAILABLE]
        await until(lambda: changes == [True, False, True])
    assert broker.problems == {}
    assert [entry["event"] for entry in logs] == ["broker down", "broker up"]
    assert broker.counters.unconfirmed == 1
    assert broker.counters.connects == 1
    await broker.close()


async def test_a_server_that_hangs_while_nothing_is_published(
    rabbitmq: RabbitServer, hasty: AmqpBroker
) -> None:
    """So a replica that stands by knows that it could not take over."""
    hasty.limits.probe_interval = 0.05
    with hurried(hasty), hanging(rabbitmq):
        await until(lambda: not hasty.ready)
    await until(lambda: hasty.ready)
    assert hasty.counters.connects == 2


async def test_publications_that_are_never_confirmed_do_not_pile_up(
    rabbitmq: RabbitServer, hasty: AmqpBroker, event: str, node: str
) -> None:
    hasty.limits.max_unconfirmed = 2
    with hurried(hasty), hanging(rabbitmq), capture_logs() as logs:
        asked = [replace(request_of(event, node), correlation_id=f"{node}:{n}:1:1") for n in range(3)]
        assert await hasty.publish(asked) == [Published.UNAVAILABLE] * 3
        await until(lambda: [entry for entry in logs if "3 publications" in entry.get("reason", "")])
    await until(lambda: hasty.ready)
