"""What RabbitMQ and its clients see of the broker, and what it makes of them."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from adapter import contract
from adapter.broker.rabbitmq import AmqpBroker
from adapter.broker.rabbitmq.limits import Limits
from adapter.contract import results_queue
from adapter.ports.broker import Publication, Published
from tests.broker.support import (
    Recorder,
    attached,
    bind,
    dead_letter_of,
    reply,
    request_of,
    unique,
    waiting,
)
from tests.harness.until import until

if TYPE_CHECKING:
    from pika.adapters.blocking_connection import BlockingChannel

    from tests.harness.rabbitmq import RabbitServer


async def test_properties_of_a_request(broker: AmqpBroker, client: BlockingChannel) -> None:
    event, node = unique("ev.é"), unique("10.0.0.5:8448")
    queue = bind(client, event)
    asked = request_of(event, node, b"\x80\xffbody", lasts=60.0)
    before = time.time()
    assert await broker.publish([asked]) == [Published.CONFIRMED]
    method, properties, body = client.basic_get(queue)
    assert asked.deadline is not None
    assert body == asked.body
    assert method.exchange == contract.EVENTS_EXCHANGE
    assert method.routing_key == f"{contract.word(event)}.{contract.word(node)}"
    assert properties.content_type == "application/msgpack"
    assert properties.correlation_id == properties.message_id == asked.correlation_id
    assert properties.reply_to == f"evapi.results.{node}"
    assert properties.type == event
    assert properties.app_id == "evapi-adapter"
    assert properties.delivery_mode == 1
    assert 30_000 < int(properties.expiration) <= 60_000
    assert before - 1 < properties.timestamp <= time.time()
    deadline = round(asked.deadline * 1000)
    left = int(properties.expiration)
    headers = {"x-node": node, "x-deadline": deadline, "x-time-left": left, "x-version": 1}
    assert properties.headers == headers


async def test_properties_of_a_notice(
    broker: AmqpBroker, client: BlockingChannel, event: str, node: str
) -> None:
    queue = bind(client, event)
    notice = Publication(event, node, b"ended")
    assert await broker.publish([notice, notice]) == [Published.CONFIRMED] * 2
    _, first, body = client.basic_get(queue)
    _, second, _ = client.basic_get(queue)
    assert body == b"ended"
    assert first.correlation_id is first.reply_to is first.expiration is None
    assert first.type == event
    assert first.headers == {"x-node": node, "x-version": 1}
    assert first.message_id != second.message_id


@pytest.mark.parametrize("size", [0, 131_064, 131_065, 300_000])
async def test_a_body_of_any_size(
    broker: AmqpBroker, client: BlockingChannel, event: str, node: str, size: int
) -> None:
    queue = bind(client, event)
    body = bytes(range(256)) * (size // 256 + 1)
    assert await broker.publish([request_of(event, node, body[:size])]) == [Published.CONFIRMED]
    assert client.basic_get(queue)[2] == body[:size]


async def test_time_that_is_over_is_not_sent(
    broker: AmqpBroker, client: BlockingChannel, event: str, node: str
) -> None:
    queue = bind(client, event)
    late, early = request_of(event, node, b"late", lasts=0.0), request_of(event, node, b"early")
    assert await broker.publish([late, early]) == [Published.UNAVAILABLE, Published.CONFIRMED]
    assert client.basic_get(queue)[2] == b"early"
    assert waiting(client, queue) == 0


async def test_a_full_queue_refuses(
    broker: AmqpBroker, client: BlockingChannel, event: str, node: str
) -> None:
    bind(client, event, x_max_length=1, x_overflow="reject-publish")
    broker.limits.refused_for = 0.2
    assert await broker.publish([request_of(event, node)]) == [Published.CONFIRMED]
    nobody = request_of(unique("nobody"), unique("sbc"))
    results = await broker.publish([nobody, request_of(event, node)])
    assert results == [Published.UNROUTABLE, Published.REFUSED]
    assert broker.counters.renewed >= 1  # it may have been the channel
    nacked = broker.counters.nacked
    assert await broker.publish([request_of(event, node)]) == [Published.REFUSED]
    assert broker.counters.nacked == nacked + 1  # nobody waits for long
    assert broker.ready
    assert broker.problems == {}


async def test_what_was_refused_for_a_moment_is_taken_on_another_channel(
    broker: AmqpBroker, client: BlockingChannel, event: str, node: str
) -> None:
    queue = bind(client, event, x_max_length=1, x_overflow="reject-publish")
    assert await broker.publish([request_of(event, node)]) == [Published.CONFIRMED]
    broker.limits.refused_for = 10.0
    asking = [asyncio.create_task(broker.publish([request_of(event, node)])) for _ in range(2)]
    await until(lambda: broker.counters.renewed >= 1)
    for _ in asking:
        client.basic_get(queue, auto_ack=True)
        await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
        await until(lambda: waiting(client, queue) == 1)
    assert [await task for task in asking] == [[Published.CONFIRMED]] * 2
    assert broker.ready
    assert broker.counters.connects == 1


async def test_many_at_once_get_each_its_result(
    broker: AmqpBroker, client: BlockingChannel, event: str, node: str
) -> None:
    bind(client, event)
    events = [event if number % 3 else unique("nobody") for number in range(600)]
    asked = [
        Publication(each, node, b"x" * number, f"{node}:{number}:1:1", time.time() + 9)
        for number, each in enumerate(events)
    ]
    results = await broker.publish(asked)
    expected = [Published.CONFIRMED if each == event else Published.UNROUTABLE for each in events]
    assert results == expected
    assert (broker.counters.published, broker.counters.returned) == (400, 200)


async def test_replies_are_acknowledged_after_they_are_taken_in(
    broker: AmqpBroker, client: BlockingChannel, receiver: Recorder, node: str
) -> None:
    await attached(broker, node)
    receiver.gate.clear()
    for number in range(3):
        reply(client, node, f"{node}:{number}:1:1", b"{}")
    await until(lambda: receiver.under_way)
    broker.detach(node)
    await until(lambda: waiting(client, results_queue(node)) == 3)
    method, properties, _ = client.basic_get(results_queue(node), auto_ack=True)
    assert method.redelivered
    assert properties.correlation_id == f"{node}:0:1:1"
    receiver.gate.set()
    await until(lambda: receiver.replies)
    broker.attach(node)
    await until(lambda: broker.counters.redelivered == 2)
    await until(lambda: {each.correlation_id for each in receiver.replies[-2:]} >= {f"{node}:2:1:1"})
    broker.detach(node)
    await until(lambda: f"'{node}'" not in repr(broker))
    assert waiting(client, results_queue(node)) == 0


async def test_what_gathers_behind_a_batch_is_the_next_one(
    broker: AmqpBroker, client: BlockingChannel, receiver: Recorder, node: str
) -> None:
    await attached(broker, node)
    receiver.gate.clear()
    reply(client, node, f"{node}:0:1:1", b"{}")
    await until(lambda: receiver.under_way)
    for number in range(1, 50):
        reply(client, node, f"{node}:{number}:1:1", b"{}")
    await until(lambda: waiting(client, results_queue(node)) == 0)
    receiver.gate.set()
    await until(lambda: len(receiver.replies) == 50)
    assert [each.correlation_id for each in receiver.replies] == [f"{node}:{n}:1:1" for n in range(50)]
    assert len(receiver.batches) < 50


async def test_nodes_do_not_wait_for_each_other(
    broker: AmqpBroker, client: BlockingChannel, receiver: Recorder, node: str
) -> None:
    other = unique("sbc")
    await attached(broker, node)
    await attached(broker, other)
    receiver.gate.clear()
    reply(client, node, f"{node}:1:1:1", b"{}")
    reply(client, other, f"{other}:1:1:1", b"{}")
    await until(lambda: receiver.under_way == 2)
    receiver.gate.set()
    await until(lambda: len(receiver.replies) == 2)


async def test_a_reply_to_nothing_is_kept_for_an_operator(
    broker: AmqpBroker, client: BlockingChannel, receiver: Recorder, node: str
) -> None:
    await attached(broker, node)
    reply(client, node, None, b'{"whose": "reply"}')
    reply(client, node, f"{node}:1:1:1", b"{}", headers={"x-service": b"\xff", "x-status": 7})
    properties, body = await dead_letter_of(client, node)
    assert body == b'{"whose": "reply"}'
    assert properties.headers["x-reason"] == "no-correlation-id"
    assert properties.content_type == contract.JSON
    await until(lambda: receiver.replies)
    assert (receiver.replies[0].service, receiver.replies[0].status) == ("\ufffd", "7")
    broker.detach(node)
    await until(lambda: f"'{node}'" not in repr(broker))
    assert waiting(client, results_queue(node)) == 0


async def test_commands_by_node_and_to_all(
    broker: AmqpBroker, client: BlockingChannel, receiver: Recorder
) -> None:
    node, other = unique("10.0.0.5:8448"), unique("sbc")
    await attached(broker, node)
    await attached(broker, other)
    for key, body in (
        (contract.word(node), b"one"),
        (contract.word(node), b"bad"),
        (contract.word(node), b"worse"),
        (contract.ALL_NODES, b"all"),
    ):
        client.basic_publish(contract.COMMANDS_EXCHANGE, key, body)
    await until(lambda: len(receiver.commands) == 3)
    assert sorted(receiver.commands) == sorted([(node, b"one"), (node, b"all"), (other, b"all")])
    reasons = {(await dead_letter_of(client, node))[0].headers["x-reason"] for _ in range(2)}
    assert reasons == {"not-json", "command-failed"}
    broker.detach(node)
    await until(lambda: f"'{node}'" not in repr(broker))
    assert waiting(client, contract.commands_queue(node)) == 0


async def test_commands_and_replies_share_a_channel(
    broker: AmqpBroker, client: BlockingChannel, receiver: Recorder, node: str
) -> None:
    await attached(broker, node)
    for number in range(200):
        client.basic_publish(contract.COMMANDS_EXCHANGE, contract.word(node), b"%d" % number)
        reply(client, node, f"{node}:{number}:1:1", b"{}")
    await until(lambda: len(receiver.replies) == len(receiver.commands) == 200)
    assert [body for _, body in receiver.commands] == [b"%d" % number for number in range(200)]
    assert broker.counters.redelivered == 0
    assert not broker.problems


async def test_closed_at_whatever_it_is_it_ends_all_it_began(rabbitmq: RabbitServer) -> None:
    slow = Limits(confirm_timeout=60.0, answer_timeout=60.0, close_timeout=60.0)
    for step in range(30):
        broker = AmqpBroker(rabbitmq.url, limits=slow)
        await broker.start(Recorder())
        broker.attach(unique("sbc"))
        await asyncio.sleep(step * 0.003)
        async with asyncio.timeout(30):
            await broker.close()
        await until(lambda: not any(task.get_name().startswith("broker: ") for task in asyncio.all_tasks()))
