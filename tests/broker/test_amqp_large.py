"""Replies that are large, and many: they cost the loop little and the process no memory."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pika

from adapter.contract import JSON, MAX_REPLY, results_queue
from tests.broker.support import attached, reply
from tests.harness.until import until

if TYPE_CHECKING:
    from pika.adapters.blocking_connection import BlockingChannel

    from adapter.broker.rabbitmq import AmqpBroker
    from tests.broker.support import Recorder

MEGABYTE = b"[" * (1 << 20)


async def test_thirty_of_a_megabyte_are_refused_unseen(
    broker: AmqpBroker, client: BlockingChannel, receiver: Recorder, node: str
) -> None:
    await attached(broker, node)
    held: list[int] = []
    real = broker._replies.connection
    assert real is not None
    for number in range(30):
        properties = pika.BasicProperties(correlation_id=f"{node}:{number}:1:1", content_type=JSON)
        client.basic_publish("", results_queue(node), MEGABYTE, properties)
        held.append(real.wire._held)
    reply(client, node, f"{node}:30:1:1", b"{}")
    await until(lambda: len(receiver.replies) == 31)
    assert {each.size for each in receiver.replies[:30]} == {1 << 20}
    assert max(len(each.body) for each in receiver.replies) < MAX_REPLY
    assert broker.counters.redelivered == 0
    await until(lambda: real.wire._held == 0)


async def test_while_much_waits_to_be_looked_at_no_more_is_read(
    broker: AmqpBroker, client: BlockingChannel, receiver: Recorder, node: str
) -> None:
    await attached(broker, node)
    connection = broker._replies.connection
    assert connection is not None
    connection.wire.most_held = 500_000
    receiver.gate.clear()
    for number in range(60):
        reply(client, node, f"{node}:{number}:1:1", b" " * 100_000)
    await until(lambda: connection.wire.paused)
    assert connection.wire._held < 2_000_000, "a read or two beyond the bound, of 6 MB"
    receiver.gate.set()
    await until(lambda: len(receiver.replies) == 60)
    assert not connection.wire.paused
    assert [each.correlation_id for each in receiver.replies] == [f"{node}:{n}:1:1" for n in range(60)]
    await asyncio.sleep(0)
    assert broker.counters.reply_connects == 2
