"""The commands for one node: frames that operators and services have pushed to it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from adapter import contract
from adapter.amqp import frames
from adapter.amqp.topology import Queue, declare_queue
from adapter.amqp.words import reason
from adapter.broker.rabbitmq.delivery import Delivery
from adapter.broker.rabbitmq.refusals import Refusals
from adapter.broker.rabbitmq.replies import WRONG_EXCHANGE, letter
from adapter.errors import BrokerUnavailable, CodecError

if TYPE_CHECKING:
    from adapter.amqp.line import Line
    from adapter.broker.rabbitmq.kept_connection import KeptConnection
    from adapter.broker.rabbitmq.shared import Shared

log = structlog.get_logger()

_TAG: Final = "commands"
"""The consumer, as the server is told to call it."""


class Commands:
    """Consumes a node's commands, on a line of its own, and acknowledges each as it is pushed."""

    def __init__(self, node: str, line: Line, shared: Shared) -> None:
        self._refusals = Refusals(shared.counters)
        self._node = node
        self._queue = contract.commands_queue(node)
        self._line = line
        self._receiver = shared.receiver
        self._dead_letter = shared.dead_letter
        self._limits = shared.limits
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def open(self) -> None:
        """Consume. The queue must be there."""
        self._line.on_closed(self._break)
        self._line.on_cancelled(self._break)
        self._line.listen(self._on_deliveries, Delivery.scanned, contract.MAX_REPLY)
        await self._line.consume(self._queue, self._limits.prefetch_commands, _TAG)

    async def drain_single(self, kept: KeptConnection) -> None:
        """Take off the queue what waits: see ``KeptConnection.drain_single``."""
        channel = self._line.amqp
        waiting = await declare_queue(channel, Queue(self._queue), passive=True)
        async for delivery in kept.drain_single(channel, self._queue, waiting):
            self._take(delivery)

    async def run(self) -> None:
        """Return when the consumer is stopped. Raises BrokerUnavailable when it breaks."""
        await self._over

    async def stop(self) -> None:
        """Get no more. What is not acknowledged is delivered to another."""
        self._line.closing = True
        await self._line.cancel(_TAG)
        if not self._over.done():
            self._over.set_result(None)

    async def close(self) -> None:
        """Close the line."""
        await self._line.close()

    def _on_deliveries(self, came: list[Delivery], _: object) -> None:
        for delivery in came:
            if not self._line.closing:
                self._take(delivery)
                self._line.write(frames.ack(self._line.number, delivery.tag, multiple=False))

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

    def _break(self, why: str) -> None:
        if not self._over.done():
            self._over.set_exception(BrokerUnavailable(why))
            self._over.exception()  # nobody may be left to ask
