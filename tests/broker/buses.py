"""Each implementation of the broker, with services on it that do what a test says."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import aiormq
from pamqp.commands import Basic

from adapter import contract
from adapter.broker.embedded import Answered, Delivery, EmbeddedBroker
from adapter.broker.rabbitmq import AmqpBroker
from adapter.ports.broker import Publication
from tests.broker.support import Recorder, patient, unique
from tests.harness.until import until

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from aiormq.abc import AbstractChannel, AbstractConnection, DeliveredMessage

    from adapter.ports.broker import Broker


@dataclass(frozen=True)
class Got:
    """A request as a service sees it."""

    correlation_id: str | None
    body: bytes
    headers: Mapping[str, Any]
    content_type: str | None


@dataclass(frozen=True)
class Answer:
    """What a service does with it: a reply, nothing (no body), or a rejection."""

    body: bytes | None = None
    content_type: str | None = contract.JSON
    headers: Mapping[str, Any] = field(default_factory=dict)
    rejected: bool = False


@dataclass
class Service:
    """Bound to one event; decides by ``decide`` and notes what it got.

    ``held``: it takes one request at a time, and keeps the first in hand until it is let go.
    """

    event: str
    decide: Callable[[Got], Answer]
    got: list[Got] = field(default_factory=list)
    name: str = field(default_factory=lambda: unique("service"))
    held: asyncio.Event | None = None

    @property
    def queue(self) -> str:
        return contract.service_queue(self.name)

    @property
    def prefetch(self) -> int:
        return 10 if self.held is None else 1

    async def hold(self) -> None:
        """Return when the request in hand may be answered."""
        if self.held is not None:
            await self.held.wait()

    def take(self, got: Got) -> Answer:
        self.got.append(got)
        return self.decide(got)


class Bus(Protocol):
    """One implementation with a service on it."""

    @property
    def broker(self) -> Broker: ...

    async def begin(self, service: Service, receiver: Recorder, *others: Service) -> None:
        """Start all; return once the broker is ready."""

    def dead_reasons(self) -> list[str]:
        """Of the dead letters that the broker was given."""

    async def end(self) -> None: ...


class _Core:
    """A service as the embedded broker runs it."""

    def __init__(self, service: Service) -> None:
        self.name = service.name
        self.events = [service.event]
        self.prefetch = service.prefetch
        self._service = service

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    def begin(self, message: Delivery, send: object, /) -> Answered | Coroutine[Any, Any, Answered]:
        got = Got(message.correlation_id, message.body, message.headers, message.content_type)
        answer = self._service.take(got)
        return answer if self._service.held is None else self._hold(answer)

    def alone(self, answer: Answered, /) -> Answered:
        return answer

    async def _hold(self, answer: Answered) -> Answered:
        await self._service.hold()
        return answer


class EmbeddedBus:
    broker: EmbeddedBroker

    async def begin(self, service: Service, receiver: Recorder, *others: Service) -> None:
        self.broker = EmbeddedBroker([_Core(each) for each in (service, *others)], retry=0.01)
        await self.broker.start(receiver)

    def dead_reasons(self) -> list[str]:
        return [letter.reason for letter in self.broker.dead_letters]

    async def end(self) -> None:
        await self.broker.close()


class AmqpBus:
    """The services are aiormq's, on a connection of their own."""

    broker: AmqpBroker

    def __init__(self, url: str, quorum: bool) -> None:
        self._url = url
        self._quorum = quorum
        self._connection: AbstractConnection
        self._channel: AbstractChannel
        self._dead: list[str] = []

    async def begin(self, service: Service, receiver: Recorder, *others: Service) -> None:
        self.broker = AmqpBroker(self._url, limits=patient())
        await self.broker.start(receiver)
        await until(lambda: self.broker.ready)
        self._connection = await aiormq.connect(self._url)
        self._channel = channel = await self._connection.channel(publisher_confirms=False)
        dead = await self._queue("", exclusive=True)
        await channel.queue_bind(dead, contract.DEAD_EXCHANGE)

        async def note(message: DeliveredMessage) -> None:
            headers = message.header.properties.headers or {}
            self._dead.append(str(headers.get(contract.HEADER_REASON)))

        await channel.basic_consume(dead, note, no_ack=True)
        for each in (service, *others):
            await self._serve(each)

    async def _serve(self, service: Service) -> None:
        channel, arguments = self._channel, {"x-dead-letter-exchange": contract.DEAD_EXCHANGE}
        if self._quorum:  # which goes only if nobody uses it for long
            more = {"x-queue-type": "quorum", "x-expires": 60_000}
            queue = await self._queue(service.queue, durable=True, arguments=arguments | more)
        else:
            queue = await self._queue(service.queue, auto_delete=True, arguments=arguments)
        await channel.queue_bind(queue, contract.EVENTS_EXCHANGE, f"{service.event}.*")

        async def take(message: DeliveredMessage) -> None:
            properties, tag = message.header.properties, message.delivery_tag or 0
            id_, headers = properties.correlation_id, properties.headers or {}
            answer = service.take(Got(id_, message.body, headers, properties.content_type))
            await service.hold()
            if answer.rejected:
                await channel.basic_reject(tag, requeue=False)
                return
            if answer.body is not None and properties.reply_to is not None:
                told = Basic.Properties(
                    headers={contract.HEADER_SERVICE: service.name, **answer.headers},
                    content_type=answer.content_type,
                    correlation_id=id_,
                )
                await channel.basic_publish(answer.body, routing_key=properties.reply_to, properties=told)
            await channel.basic_ack(tag)

        await channel.basic_qos(prefetch_count=service.prefetch)  # of the consumers that come after it
        await channel.basic_consume(queue, take)

    async def _queue(self, name: str, **more: Any) -> str:
        return str((await self._channel.queue_declare(name, **more)).queue)

    def dead_reasons(self) -> list[str]:
        return self._dead

    async def end(self) -> None:
        await self.broker.close()
        await self._connection.close()
        # What the library does of its own after a connection has gone would outlive the loop.
        if others := [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]:
            await asyncio.wait(others, timeout=10)


def request_of(
    service: Service, node: str, number: int = 1, lasts: float = 5.0, body: bytes = b""
) -> Publication:
    deadline = time.time() + lasts
    body = body or b"request %d" % number
    return Publication(service.event, node, body, f"{node}:{number}:7:1", deadline)


def echo(got: Got) -> Answer:
    return Answer(got.body)
