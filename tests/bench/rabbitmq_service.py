"""``python -m tests.bench.rabbitmq_service URL QUEUE``: the decision for Kamailio's own rabbitmq module."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import TYPE_CHECKING

import aiormq
import uvloop

from tests.bench.service import decide

if TYPE_CHECKING:
    from aiormq.abc import AbstractChannel, DeliveredMessage


async def consume(url: str, queue: str) -> None:
    """Answer until the process is ended. Says "consuming" once it can."""
    connection = await aiormq.connect(url)
    channel = await connection.channel(publisher_confirms=False)

    async def answer(message: DeliveredMessage) -> None:
        json.loads(message.body)
        await reply(channel, message, json.dumps(await decide()).encode())

    await channel.queue_declare(queue, exclusive=True)
    # aiormq runs each message's callback as a task of its own: as many at a time as come.
    await channel.basic_consume(queue, answer, no_ack=True)
    print("consuming", flush=True)
    await asyncio.Event().wait()


async def reply(channel: AbstractChannel, asked: DeliveredMessage, body: bytes) -> None:
    """Answer on the queue that the request names."""
    to = asked.header.properties.reply_to or ""
    properties = aiormq.spec.Basic.Properties(
        content_type="application/json", correlation_id=asked.header.properties.correlation_id
    )
    await channel.basic_publish(body, routing_key=to, properties=properties)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
        loop.run(consume(sys.argv[1], sys.argv[2]))
