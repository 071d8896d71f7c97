"""The replies of one node, and the requests that were given up, out of one queue."""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import TYPE_CHECKING, Final

import structlog

from adapter import batches, contract
from adapter.amqp.ledgers import Acknowledgements
from adapter.amqp.topology import Queue, declare_queue
from adapter.amqp.words import reason
from adapter.broker.rabbitmq.delivery import Delivery
from adapter.broker.rabbitmq.refusals import Refusals
from adapter.broker.rabbitmq.replies import WRONG_EXCHANGE, read_replies
from adapter.errors import BrokerUnavailable
from adapter.ports.broker import DeadLetter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from adapter.amqp.line import Line
    from adapter.broker.rabbitmq.kept_connection import KeptConnection
    from adapter.broker.rabbitmq.shared import Shared
    from adapter.ports.broker import Reply

log = structlog.get_logger()

_LEAST: Final = 64
"""Bytes that a reply takes of a message that holds several, at least."""
_FEW: Final = 10
"""Replies at a time that cost nobody anything, even if they are stale."""
_LONG: Final = 4_096
"""Bytes of replies that are looked at in 1 to 3 ms."""
_REQUEUED: Final = 0.1
"""Seconds until what a connection that was closed had is surely back in its queue."""
_REPLIES: Final = "replies"
"""The consumers, as the server is told to call them; there may be one after the other."""


