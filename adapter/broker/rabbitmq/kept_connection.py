"""One connection that is kept up: each that is lost is followed by another, for ever."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from adapter.amqp.connection import Connection
from adapter.amqp.tasks import end
from adapter.amqp.topology import declare_queue
from adapter.amqp.words import UndecodableMessage
from adapter.broker.rabbitmq.delivery import Delivery
from adapter.errors import BrokerUnavailable
from adapter.ports.broker import REMEDY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    import aiormq
    from yarl import URL

    from adapter.amqp.topology import Queue
    from adapter.broker.rabbitmq.shared import Shared
    from adapter.broker.rabbitmq.supervisor import Up

log = structlog.get_logger()


class KeptConnection:
    """Keeps a connection up, with what stands on it.

    Args:
        part: its name in the log.
        urls: the servers, tried in turn.
        shared: what it has in common with the other parts of the broker.
        stand: begins what stands on a new connection, and gives the tasks that are to end with it.
        fallen: is called when the connection is lost.
        watched: whether the server is asked for a sign of life while it says nothing, see
            ``Connection.watch``; whoever publishes finds that out by its confirms.
    """

    def __init__(
        self,
        part: str,
        urls: Sequence[URL],
        shared: Shared,
        stand: Callable[[Connection], Sequence[asyncio.Task[None]]],
        fallen: Callable[[], None] = lambda: None,
        watched: bool = True,
    ) -> None:
        self.part = part
        self.connection: Connection | None = None
        self.gone = False
        """Whether the last try to connect, to each of the servers, was in vain."""
        self.drains_single = False
        """Whether the last one was closed over a message: what waits is to be got one at a time."""
        self.one_at_a_time = asyncio.Lock()
        """Is held by whoever gets them."""
        self.dropped: dict[str, int] = {}
        """Messages that were dropped for that, by queue."""
        self._urls = list(urls)
        self._limits = shared.limits
        self._counters = shared.counters
        self._suspect = ""
        self._supervisor = shared.supervisor
        self._stand = stand
        self._fallen = fallen
        self._watched = watched
        self._main: asyncio.Task[None] | None = None
        self._doubt = asyncio.Event()

    def start(self) -> None:
        """Connect, and stay connected."""
        self._main = self._supervisor.start(self.part, self._level)

    async def stop(self) -> None:
        """Disconnect."""
        if self._main is not None:
            await end(self._main)

    def doubt(self) -> None:
        """Ask the server for a sign of life at once: another connection to it met silence."""
        self._doubt.set()

    async def declare_apart(self, queue: Queue) -> int:
        """Declare a queue on a connection that is there for that alone; gives how many messages wait in it.

        Raises BrokerUnavailable, DeclaredOtherwise among it.
        """
        connection = await Connection.open_any(list(self._urls), self._limits)
        try:
            return await declare_queue(await connection.channel(), queue)
        except asyncio.CancelledError:
            connection.abort(f"queue {queue.name}: no answer in time")
            raise
        finally:
            self._supervisor.aside(connection.close(self._limits.close_timeout))

    async def drain_single(self, channel: aiormq.Channel, queue: str, most: int) -> AsyncIterator[Delivery]:
        """Take ``most`` messages off a queue, one at a time and acknowledged as it is sent.

        A message that the server or the library cannot hand over closes the connection. It would come
        again with each new one and close that, too; got in this way it is gone (RabbitMQ 3.10 to 4.3).
        """
        for _ in range(most):
            self._suspect = queue
            message = await channel.basic_get(queue, no_ack=True)
            self._suspect = ""
            if message.delivery_tag is None:
                return
            yield Delivery.of(message)

    def _tell_dropped(self) -> bool:
        queue, self._suspect = self._suspect, ""
        if queue:
            self.dropped[queue] = self.dropped.get(queue, 0) + 1
            log.error("a message was dropped: RabbitMQ cannot hand it over", queue=queue, do=REMEDY)
        return bool(queue)

    async def _level(self, up: Up) -> None:
        try:
            connection = await Connection.open_any(self._urls, self._limits)
        except BrokerUnavailable:
            self.gone = True
            raise
        self.gone = False
        self.connection = connection
        standing = list(self._stand(connection))
        if self._watched:
            watching = connection.watch(_question, self._doubt)
            standing.append(asyncio.create_task(watching, name=f"{self.part}: watch"))
        told = {"passed_over": connection.passed_over} if connection.passed_over else {}
        up(url=connection.url, **told)
        try:
            await connection.lost()
        except BrokerUnavailable as exc:
            self._urls.append(self._urls.pop(0))  # it may hang: the others first
            self.drains_single = isinstance(exc, UndecodableMessage)
            if isinstance(exc, UndecodableMessage):
                self._counters.undecodable += 1
                exc.dropped = self._tell_dropped()
            raise
        finally:
            self.connection = None
            self._fallen()
            await end(*standing)
            self._supervisor.aside(connection.close(self._limits.close_timeout))


async def _question(channel: aiormq.Channel) -> None:
    await channel.basic_qos(prefetch_count=1)
