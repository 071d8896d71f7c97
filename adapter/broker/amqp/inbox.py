"""What one node gets from the bus: replies, requests that were given up, commands."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog

from adapter import contract
from adapter.broker.amqp.connection import reason, usable
from adapter.broker.base import DeadLetter, Reply
from adapter.errors import BrokerUnavailable, CodecError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    import aiormq
    from aiormq.abc import ConsumerCallback, DeliveredMessage
    from pamqp.commands import Basic
    from pamqp.common import FieldValue

    from adapter.broker.amqp.limits import Counters, Limits
    from adapter.broker.base import Receiver

log = structlog.get_logger()

_EXPIRED = "expired"
_MAX_TEXT = 200


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
        self._pending: list[DeliveredMessage] = []
        self._wake = asyncio.Event()
        self._broken: BrokerUnavailable | None = None
        self._stopping = False
        self._failing = False
        self._tags: list[str] = []
        self._replies_tag = ""
        self._consumed_as = 0
        self._consuming = asyncio.Lock()
        self._answering = asyncio.Lock()
        self._closed = False

    async def open(self) -> None:
        """Consume. The queues must be there."""
        channel = self._channel
        channel.on_consumer_cancel_callbacks.add(self._on_cancelled)
        channel.closing.add_done_callback(self._on_closed)
        async with self._consuming:
            await self._consume_replies()
            await channel.basic_qos(prefetch_count=self._limits.prefetch_commands)
            await self._consume(contract.commands_queue(self.node), self._on_command)

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
            await self._channel.basic_cancel(old)
            self._tags.remove(old)

    async def _consume_replies(self) -> None:
        self._consumed_as = rank = self._rank()
        await self._channel.basic_qos(prefetch_count=self._limits.prefetch)
        queue = contract.results_queue(self.node)
        self._replies_tag = await self._consume(queue, self._on_reply, {"x-priority": rank})

    async def _consume(
        self, queue: str, callback: ConsumerCallback, arguments: dict[str, FieldValue] | None = None
    ) -> str:
        answer = await self._channel.basic_consume(queue, callback, arguments=arguments)
        assert answer.consumer_tag is not None
        self._tags.append(answer.consumer_tag)
        return answer.consumer_tag

    async def sift(self) -> None:
        """Empty the queues, one message at a time and acknowledged as it is sent.

        A message that the library cannot read closes the connection. It would come again with
        each new one and close that, too; got in this way it is gone.
        """
        for queue, take in (
            (contract.results_queue(self.node), self._sift_reply),
            (contract.commands_queue(self.node), self._command),
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

    async def run(self, hold: Callable[[Any], asyncio.Task[Any]]) -> None:
        """Hand on what comes, until told to stop. Raises BrokerUnavailable when it comes no more.

        A batch once begun is finished, whatever becomes of the channel: ``hold`` keeps it.
        """
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._broken is not None:
                raise self._broken
            batch, self._pending = self._pending, []
            if batch:
                await asyncio.shield(hold(self._take(batch)))
            elif self._stopping:
                return
            if self._stopping:
                self._wake.set()

    async def stop(self) -> None:
        """Get no more, and end ``run`` when what is here has been taken in."""
        async with self._consuming:
            for tag in self._tags:
                await self._channel.basic_cancel(tag)
            self._stopping = True
        self._wake.set()

    async def close(self) -> None:
        """Close the channel."""
        async with self._answering:
            self._closed = True
            await self._channel.close()

    async def _on_reply(self, message: DeliveredMessage) -> None:
        self._counters.redelivered += bool(message.redelivered)
        self._pending.append(message)
        self._wake.set()

    async def _on_command(self, message: DeliveredMessage) -> None:
        await self._command(message)
        assert message.delivery_tag is not None
        await self._answer(partial(self._channel.basic_ack, message.delivery_tag, wait=False))

    async def _command(self, message: DeliveredMessage) -> None:
        try:
            self._receiver.on_command(self.node, message.body)
        except CodecError as exc:
            self._bury(message, exc.reason, exc.detail)
        except Exception as exc:  # a fault of ours: the command is kept, and not tried again
            log.error("command failed", node=self.node, exc_info=exc)
            self._bury(message, "command-failed", reason(exc))

    def _on_cancelled(self, _: Basic.Cancel) -> None:
        self._break("the server consumes no more: a queue of it was deleted, or is on a server that is away")

    def _on_closed(self, closing: asyncio.Future[Any]) -> None:
        self._break("closed" if closing.cancelled() else f"channel closed: {reason(closing.exception())}")

    def _break(self, why: str) -> None:
        self._broken = BrokerUnavailable(why)
        self._wake.set()

    async def _take(self, batch: Sequence[DeliveredMessage]) -> None:
        """Hand a batch on and acknowledge it, or give it back."""
        last = batch[-1].delivery_tag
        assert last is not None
        replies = [reply for message in batch if (reply := self._reply(message)) is not None]
        try:
            if replies:
                await self._receiver.on_replies(replies)
        except Exception as exc:
            # Whatever it is, the replies are not lost: they are delivered again, here or elsewhere.
            await self._give_back(last, exc)
        else:
            self._failing = False
            await self._answer(partial(self._channel.basic_ack, last, multiple=True, wait=False))

    async def _give_back(self, last: int, exc: Exception) -> None:
        if not self._failing:
            log.warning("replies given back", node=self.node, reason=reason(exc))
        self._failing = True
        self._counters.requeued += 1
        await asyncio.sleep(self._limits.requeue_pause)
        await self._answer(partial(self._channel.basic_nack, last, multiple=True, requeue=True, wait=False))

    async def _answer(self, answer: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Acknowledge, one at a time: a batch must not overtake a command that came before it.

        The server delivers again what a closed channel had not acknowledged.
        """
        async with self._answering:
            if not self._closed and usable(self._channel):
                await answer()

    def _reply(self, message: DeliveredMessage) -> Reply | None:
        """What the relay is told; ``None`` where it need not know."""
        properties = message.header.properties
        headers = properties.headers or {}
        if message.exchange == contract.DEAD_EXCHANGE:
            return self._given_up(message, headers)
        if not properties.correlation_id:
            self._bury(message, "no-correlation-id", "a reply carries that of its request")
            return None
        return Reply(
            properties.correlation_id,
            message.body,
            properties.content_type,
            _text(headers.get(contract.HEADER_STATUS)),
            _text(headers.get(contract.HEADER_SERVICE)),
        )

    def _given_up(self, message: DeliveredMessage, headers: dict[str, Any]) -> Reply | None:
        """A dead request, told apart by its exchange: the header ``x-death`` may be copied to a reply.

        That of a node whose routing word is the same comes here, too. An expired one has been
        answered by its deadline.
        """
        properties = message.header.properties
        death = _last_death(headers)
        ours = headers.get(contract.HEADER_NODE) == self.node and properties.correlation_id
        if death is None or death == _EXPIRED or not ours:
            self._counters.ignored += 1
            return None
        assert properties.correlation_id is not None
        return Reply(properties.correlation_id, message.body, properties.content_type, rejected=death)

    def _bury(self, message: DeliveredMessage, why: str, detail: str) -> None:
        properties = message.header.properties
        self._dead_letter(
            DeadLetter(
                why, detail, message.body, self.node, properties.correlation_id, properties.content_type
            )
        )


def _last_death(headers: dict[str, Any]) -> str | None:
    """Why the broker gave a message up the last time (it may have been retried before)."""
    deaths = headers.get("x-death")
    last = deaths[0] if isinstance(deaths, list) and deaths else {}
    found = last.get("reason") if isinstance(last, dict) else None
    return _text(found) or _text(headers.get("x-first-death-reason"))


def _text(value: Any) -> str | None:
    """A header as text, whatever type a consumer gave it, and no longer than a log line bears."""
    if value is None or isinstance(value, str):
        return None if value is None else value[:_MAX_TEXT]
    if isinstance(value, bytes | bytearray):
        return bytes(value[:_MAX_TEXT]).decode(errors="replace")
    return str(value)[:_MAX_TEXT]
