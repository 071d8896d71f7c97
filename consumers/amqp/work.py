"""The requests in hand of one channel: decide, reply, acknowledge."""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
from typing import TYPE_CHECKING, Final

from aiormq import AMQPError, ChannelInvalidStateError, DeliveryError
from aiormq.abc import DeliveredMessage
from pamqp.commands import Basic

from adapter.contract import APP_ID
from consumers.service import Answer, Message, Service

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiormq import Channel

_log = logging.getLogger("consumers")

REPLY_ATTEMPTS: Final = 8
"""In about a second: a quorum queue without a leader refuses, and an election takes less."""
REPLY_PAUSE: Final = 0.05
"""Seconds before the second attempt, twice as many before the third; less at random."""
RETIRE_PAUSE: Final = 0.1
"""Seconds between two looks whether a channel has nothing under way any more."""


class Work:
    """Takes deliveries until the channel ends. aiormq runs a task for each, and cancels it with the
    channel; RabbitMQ then delivers the request again.

    Replies go out on the same channel, until one is refused: a channel whose first publication met
    a quorum queue without a leader is refused for good (RabbitMQ 3.10), so ``another`` opens the
    next one.
    """

    def __init__(self, service: Service, channel: Channel, another: Callable[[], Awaitable[Channel]]) -> None:
        self._service = service
        self._channel = channel
        self._another = another
        self._replies = channel
        self._renewing = asyncio.Lock()
        self._retiring: set[asyncio.Task[None]] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._numbers = itertools.count(1)
        self.in_hand = 0

    async def on_delivery(self, delivered: DeliveredMessage) -> None:
        """Decide, reply, acknowledge."""
        self.in_hand += 1
        self._idle.clear()
        try:
            await self._acknowledge(delivered, await self._done_with(delivered))
        except ChannelInvalidStateError:
            _log.debug("%s: %s: closed meanwhile", self._service.name, _id(delivered))
        finally:
            self.in_hand -= 1
            if not self.in_hand:
                self._idle.set()

    async def finished(self, grace: float) -> None:
        """Return once nothing is in hand, or after ``grace`` seconds: the rest is delivered again."""
        try:
            async with asyncio.timeout(grace):
                await self._idle.wait()
        except TimeoutError:
            _log.warning("%s: %d requests left after %g s", self._service.name, self.in_hand, grace)

    async def _acknowledge(self, delivered: DeliveredMessage, done: bool) -> None:
        tag = delivered.delivery_tag
        assert tag is not None, "a delivery has one"
        if done:
            await self._channel.basic_ack(tag, wait=False)
        else:
            await self._channel.basic_reject(tag, requeue=False, wait=False)

    async def _done_with(self, delivered: DeliveredMessage) -> bool:
        """Whether the request was dealt with; otherwise it belongs to the dead letters."""
        given = delivered.header.properties
        message = Message(delivered.body, given.correlation_id, given.content_type, given.headers or {})
        try:
            answer = await self._service.answer(message)
            if answer.body is None:
                return not answer.rejected
            if not given.reply_to:
                _log.warning("%s: %s: no reply_to, so no reply", self._service.name, _id(delivered))
                return True
            return await self._reply(answer, answer.body, given.reply_to)
        except ChannelInvalidStateError:
            raise
        except Exception:
            # Properties that cannot be sent back, for one. Unacknowledged it would stay here for ever.
            _log.exception("%s: %s: to the dead letters", self._service.name, _id(delivered))
            return False

    async def _reply(self, answer: Answer, body: bytes, to: str) -> bool:
        """Publish the reply and wait until RabbitMQ has it. False: it does not take it."""
        properties = Basic.Properties(
            content_type=answer.content_type,
            correlation_id=answer.correlation_id,
            message_id=f"{self._service.name}:{next(self._numbers)}",  # by it aiormq knows what is returned
            headers=dict(answer.headers),
            delivery_mode=1,
            app_id=APP_ID,
        )
        for attempt in range(REPLY_ATTEMPTS):
            if attempt:
                await asyncio.sleep(REPLY_PAUSE * attempt * random.uniform(0.5, 1))
            channel = self._replies
            try:
                confirmed = await channel.basic_publish(
                    body, routing_key=to, properties=properties, mandatory=True, wait=False
                )
            except (AMQPError, ChannelInvalidStateError) as exc:
                if channel is self._channel and not isinstance(exc, DeliveryError):
                    raise  # it is gone, and the request with it
                await self._renew(channel)
                continue
            if isinstance(confirmed, DeliveredMessage):
                _log.warning("%s: %s: there is no queue %s", self._service.name, answer.correlation_id, to)
            return True
        _log.error("%s: %s: %s takes no reply", self._service.name, answer.correlation_id, to)
        return False

    async def _renew(self, refused: Channel) -> None:
        """Reply on another channel from now on; once for all that were refused on this one."""
        async with self._renewing:
            if self._replies is refused:
                self._replies = await self._another()
                if refused is not self._channel:
                    retiring = asyncio.ensure_future(_retire(refused))
                    self._retiring.add(retiring)
                    retiring.add_done_callback(self._retiring.discard)


async def _retire(channel: Channel) -> None:
    """Close a channel once nothing is under way on it."""
    while channel.confirmations and not channel.is_closed:
        await asyncio.sleep(RETIRE_PAUSE)
    await channel.close()


def _id(delivered: DeliveredMessage) -> str:
    return str(delivered.header.properties.correlation_id or "a notice")
