"""A channel for requests and replies."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from adapter.amqp.footholds import usable
from adapter.contract import MAX_BODY
from consumers.amqp.delivery import Delivery

if TYPE_CHECKING:
    from collections.abc import Callable

    import aiormq

    from adapter.amqp.connection import Connection
    from adapter.amqp.scanner import Confirm, Returned


class Line:
    """A channel with confirms that is tapped: only ``Work`` publishes and consumes on it.

    What is written goes to the socket at once, past the library's queue; the two need not keep
    their order, since the library has nothing to say about requests and replies.
    """

    def __init__(self, amqp: aiormq.Channel, connection: Connection) -> None:
        self.amqp = amqp
        self.number = amqp.number
        self.most = amqp.max_content_size
        """Bytes of a body in one frame."""
        self._wire = connection.wire
        self._answer_timeout = connection.limits.answer_timeout

    @classmethod
    async def open(cls, connection: Connection) -> Line:
        """Open one. Raises what the library raises, and TimeoutError."""
        return cls(await connection.channel(confirms=True), connection)

    def listen(
        self,
        receiver: Callable[[list[Delivery], list[Confirm | Returned]], None],
        on_closed: Callable[[], None],
    ) -> None:
        """Give what comes to ``receiver``; ``on_closed`` is called when nothing comes any more."""
        self._wire.tap(self.amqp, receiver, Delivery.scanned, MAX_BODY)
        self.amqp.closing.add_done_callback(lambda _: on_closed())

    @property
    def alive(self) -> bool:
        """Whether the server still knows it."""
        return usable(self.amqp)

    def write(self, frames: bytes) -> bool:
        """Write to it where it is alive, since frames of another would end the whole connection."""
        return self._wire.write(self.amqp, frames)

    async def close(self) -> None:
        """Close it, within a time. Raises TimeoutError."""
        async with asyncio.timeout(self._answer_timeout):
            await self.amqp.close()
