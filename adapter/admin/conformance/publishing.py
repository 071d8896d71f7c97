"""Writes the kit's requests, one at a time, and can see to it that one is delivered twice."""

from __future__ import annotations

import asyncio
import struct
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from pamqp import frame as frames
from pamqp.commands import Basic

from adapter.amqp import fields
from adapter.amqp.frames import give_back
from adapter.amqp.ledgers import Unconfirmed
from adapter.amqp.scanner import Confirm, Returned
from adapter.errors import BrokerUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from adapter.admin.rabbit import Rabbit
    from adapter.amqp.line import Line

PRIORITY: Final = 1_000
"""Of the kit's own consumer: RabbitMQ gives it a message before any other."""
_NO_RIGHT: Final = "; let the user write amq.default, or --by-exchange where it may write evapi.events"
_LOOK: Final = 0.05
_TAG: Final = "conformance"
_tag: Final = struct.Struct(">Q").unpack_from


class _Delivery(NamedTuple):
    """A message that came to the kit's own consumer."""

    tag: int
    message_id: str | None

    @classmethod
    def scanned(cls, method: bytes, header: bytes, _body: bytes, _size: int) -> _Delivery:
        """Make one of what ``adapter.amqp.scanner`` found."""
        (tag,) = _tag(method, 5 + method[4])
        return cls(tag, fields.ids(header)[1])


class Publishing:
    """Publishes on lines of its own.

    Args:
        rabbit: opens them.
        within: seconds that RabbitMQ has for an answer.
    """

    def __init__(self, rabbit: Rabbit, within: float) -> None:
        self._rabbit = rabbit
        self._within = within
        self._line: Line | None = None
        self._unconfirmed: Unconfirmed[asyncio.Future[bool]] = Unconfirmed()

    async def publish(self, write: Callable[[tuple[int, int]], bytes]) -> bool:
        """Publish what ``write`` makes for a channel's number and frame size.

        Returns:
            Whether a queue has it.

        Raises:
            BrokerUnavailable: RabbitMQ is away, silent, or refused it.
        """
        line = self._line
        if line is None:
            line = self._line = await self._rabbit.line()
            line.listen(self._on_confirms)
            line.on_closed(self._on_closed)
        confirmed: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._unconfirmed.add(confirmed)
        if not line.write(write((line.number, line.most))):
            raise BrokerUnavailable("RabbitMQ: the connection was lost")
        return await self._rabbit.ask(_result(confirmed), "publishing")

    def _on_confirms(self, _: object, came: list[Confirm | Returned]) -> None:
        for each in came:
            if isinstance(each, Returned):  # its confirm comes right behind it
                for waiting in self._unconfirmed.give_up():
                    waiting.set_result(False)
                self._unconfirmed = Unconfirmed()
                self._line = None  # a new one counts from 1 again
                continue
            for _number, waiting in self._unconfirmed.answered(each):
                if not waiting.done():
                    waiting.set_result(each.taken)

    def _on_closed(self, why: str) -> None:
        for waiting in self._unconfirmed.give_up():
            if not waiting.done():
                todo = _NO_RIGHT if "ACCESS_REFUSED" in why else ""
                waiting.set_exception(BrokerUnavailable(why + todo))

    async def twice(
        self, queue: str, id_: str, write: Callable[[tuple[int, int]], bytes], missed: Callable[[], bool]
    ) -> bool:
        """Publish, take the message off the queue before anybody else, and give it back.

        The consumer and the publication are written in one piece, and the kit holds one message at most. So
        hardly ever another message comes to it; that one is given back at once, too.

        Args:
            queue: where it comes to.
            id_: its message id.
            write: makes its frames.
            missed: whether somebody else got it, as far as is known.

        Returns:
            Whether it was this message that was given back: it is delivered again, and says so.
        """
        came: asyncio.Future[_Delivery] = asyncio.get_running_loop().create_future()
        line = await self._rabbit.line()

        def take(deliveries: list[_Delivery], _: object) -> None:
            for each in deliveries[:1]:
                if not came.done():
                    came.set_result(each)

        def refused(_: str) -> None:
            came.cancel()  # the user has no right to consume that queue

        line.listen(take, _Delivery.scanned, 1 << 21)
        line.on_closed(refused)
        try:
            await self._rabbit.ask(line.amqp.basic_qos(prefetch_count=1), f"queue {queue}")
            consume = Basic.Consume(
                queue=queue, consumer_tag=_TAG, nowait=True, arguments={"x-priority": PRIORITY}
            )
            line.write(frames.marshal(consume, line.number) + write((line.number, line.most)))
            until = time.monotonic() + self._within
            while not (came.done() or missed()) and time.monotonic() < until:
                await asyncio.wait({came}, timeout=_LOOK)
            delivery = came.result() if came.done() and not came.cancelled() else None
            if line.alive:
                cancel = frames.marshal(Basic.Cancel(consumer_tag=_TAG, nowait=True), line.number)
                line.write(cancel + (give_back(line.number, delivery.tag) if delivery else b""))
            return delivery is not None and delivery.message_id == id_
        finally:
            # Behind all that was written: what is still held then goes back by itself.
            if line.alive:
                await self._rabbit.ask(line.close(), "channel")


async def _result(confirmed: asyncio.Future[bool]) -> bool:
    return await confirmed
