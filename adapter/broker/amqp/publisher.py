"""Publishing with confirms: a batch is one write, and its confirms are awaited together."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import aiormq
from aiormq.abc import ChannelFrame, DeliveredMessage
from pamqp import frame
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from adapter import contract
from adapter.broker.amqp import frames
from adapter.broker.amqp.connection import usable
from adapter.broker.base import DeadLetter, Publication, Published

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from adapter.broker.amqp.limits import Counters, Limits

_PERSISTENT: Final = 2
_LETTER_KEY: Final = "dead-letter"
"""One word, so that it is no node's: see ``topology.declare_node``."""
_MAX_DETAIL: Final = 500


class _Message(NamedTuple):
    """A message as it goes on the wire."""

    id: str
    frames: bytes


class Publisher:
    """One channel with confirms, of which it is the only user.

    It numbers the publications itself, as the library does one by one: whatever it writes has
    its place in ``channel.confirmations``, and is found there by the server's answer.
    """

    def __init__(
        self,
        channel: aiormq.Channel,
        limits: Limits,
        counters: Counters,
        clock: Callable[[], float],
        on_silence: Callable[[], None] = lambda: None,
    ) -> None:
        self.silent = False
        """Whether the server said nothing at all to a batch in time; until ``heard`` nothing is sent."""
        self.heard_at = asyncio.get_running_loop().time()
        """When the server last answered, by the loop's clock."""
        self.channel = channel
        self._on_silence = on_silence
        self._limits = limits
        self._counters = counters
        self._clock = clock
        self._sending = asyncio.Lock()
        self._closed = False

    @property
    def unconfirmed(self) -> int:
        """Publications that the server has not answered yet, or never will."""
        return len(self.channel.confirmations)

    async def probe(self) -> None:
        """Return once the server has answered anything at all."""
        await self.channel.exchange_declare(contract.EVENTS_EXCHANGE, passive=True)

    def heard(self) -> None:
        """The server has answered: go on."""
        self.silent = False
        self.heard_at = asyncio.get_running_loop().time()

    async def publish(self, publications: Sequence[Publication]) -> list[Published]:
        """Publish each; what has no time left is not sent."""
        now = self._clock()
        messages = [self._message(publication, now) for publication in publications]
        results = iter(await self._send([message for message in messages if message is not None]))
        return [Published.UNAVAILABLE if message is None else next(results) for message in messages]

    async def keep(self, letter: DeadLetter) -> bool:
        """Publish a dead letter, as much of it as a body may hold. Whether a queue has it."""
        body = letter.body[: contract.MAX_BODY]
        headers: dict[str, Any] = {
            contract.HEADER_REASON: letter.reason,
            contract.HEADER_DETAIL: letter.detail[:_MAX_DETAIL],
            contract.HEADER_NODE: letter.node,
        }
        message_id = uuid.uuid4().hex
        properties = Basic.Properties(
            content_type=letter.content_type or "application/octet-stream",
            headers=headers,
            delivery_mode=_PERSISTENT,
            correlation_id=letter.correlation_id,
            message_id=message_id,
            timestamp=datetime.fromtimestamp(self._clock(), UTC),
            app_id=contract.APP_ID,
        )
        number, most = self.channel.number, self.channel.max_content_size
        method = Basic.Publish(exchange=contract.DEAD_EXCHANGE, routing_key=_LETTER_KEY, mandatory=True)
        header = ContentHeader(body_size=len(body), properties=properties)
        written = frame.marshal(method, number) + frame.marshal(header, number)
        for start in range(0, len(body), most):
            written += frame.marshal(ContentBody(body[start : start + most]), number)
        return await self._send([_Message(message_id, written)]) == [Published.CONFIRMED]

    async def retire(self) -> None:
        """Close the channel once what is under way has its answers, or will have none."""
        pending = [confirm for confirm in self.channel.confirmations.values() if not confirm.done()]
        if pending:
            await asyncio.wait(pending, timeout=self._limits.confirm_timeout)
        await self.close()

    async def close(self) -> None:
        """Close the channel."""
        self._closed = True
        self.fail()
        async with self._sending:
            self.fail()
            await self.channel.close()

    def fail(self) -> None:
        """Give up what is under way: nobody will answer it."""
        for confirm in self.channel.confirmations.values():
            if not confirm.done():
                confirm.set_result(None)

    def _message(self, publication: Publication, now: float) -> _Message | None:
        """The id is what a returned message is known by: a notice has one for that alone."""
        left = 0
        if publication.deadline is not None:
            left = int((publication.deadline - now) * 1000)
            if left <= 0:
                return None
        message_id = publication.correlation_id or uuid.uuid4().hex
        channel = self.channel
        return _Message(
            message_id,
            frames.encode(channel.number, channel.max_content_size, publication, message_id, int(now), left),
        )

    async def _send(self, messages: Sequence[_Message]) -> list[Published]:
        """Write them in one piece and wait for the confirms."""
        if not messages:
            return []
        confirms = await self._write(messages)
        try:
            done, _ = await asyncio.wait(confirms, timeout=self._limits.confirm_timeout)
            if done:
                self.heard_at = asyncio.get_running_loop().time()
            else:
                self._fall_silent()
            return [self._result(confirm) for confirm in confirms]
        finally:
            for message, confirm in zip(messages, confirms, strict=True):
                self.channel.message_id_delivery_tag.pop(message.id, None)
                confirm.cancel()

    async def _write(self, messages: Sequence[_Message]) -> list[asyncio.Future[Any]]:
        channel, loop = self.channel, asyncio.get_running_loop()
        confirms: list[asyncio.Future[Any]] = [loop.create_future() for _ in messages]
        async with self._sending:
            if self._closed or self.silent or not usable(channel):
                return _none(confirms)
            first = channel.delivery_tag + 1
            for number, (message, confirm) in enumerate(zip(messages, confirms, strict=True), first):
                channel.confirmations[number] = confirm
                channel.message_id_delivery_tag[message.id] = number
            channel.delivery_tag += len(messages)
            try:
                payload = b"".join(message.frames for message in messages)
                async with asyncio.timeout(self._limits.confirm_timeout):
                    await channel.write_queue.put(ChannelFrame(payload, should_close=False))
            except BaseException as exc:  # the server cannot see them any more: their numbers are free
                for number, message in enumerate(messages, first):
                    del channel.confirmations[number]
                    channel.message_id_delivery_tag.pop(message.id, None)
                channel.delivery_tag -= len(messages)
                if not isinstance(exc, TimeoutError):
                    raise
                self._fall_silent()
                return _none(confirms)
        return confirms

    def _fall_silent(self) -> None:
        self.silent = True
        self._on_silence()

    def _result(self, confirm: asyncio.Future[Any]) -> Published:
        counters = self._counters
        if not confirm.done():
            counters.unconfirmed += 1
            return Published.UNAVAILABLE
        if isinstance(confirm.exception(), aiormq.DeliveryError):
            counters.nacked += 1
            return Published.REFUSED
        found = confirm.result()
        if found is None:  # see fail()
            return Published.UNAVAILABLE
        if isinstance(found, DeliveredMessage):
            counters.returned += 1
            return Published.UNROUTABLE
        counters.published += 1
        return Published.CONFIRMED


def _none(confirms: list[asyncio.Future[Any]]) -> list[asyncio.Future[Any]]:
    """What was not written is answered by nobody."""
    for confirm in confirms:
        confirm.set_result(None)
    return confirms