class ResultsConsumer:
    """Consumes one queue of a node's replies, on a line of its own.

    It hands replies to the receiver batch by batch, in their order: while one batch is under way the next
    one gathers. It looks at a batch that is large, in number or bytes, in slices, so that the loop gets its
    turn, and reads no more from the socket while much waits to be looked at. If the channel closes, RabbitMQ
    gives what is not acknowledged to another consumer at once.

    Args:
        node: whose replies they are.
        queue: is consumed; it must be there.
        line: is used for nothing else.
        shared: what it has in common with the other parts of the broker.
        priority: gives that with which the replies are to be consumed.
        aside: whether replies to new calls come by another queue. This one may then be long and stale, so
            after each slice of many replies the consumer rests for as long as they took.
    """

    def __init__(
        self,
        node: str,
        queue: str,
        line: Line,
        shared: Shared,
        priority: Callable[[], int] = lambda: 0,
        aside: bool = False,
    ) -> None:
        self._aside = aside
        self.node = node
        self.queue = queue
        self._priority = priority
        self._line = line
        self._shared = shared
        self._limits = shared.limits
        self._counters = shared.counters
        self._refusals = Refusals(shared.counters)
        self._loop = asyncio.get_running_loop()  # to ask for it costs a system call (Python 3.11)
        self._pending: list[Delivery] = []
        self._held = 0  # bytes of those that are here and not looked at
        self._wake = asyncio.Event()
        self._broken: BrokerUnavailable | None = None
        self._stopping = False
        self._left = False
        self._acknowledgements = Acknowledgements(line.number)
        self._acknowledging: asyncio.TimerHandle | None = None
        self._failing = False
        self._tag = ""
        self._consumed = 0
        self._consumed_as = 0
        self._consuming = asyncio.Lock()

    async def open(self) -> None:
        """Consume. The queue must be there."""
        self._line.on_closed(self._break)
        self._line.on_cancelled(self._break)
        self._line.listen(self._on_deliveries, Delivery.scanned, contract.MAX_REPLY)
        async with self._consuming:
            await self._consume()

    async def rerank(self) -> None:
        """Consume the replies with the present priority, where it is another.

        The new consumer begins before the old one ends, on the same channel: none of the replies
        that are here goes back, and none has to wait.
        """
        async with self._consuming:
            if self._priority() == self._consumed_as or self._stopping or self._broken is not None:
                return
            old = self._tag
            await self._consume()
            await self._line.cancel(old)

    async def _consume(self) -> None:
        self._consumed_as = priority = self._priority()
        self._consumed += 1
        tag = f"{_REPLIES}-{self._consumed}"
        await self._line.consume(self.queue, self._limits.prefetch, tag, priority)
        self._tag = tag

    async def drain_single(self, kept: KeptConnection) -> None:
        """Take off the queue what waits, and no more than that: what is sound comes on meanwhile."""
        channel = self._line.amqp
        waiting = await declare_queue(channel, Queue(self.queue), passive=True)
        if not waiting:
            await asyncio.sleep(_REQUEUED)
            waiting = await declare_queue(channel, Queue(self.queue), passive=True)
        async for delivery in kept.drain_single(channel, self.queue, waiting):
            if replies := self._read([delivery]):
                await self._shared.receiver.on_replies(replies)

    async def run(self) -> None:
        """Hand on what comes, until told to stop. Raises BrokerUnavailable when it comes no more.

        A batch once begun is finished, whatever becomes of the channel: the supervisor keeps it.
        """
        try:
            await asyncio.shield(self._shared.supervisor.aside(self._pump()))
        finally:
            self._left = True
            self._wake.set()
            self._release(self._held)

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
                for place, part in enumerate(self._slices(batch)):
                    if place or self._held > _LONG:
                        await _others_turn()  # to take a part may wait for nobody
                    await (self._take_leisurely if self._aside else self._take)(part)
            elif self._stopping:
                return
            if self._stopping:
                self._wake.set()

    def _slices(self, batch: Sequence[Delivery]) -> Iterator[Sequence[Delivery]]:
        """The batch in parts that are looked at in a few milliseconds each; most are one."""
        most, most_bytes = self._limits.slice_replies, self._limits.slice_bytes
        if len(batch) <= most and self._held <= min(most * _LEAST, most_bytes):
            yield batch
            return
        first = number = size = 0
        for place, delivery in enumerate(batch):
            holds = _holds(delivery)
            if place > first and (number + holds > most or size + len(delivery.body) > most_bytes):
                if self._left or self._broken is not None:
                    return
                yield batch[first:place]
                first, number, size = place, 0, 0
            number += holds
            size += len(delivery.body)
        yield batch[first:]

    async def stop(self) -> None:
        """Get no more, and end ``run`` when what is here has been taken in."""
        async with self._consuming:
            await self._line.cancel(self._tag)
            self._stopping = True
        self._acknowledge_all()
        self._wake.set()

    async def close(self) -> None:
        """Close the line."""
        self._acknowledge_all()
        await self._line.close()

    def _on_deliveries(self, came: list[Delivery], _: object) -> None:
        size = 0
        for delivery in came:
            self._counters.redelivered += delivery.redelivered
            size += len(delivery.body)
        self._pending += came
        self._held += size
        self._line.wire.hold(size)
        self._wake.set()

    def _release(self, size: int) -> None:
        self._held -= size
        self._line.wire.hold(-size)

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
                await self._shared.receiver.on_replies(replies)
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
        for found in [found for delivery in batch for found in read_replies(delivery, self.node)]:
            if found is None:
                self._counters.ignored += 1
            elif isinstance(found, DeadLetter):
                if found.reason == WRONG_EXCHANGE:
                    self._refusals.note(self.node, found.detail)
                self._shared.dead_letter(found)
            else:
                replies.append(found)
        return replies

    def _acknowledge(self, last: int) -> None:
        """Soon, with those that come meanwhile; at once where the server waits for it, or at the end.

        What cannot be acknowledged any more the server delivers again.
        """
        self._acknowledgements.done_up_to(last)
        if self._stopping or self._acknowledgements.waiting * 4 >= self._limits.prefetch:
            self._acknowledge_all()
        elif self._acknowledging is None:
            self._acknowledging = self._loop.call_later(self._limits.ack_pause, self._acknowledge_all)

    def _acknowledge_all(self) -> None:
        if self._acknowledging is not None:
            self._acknowledging.cancel()
            self._acknowledging = None
        for frame in self._acknowledgements.take()[1]:
            self._line.write(frame)

    async def _give_back(self, last: int, exc: Exception) -> None:
        if not self._failing:
            log.warning("replies given back", node=self.node, reason=reason(exc))
        self._failing = True
        self._counters.requeued += 1
        self._acknowledge_all()  # what came before is not given back with it
        await asyncio.sleep(self._limits.requeue_pause)
        self._line.write(self._acknowledgements.give_back_up_to(last))


def _holds(delivery: Delivery) -> int:
    """How many replies a message holds, at most."""
    return 1 + len(delivery.body) // _LEAST if batches.is_one(delivery.body) else 1


async def _others_turn() -> None:
    """Let the loop look at its timers, and whoever waited for one of them go on: a fallback may be due.

    A timer fires in the first turn, behind whatever is ready. Whoever it wakes comes behind this one once
    more, with uvloop in that turn, with asyncio's own loop in the next.
    """
    for _ in range(3):
        await asyncio.sleep(0)
