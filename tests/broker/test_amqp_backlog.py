"""A queue of results that is long when it is found: its replies are stale, and cost new calls nothing."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pika
import pytest

from adapter.amqp.connection import Connection
from adapter.amqp.servers import parse_urls
from adapter.amqp.topology import declare_queue, messages_in
from adapter.broker.rabbitmq import AmqpBroker, topology
from adapter.broker.rabbitmq.limits import Limits
from adapter.broker.rabbitmq.topology import Kind
from adapter.contract import results_queue
from adapter.ports.broker import Published
from tests.broker.support import Recorder, bind, patient, reply, request_of
from tests.harness.flood import flood
from tests.harness.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from pika.adapters.blocking_connection import BlockingChannel

    from adapter.amqp.topology import Queue
    from adapter.ports.broker import Reply
    from tests.harness.rabbitmq import RabbitServer

MANY = 3_000
"""More than a queue may hold to be used."""


class Slow(Recorder):
    """Takes the stale ones in only once ``gate`` is set."""

    async def on_replies(self, replies: Sequence[Reply]) -> None:
        if any(":7:" not in each.correlation_id for each in replies):
            await self.gate.wait()
        self.batches.append(replies)


@contextlib.asynccontextmanager
async def on(url: str, node: str, receiver: Recorder, **settings: Any) -> AsyncIterator[AmqpBroker]:
    broker = AmqpBroker(url, limits=patient(), **settings)
    await broker.start(receiver)
    await until(lambda: broker.ready)
    broker.attach(node)
    await until(lambda: broker.hears(node))
    yield broker
    await broker.close()


def stale(node: str, number: int) -> list[str]:
    return [f"{node}:{each}:1:1" for each in range(100_000, 100_000 + number)]


def arguments(broker: AmqpBroker, node: str) -> dict[str, Any]:
    return dict(broker.kind.results(node).arguments)


@pytest.mark.parametrize("kind", [Kind(longest=30.0), Kind(queue_type="quorum", longest=30.0)])
async def test_replies_to_new_calls_go_past_a_long_queue_of_which_none_is_lost(
    rabbitmq: RabbitServer, client: BlockingChannel, event: str, node: str, kind: Kind
) -> None:
    ids, usual = stale(node, MANY), results_queue(node)
    declared = arguments(AmqpBroker(rabbitmq.url, kind=kind), node)
    await flood(rabbitmq.url, usual, ids, b"\x80", arguments=declared)
    receiver = Slow()
    receiver.gate.clear()
    async with on(rabbitmq.url, node, receiver, kind=kind) as broker:
        service = bind(client, event)
        (bypass,) = broker.beside.values()
        assert bypass.startswith(f"{usual}.")
        assert await broker.publish([request_of(event, node)]) == [Published.CONFIRMED]
        _, asked, _ = client.basic_get(service, auto_ack=True)
        assert asked.reply_to == bypass
        client.basic_publish("", bypass, b"{}", pika.BasicProperties(correlation_id=asked.correlation_id))
        await until(lambda: len(receiver.replies) == 1)
        assert receiver.replies[0].correlation_id == asked.correlation_id
        receiver.gate.set()
        await until(lambda: len(receiver.replies) == 1 + MANY, within=60)
        assert {each.correlation_id for each in receiver.replies[1:]} == set(ids)
        assert broker.counters.redelivered == broker.counters.reply_connects - 2 == 0


async def test_once_it_is_short_it_is_used_again_and_what_came_by_the_other_is_not_lost(
    rabbitmq: RabbitServer, client: BlockingChannel, receiver: Recorder, node: str
) -> None:
    queue = AmqpBroker(rabbitmq.url).kind.results(node)
    bypass = topology.bypass(queue).name
    client.queue_declare(bypass, durable=True, arguments=dict(queue.arguments))
    properties = pika.BasicProperties(correlation_id=f"{node}:1:1:1")
    client.basic_publish("", bypass, b"{}", properties)
    async with on(rabbitmq.url, node, receiver) as broker:
        assert broker.beside == {}
        reply(client, node, f"{node}:2:1:1", b"{}")
        await until(lambda: len(receiver.replies) == 2)
        assert {each.correlation_id for each in receiver.replies} == {f"{node}:{n}:1:1" for n in (1, 2)}


async def test_of_two_long_ones_the_shorter_is_used(
    rabbitmq: RabbitServer, client: BlockingChannel, node: str
) -> None:
    queue = AmqpBroker(rabbitmq.url).kind.results(node)
    connection = await Connection.open_any(parse_urls(rabbitmq.url), Limits(1, 1.0))

    async def declare(new: Queue) -> int:
        return await declare_queue(await connection.channel(), new)

    async def look(name: str) -> int | None:
        return await messages_in(await connection.channel(), name)

    async def declared(most: int) -> str:
        return await topology.declare_results(connection.channel, queue, most, declare, look)

    try:
        for name, number in ((queue.name, 3), (topology.bypass(queue).name, 4)):
            await flood(rabbitmq.url, name, stale(node, number), b"{}", arguments=queue.arguments)
        found = [await declared(most) for most in (0, 2, 3)]
        assert found == [queue.name] * 3
        await flood(rabbitmq.url, queue.name, stale(node, 3), b"{}")
        found = [await declared(most) for most in (5, 6)]
        assert found == [topology.bypass(queue).name, queue.name]
    finally:
        await connection.close(1.0)
