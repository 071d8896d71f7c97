"""The commands for one node: what operators and services ask of its Kamailio."""

from __future__ import annotations

import asyncio
import struct
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog

from adapter import contract
from adapter.amqp import fields, frames
from adapter.amqp.topology import Queue, declare_queue
from adapter.amqp.words import reason
from adapter.broker.rabbitmq.delivery import LOOKUP
from adapter.broker.rabbitmq.refusals import Refusals
from adapter.broker.rabbitmq.replies import WRONG_EXCHANGE
from adapter.command_contract import HEADER_NODES
from adapter.errors import BrokerUnavailable
from adapter.ports.broker import DeadLetter
from adapter.ports.commands import Asked, ReplyAddress

if TYPE_CHECKING:
    from collections.abc import Callable

    from adapter.amqp.line import Line
    from adapter.broker.rabbitmq.delivery import Delivery
    from adapter.broker.rabbitmq.kept_connection import KeptConnection
    from adapter.broker.rabbitmq.shared import Shared

log = structlog.get_logger()

_TAG: Final = "commands"
"""The consumer, as the server is told to call it."""
UNLINKED: Final = -1
"""The consumer priority of a replica without a link to the node: it gets a command if nobody has one, and
says that it cannot be carried out."""
_tag: Final = struct.Struct(">QB").unpack_from
_REPLY: Final = fields.CONTENT_TYPE | fields.HEADERS | fields.CORRELATION_ID


class CommandDelivery(NamedTuple):
    """A command as RabbitMQ delivers it. ``size``: bytes of the body, where it is too long to be kept."""

    tag: int
    redelivered: bool
    exchange: str
    found: fields.Found
    body: bytes
    size: int = 0
    expiration: str | None = None

    @classmethod
    def scanned(cls, method: bytes, header: bytes, body: bytes, size: int) -> CommandDelivery:
        """Make one of what ``adapter.amqp.scanner`` found; see ``Delivery.scanned``."""
        at = 5 + method[4]
        tag, redelivered = _tag(method, at)
        exchange = method[at + 10 : at + 10 + method[at + 9]].decode()
        return cls(
            tag,
            bool(redelivered & 1),
            exchange,
            fields.properties(header),
            body,
            size,
            fields.expiration(header),
        )

    @classmethod
    def of(cls, got: Delivery) -> CommandDelivery:
        """One that has no consumer, and to which nobody can reply."""
        content_type, headers, correlation_id, _ = got.properties
        found = fields.Found(content_type, dict(headers), correlation_id, None, None)
        return cls(got.tag, got.redelivered, got.exchange, found, got.body, got.size)

    @property
    def within(self) -> float | None:
        """Seconds that it has; None: it does not say."""
        text = self.expiration
        return int(text) / 1000 if text and text.isascii() and text.isdigit() and len(text) < 12 else None


class Commands:
    """Consumes a node's commands, on a line of its own. Each is acknowledged with its reply: if this process
    dies before, another gets it.

    Args:
        node: whose commands they are.
        line: nobody else uses it.
        shared: what it has in common with the other parts of the broker.
        linked: whether this process has a link to the node.
        nodes: gives how many nodes there are.
    """

    def __init__(self, node: str, line: Line, shared: Shared, linked: bool, nodes: Callable[[], int]) -> None:
        self._refusals = Refusals(shared.counters)
        self._node = node
        self._queue = contract.commands_queue(node)
        self._line = line
        self._priority = None if linked else UNLINKED
        self._nodes = nodes
        self._receiver = shared.receiver
        self._dead_letter = shared.dead_letter
        self._limits = shared.limits
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def open(self) -> None:
        """Consume. The queue must be there."""
        self._line.on_closed(self._break)
        self._line.on_cancelled(self._break)
        self._line.listen(self._on_deliveries, CommandDelivery.scanned, contract.MAX_REPLY)
        await self._line.consume(self._queue, self._limits.prefetch_commands, _TAG, self._priority)

    async def drain_single(self, kept: KeptConnection) -> None:
        """Take off the queue what waits: see ``KeptConnection.drain_single``."""
        channel = self._line.amqp
        waiting = await declare_queue(channel, Queue(self._queue), passive=True)
        async for delivery in kept.drain_single(channel, self._queue, waiting):
            self._take(CommandDelivery.of(delivery), acknowledge=False)

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

    def reply(self, to: ReplyAddress, body: bytes) -> None:
        """Send a reply to a command that was delivered to another process."""
        self._line.write(self._reply(to, body))

    def _on_deliveries(self, came: list[CommandDelivery], _: object) -> None:
        for delivery in came:
            if not self._line.closing:
                self._take(delivery)

    def _take(self, delivery: CommandDelivery, acknowledge: bool = True) -> None:
        found = delivery.found
        answer = partial(self._answer, delivery) if acknowledge else _say_nothing
        if found.content_type == LOOKUP:
            answer(None)
        elif delivery.exchange != contract.COMMANDS_EXCHANGE:
            detail = f"a command comes by the exchange {contract.COMMANDS_EXCHANGE}"
            self._refusals.note(self._node, detail)
            self._keep(delivery, WRONG_EXCHANGE, detail)
            answer(None)
        elif delivery.size:
            self._keep(delivery, "too-large", f"{delivery.size} bytes; Kamailio reads far fewer")
            answer(None)
        else:
            to = ReplyAddress(found.reply_to or "", found.correlation_id or "")
            keep = partial(self._keep, delivery)
            within, again = delivery.within, delivery.redelivered
            try:
                asked = Asked(self._node, delivery.body, to, within, again, answer, keep)
                self._receiver.on_command(asked)
            except Exception as exc:  # a fault of ours: the command is kept, and not tried again
                log.error("command failed", node=self._node, exc_info=exc)
                self._keep(delivery, "command-failed", reason(exc))
                answer(None)

    def _answer(self, delivery: CommandDelivery, body: bytes | None) -> None:
        """Reply and acknowledge, in one piece: the server does both or neither."""
        to = ReplyAddress(delivery.found.reply_to or "", delivery.found.correlation_id or "")
        said = b"" if body is None or not to.queue else self._reply(to, body)
        self._line.write(said + frames.ack(self._line.number, delivery.tag, multiple=False))

    def _reply(self, to: ReplyAddress, body: bytes) -> bytes:
        return reply_frames(self._line.number, self._line.most, to, body, self._nodes())

    def _keep(self, delivery: CommandDelivery, why: str, detail: str) -> None:
        found = delivery.found
        self._dead_letter(
            DeadLetter(why, detail, delivery.body, self._node, found.correlation_id, found.content_type)
        )

    def _break(self, why: str) -> None:
        if not self._over.done():
            self._over.set_exception(BrokerUnavailable(why))
            self._over.exception()  # nobody may be left to ask


def _say_nothing(_: bytes | None) -> None:
    """Of what has left its queue already."""


def reply_frames(number: int, most: int, to: ReplyAddress, body: bytes, nodes: int) -> bytes:
    """Return the frames of a reply to a command.

    Args:
        number: of the channel.
        most: bytes of a body that one frame takes there.
        to: who asked.
        body: as ``command_contract.encode_reply`` makes it.
        nodes: how many there are.
    """
    table = frames.integer_field(HEADER_NODES) + frames.long(nodes)
    properties = b"".join(
        (
            frames.constant(contract.content_type(body)),
            len(table).to_bytes(4, "big"),
            table,
            frames.short(to.correlation_id),
        )
    )
    return frames.message(frames.publish_method(number, "", to.queue), number, most, _REPLY, properties, body)
