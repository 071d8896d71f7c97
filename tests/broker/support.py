"""What the broker's tests share: a receiver that notes, and a service by hand, on pika."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from typing import TYPE_CHECKING, Any

import pika

from adapter import contract
from adapter.broker.rabbitmq.limits import Limits
from adapter.contract import results_queue
from adapter.ports.broker import Publication, Published
from tests.harness.until import until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pika.adapters.blocking_connection import BlockingChannel

    from adapter.broker.rabbitmq import AmqpBroker
    from adapter.ports.broker import Reply
    from adapter.ports.commands import Asked

TO_DEAD = {"x-dead-letter-exchange": contract.DEAD_EXCHANGE}


class Recorder:
    """A Receiver. ``error`` is what the next batches of replies meet; ``gate`` holds them while cleared."""

    def __init__(self) -> None:
        self.batches: list[Sequence[Reply]] = []
        self.refused: list[Sequence[Reply]] = []
        self.commands: list[tuple[str, bytes]] = []
        self.error: Exception | None = None
        self.under_way = 0
        self.gate = asyncio.Event()
        self.gate.set()

    @property
    def replies(self) -> list[Reply]:
        return [reply for batch in self.batches for reply in batch]

    async def on_replies(self, replies: Sequence[Reply]) -> None:
        self.under_way += 1
        await self.gate.wait()
        self.under_way -= 1
        if self.error is not None:
            self.refused.append(replies)
            raise self.error
        self.batches.append(replies)

    def on_command(self, asked: Asked) -> None:
        if asked.body == b"bad":
            asked.dead_letter("not-json", "bad")
        elif asked.body == b"worse":
            raise ZeroDivisionError("worse")
        else:
            self.commands.append((asked.node, asked.body))
        asked.answer(None)


@contextlib.contextmanager
def hurried(broker: AmqpBroker) -> Iterator[None]:
    """Let it wait for no answer for long while a server hangs; one that lives may be slow to answer."""
    limits = broker.limits
    before = limits.confirm_timeout, limits.connect_timeout, limits.answer_timeout
    limits.confirm_timeout, limits.connect_timeout, limits.answer_timeout = 0.1, 0.5, 0.5
    try:
        yield
    finally:
        limits.confirm_timeout, limits.connect_timeout, limits.answer_timeout = before


def patient() -> Limits:
    """Of a broker whose server a busy machine may slow down: its silence is not what a test is about."""
    return Limits(confirm_timeout=20.0, answer_timeout=20.0)


def unique(stem: str) -> str:
    """A name that no other test has."""
    return f"{stem}-{uuid.uuid4().hex[:8]}"


def request_of(event: str, node: str, body: bytes = b"request", lasts: float = 5.0) -> Publication:
    return Publication(event, node, body, f"{node}:3:7:1", time.time() + lasts)


def bind(client: BlockingChannel, event: str, **arguments: Any) -> str:
    """A service's queue for an event, gone with the test's connection."""
    queue = unique("queue")
    given = {key.replace("_", "-"): value for key, value in arguments.items()}
    quorum = given.get("x-queue-type") == "quorum"
    client.queue_declare(queue, arguments=TO_DEAD | given, durable=quorum, exclusive=not quorum)
    client.queue_bind(queue, contract.EVENTS_EXCHANGE, f"{contract.word(event)}.*")
    return queue


def reply(client: BlockingChannel, node: str, correlation_id: str | None, body: bytes, **more: Any) -> None:
    properties = pika.BasicProperties(correlation_id=correlation_id, content_type=contract.JSON, **more)
    client.basic_publish("", results_queue(node), body, properties)


def waiting(client: BlockingChannel, queue: str) -> int:
    count: int = client.queue_declare(queue, passive=True).method.message_count
    return count


async def attached(broker: AmqpBroker, node: str) -> None:
    broker.attach(node)
    await until(lambda: f"'{node}'" in repr(broker))


async def next_tag(client: BlockingChannel, queue: str) -> int:
    """The delivery tag of the queue's next message, once there is one."""
    tags: list[int] = []

    def look() -> bool:
        method, _, _ = client.basic_get(queue)
        if method is not None:
            tags.append(method.delivery_tag)
        return bool(tags)

    await until(look)
    return tags[0]


async def dead_letter_of(client: BlockingChannel, node: str) -> tuple[pika.BasicProperties, bytes]:
    """The dead letter of a node, taken off the queue."""
    found: list[tuple[pika.BasicProperties, bytes]] = []

    def look() -> bool:
        method, properties, body = client.basic_get(contract.DEAD_QUEUE, auto_ack=True)
        if method is not None and (properties.headers or {}).get(contract.HEADER_NODE) == node:
            found.append((properties, body))
        return bool(found)

    await until(look)
    return found[0]


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
