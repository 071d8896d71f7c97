"""What one node gets from the bus: replies, requests that were given up, commands."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import structlog

from adapter import contract
from adapter.broker.amqp import frames
from adapter.broker.amqp.connection import reason
from adapter.broker.amqp.incoming import Delivery
from adapter.broker.amqp.supervisor import end
from adapter.broker.base import DeadLetter, Reply
from adapter.errors import BrokerUnavailable, CodecError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence

    import aiormq
    from aiormq.abc import DeliveredMessage
    from pamqp.commands import Basic
    from pamqp.common import FieldValue

    from adapter.broker.amqp.incoming import Deliveries
    from adapter.broker.amqp.limits import Counters, Limits
    from adapter.broker.amqp.tap import Wire
    from adapter.broker.base import Receiver

log = structlog.get_logger()

_EXPIRED = "expired"
_WRONG_EXCHANGE: Final = "wrong-exchange"
"""Why a message is kept that came another way than the one that needs the right to send it."""
_COMPLAIN_EACH: Final = 1.0
_MAX_TEXT = 200
_LATEST: Final = 1 << 53  # microseconds: what a float holds exactly, and the year 2255
_COMMANDS: Final = "commands"
_COMMANDS_RAW: Final = _COMMANDS.encode()
_REPLIES: Final = "replies"
"""The consumers, as the server is told to call them; of the replies' there may be one after the other."""


