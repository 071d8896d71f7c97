"""A small consumer by aiormq that is right, unless it is told one fault."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import asynccontextmanager, suppress
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import aiormq
import msgpack
from pamqp.commands import Basic

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from aiormq.abc import DeliveredMessage

EVENT = "invite"


class Fault(StrEnum):
    """What a consumer can do wrong."""

    SILENT = "silent"
    LATE = "late"
    FAILS = "fails"
    NO_ID = "no-id"
    OTHER_ID = "other-id"
    FIXED_QUEUE = "fixed-queue"
    QUEUE_BY_NODE = "queue-by-node"
    ELSEWHERE = "elsewhere"
    EMPTY = "empty"
    TEXT = "text"
    BYTE_ARRAY = "byte-array"
    HUGE = "huge"
    NO_ACTION = "no-action"
    NAMELESS = "nameless"
    TWICE = "twice"
    NO_ACK = "no-ack"
    NO_ACK_PREFETCH = "no-ack-prefetch"
    ACK_FIRST = "ack-first"
    AUTO_ACK = "auto-ack"
    DIES_ON_KEYS = "dies-on-keys"
    DIES_ON_HEADERS = "dies-on-headers"
    DIES_ON_DECISIONS = "dies-on-decisions"
    KNOWS_ONE_NODE = "knows-one-node"
    REJECTS_REDELIVERED = "rejects-redelivered"
    SMALL = "small"
    IGNORES_DEADLINE = "ignores-deadline"
    HOLDS_EXPIRED = "holds-expired"
    ANSWERS_NOTICES = "answers-notices"
    DIES_ON_NOTICES = "dies-on-notices"
    ANSWERS_OBSERVED = "answers-observed"
    DIES_ON_OBSERVED = "dies-on-observed"
    DIES_ON_BYTES = "dies-on-bytes"
    DECIDES_BATCH = "decides-batch"
    DIES_ON_BATCH = "dies-on-batch"
    DIES_ON_UNREADABLE = "dies-on-unreadable"
    SWALLOWS_UNREADABLE = "swallows-unreadable"
    REQUEUES_UNREADABLE = "requeues-unreadable"
    HOLDS_UNREADABLE = "holds-unreadable"
    DECIDES_UNREADABLE = "decides-unreadable"


LATE = 3
"""Answers that come late."""
KEYS = {"event", "node", "tm_index", "tm_label", "seq", "deadline", "data", "decisions"}
HEADERS = {"x-node", "x-deadline", "x-time-left", "x-version", "traceparent"}


class Died(Exception):
    """The consumer's process ends."""


