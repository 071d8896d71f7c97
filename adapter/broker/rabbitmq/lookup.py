"""Whether a queue of replies or commands is there, asked so that RabbitMQ's log has nothing of it.

AMQP says "no" to a passive declaration by closing the channel, and RabbitMQ notes that as an error. A message
that is ``mandatory`` comes back from where there is no queue, and nobody notes that. Where there is one it
expires at once, who consumes just then skips it (``delivery.LOOKUP``), and the usual question is no error.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from aiormq.abc import DeliveredMessage
from pamqp.commands import Basic

from adapter.amqp.topology import messages_in
from adapter.broker.rabbitmq.delivery import LOOKUP

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import aiormq

    from adapter.amqp.connection import Connection
    from adapter.broker.rabbitmq.supervisor import Supervisor

PATIENCE: Final = 0.5
"""Seconds to wait for the connection, and for the answer: a "yes" is the queue's, which may hang."""
_POLL: Final = 0.01
"""Seconds between two looks for the connection, which is opened side by side with the one that asks."""


class Lookup:
    """Asks on the connection for requests: a server that is short of memory or disk reads nothing of one that
    has published, and replies must come all the same. ``connection`` gives that of now, if there is one.
    """

    def __init__(self, connection: Callable[[], Connection | None], supervisor: Supervisor) -> None:
        self._connection = connection
        self._supervisor = supervisor

    async def messages_in(
        self, open_channel: Callable[[], Awaitable[aiormq.Channel]], queue: str
    ) -> int | None:
        """Return how many messages wait in a queue; None if there is none of that name.

        ``open_channel`` opens one where it must be asked the usual way. Raises BrokerUnavailable.
        """
        if await self._is_absent(queue):
            return None
        return await messages_in(await open_channel(), queue)

    async def _is_absent(self, queue: str) -> bool:
        """Return True if there is no such queue; False if there is, or nobody can tell."""
        # In a task of its own: the library ends who waits for a channel that closes by CancelledError.
        asking = self._supervisor.aside(self._came_back(queue))
        try:
            await asyncio.wait({asking}, timeout=PATIENCE)
        finally:
            asking.cancel()
        answered = asking.done() and not asking.cancelled() and asking.exception() is None
        return answered and asking.result()

    async def _came_back(self, queue: str) -> bool:
        while (connection := self._connection()) is None or not connection.alive:
            await asyncio.sleep(_POLL)
        if connection.blocked:
            return False
        channel = await connection.below.channel(publisher_confirms=True, on_return_raises=False)
        try:
            asking = Basic.Properties(content_type=LOOKUP, expiration="0", delivery_mode=1)
            answer = await channel.basic_publish(b"", routing_key=queue, mandatory=True, properties=asking)
        finally:
            self._supervisor.aside(channel.close())
        return isinstance(answer, DeliveredMessage)