class Inbox:
    """One channel, on which a node's queues are consumed.

    Replies are taken in batch by batch: while one is under way the next one gathers. Order is
    kept. What is not acknowledged when the channel closes goes to another consumer at once.
    ``rank`` is asked with which priority the replies are to be consumed.
    """

    def __init__(
        self,
        node: str,
        channel: aiormq.Channel,
        receiver: Receiver,
        dead_letter: Callable[[DeadLetter], None],
        limits: Limits,
        counters: Counters,
        rank: Callable[[], int] = lambda: 0,
    ) -> None:
        self.node = node
        self._rank = rank
        self._channel = channel
        self._receiver = receiver
        self._dead_letter = dead_letter
        self._limits = limits
        self._counters = counters
        self._wire: Wire
        self._deliveries: Deliveries
        self._pending: list[Delivery] = []
        self._wake = asyncio.Event()
        self._broken: BrokerUnavailable | None = None
        self._stopping = False
        self._left = False
        self._done = 0  # the last one taken in; so many of those up to it are not acknowledged
        self._unacknowledged = 0
        self._acknowledging: asyncio.TimerHandle | None = None
        self._failing = False
        self._tags: list[str] = []
        self._replies_tag = ""
        self._consumed = 0
        self._consumed_as = 0
        self._consuming = asyncio.Lock()
        self._closed = False
        self._complained = float("-inf")

    async def open(self, wire: Wire) -> None:
        """Consume. The queues must be there."""
        channel = self._channel
        channel.on_consumer_cancel_callbacks.add(self._on_cancelled)
        channel.closing.add_done_callback(self._on_closed)
        self._wire = wire
        self._deliveries = wire.deliveries(channel, self._on_deliveries)
        async with self._consuming:
            await self._consume_replies()
            await self._ask(channel.basic_qos(prefetch_count=self._limits.prefetch_commands))
            await self._consume(contract.commands_queue(self.node), _COMMANDS)

    async def rerank(self) -> None:
        """Consume the replies with the present rank, where it is another.

        The new consumer begins before the old one ends, on the same channel: none of the replies
        that are here goes back, and none has to wait.
        """
        async with self._consuming:
            if self._rank() == self._consumed_as or self._stopping or self._broken is not None:
                return
            old = self._replies_tag
            await self._consume_replies()
            await self._ask(self._channel.basic_cancel(old))
            self._tags.remove(old)

    async def _consume_replies(self) -> None:
        self._consumed_as = rank = self._rank()
        await self._ask(self._channel.basic_qos(prefetch_count=self._limits.prefetch))
        self._consumed += 1
        self._replies_tag = f"{_REPLIES}-{self._consumed}"
        await self._consume(contract.results_queue(self.node), self._replies_tag, {"x-priority": rank})

    async def _consume(self, queue: str, tag: str, arguments: dict[str, FieldValue] | None = None) -> None:
        self._deliveries.add(tag)
        await self._ask(self._channel.basic_consume(queue, _untapped, consumer_tag=tag, arguments=arguments))
        self._tags.append(tag)

    async def _ask(self, request: Coroutine[Any, Any, Any]) -> None:
        """Ask the server. A request that is given up makes the library close the channel.

        Nothing must be written on it any more by then, so that is settled first.
        """
        asking = asyncio.ensure_future(request)
        try:
            await asyncio.wait({asking})
        except asyncio.CancelledError:
            self._closed = True
            await end(asking)
            raise
        asking.result()

    async def sift(self) -> None:
        """Empty the queues, one message at a time and acknowledged as it is sent.

        A message that the library cannot read closes the connection. It would come again with
        each new one and close that, too; got in this way it is gone.
        """
        for queue, take in (
            (contract.results_queue(self.node), self._sift_reply),
            (contract.commands_queue(self.node), self._sift_command),
        ):
            while True:
                message = await self._channel.basic_get(queue, no_ack=True)
                if message.delivery_tag is None:
                    break
                await take(message)

    async def _sift_reply(self, message: DeliveredMessage) -> None:
        reply = self._reply(message)
        if reply is not None:
            await self._receiver.on_replies([reply])

    async def _sift_command(self, message: DeliveredMessage) -> None:
        self._command(Delivery.of(message))

    async def run(self, hold: Callable[[Any], asyncio.Task[Any]]) -> None:
        """Hand on what comes, until told to stop. Raises BrokerUnavailable when it comes no more.

        A batch once begun is finished, whatever becomes of the channel: ``hold`` keeps it.
        """
        try:
            await asyncio.shield(hold(self._pump()))
        finally:
            self._left = True
            self._wake.set()

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
                await self._take(batch)
            elif self._stopping:
                return
            if self._stopping:
                self._wake.set()

    async def stop(self) -> None:
        """Get no more, and end ``run`` when what is here has been taken in."""
        async with self._consuming:
            for tag in self._tags:
                await self._ask(self._channel.basic_cancel(tag))
            self._stopping = True
        self._acknowledge_all()
        self._wake.set()

    async def close(self) -> None:
        """Close the channel."""
        self._acknowledge_all()
        self._closed = True  # from here on nothing is written: the server would know no such channel
        await self._channel.close()

    def _on_deliveries(self, came: list[Delivery]) -> None:
        """Commands are dealt with at once: so no batch of replies can be acknowledged past one of them."""
        for delivery in came:
            if delivery.consumer == _COMMANDS_RAW:
                self._command(delivery)
                self._answer(frames.ack(self._channel.number, delivery.tag, multiple=False))
            else:
                self._counters.redelivered += delivery.redelivered
                self._pending.append(delivery)
        if self._pending:
            self._wake.set()

    def _command(self, delivery: Delivery) -> None:
        if delivery.exchange != contract.COMMANDS_EXCHANGE:
            self._refuse(delivery, f"a command comes by the exchange {contract.COMMANDS_EXCHANGE}")
            return
        try:
            self._receiver.on_command(self.node, delivery.body)
        except CodecError as exc:
            self._bury(delivery, exc.reason, exc.detail)
        except Exception as exc:  # a fault of ours: the command is kept, and not tried again
            log.error("command failed", node=self.node, exc_info=exc)
            self._bury(delivery, "command-failed", reason(exc))

    def _on_cancelled(self, _: Basic.Cancel) -> None:
        self._break("the server consumes no more: a queue of it was deleted, or is on a server that is away")

    def _on_closed(self, closing: asyncio.Future[Any]) -> None:
        self._break("closed" if closing.cancelled() else f"channel closed: {reason(closing.exception())}")

    def _break(self, why: str) -> None:
        self._broken = BrokerUnavailable(why)
        self._wake.set()

    async def _take(self, batch: Sequence[Delivery]) -> None:
        """Hand a batch on and acknowledge it, or give it back."""
        last = batch[-1].tag
        replies = [reply for delivery in batch if (reply := self._read(delivery)) is not None]
        try:
            if replies:
                await self._receiver.on_replies(replies)
        except Exception as exc:
            # Whatever it is, the replies are not lost: they are delivered again, here or elsewhere.
            await self._give_back(last, exc)
        else:
            self._failing = False
            self._acknowledge(last, len(batch))

    def _acknowledge(self, last: int, number: int) -> None:
        """Soon, with those that come meanwhile; at once where the server waits for it, or at the end."""
        self._done = last
        self._unacknowledged += number
        if self._stopping or self._unacknowledged * 4 >= self._limits.prefetch:
            self._acknowledge_all()
        elif self._acknowledging is None:
            loop = asyncio.get_running_loop()
            self._acknowledging = loop.call_later(self._limits.ack_pause, self._acknowledge_all)

    def _acknowledge_all(self) -> None:
        if self._acknowledging is not None:
            self._acknowledging.cancel()
            self._acknowledging = None
        if self._unacknowledged:
            self._unacknowledged = 0
            self._answer(frames.ack(self._channel.number, self._done, multiple=True))

    async def _give_back(self, last: int, exc: Exception) -> None:
        if not self._failing:
            log.warning("replies given back", node=self.node, reason=reason(exc))
        self._failing = True
        self._counters.requeued += 1
        self._acknowledge_all()  # what came before is not given back with it
        await asyncio.sleep(self._limits.requeue_pause)
        self._answer(frames.give_back(self._channel.number, last))

    def _answer(self, answer: bytes) -> None:
        """Acknowledge, where that can be done: what is not the server delivers again."""
        if not self._closed:
            self._wire.write(self._channel, answer)

    def _reply(self, message: DeliveredMessage) -> Reply | None:
        """What the relay is told of a message that came through the library."""
        return self._read(Delivery.of(message))

    def _read(self, delivery: Delivery) -> Reply | None:
        """What the relay is told; ``None`` where it need not know."""
        content_type, headers, correlation_id, _, times = delivery.properties
        if delivery.exchange == contract.DEAD_EXCHANGE:
            return self._given_up(delivery)
        if not correlation_id:
            self._bury(delivery, "no-correlation-id", "a reply carries that of its request")
            return None
        status = _text(headers.get(contract.HEADER_STATUS))
        by_operator = delivery.exchange == contract.OPERATOR_EXCHANGE
        if status == contract.STATUS_OPERATOR and not by_operator:
            self._refuse(delivery, f"an operator's answer comes by the exchange {contract.OPERATOR_EXCHANGE}")
            return None
        return Reply(
            correlation_id,
            delivery.body,
            content_type,
            status,
            _text(headers.get(contract.HEADER_SERVICE)),
            None,
            *_seconds(times),
            _text(headers.get(contract.HEADER_DETAIL)),
            by_operator,
        )

    def _given_up(self, delivery: Delivery) -> Reply | None:
        """A dead request, told apart by its exchange: the header ``x-death`` may be copied to a reply.

        That of a node whose routing word is the same comes here, too. An expired one has been
        answered by its deadline.
        """
        content_type, headers, correlation_id, *_ = delivery.properties
        death = _last_death(headers)
        ours = headers.get(contract.HEADER_NODE) == self.node
        if death is None or death == _EXPIRED or not ours or not correlation_id:
            self._counters.ignored += 1
            return None
        return Reply(correlation_id, delivery.body, content_type, rejected=death)

    def _refuse(self, delivery: Delivery, detail: str) -> None:
        """Keep what somebody sent who may not: whoever may reply can write to every queue, by its name.

        The server says by which exchange a message came; nobody can forge that.
        """
        self._counters.refused += 1
        now = asyncio.get_running_loop().time()
        if now >= self._complained + _COMPLAIN_EACH:  # there may be as many as somebody likes
            self._complained = now
            log.warning("refused", node=self.node, reason=_WRONG_EXCHANGE, detail=detail)
        self._bury(delivery, _WRONG_EXCHANGE, detail)

    def _bury(self, delivery: Delivery, why: str, detail: str) -> None:
        content_type, _, correlation_id, *_ = delivery.properties
        self._dead_letter(DeadLetter(why, detail, delivery.body, self.node, correlation_id, content_type))


async def _untapped(_: DeliveredMessage) -> None:
    """For the library, which asks for somebody: the tap takes what is delivered, unless it is broken."""


def _last_death(headers: Mapping[str, Any]) -> str | None:
    """Why the broker gave a message up the last time (it may have been retried before)."""
    deaths = headers.get("x-death")
    last = deaths[0] if isinstance(deaths, list) and deaths else {}
    found = last.get("reason") if isinstance(last, dict) else None
    return _text(found) or _text(headers.get("x-first-death-reason"))


def _seconds(times: tuple[int, int] | None) -> tuple[float | None, float | None]:
    """What a consumer says of its times, in epoch seconds; nothing where that is none."""
    if times is None or not (0 < times[0] < _LATEST and 0 < times[1] < _LATEST):
        return None, None
    return times[0] / 1e6, times[1] / 1e6


def _text(value: Any) -> str | None:
    """A header as text, whatever type a consumer gave it, and no longer than a log line bears."""
    if value is None or isinstance(value, str):
        return None if value is None else value[:_MAX_TEXT]
    if isinstance(value, bytes | bytearray):
        return bytes(value[:_MAX_TEXT]).decode(errors="replace")
    return str(value)[:_MAX_TEXT]
