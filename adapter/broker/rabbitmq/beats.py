"""Beats over RabbitMQ: a second way for replicas to see each other, for when the store is away.

Each replica publishes what it says of itself to a fanout, and reads everybody's, its own among them, from a
queue of this life's own. So what comes back of its own tells it that all that was said before has been heard.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import aiormq
from aio_pika import DeliveryMode, Message

from adapter import contract
from adapter.amqp.words import refused
from adapter.broker.rabbitmq import topology
from adapter.errors import BrokerUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from aio_pika.abc import AbstractChannel, AbstractExchange, AbstractIncomingMessage

    from adapter.amqp.connection import Connection
    from adapter.broker.rabbitmq.shared import Shared
    from adapter.broker.rabbitmq.supervisor import Up

SILENT: Final = 3.0
"""Leases without a beat, not even its own, after which a replica reads anew: its consumer may be gone."""


class Beats:
    """To be ``run`` on each connection. Who has not joined has no queue, and says nothing."""

    def __init__(self, shared: Shared) -> None:
        self._supervisor = shared.supervisor
        self._limits = shared.limits
        self._replica = ""
        self._lease = 1.0
        self._heard: Callable[[bytes], None] = lambda _: None
        self._exchange: AbstractExchange | None = None
        self._connection: Connection | None = None
        self._saying: asyncio.Task[object] | None = None
        self._came = asyncio.Event()

    @property
    def joined(self) -> bool:
        """Whether this replica is to be seen."""
        return bool(self._replica)

    def join(self, replica: str, lease: float, heard: Callable[[bytes], None]) -> None:
        """From the next connection on read what replicas say. ``lease`` in seconds."""
        self._replica, self._lease, self._heard = replica, lease, heard

    def say(self, body: bytes) -> None:
        """Say something to all replicas, this one among them; never waits. Lost while the broker is away."""
        exchange, connection = self._exchange, self._connection
        waits = self._saying is not None and not self._saying.done()
        if exchange is None or connection is None or connection.blocked or waits:
            return
        message = Message(
            body,
            content_type=contract.JSON,
            delivery_mode=DeliveryMode.NOT_PERSISTENT,
            app_id=contract.APP_ID,
        )
        self._saying = self._supervisor.aside(exchange.publish(message, routing_key="", mandatory=False))

    async def run(self, connection: Connection, declared: asyncio.Event, up: Up) -> None:
        """Hear and be heard on a connection until that breaks: raises BrokerUnavailable then."""
        if not self.joined:
            return
        await declared.wait()
        await connection.unblocked()
        channel = connection.pika.channel(publisher_confirms=False)
        try:
            async with asyncio.timeout(self._limits.answer_timeout):
                await channel.initialize()
                try:
                    exchange = await self._read(channel)
                except aiormq.AMQPError as exc:
                    raise refused("exchange", f"{contract.REPLICAS_EXCHANGE} or a queue of it", exc) from exc
            self._exchange, self._connection = exchange, connection
            up()
            while not channel.is_closed:
                self._came.clear()
                await self._wait(channel)
        finally:
            self._exchange = self._connection = None
            if channel.is_initialized:
                self._supervisor.aside(channel.close())
        raise BrokerUnavailable("the channel for replicas' beats was closed")

    async def _read(self, channel: AbstractChannel) -> AbstractExchange:
        """Consume what all replicas say; gives the exchange to say it to."""
        of = topology.REPLICAS
        exchange = await channel.declare_exchange(of.name, of.kind, durable=True)
        own = topology.replica_queue(self._replica, self._lease)
        queue = await channel.declare_queue(own.name, durable=True, arguments=dict(own.arguments))
        await queue.bind(exchange, routing_key="")
        await queue.consume(self._on_beat, no_ack=True)
        return exchange

    async def _wait(self, channel: AbstractChannel) -> None:
        """Return once something came or the channel closed. Raises BrokerUnavailable where nothing does."""
        came = asyncio.ensure_future(self._came.wait())
        closed = asyncio.ensure_future(channel.closed())
        try:
            done, _ = await asyncio.wait(
                {came, closed}, timeout=SILENT * self._lease, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            came.cancel()
            closed.cancel()
        if not done:
            raise BrokerUnavailable("no beat comes, not even this replica's own")

    async def _on_beat(self, message: AbstractIncomingMessage) -> None:
        if message.exchange != contract.REPLICAS_EXCHANGE:
            return  # anybody may send to a queue
        self._came.set()
        self._heard(message.body)
