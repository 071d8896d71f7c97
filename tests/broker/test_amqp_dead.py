"""Requests that RabbitMQ gave up, and dead letters."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pika
import pytest

from adapter import contract
from adapter.broker.rabbitmq import AmqpBroker
from adapter.ports.broker import DeadLetter, Published
from tests.broker.support import attached, bind, dead_letter_of, next_tag, reply, request_of, unique, waiting
from tests.harness.until import until

if TYPE_CHECKING:
    from pika.adapters.blocking_connection import BlockingChannel

    from tests.broker.support import Recorder
    from tests.harness.rabbitmq import RabbitServer


async def test_attempts_that_ran_out(
    broker: AmqpBroker, client: BlockingChannel, receiver: Recorder, event: str, node: str
) -> None:
    queue = bind(client, event, x_queue_type="quorum", x_delivery_limit=1)
    await attached(broker, node)
    assert await broker.publish([request_of(event, node, b"poison")]) == [Published.CONFIRMED]
    for _ in range(2):
        client.basic_reject(await next_tag(client, queue), requeue=True)
    await until(lambda: receiver.replies)
    assert receiver.replies[0].rejected == "delivery_limit"
    assert receiver.replies[0].body == b"poison"
    client.queue_delete(queue)


async def test_a_request_that_a_full_queue_gave_up(
    broker: AmqpBroker, client: BlockingChannel, receiver: Recorder, event: str, node: str
) -> None:
    bind(client, event, x_max_length=1)
    await attached(broker, node)
    assert await broker.publish([request_of(event, node, b"first")]) == [Published.CONFIRMED]
    assert await broker.publish([request_of(event, node, b"second")]) == [Published.CONFIRMED]
    await until(lambda: receiver.replies)
    assert (receiver.replies[0].rejected, receiver.replies[0].body) == ("maxlen", b"first")


async def test_an_expired_request_is_its_deadlines_affair(
    broker: AmqpBroker, client: BlockingChannel, receiver: Recorder, event: str, node: str
) -> None:
    queue = bind(client, event)
    await attached(broker, node)
    assert await broker.publish([request_of(event, node, lasts=0.05)]) == [Published.CONFIRMED]
    await until(lambda: broker.counters.ignored == 1)
    assert waiting(client, queue) == 0
    assert receiver.replies == []


@pytest.mark.parametrize("kind", ["classic", "quorum"])
async def test_what_merely_expired_is_no_dead_letter(
    broker: AmqpBroker, client: BlockingChannel, receiver: Recorder, event: str, node: str, kind: str
) -> None:
    """What was rejected, overflowed, tried too often or not understood is one."""
    queue = bind(client, event, x_queue_type=kind)
    await attached(broker, node)
    soon = replace(request_of(event, node, b"expired"), expires=time.time() + 0.05)
    assert await broker.publish([soon]) == [Published.CONFIRMED]
    await until(lambda: receiver.replies)
    assert [(each.body, each.rejected) for each in receiver.replies] == [(b"expired", "expired")]
    assert await broker.publish([request_of(event, node, b"rejected")]) == [Published.CONFIRMED]
    client.basic_reject(await next_tag(client, queue), requeue=False)
    kept = [(await dead_letter_of(client, node))[1]]
    broker.dead_letter(DeadLetter("not-json", "", b"not understood", node))
    kept.append((await dead_letter_of(client, node))[1])
    full = bind(client, event, x_max_length=1, x_queue_type="classic")
    client.queue_unbind(queue, contract.EVENTS_EXCHANGE, f"{contract.word(event)}.*")
    for body in (b"overflowed", b"stays"):
        assert await broker.publish([request_of(event, node, body)]) == [Published.CONFIRMED]
    kept.append((await dead_letter_of(client, node))[1])
    assert kept == [b"rejected", b"not understood", b"overflowed"]
    client.queue_delete(full)
    client.queue_delete(queue)


async def test_the_way_by_which_everything_was_kept_is_taken_away(
    rabbitmq: RabbitServer, client: BlockingChannel, receiver: Recorder, event: str, node: str
) -> None:
    """A version before this one has made it."""
    client.exchange_declare(contract.DEAD_EXCHANGE, "fanout", durable=True)
    bounds = dict(contract.DEAD_QUEUE_ARGUMENTS)
    client.queue_declare(contract.DEAD_QUEUE, durable=True, arguments=bounds)
    client.queue_bind(contract.DEAD_QUEUE, contract.DEAD_EXCHANGE, routing_key="")
    broker = AmqpBroker(rabbitmq.url)
    await broker.start(receiver)
    try:
        await until(lambda: broker.ready)
        before = waiting(client, contract.DEAD_QUEUE)
        properties = pika.BasicProperties(headers={contract.FIRST_DEATH: "expired"})
        client.confirm_delivery()
        client.basic_publish(contract.DEAD_EXCHANGE, contract.routing_key(event, node), b"", properties)
        assert waiting(client, contract.DEAD_QUEUE) == before
    finally:
        await broker.close()


async def test_a_dead_request_of_a_node_that_looks_alike(
    broker: AmqpBroker, client: BlockingChannel, receiver: Recorder, event: str, node: str
) -> None:
    dotted, underlined = f"{node}.x", f"{node}_x"
    queue = bind(client, event)
    await attached(broker, dotted)
    await attached(broker, underlined)
    assert await broker.publish([request_of(event, dotted)]) == [Published.CONFIRMED]
    client.basic_reject(await next_tag(client, queue), requeue=False)
    await until(lambda: receiver.replies and broker.counters.ignored == 1)
    assert [(each.correlation_id, each.rejected) for each in receiver.replies] == [
        (f"{dotted}:3:7:1", "rejected")
    ]


async def test_of_several_deaths_the_last_counts(
    broker: AmqpBroker, client: BlockingChannel, receiver: Recorder, event: str, node: str
) -> None:
    """A service may have its own way of trying again: reject, wait in a queue, expire, return."""
    retry, again = unique("retry"), unique("again")
    client.exchange_declare(again, "fanout", auto_delete=True)
    queue = bind(client, event)
    arguments = {
        "x-dead-letter-exchange": again,
        "x-dead-letter-routing-key": contract.routing_key(event, node),
        "x-message-ttl": 1,
    }
    client.queue_declare(retry, exclusive=True, arguments=arguments)
    client.queue_bind(queue, again)
    await attached(broker, node)
    assert await broker.publish([request_of(event, node)]) == [Published.CONFIRMED]
    _, properties, body = client.basic_get(queue, auto_ack=True)
    client.basic_publish("", retry, body, properties)
    client.basic_reject(await next_tag(client, queue), requeue=False)
    await until(lambda: receiver.replies)
    assert receiver.replies[0].rejected == "rejected"


async def test_a_reply_with_the_headers_of_its_request_is_a_reply(
    broker: AmqpBroker, client: BlockingChannel, receiver: Recorder, node: str
) -> None:
    await attached(broker, node)
    death = {"reason": "rejected", "queue": "retry", "count": 1}
    headers = {"x-death": [death], "x-first-death-reason": "rejected", "x-node": node}
    reply(client, node, f"{node}:1:1:1", b"{}", headers=headers)
    await until(lambda: receiver.replies)
    assert receiver.replies[0].rejected is None


async def test_dead_letters_are_readable_and_bounded(
    broker: AmqpBroker, client: BlockingChannel, node: str
) -> None:
    broker.dead_letter(DeadLetter("not-json", "x" * 900, b"\x00" * 300_000, node, "corr", "text/plain"))
    properties, body = await dead_letter_of(client, node)
    assert body == b"\x00" * 300_000
    assert properties.headers == {"x-reason": "not-json", "x-detail": "x" * 500, "x-node": node}
    assert (properties.correlation_id, properties.content_type) == ("corr", "text/plain")
    assert (properties.delivery_mode, properties.app_id) == (2, "evapi-adapter")
    await until(lambda: broker.counters.dead_letters == 1)
    bounds = dict(contract.DEAD_QUEUE_ARGUMENTS)
    client.queue_declare(contract.DEAD_QUEUE, durable=True, arguments=bounds)
    assert bounds["x-max-length"] == 10_000
    assert bounds["x-message-ttl"] == 259_200_000


async def test_no_more_of_a_body_is_kept_than_a_message_may_hold(
    broker: AmqpBroker, client: BlockingChannel, node: str
) -> None:
    body = b"x" * (contract.MAX_BODY - 1) + b"yz"
    broker.dead_letter(DeadLetter("too-large", "", body, node))
    assert (await dead_letter_of(client, node))[1] == body[:-1]


async def test_headers_are_read_no_further_than_a_log_line_bears(
    broker: AmqpBroker, client: BlockingChannel, receiver: Recorder, node: str
) -> None:
    await attached(broker, node)
    for long in ("x" * 30_000, b"x" * 30_000):
        reply(client, node, f"{node}:1:1:1", b"{}", headers={"x-service": long, "x-status": long})
    reply(client, node, f"{node}:2:1:1", b"{}", headers={"x-service": 10**15, "x-status": None})
    await until(lambda: len(receiver.replies) == 3)
    read = [(found.service, found.status) for found in receiver.replies]
    assert read == [("x" * 200, "x" * 200)] * 2 + [(str(10**15), None)]


async def test_dead_letters_never_pile_up_here(broker: AmqpBroker, node: str) -> None:
    for _ in range(300):
        broker.dead_letter(DeadLetter("flood", "", b"", node))
    assert broker.counters.dead_letters_dropped == 200
    await until(lambda: broker.counters.dead_letters == 100)


async def test_many_dead_letters_hold_up_no_request(broker: AmqpBroker, node: str) -> None:
    """RabbitMQ writes each to disk, and holds up the connection that publishes too many."""
    broker.limits.letters_at_once, broker.limits.letters_a_second = 3, 0.0
    for _ in range(5):
        broker.dead_letter(DeadLetter("flood", "", b"", node))
    assert broker.counters.dead_letters_dropped == 2
    broker.limits.letters_a_second = 1e9
    broker.dead_letter(DeadLetter("flood", "", b"", node))
    await until(lambda: broker.counters.dead_letters == 4)
    assert broker.counters.dead_letters_dropped == 2
