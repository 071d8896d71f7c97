"""The commands for one node: frames that operators and services have pushed to it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import structlog

from adapter import contract
from adapter.amqp import frames
from adapter.amqp.footholds import untapped
from adapter.amqp.tasks import ask
from adapter.amqp.words import reason
from adapter.broker.rabbitmq.delivery import Delivery
from adapter.broker.rabbitmq.refusals import Refusals
from adapter.broker.rabbitmq.replies import WRONG_EXCHANGE, letter
from adapter.errors import BrokerUnavailable, CodecError

if TYPE_CHECKING:
    from collections.abc import Callable

    import aiormq
    from pamqp.commands import Basic

    from adapter.amqp.wire import Wire
    from adapter.broker.rabbitmq.limits import Counters, Limits
    from adapter.ports.broker import DeadLetter, Receiver

log = structlog.get_logger()

_TAG: Final = "commands"
"""The consumer, as the server is told to call it."""


class Commands:
    """One channel, on which a node's commands are consumed; each is acknowledged as it is pushed."""

    def __init__(
        self,
        node: str,
        channel: aiormq.Channel,
        receiver: Receiver,
        dead_letter: Callable[[DeadLetter], None],
        limits: Limits,
        counters: Counters,
    ) -> None:
        self._refusals = Refusals(counters)
        self._node = node
        self._queue = contract.commands_queue(node)
        self._channel = channel
        self._receiver = receiver
        self._dead_letter = dead_letter
        self._limits = limits
        self._wire: Wire
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._closed = False

    async def open(self, wire: Wire) -> None:
        """Consume. The queue must be there."""
        channel = self._channel
        channel.on_consumer_cancel_callbacks.add(self._on_cancelled)
        channel.closing.add_done_callback(self._on_closed)
        self._wire = wire
        wire.tap(channel, self._on_deliveries, Delivery.scanned, contract.MAX_REPLY)
        await ask(channel.basic_qos(prefetch_count=self._limits.prefetch_commands))
        await ask(channel.basic_consume(self._queue, untapped, consumer_tag=_TAG))

    async def drain_single(self, suspect: Callable[[str], None]) -> None:
        """Take off the queue what waits: see ``ResultsConsumer.sift``."""
        found = await self._channel.queue_declare(self._queue, passive=True)
        for _ in range(found.message_count or 0):
            suspect(self._queue)
            message = await self._channel.basic_get(self._queue, no_ack=True)
            suspect("")
            if message.delivery_tag is None:
                return
            self._take(Delivery.of(message))

    async def run(self) -> None:
        """Return when the consumer is stopped. Raises BrokerUnavailable when it breaks."""
        await self._over

    async def stop(self) -> None:
        """Get no more."""
        self._closed = True
        await ask(self._channel.basic_cancel(_TAG))
        if not self._over.done():
            self._over.set_result(None)

    async def close(self) -> None:
        """Close the channel."""
        self._closed = True  # from here on nothing is written: the server would know no such channel
        await self._channel.close()

    def _on_deliveries(self, came: list[Delivery], _: object) -> None:
        for delivery in came:
            if not self._closed:  # what is not acknowledged is delivered to another
                self._take(delivery)
                self._wire.write(
                    self._channel, frames.ack(self._channel.number, delivery.tag, multiple=False)
                )

    def _take(self, delivery: Delivery) -> None:
        if delivery.exchange != contract.COMMANDS_EXCHANGE:
            detail = f"a command comes by the exchange {contract.COMMANDS_EXCHANGE}"
            self._refusals.note(self._node, detail)
            self._dead_letter(letter(delivery, self._node, WRONG_EXCHANGE, detail))
            return
        if delivery.size:
            detail = f"{delivery.size} bytes; Kamailio reads far fewer"
            self._dead_letter(letter(delivery, self._node, "too-large", detail))
            return
        try:
            self._receiver.on_command(self._node, delivery.body)
        except CodecError as exc:
            self._dead_letter(letter(delivery, self._node, exc.reason, exc.detail))
        except Exception as exc:  # a fault of ours: the command is kept, and not tried again
            log.error("command failed", node=self._node, exc_info=exc)
            self._dead_letter(letter(delivery, self._node, "command-failed", reason(exc)))

    def _on_cancelled(self, _: Basic.Cancel) -> None:
        self._break("the server consumes no more: a queue of it was deleted, or is on a server that is away")

    def _on_closed(self, closing: asyncio.Future[Any]) -> None:
        self._break("closed" if closing.cancelled() else f"channel closed: {reason(closing.exception())}")

    def _break(self, why: str) -> None:
        if not self._over.done():
            self._over.set_exception(BrokerUnavailable(why))
            self._over.exception()  # nobody may be left to ask
