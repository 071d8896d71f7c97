"""The server goes, hangs, blocks, and loses what it held: the broker says so and comes back by itself."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pika
import pytest
from structlog.testing import capture_logs

from adapter import contract
from adapter.broker.amqp import AmqpBroker
from adapter.broker.base import DeadLetter, Published
from adapter.contract import results_queue
from adapter.errors import SettingsError
from tests.broker.support import Recorder, unique, until
from tests.broker.test_amqp import attached, bind, reply, request_of, waiting
from tests.harness.process import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pika.adapters.blocking_connection import BlockingChannel

    from tests.harness.rabbitmq import RabbitServer


@pytest.fixture
async def hasty(rabbitmq: RabbitServer, receiver: Recorder) -> AsyncIterator[AmqpBroker]:
    """A broker that does not wait for long."""
    made = AmqpBroker(rabbitmq.url, confirm_timeout=0.1)
    made.limits = replace(made.limits, connect_timeout=0.5, backoff_longest=0.3)
    await made.start(receiver)
    await until(lambda: made.ready)
    yield made
    await made.close()


async def trip(
    broker: AmqpBroker, client: BlockingChannel, receiver: Recorder, event: str, node: str
) -> None:
    """One request out, one reply back."""
    queue = bind(client, event)
    before = len(receiver.replies)
    asked = request_of(event, node)
    assert await broker.publish([asked]) == [Published.CONFIRMED]
    _, properties, _ = client.basic_get(queue, auto_ack=True)
    reply(client, node, properties.correlation_id, b"{}")
    await until(lambda: len(receiver.replies) == before + 1)
    assert receiver.replies[-1].correlation_id == asked.correlation_id


@pytest.mark.parametrize("queue", [contract.results_queue, contract.commands_queue])
async def test_a_queue_that_an_operator_deleted(
    broker: AmqpBroker, client: BlockingChannel, receiver: Recorder, event: str, node: str, queue: object
) -> None:
    assert callable(queue)
    await attached(broker, node)
    client.queue_delete(queue(node))
    await until(lambda: broker.problems)
    await attached(broker, node)
    assert broker.problems == {}
    await trip(broker, client, receiver, event, node)
    assert broker.counters.connects == 1


async def test_an_exchange_that_an_operator_deleted(
    broker: AmqpBroker, client: BlockingChannel, receiver: Recorder, event: str, node: str
) -> None:
    await attached(broker, node)
    client.exchange_delete(contract.EVENTS_EXCHANGE)
    assert await broker.publish([request_of(event, node)]) == [Published.UNAVAILABLE]
    await until(lambda: broker.ready)
    await trip(broker, client, receiver, event, node)
    assert broker.counters.connects == 1


async def test_connections_closed_by_an_operator(
    rabbitmq: RabbitServer, receiver: Recorder, event: str, node: str
) -> None:
    changes: list[bool] = []
    broker = AmqpBroker(rabbitmq.url, on_ready=changes.append)
    await broker.start(receiver)
    await attached(broker, node)
    await asyncio.to_thread(rabbitmq.ctl, "close_all_connections", "maintenance")
    await until(lambda: broker.counters.connects == 2)
    await attached(broker, node)
    assert changes == [True, False, True]
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
    assert hasty.problems == {}
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
    rabbitmq: RabbitServer,
    broker: AmqpBroker,
    client: BlockingChannel,
    receiver: Recorder,
    event: str,
    node: str,
) -> None:
    await attached(broker, node)
    bind(client, event)
    await asyncio.to_thread(rabbitmq.ctl, "set_vm_memory_high_watermark", "0")
    try:
        assert await broker.publish([request_of(event, node)]) == [Published.UNAVAILABLE]
        await until(lambda: not broker.ready)
        assert "blocked" in repr(broker)
        assert await broker.publish([request_of(event, node)]) == [Published.UNAVAILABLE]
        broker.dead_letter(DeadLetter("x", "", b"", node))
        assert broker.counters.dead_letters_dropped == 1
        other = unique("sbc")
        broker.attach(other)
    finally:
        await asyncio.to_thread(rabbitmq.ctl, "set_vm_memory_high_watermark", "0.4")
    await until(lambda: broker.ready)
    await trip(broker, client, receiver, unique("event"), node)
    await attached(broker, other)
    assert broker.counters.connects == 1


async def test_a_server_that_hangs(
    rabbitmq: RabbitServer, hasty: AmqpBroker, receiver: Recorder, event: str, node: str
) -> None:
    await attached(hasty, node)
    rabbitmq.pause()
    try:
        assert await hasty.publish([request_of(event, node)]) == [Published.UNAVAILABLE]
        assert hasty.counters.unconfirmed == 1
        await until(lambda: not hasty.ready)
        await until(lambda: "no answer" in hasty.problems.get("connection", ""))
    finally:
        rabbitmq.resume()
    await attached(hasty, node)
    connection = pika.BlockingConnection(pika.URLParameters(rabbitmq.url))
    await trip(hasty, connection.channel(), receiver, unique("event"), node)
    connection.close()


async def test_publications_that_are_never_confirmed_do_not_pile_up(
    rabbitmq: RabbitServer, hasty: AmqpBroker, event: str, node: str
) -> None:
    hasty.limits = replace(hasty.limits, max_unconfirmed=2)
    rabbitmq.pause()
    try:
        with capture_logs() as logs:
            asked = [replace(request_of(event, node), correlation_id=f"{node}:{n}:1:1") for n in range(3)]
            assert await hasty.publish(asked) == [Published.UNAVAILABLE] * 3
            await until(lambda: [entry for entry in logs if "3 publications" in entry.get("reason", "")])
    finally:
        rabbitmq.resume()
    await until(lambda: hasty.ready)


async def test_a_message_that_the_library_cannot_read(
    hasty: AmqpBroker, client: BlockingChannel, receiver: Recorder, node: str
) -> None:
    """A timestamp in nanoseconds closes the connection; left on its queue it would do so for ever."""
    other = unique("sbc")
    await attached(hasty, node)
    await attached(hasty, other)
    nanoseconds = time.time_ns()
    reply(client, node, f"{node}:1:1:1", b"{}")
    reply(client, node, f"{node}:2:1:1", b"{}", timestamp=nanoseconds)
    reply(client, node, f"{node}:3:1:1", b"{}")
    reply(client, other, f"{other}:4:1:1", b"{}")
    properties = pika.BasicProperties(timestamp=nanoseconds)
    client.basic_publish(contract.COMMANDS_EXCHANGE, contract.word(other), b"unread", properties)
    client.basic_publish(contract.COMMANDS_EXCHANGE, contract.word(other), b"read")
    expected = {f"{node}:1:1:1", f"{node}:3:1:1", f"{other}:4:1:1"}
    await until(lambda: {each.correlation_id for each in receiver.replies} == expected)
    await until(lambda: receiver.commands == [(other, b"read")])
    await until(lambda: hasty.ready)
    await attached(hasty, node)
    await attached(hasty, other)
    assert hasty.counters.undecodable >= 2
    reply(client, node, f"{node}:5:1:1", b"{}")
    await until(lambda: receiver.replies[-1].correlation_id == f"{node}:5:1:1")


async def test_a_results_queue_that_was_declared_otherwise(
    hasty: AmqpBroker, client: BlockingChannel, receiver: Recorder, event: str, node: str
) -> None:
    client.queue_declare(results_queue(node), durable=True, arguments={"x-expires": 60_000})
    part = f"node {node}"
    with capture_logs() as logs:
        hasty.attach(node)
        await until(lambda: part in hasty.problems)
        text = hasty.problems[part]
        assert f"queue evapi.results.{node}" in text
        assert "x-expires" in text
        assert "delete it" in text
        bind(client, event)
        assert await hasty.publish([request_of(event, node)]) == [Published.CONFIRMED]
        client.queue_delete(results_queue(node))
        await attached(hasty, node)
    assert part not in hasty.problems
    lines = [entry for entry in logs if entry.get("part") == part]
    assert [entry["event"] for entry in lines] == ["broker down", "broker up"]
    await trip(hasty, client, receiver, unique("event"), node)


async def test_an_exchange_that_was_declared_otherwise(
    rabbitmq: RabbitServer, client: BlockingChannel, receiver: Recorder
) -> None:
    client.exchange_delete(contract.COMMANDS_EXCHANGE)
    client.exchange_declare(contract.COMMANDS_EXCHANGE, "direct", durable=True)
    broker = AmqpBroker(rabbitmq.url)
    try:
        await broker.start(receiver)
        await until(lambda: "evapi.commands" in broker.problems.get("publishing", ""))
        assert not broker.ready
    finally:
        client.exchange_delete(contract.COMMANDS_EXCHANGE)
    await until(lambda: broker.ready)
    await broker.close()


async def test_a_dead_letter_queue_with_bounds_of_its_own(
    rabbitmq: RabbitServer, client: BlockingChannel, receiver: Recorder
) -> None:
    client.queue_delete(contract.DEAD_QUEUE)
    client.queue_declare(contract.DEAD_QUEUE, durable=True, arguments={"x-max-length": 7})
    broker = AmqpBroker(rabbitmq.url)
    try:
        await broker.start(receiver)
        await until(lambda: broker.ready)
    finally:
        client.queue_delete(contract.DEAD_QUEUE)
    await broker.close()


async def test_services_that_nobody_runs_are_named(
    rabbitmq: RabbitServer, client: BlockingChannel, receiver: Recorder
) -> None:
    there, missing = unique("there"), unique("missing")
    client.queue_declare(contract.service_queue(there), exclusive=True)
    with capture_logs() as logs:
        broker = AmqpBroker(rabbitmq.url, services={there, missing})
        await broker.start(receiver)
        await until(lambda: [entry for entry in logs if "services" in entry])
    assert [entry["services"] for entry in logs if "services" in entry] == [[missing]]
    await broker.close()


async def test_the_next_server_is_tried_and_no_password_shown(
    rabbitmq: RabbitServer, receiver: Recorder
) -> None:
    refused = f"amqp://guest:s3cret@127.0.0.1:{rabbitmq.port}/?name=s3cret"
    broker = AmqpBroker(f"amqp://u:s3cret@127.0.0.1:{free_port()}/vhost, {refused}")
    with capture_logs() as logs:
        await broker.start(receiver)
        await until(lambda: "ACCESS_REFUSED" in broker.problems.get("connection", ""))
        assert "Connect call failed" in broker.problems["connection"]
        assert not broker.ready
        await broker.close()
        broker = AmqpBroker(f"{refused},{rabbitmq.url}")
        await broker.start(receiver)
        await until(lambda: broker.ready)
    assert "s3cret" not in repr((logs, broker, broker.problems))
    await broker.close()


async def test_over_tls_with_the_certificate_checked(
    rabbitmq: RabbitServer, client: BlockingChannel, receiver: Recorder, event: str, node: str
) -> None:
    broker = AmqpBroker(rabbitmq.tls_url)
    await broker.start(receiver)
    await attached(broker, node)
    await trip(broker, client, receiver, event, node)
    await broker.close()
    broker = AmqpBroker(rabbitmq.tls_url.partition("?")[0])
    await broker.start(receiver)
    await until(lambda: "CERTIFICATE_VERIFY_FAILED" in broker.problems.get("connection", ""))
    await broker.close()


async def test_a_user_without_permissions(rabbitmq: RabbitServer, receiver: Recorder) -> None:
    user = unique("user")
    await asyncio.to_thread(rabbitmq.ctl, "add_user", user, "pw")
    await asyncio.to_thread(rabbitmq.ctl, "set_permissions", user, "^$", ".*", ".*")
    broker = AmqpBroker(rabbitmq.url.replace("guest:guest", f"{user}:pw"))
    await broker.start(receiver)
    await until(lambda: "permission" in broker.problems.get("publishing", ""))
    assert "exchange evapi.events" in broker.problems["publishing"]
    assert not broker.ready
    await broker.close()


@pytest.mark.parametrize(
    "urls",
    [
        "",
        "http://u:s3cret@host/",
        "amqp://",
        "amqp:///vhost",
        "amqp://u:s3cret@host:99999/",
        "amqp://u:s3cret@host:port/",
        "amqp://localhost,",
    ],
)
def test_what_is_no_url(urls: str) -> None:
    with pytest.raises(SettingsError) as caught:
        AmqpBroker(urls)
    assert caught.value.variable == "EVAPI_AMQP_URL"
    assert "s3cret" not in str(caught.value)


async def test_nothing_is_taken_before_the_start(node: str, event: str) -> None:
    broker = AmqpBroker(f"amqp://127.0.0.1:{free_port()}")
    broker.attach(node)
    broker.detach(node)
    assert not broker.ready
    assert await broker.publish([request_of(event, node)]) == [Published.UNAVAILABLE]
    await broker.close()
