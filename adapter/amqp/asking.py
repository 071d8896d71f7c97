"""Commands to Kamailio by RabbitMQ, and their replies: the way of whoever asks.

Replies come by direct reply-to (``amq.rabbitmq.reply-to``), which needs no queue and no right to make one.
The channel is opened with the first command, so that a service which asks nothing has none.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NamedTuple

from adapter import contract
from adapter.amqp import fields, frames
from adapter.amqp.footholds import untapped
from adapter.amqp.scanner import Returned
from adapter.amqp.words import EXPECTED, reason
from adapter.command_contract import HEADER_NODES, CommandOutcome, CommandReply, encode_reply
from adapter.errors import BrokerUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from adapter.amqp.connection import Connection
    from adapter.amqp.line import Line
    from adapter.amqp.scanner import Confirm

REPLIES: Final = "amq.rabbitmq.reply-to"
MAX_REPLY: Final = 1 << 20
"""Bytes of a reply."""
_FLAGS: Final = fields.CONTENT_TYPE | fields.CORRELATION_ID | fields.REPLY_TO | fields.EXPIRATION


class _Reply(NamedTuple):
    """A reply as RabbitMQ delivers it."""

    found: fields.Found
    body: bytes

    @classmethod
    def scanned(cls, method: bytes, header: bytes, body: bytes, size: int) -> _Reply:
        """Make one of what ``adapter.amqp.scanner`` found. One that is too long is no reply."""
        return cls(fields.properties(header), b"" if size else body)

    @property
    def nodes(self) -> int:
        """How many nodes there are; 0: it does not say."""
        told = self.found.headers.get(HEADER_NODES)
        return told if type(told) is int else 0


class Asking:
    """The way to Kamailio on one connection: see ``consumers.kamailio.Way``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._line: Line | None = None
        self._opening = asyncio.Lock()
        self._waiting: dict[
            str, tuple[str, Callable[[bytes, int], None]]
        ] = {}  # by id: node, who takes replies

    async def send(
        self, node: str, body: bytes, id_: str, within: float, take: Callable[[bytes, int], None]
    ) -> str:
        """Publish a command. Returns why that failed, or an empty text."""
        try:
            line = await self._opened()
        except (*EXPECTED, TimeoutError) as exc:
            return reason(exc)
        key = node if node == contract.ALL_NODES else contract.word(node)
        self._waiting[id_] = node, take
        properties = b"".join(
            (
                frames.constant(contract.content_type(body)),
                frames.short(id_),
                frames.constant(REPLIES),
                frames.short(str(max(round(within * 1000), 1))),
            )
        )
        method = frames.publish_method(line.number, contract.COMMANDS_EXCHANGE, key)
        if line.write(frames.message(method, line.number, line.most, _FLAGS, properties, body)):
            return ""
        self.forget(id_)
        return "the connection to RabbitMQ is lost"

    def forget(self, id_: str) -> None:
        """Nobody waits for replies to it any more."""
        self._waiting.pop(id_, None)

    async def _opened(self) -> Line:
        async with self._opening:
            if self._line is None or not self._line.alive:
                line = await self._connection.line()
                line.on_closed(self._broke)
                line.listen(self._take, _Reply.scanned, MAX_REPLY)
                await line.ask(line.amqp.basic_consume(REPLIES, untapped, no_ack=True))
                self._line = line
            return self._line

    def _take(self, came: list[_Reply], others: list[Confirm | Returned]) -> None:
        for reply in came:
            _, take = self._waiting.get(reply.found.correlation_id or "", ("", None))
            if take is not None:
                take(reply.body, reply.nodes)
        for other in others:
            if isinstance(other, Returned):
                why = "no adapter has a node of this name"
                self._fail(other.correlation_id or "", CommandOutcome.UNAVAILABLE, why)

    def _broke(self, why: str) -> None:
        """The channel is closed: RabbitMQ may not let this user publish commands."""
        self._line = None
        refused = "ACCESS_REFUSED" in why or "access" in why.lower()
        outcome = CommandOutcome.REFUSED if refused else CommandOutcome.UNAVAILABLE
        for id_ in list(self._waiting):
            self._fail(id_, outcome, why)

    def _fail(self, id_: str, outcome: CommandOutcome, why: str) -> None:
        node, take = self._waiting.get(id_, ("", None))
        if take is not None:
            take(encode_reply(CommandReply(outcome, node, None, 0, why)), 1)

    async def close(self) -> None:
        """Close the channel, and tell whoever waits."""
        line, self._line = self._line, None
        self._broke("the connection to RabbitMQ ends")
        if line is not None:
            try:
                await line.close()
            except (*EXPECTED, BrokerUnavailable):
                pass
