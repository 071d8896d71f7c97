"""What real consumers do, and what it must not cost the calls of others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pika
import pytest

from adapter.admin.rabbit import Rabbit
from adapter.broker.rabbitmq.delivery import _known
from adapter.contract import DEAD_EXCHANGE, DEAD_QUEUE, results_queue
from tests.broker.support import attached, reply
from tests.harness.until import until

if TYPE_CHECKING:
    from pika.adapters.blocking_connection import BlockingChannel

    from adapter.broker.rabbitmq import AmqpBroker
    from tests.broker.support import Recorder
    from tests.harness.rabbitmq import RabbitServer

MICROSECONDS = 1_790_000_000_000_000
"""A timestamp as consumers give it whose language counts so: AMQP knows seconds."""


@pytest.mark.parametrize(
    "habit",
    [
        {"timestamp": MICROSECONDS},
        {"timestamp": (1 << 63) - 1},
        {
            "headers": {"sent": b"\xff\xfe", "x-service": "lcr"},
            "timestamp": MICROSECONDS,
            "expiration": "60000",
        },
        {"content_type": "application/json", "user_id": "guest", "timestamp": MICROSECONDS},
    ],
)
async def test_a_property_that_python_cannot_hold_costs_nobody_a_reply(
    broker: AmqpBroker, client: BlockingChannel, receiver: Recorder, node: str, habit: dict[str, Any]
) -> None:
    await attached(broker, node)
    connects = broker.counters.connects
    for number in range(30):
        if number % 3 == 0:
            properties = pika.BasicProperties(**{"correlation_id": f"{node}:{number}:2:1", **habit})
            client.basic_publish("", results_queue(node), b"{}", properties)
        else:
            reply(client, node, f"{node}:{number}:1:1", b"{}")
    await until(lambda: len(receiver.replies) == 30)
    assert [each.correlation_id for each in receiver.replies] == [
        f"{node}:{number}:{1 if number % 3 else 2}:1" for number in range(30)
    ]
    assert broker.counters.connects == connects
    assert broker.counters.redelivered == broker.counters.undecodable == 0
    assert broker.problems == {}


async def test_replies_that_differ_in_their_times_alone_are_decoded_once(
    broker: AmqpBroker, client: BlockingChannel, receiver: Recorder, node: str
) -> None:
    """RabbitMQ 3 keeps the order of headers, RabbitMQ 4 sorts them by name: x-service then comes last."""
    await attached(broker, node)
    before = _known.cache_info().misses
    for number in range(20):
        times = {"x-received": MICROSECONDS + number, "x-replied": MICROSECONDS + 2 * number}
        properties = pika.BasicProperties(
            correlation_id=f"{node}:{number}:2:1", headers={"x-service": node, **times}
        )
        client.basic_publish("", results_queue(node), b"{}", properties)
    await until(lambda: len(receiver.replies) == 20)
    received = [each.received for each in receiver.replies]
    assert received == [(MICROSECONDS + number) / 1e6 for number in range(20)]
    assert {each.service for each in receiver.replies} == {node}
    assert _known.cache_info().misses == before + 1


@pytest.mark.parametrize("binary", [False, True])
async def test_a_correlation_id_in_the_headers(
    broker: AmqpBroker, client: BlockingChannel, receiver: Recorder, node: str, binary: bool
) -> None:
    """RabbitMQ 4 writes a binary correlation id of AMQP 1.0 there, and libraries that fill in the property
    by themselves leave no other way."""
    await attached(broker, node)
    id_ = f"{node}:1:1:1"
    headers = {"x-correlation-id": id_.encode() if binary else id_}
    client.basic_publish("", results_queue(node), b"{}", pika.BasicProperties(headers=headers))
    await until(lambda: receiver.replies)
    assert [each.correlation_id for each in receiver.replies] == [id_]


async def test_an_operator_sees_dead_letters_with_such_properties(
    rabbitmq: RabbitServer, client: BlockingChannel, broker: AmqpBroker
) -> None:
    properties = pika.BasicProperties(
        correlation_id="sbc1:1:1:1", timestamp=MICROSECONDS, headers={"x-reason": "test"}
    )
    client.basic_publish(DEAD_EXCHANGE, "dead-letter", b"late", properties)
    async with Rabbit(rabbitmq.url) as rabbit, rabbit.browse(DEAD_QUEUE) as browse:
        found = [each for each in await browse.everything() if each.body == b"late"]
        assert [(each.properties.correlation_id, dict(each.headers)) for each in found] == [
            ("sbc1:1:1:1", {"x-reason": "test"})
        ]
        await browse.remove(found)