class Consumer:
    """One consumer on one channel. ``late``: seconds after which one that is late answers."""

    def __init__(self, channel: aiormq.Channel, name: str, fault: Fault | None, late: float = 1.0) -> None:
        self._channel = channel
        self._name = name
        self._fault = fault
        self._late = late
        self._first: Any = None
        self._answered = 0
        self.died = asyncio.Event()

    async def on_message(self, message: DeliveredMessage) -> None:
        """Take a message, as aiormq delivers it."""
        try:
            await self._on_message(message)
        except Died:
            self.died.set()

    async def _on_message(self, message: DeliveredMessage) -> None:
        properties, fault = message.header.properties, self._fault
        self._first = self._first or properties
        try:
            request = self._read(message)
        except ValueError as exc:
            await self._refuse(message, exc)
            return
        if message.redelivered and fault is Fault.REJECTS_REDELIVERED:
            await self._channel.basic_reject(self._tag(message), requeue=False)
            return
        headers = properties.headers or {}
        if self._over(headers) and fault is not Fault.IGNORES_DEADLINE:
            if fault is not Fault.HOLDS_EXPIRED:
                await self._ack(message)
            return
        if properties.reply_to is None:
            await self._unaddressed(message, headers, "tm_index" in request)
            return
        await self._answer(message, request)

    def _read(self, message: DeliveredMessage) -> dict[str, Any]:
        fault, body = self._fault, message.body
        if fault is Fault.SMALL and len(body) > 100_000:
            raise ValueError("too long")
        as_json = message.header.properties.content_type == "application/json"
        request = json.loads(body) if as_json else msgpack.unpackb(body)
        if isinstance(request, list) and fault is Fault.DIES_ON_BATCH:
            raise Died
        if isinstance(request, list) and fault is Fault.DECIDES_BATCH:
            request = request[0]
        if not isinstance(request, dict):
            raise ValueError("no map")
        if set(request) - KEYS and fault is Fault.DIES_ON_KEYS:
            raise Died
        headers = message.header.properties.headers or {}
        if set(headers) - HEADERS and fault is Fault.DIES_ON_HEADERS:
            raise Died
        if not isinstance(request["data"], dict):
            if fault is Fault.DIES_ON_BYTES:
                raise Died
            raise ValueError("data are no map")
        if "decisions" in request and fault is Fault.DIES_ON_DECISIONS:
            raise Died
        if fault is Fault.KNOWS_ONE_NODE and headers["x-node"] != self._first.headers["x-node"]:
            raise ValueError("another node")
        return request

    async def _refuse(self, message: DeliveredMessage, exc: ValueError) -> None:
        fault, unreadable = self._fault, message.body[:1] == b"\xc1"
        if unreadable and fault is Fault.DIES_ON_UNREADABLE:
            raise Died from exc
        if fault is Fault.AUTO_ACK:  # nothing is left to be rejected
            failed: dict[str, Any] = {"x-service": self._name, "x-status": "failed"}
            properties = Basic.Properties(
                correlation_id=message.header.properties.correlation_id, headers=failed
            )
            to = str(message.header.properties.reply_to)
            await self._channel.basic_publish(b"", routing_key=to, properties=properties)
            return
        if unreadable and fault is Fault.SWALLOWS_UNREADABLE:
            await self._ack(message)
        elif unreadable and fault is Fault.DECIDES_UNREADABLE:
            await self._answer(message, {})
        elif unreadable and fault is Fault.REQUEUES_UNREADABLE:
            await asyncio.sleep(0.01)
            await self._channel.basic_reject(self._tag(message), requeue=True)
        elif not (unreadable and fault is Fault.HOLDS_UNREADABLE):
            await self._channel.basic_reject(self._tag(message), requeue=False)

    @staticmethod
    def _over(headers: dict[str, Any]) -> bool:
        return bool(headers.get("x-deadline", time.time() * 1000) < time.time() * 1000 - 1)

    async def _unaddressed(self, message: DeliveredMessage, headers: dict[str, Any], whole: bool) -> None:
        if self._fault is (Fault.DIES_ON_OBSERVED if whole else Fault.DIES_ON_NOTICES):
            raise Died
        if self._fault is (Fault.ANSWERS_OBSERVED if whole else Fault.ANSWERS_NOTICES):
            await self._publish(f"evapi.results.{headers['x-node']}", None, self._body())
        await self._ack(message)

    async def _answer(self, message: DeliveredMessage, request: dict[str, Any]) -> None:
        fault, properties = self._fault, message.header.properties
        if fault is Fault.ACK_FIRST:
            await self._ack(message)
        self._answered += 1
        if fault is Fault.LATE and self._answered <= LATE:
            await asyncio.sleep(self._late)
        for _ in range(2 if fault is Fault.TWICE else 1):
            if fault is not Fault.SILENT:
                await self._publish(self._reply_to(properties), self._id(properties), self._body())
        if fault not in (Fault.NO_ACK, Fault.NO_ACK_PREFETCH, Fault.ACK_FIRST):
            await self._ack(message)

    def _reply_to(self, asked: Basic.Properties) -> str:
        node: Any = (asked.headers or {}).get("x-node")
        wrong = {
            Fault.FIXED_QUEUE: self._first.reply_to,
            Fault.QUEUE_BY_NODE: f"evapi.results.{node}",
            Fault.ELSEWHERE: "evapi.results",
        }
        return str(wrong.get(self._fault or Fault.SILENT, asked.reply_to))

    def _id(self, asked: Basic.Properties) -> str | None:
        if self._fault is Fault.NO_ID:
            return None
        return "1" if self._fault is Fault.OTHER_ID else asked.correlation_id

    def _body(self) -> bytes:
        bodies: dict[Fault | None, bytes] = {
            Fault.EMPTY: b"",
            Fault.TEXT: b"allow",
            Fault.BYTE_ARRAY: b'{"0":129,"1":166,"2":97}',
            Fault.HUGE: json.dumps({"action": "allow", "why": "x" * 200_000}).encode(),
            Fault.NO_ACTION: b'{"uri":"sip:1@gw"}',
        }
        return bodies.get(self._fault, b'{"action":"allow"}')

    async def _publish(self, to: str, id_: str | None, body: bytes) -> None:
        headers: dict[str, Any] = {} if self._fault is Fault.NAMELESS else {"x-service": self._name}
        if self._fault is Fault.FAILS:
            headers["x-status"] = "failed"
        properties = Basic.Properties(
            correlation_id=id_, content_type="application/json", headers=headers, delivery_mode=1
        )
        await self._channel.basic_publish(body, routing_key=to, properties=properties)

    async def _ack(self, message: DeliveredMessage) -> None:
        if self._fault is not Fault.AUTO_ACK:
            await self._channel.basic_ack(self._tag(message))

    @staticmethod
    def _tag(message: DeliveredMessage) -> int:
        assert message.delivery_tag is not None
        return message.delivery_tag


@asynccontextmanager
async def consuming(
    url: str,
    name: str,
    fault: Fault | None = None,
    *,
    prefetch: int = 0,
    late: float = 1.0,
    through: str = "",
    more: Mapping[str, Any] | None = None,
    restarted: bool = False,
) -> AsyncIterator[None]:
    """Have it consume its queue, which goes in the end. One that dies loses its connection.

    ``through``: another URL for the consumer. ``more``: arguments of the queue. ``restarted``: whether one
    that dies is started again.
    """
    queue = f"evapi.decide.{name}"
    async with aiormq.connect(url) as home:
        channel = await home.channel()
        await channel.exchange_declare("evapi.dead", exchange_type="fanout", durable=True)
        await channel.exchange_declare("evapi.events", exchange_type="topic", durable=True)
        arguments: dict[str, Any] = {"x-dead-letter-exchange": "evapi.dead", **(more or {})}
        await channel.queue_declare(queue, durable=True, arguments=arguments)
        await channel.queue_bind(queue, "evapi.events", f"{EVENT}.*")
        task = asyncio.ensure_future(_consume(through or url, queue, name, fault, prefetch, late, restarted))
        try:
            while not (await channel.queue_declare(queue, passive=True)).consumer_count:
                await asyncio.sleep(0.002)
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            await channel.queue_delete(queue)


async def _consume(
    url: str, queue: str, name: str, fault: Fault | None, prefetch: int, late: float, restarted: bool
) -> None:
    while True:
        async with aiormq.connect(url) as connection:
            channel = await connection.channel(publisher_confirms=False)
            if prefetch:
                await channel.basic_qos(prefetch_count=prefetch)
            assert isinstance(channel, aiormq.Channel)
            consumer = Consumer(channel, name, fault, late)
            await channel.basic_consume(queue, consumer.on_message, no_ack=fault is Fault.AUTO_ACK)
            await consumer.died.wait()
        if not restarted:
            return
