"""A channel whose messages go past the library, in and out."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import aiormq

from adapter.amqp.footholds import untapped, usable
from adapter.amqp.tasks import ask
from adapter.amqp.words import reason, refused

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from adapter.amqp.scanner import Confirm, D, Returned
    from adapter.amqp.wire import Wire


class Line:
    """Only whoever listens publishes and consumes on it.

    What is written goes to the socket at once, past the library's queue; the two need not keep
    their order, since the library has nothing to say about publications and deliveries.
    """

    def __init__(self, amqp: aiormq.Channel, wire: Wire) -> None:
        self.amqp = amqp
        self.number = amqp.number
        self.most = amqp.max_content_size
        """Bytes of a body in one frame."""
        self.wire = wire
        self.closing = False
        """Whether nothing is to be written any more: the server may know no such channel."""

    def listen(
        self,
        receiver: Callable[[list[D], list[Confirm | Returned]], None],
        make: Callable[[bytes, bytes, bytes, int], D] | None = None,
        most: int = 0,
    ) -> None:
        """Give what comes to ``receiver``: see ``scanner.Tapped``. Said before anything is asked for."""
        self.wire.tap(self.amqp, receiver, make, most)

    def on_closed(self, tell: Callable[[str], None]) -> None:
        """Tell why it closes."""
        self.amqp.closing.add_done_callback(
            lambda closing: tell(
                "closed" if closing.cancelled() else f"channel closed: {reason(closing.exception())}"
            )
        )

    def on_cancelled(self, tell: Callable[[str], None]) -> None:
        """Tell that the server ended a consumer, and why it may."""
        why = "the server consumes no more: a queue of it was deleted, or is on a server that is away"
        self.amqp.on_consumer_cancel_callbacks.add(lambda _: tell(why))

    @property
    def alive(self) -> bool:
        """Whether the server still knows it."""
        return usable(self.amqp)

    async def consume(self, queue: str, prefetch: int, tag: str, priority: int | None = None) -> None:
        """Consume a queue under a tag. Raises BrokerUnavailable, and what the library raises."""
        arguments: dict[str, Any] = {} if priority is None else {"x-priority": priority}
        await self.ask(self.amqp.basic_qos(prefetch_count=prefetch))
        try:
            await self.ask(self.amqp.basic_consume(queue, untapped, consumer_tag=tag, arguments=arguments))
        except aiormq.AMQPError as exc:
            raise refused("queue", queue, exc) from exc

    async def cancel(self, tag: str) -> None:
        """Consume under a tag no more."""
        await self.ask(self.amqp.basic_cancel(tag))

    async def ask(self, request: Coroutine[Any, Any, Any]) -> None:
        """Ask the server; if that is given up, nothing is written any more: see ``tasks.ask``."""
        try:
            await ask(request)
        except asyncio.CancelledError:
            self.closing = True
            raise

    def write(self, frames: bytes) -> bool:
        """Write whole frames now, if that can still be done: frames of another channel would end the
        whole connection. Gives whether they were written.
        """
        return not self.closing and self.wire.write(self.amqp, frames)

    async def close(self) -> None:
        """Close it."""
        self.closing = True
        await self.amqp.close()
