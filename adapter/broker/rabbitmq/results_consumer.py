"""The replies of one node, and the requests that were given up, out of one queue."""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

import aiormq
import structlog

from adapter import contract
from adapter.amqp.footholds import untapped
from adapter.amqp.ledgers import Acknowledgements
from adapter.amqp.tasks import ask
from adapter.amqp.words import reason, refused
from adapter.broker.rabbitmq.delivery import Delivery
from adapter.broker.rabbitmq.refusals import Refusals
from adapter.broker.rabbitmq.replies import WRONG_EXCHANGE, read_reply
from adapter.errors import BrokerUnavailable
from adapter.ports.broker import DeadLetter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pamqp.commands import Basic
    from pamqp.common import FieldValue

    from adapter.amqp.wire import Wire
    from adapter.broker.rabbitmq.limits import Counters, Limits
    from adapter.ports.broker import Receiver, Reply

log = structlog.get_logger()

_FEW: Final = 10
"""Replies at a time that cost nobody anything, even if they are stale."""
_REPLIES: Final = "replies"
"""The consumers, as the server is told to call them; there may be one after the other."""


class ResultsConsumer:
    """One channel, on which one queue of a node's replies is consumed.

    Replies are taken in batch by batch: while one is under way the next one gathers. Order is
    kept. A batch that is large, in number or bytes, is looked at in slices, so that the loop gets
    its turn; while much waits to be looked at, no more is read. What is not acknowledged when the
    channel closes goes to another consumer at once. ``rank`` is asked with which priority the
    replies are to be consumed.

    ``aside``: replies to new calls come by another queue. What is in this one may be stale, and much, so
    this inbox rests after each slice of many replies, for as long as they took.
    """

    def __init__(
        self,
        node: str,
        queue: str,
        channel: aiormq.Channel,
        receiver: Receiver,
        dead_letter: Callable[[DeadLetter], None],
        limits: Limits,
        counters: Counters,
        rank: Callable[[], int] = lambda: 0,
        aside: bool = False,
    ) -> None:
        self._aside = aside
        self.node = node
        self.queue = queue
        self._rank = rank
        self._channel = channel
        self._receiver = receiver
        self._dead_letter = dead_letter
        self._limits = limits
        self._counters = counters
        self._refusals = Refusals(counters)
        self._wire: Wire
        self._pending: list[Delivery] = []
        self._standby = 0  # bytes of those that are here and not looked at
        self._wake = asyncio.Event()
        self._broken: BrokerUnavailable | None = None
        self._stopping = False
        self._left = False
        self._acknowledgements = Acknowledgements(channel.number)
        self._acknowledging: asyncio.TimerHandle | None = None
        self._failing = False
        self._tag = ""
        self._consumed = 0
        self._consumed_as = 0
        self._consuming = asyncio.Lock()
        self._closed = False

    async def open(self, wire: Wire) -> None:
        """Consume. The queue must be there."""
        channel = self._channel
        channel.on_consumer_cancel_callbacks.add(self._on_cancelled)
        channel.closing.add_done_callback(self._on_closed)
        self._wire = wire
        wire.tap(channel, self._on_deliveries, Delivery.scanned, contract.MAX_REPLY)
        async with self._consuming:
            await self._consume()

    async def rerank(self) -> None:
        """Consume the replies with the present rank, where it is another.

        The new consumer begins before the old one ends, on the same channel: none of the replies
        that are here goes back, and none has to wait.
        """
        async with self._consuming:
            if self._rank() == self._consumed_as or self._stopping or self._broken is not None:
                return
            old = self._tag
            await self._consume()
            await self._ask(self._channel.basic_cancel(old))

    async def _consume(self) -> None:
        self._consumed_as = rank = self._rank()
        await self._ask(self._channel.basic_qos(prefetch_count=self._limits.prefetch))
        self._consumed += 1
        tag = f"{_REPLIES}-{self._consumed}"
        arguments: dict[str, FieldValue] = {"x-priority": rank}
        try:
            await self._ask(
                self._channel.basic_consume(self.queue, untapped, consumer_tag=tag, arguments=arguments)
            )
        except aiormq.AMQPError as exc:
            raise refused("queue", self.queue, exc) from exc
        self._tag = tag

    async def _ask(self, request: Any) -> None:
        try:
            await ask(request)
        except asyncio.CancelledError:
            self._closed = True  # nothing must be written on the channel any more
            raise

    async def waiting(self) -> int:
        """How many messages are in the queue and nobody's."""
        found = await self._channel.queue_declare(self.queue, passive=True)
        return found.message_count or 0

    async def drain_single(self, most: int, suspect: Callable[[str], None]) -> None:
        """Take ``most`` messages off the queue, one at a time and acknowledged as it is sent.

        A message that the server or the library cannot hand over closes the connection. It would come
        again with each new one and close that, too; got in this way it is gone (RabbitMQ 3.10 to 4.3).
        ``suspect`` is told the queue before, and nothing after each.
        """
        for _ in range(most):
            suspect(self.queue)
            message = await self._channel.basic_get(self.queue, no_ack=True)
            suspect("")
            if message.delivery_tag is None:
                return
            replies = self._read([Delivery.of(message)])
            if replies:
                await self._receiver.on_replies(replies)

    async def run(self, hold: Callable[[Any], asyncio.Task[Any]]) -> None:
        """Hand on what comes, until told to stop. Raises BrokerUnavailable when it comes no more.

        A batch once begun is finished, whatever becomes of the channel: ``hold`` keeps it.
        """
        try:
            await asyncio.shield(hold(self._pump()))
        finally:
            self._left = True
            self._wake.set()
            self._release(self._standby)

    async def _pump(self) -> None:
        while not self._left:
            await self._wake.wait()
            self._wake.clear()
            if self._left:
                return
            if self._broken is not None:
                raise self._broken
            batch, self._pending = self._pending, []
            if batch:
                for part in self._slices(batch):
                    await (self._take_leisurely if self._aside else self._take)(part)
            elif self._stopping:
                return
            if self._stopping:
                self._wake.set()

    def _slices(self, batch: Sequence[Delivery]) -> Iterator[Sequence[Delivery]]:
        """The batch in parts that are looked at in a few milliseconds each; most are one."""
        most, most_bytes = self._limits.slice_replies, self._limits.slice_bytes
        if len(batch) <= most and self._standby <= most_bytes:
            yield batch
            return
        first = size = 0
        for place, delivery in enumerate(batch):
            if place > first and (place - first >= most or size + len(delivery.body) > most_bytes):
                if self._left or self._broken is not None:
                    return
                yield batch[first:place]
                first, size = place, 0
            size += len(delivery.body)
        yield batch[first:]

    async def stop(self) -> None:
        """Get no more, and end ``run`` when what is here has been taken in."""
        async with self._consuming:
            await self._ask(self._channel.basic_cancel(self._tag))
            self._stopping = True
        self._acknowledge_all()
        self._wake.set()

    async def close(self) -> None:
        """Close the channel."""
        self._acknowledge_all()
        self._closed = True  # from here on nothing is written: the server would know no such channel
        await self._channel.close()

    def _on_deliveries(self, came: list[Delivery], _: object) -> None:
        size = 0
        for delivery in came:
            self._counters.redelivered += delivery.redelivered
            size += len(delivery.body)
        self._pending += came
        self._standby += size
        self._wire.hold(size)
        self._wake.set()

    def _release(self, size: int) -> None:
        self._standby -= size
        self._wire.hold(-size)

    def _on_cancelled(self, _: Basic.Cancel) -> None:
        self._break("the server consumes no more: a queue of it was deleted, or is on a server that is away")

    def _on_closed(self, closing: asyncio.Future[Any]) -> None:
        self._break("closed" if closing.cancelled() else f"channel closed: {reason(closing.exception())}")

    def _break(self, why: str) -> None:
        self._broken = BrokerUnavailable(why)
        self._wake.set()

    async def _take_leisurely(self, batch: Sequence[Delivery]) -> None:
        begun = perf_counter()
        await self._take(batch)
        if len(batch) > _FEW:
            await asyncio.sleep(perf_counter() - begun)

    async def _take(self, batch: Sequence[Delivery]) -> None:
        """Hand a batch on and acknowledge it, or give it back."""
        last, size = batch[-1].tag, sum([len(delivery.body) for delivery in batch])
        replies = self._read(batch)
        try:
            if replies:
                await self._receiver.on_replies(replies)
        except Exception as exc:
            # Whatever it is, the replies are not lost: they are delivered again, here or elsewhere.
            await self._give_back(last, exc)
        else:
            self._failing = False
            self._acknowledge(last)
        finally:
            if not self._left:
                self._release(size)

    def _read(self, batch: Sequence[Delivery]) -> list[Reply]:
        replies = []
        for delivery in batch:
            found = read_reply(delivery, self.node)
            if found is None:
                self._counters.ignored += 1
            elif isinstance(found, DeadLetter):
                if found.reason == WRONG_EXCHANGE:
                    self._refusals.note(self.node, found.detail)
                self._dead_letter(found)
            else:
                replies.append(found)
        return replies

    def _acknowledge(self, last: int) -> None:
        """Soon, with those that come meanwhile; at once where the server waits for it, or at the end."""
        self._acknowledgements.done_up_to(last)
        if self._stopping or self._acknowledgements.waiting * 4 >= self._limits.prefetch:
            self._acknowledge_all()
        elif self._acknowledging is None:
            loop = asyncio.get_running_loop()
            self._acknowledging = loop.call_later(self._limits.ack_pause, self._acknowledge_all)

    def _acknowledge_all(self) -> None:
        if self._acknowledging is not None:
            self._acknowledging.cancel()
            self._acknowledging = None
        for frame in self._acknowledgements.take()[1]:
            self._answer(frame)

    async def _give_back(self, last: int, exc: Exception) -> None:
        if not self._failing:
            log.warning("replies given back", node=self.node, reason=reason(exc))
        self._failing = True
        self._counters.requeued += 1
        self._acknowledge_all()  # what came before is not given back with it
        await asyncio.sleep(self._limits.requeue_pause)
        self._answer(self._acknowledgements.give_back_up_to(last))

    def _answer(self, answer: bytes) -> None:
        """Acknowledge, where that can be done: what is not the server delivers again."""
        if not self._closed:
            self._wire.write(self._channel, answer)
