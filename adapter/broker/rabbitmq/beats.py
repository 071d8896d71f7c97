"""Beats over RabbitMQ: a second way for replicas to see each other, for when the store is away.

Each replica publishes what it says of itself to a fanout, and reads everybody's, its own among them, from a
queue of this life's own. So what comes back of its own tells it that all that was said before has been heard.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from pamqp.commands import Basic

from adapter import contract
from adapter.broker.rabbitmq import topology
from adapter.errors import BrokerUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    import aiormq
    from aiormq.abc import DeliveredMessage

    from adapter.broker.rabbitmq.connection import Connection
    from adapter.broker.rabbitmq.limits import Limits
    from adapter.broker.rabbitmq.supervisor import Supervisor, Up

SILENT: Final = 3.0
"""Leases without a beat, not even its own, after which a replica reads anew: its consumer may be gone."""


class Beats:
    """To be ``run`` on each connection. Who has not joined has no queue, and says nothing."""

    def __init__(self, supervisor: Supervisor, limits: Limits) -> None:
        self._supervisor = supervisor
        self._limits = limits
        self._replica = ""
        self._lease = 1.0
        self._heard: Callable[[bytes], None] = lambda _: None
        self._channel: aiormq.Channel | None = None
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
        channel, connection = self._channel, self._connection
        waits = self._saying is not None and not self._saying.done()
        if channel is None or connection is None or connection.blocked or waits:
            return
        properties = Basic.Properties(delivery_mode=1, app_id=contract.APP_ID, content_type=contract.JSON)
        saying = channel.basic_publish(body, exchange=contract.REPLICAS_EXCHANGE, properties=properties)
        self._saying = self._supervisor.aside(saying)

    async def run(self, connection: Connection, declared: asyncio.Event, up: Up) -> None:
        """Hear and be heard on a connection until that breaks: raises BrokerUnavailable then."""
        if not self.joined:
            return
        await declared.wait()
        await connection.unblocked()
        async with asyncio.timeout(self._limits.answer_timeout):
            channel = await connection.channel()
            await self._read(channel)
        self._channel, self._connection = channel, connection
        try:
            up()
            while not channel.closing.done():
                self._came.clear()
                await self._wait(channel)
        finally:
            self._channel = self._connection = None
            self._supervisor.aside(channel.close())
        raise BrokerUnavailable("the channel for replicas' beats was closed")

    async def _read(self, channel: aiormq.Channel) -> None:
        queue = topology.replica_queue(self._replica, self._lease)
        await topology.declare_exchange(channel, topology.REPLICAS)
        await topology.declare_queue(channel, queue)
        await topology.bind(channel, topology.Binding(contract.REPLICAS_EXCHANGE, queue.name))
        await channel.basic_consume(queue.name, self._on_beat, no_ack=True)

    async def _wait(self, channel: aiormq.Channel) -> None:
        """Return once something came or the channel closed. Raises BrokerUnavailable where nothing does."""
        came = asyncio.ensure_future(self._came.wait())
        try:
            done, _ = await asyncio.wait(
                {came, channel.closing}, timeout=SILENT * self._lease, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            came.cancel()
        if not done:
            raise BrokerUnavailable("no beat comes, not even this replica's own")

    async def _on_beat(self, message: DeliveredMessage) -> None:
        if message.exchange != contract.REPLICAS_EXCHANGE:
            return  # anybody may send to a queue
        self._came.set()
        self._heard(message.body)
