"""Who asks a running consumer, as the adapter does."""

from __future__ import annotations

import asyncio
import itertools
import time
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import aiormq
from pamqp.commands import Basic

from adapter.contract import (
    DEAD_EXCHANGE,
    EVENTS_EXCHANGE,
    HEADER_STATUS,
    MSGPACK,
    STATUS_EXTEND,
    Request,
    decode_reply,
    encode_request,
    routing_key,
    service_queue,
)
from consumers.amqp import Runner

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from consumers import Service

URI = "sip:1@gw"
numbers = itertools.count(1)


class Asker:
    """Asks as the adapter does, and takes the replies in."""

    def __init__(self, channel: aiormq.abc.AbstractChannel, results: str) -> None:
        self.channel = channel
        self.results = results
        self.replies: dict[str, Any] = {}
        self.extensions: dict[str, Any] = {}
        """Replies that ask for more time."""
        self.dead: list[Any] = []
        self._came = asyncio.Condition()

    async def ask(
        self,
        event: str,
        *,
        reply_to: str | None = "",
        body: bytes | None = None,
        left: float = 20,
        queue: str = "",
        headers: Mapping[str, Any] = MappingProxyType({}),
    ) -> str:
        """Publish a request, straight to a queue if one is named; gives its correlation id."""
        number = next(numbers)
        id_ = f"n:1:1:{number}"
        deadline = time.time() + left
        request = Request(event, "n", {"user": "1"}, 1, 1, number, deadline)
        properties = Basic.Properties(
            content_type=MSGPACK,
            correlation_id=id_,
            reply_to=reply_to or self.results,
            headers={"x-node": "n", "x-version": 1, "x-deadline": round(deadline * 1000), **headers},
        )
        await self._publish(event, encode_request(request) if body is None else body, properties, queue)
        return id_

    async def tell(self, event: str) -> None:
        await self._publish(
            event, encode_request(Request(event, "n", {})), Basic.Properties(content_type=MSGPACK)
        )

    async def _publish(self, event: str, body: bytes, properties: Basic.Properties, queue: str = "") -> None:
        """Once a queue is bound: on a busy machine a service may consume before its bindings are made."""
        confirmed: Any = None
        async with asyncio.timeout(20):
            while not isinstance(confirmed, Basic.Ack):
                confirmed = await self.channel.basic_publish(
                    body,
                    exchange="" if queue else EVENTS_EXCHANGE,
                    routing_key=queue or routing_key(event, "n"),
                    properties=properties,
                    mandatory=True,
                )

    async def reply(self, id_: str) -> dict[str, Any]:
        """Wait for the reply to a request; gives the decision."""
        async with self._came:
            await self._came.wait_for(lambda: id_ in self.replies)
        message = self.replies[id_]
        return decode_reply(message.body)

    async def dead_letter(self, id_: str) -> Any:
        async with self._came:
            await self._came.wait_for(lambda: any(_id(message) == id_ for message in self.dead))
        return next(message for message in self.dead if _id(message) == id_)

    async def waiting(self, service: Service) -> int:
        found = await self.channel.queue_declare(service_queue(service.name), passive=True)
        return found.message_count or 0

    async def on_reply(self, message: Any) -> None:
        headers = message.header.properties.headers or {}
        async with self._came:
            assert _id(message) not in self.replies, "answered twice"
            if headers.get(HEADER_STATUS) == STATUS_EXTEND:
                self.extensions[_id(message)] = message
            else:
                self.replies[_id(message)] = message
            self._came.notify_all()

    async def on_dead(self, message: Any) -> None:
        async with self._came:
            self.dead.append(message)
            self._came.notify_all()


def _id(message: Any) -> str:
    return str(message.header.properties.correlation_id)


@asynccontextmanager
async def asking(url: str) -> AsyncIterator[Asker]:
    """Who asks by a connection of its own."""
    async with aiormq.connect(url) as connected:
        channel = await connected.channel(on_return_raises=False)
        await channel.exchange_declare(EVENTS_EXCHANGE, exchange_type="topic", durable=True)
        await channel.exchange_declare(DEAD_EXCHANGE, exchange_type="fanout", durable=True)
        queues = [str((await channel.queue_declare(exclusive=True)).queue) for _ in range(2)]
        found = Asker(channel, queues[0])
        await channel.queue_bind(queues[1], DEAD_EXCHANGE)
        await channel.basic_consume(queues[0], found.on_reply, no_ack=True)
        await channel.basic_consume(queues[1], found.on_dead, no_ack=True)
        yield found


@asynccontextmanager
async def running(service: Service, *urls: str, **more: Any) -> AsyncIterator[Runner]:
    """The service on RabbitMQ; its queue is removed in the end."""
    made = Runner(service, urls, **more)
    task = asyncio.ensure_future(made.run())
    await made.consuming.wait()
    try:
        yield made
    finally:
        made.stop()
        await task


def event_of(service: Service) -> str:
    return service.events[0]
