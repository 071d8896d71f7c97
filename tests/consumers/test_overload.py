"""A service that is asked for twice what it can do decides what it can, in time."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from pamqp.commands import Basic

from adapter.contract import (
    EVENTS_EXCHANGE,
    HEADER_DEADLINE,
    HEADER_TIME_LEFT,
    MSGPACK,
    Request,
    decode_reply,
    encode_request,
    routing_key,
    service_queue,
)
from tests.consumers import slow
from tests.harness.bridge import Consumer

if TYPE_CHECKING:
    from pathlib import Path

    from tests.consumers.asker import Asker
    from tests.harness.rabbitmq import RabbitServer

EVENT = "slow_request"
LEFT = 0.6
"""Seconds that each request has. What RabbitMQ lets the service hold unread, 100, takes it 2."""
EACH = 0.01
"""Seconds between two requests; the service takes 0.02 for one."""


async def ask(asker: Asker, number: int) -> None:
    """As the adapter does."""
    now, ms = time.time(), round(LEFT * 1000)
    properties = Basic.Properties(
        content_type=MSGPACK,
        correlation_id=f"n:1:2:{number}",
        reply_to=asker.results,
        expiration=str(ms),
        headers={"x-version": 1, HEADER_DEADLINE: round((now + LEFT) * 1000), HEADER_TIME_LEFT: ms},
    )
    body = encode_request(Request(EVENT, "n", {}, 1, 2, number, now + LEFT))
    await asker.channel.basic_publish(
        body, exchange=EVENTS_EXCHANGE, routing_key=routing_key(EVENT, "n"), properties=properties
    )


async def test_what_it_begins_it_can_answer_in_time(
    asker: Asker, rabbitmq: RabbitServer, tmp_path: Path
) -> None:
    """By when it begins, not by when it is done: a busy machine may take longer than was to be expected."""
    asked: dict[str, float] = {}
    with Consumer("slow", tmp_path, ["tests.consumers.slow:service"], rabbitmq.url):
        await asker.reply(await asker.ask(EVENT))
        asker.replies.clear()
        loop = asyncio.get_running_loop()
        began = loop.time()
        for number in range(400):
            asked[f"n:1:2:{number}"] = time.time()
            await ask(asker, number)
            await asyncio.sleep(max(began + number * EACH - loop.time(), 0))
        await asyncio.sleep(LEFT)
        could = sum(begun(found) + slow.TAKES < asked[id_] + LEFT for id_, found in asker.replies.items())
    await asker.channel.queue_delete(service_queue(slow.service.name))
    assert could > 0.8 * len(asker.replies) > 0


def begun(message: Any) -> float:
    """Return when the service began with its decision, in epoch seconds."""
    return float(decode_reply(message.body)["began"])
