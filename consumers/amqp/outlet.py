"""The replies of one channel that are on their way."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, NamedTuple

from adapter import batches
from adapter.amqp.ledgers import Unconfirmed
from adapter.contract import DEAD_EXCHANGE, HEADER_BATCH, HEADER_RECEIVED, HEADER_REPLIED, HEADER_SERVICE
from consumers.amqp import frames
from consumers.amqp.several import Part
from consumers.messages import Answer, Result, about, told

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from adapter.amqp.line import Line
    from consumers.amqp.delivery import Delivery
    from consumers.messages import Extension

_log = logging.getLogger("consumers")

_SMALL: Final = 8_192
"""Bytes of a reply that goes out with others. A larger one gains nothing by it."""
_MOST_BYTES: Final = batches.MAX_BYTES - 8
"""Of the replies in a message: of a longer one the adapter would read its beginning alone."""


class Reply(NamedTuple):
    """A reply on its way, and the request that waits for it."""

    request: Delivery
    answer: Answer | Extension
    body: bytes
    to: str
    message_id: str
    replied: float = 0.0
    """When the answer was there, in epoch seconds."""
    attempts: int = 0
    """How often it was refused."""
    last: bool = True
    """Whether the request is done with when the server has it."""

    def frames(self, line: Line) -> bytes:
        """As it goes out alone. Raises ValueError where AMQP cannot carry it."""
        request = self.request
        return frames.reply(
            *(line.number, line.most, self.answer, self.body, self.to, self.message_id),
            *(request.received, self.replied),
        )

    @property
    def joins(self) -> bool:
        """Whether it may go out with others: its request came with others, and it is a small one."""
        return self.request.request is not None and self.last and len(self.body) <= _SMALL

    @property
    def untaken(self) -> tuple[str, str]:
        """Who does not take it, if nobody does, and what it is."""
        return self.to, "reply"

    def part(self, received: float) -> bytes:
        """As it goes out with others. ``received``: when the first of them came. Raises ValueError."""
        headers, request = self.answer.headers, self.request
        own = {name: headers[name] for name in headers if name != HEADER_SERVICE} if len(headers) > 1 else {}
        if request.received != received:
            own |= {HEADER_RECEIVED: round(request.received * 1e6), HEADER_REPLIED: round(self.replied * 1e6)}
        return batches.reply(self.answer.correlation_id or "", self.body, own)


class Letter(Reply):
    """One of several requests in a message, on its way to the dead letters."""

    __slots__ = ()

    def frames(self, line: Line) -> bytes:
        """As it goes out. Raises what the library raises where AMQP cannot carry it."""
        assert isinstance(self.request, Part), "a message of its own is rejected"
        return self.request.dead(self.to, line.number, line.most)

    @property
    def joins(self) -> bool:
        """Never."""
        return False

    @property
    def untaken(self) -> tuple[str, str]:
        """See ``Reply``."""
        return DEAD_EXCHANGE, "dead letter"


class Outlet:
    """A line on which replies go out; nobody else publishes on it."""

    __slots__ = ("_together", "_written", "line", "unconfirmed")

    def __init__(self, line: Line) -> None:
        self.line = line
        self.unconfirmed: Unconfirmed[Sequence[Reply]] = Unconfirmed()
        """Those that the server has not answered, by message."""
        self._written: list[bytes] = []  # for the next write, in their order
        self._together: dict[str, list[tuple[Reply, bytes]]] = {}  # likewise, by where they go

    @property
    def waiting(self) -> bool:
        """Whether there is anything to be written."""
        return bool(self._written or self._together)

    def add(self, reply: Reply) -> None:
        """Have it written with the next ones. Raises ValueError where AMQP cannot carry it."""
        if reply.joins:
            together = self._together.get(reply.to)
            if together is None:
                self._together[reply.to] = [(reply, reply.part(reply.request.received))]
            else:
                together.append((reply, reply.part(together[0][0].request.received)))
        else:
            self._written.append(reply.frames(self.line))
            self.unconfirmed.add((reply,))

    def give_up_one(self, request: Delivery, service: str, message_id: str) -> bool:
        """Have one of several requests in a message go to the dead letters. Return whether it can."""
        answer = Answer(Result.REJECTED, request.correlation_id)
        try:
            self.add(Letter(request, answer, b"", service, message_id))
        except Exception:  # what it holds need not fit
            _log.exception("%s: %s: no dead letter", service, told(request), extra=about(service, request))
            return False
        return True

    def take(self) -> list[bytes]:
        """What is to be written now."""
        if self._together:
            together, self._together = self._together, {}
            for replies in together.values():
                for some in _messages(replies):
                    self._join(some)
        written, self._written = self._written, []
        return written

    def _join(self, some: Sequence[tuple[Reply, bytes]]) -> None:
        """Have replies to one queue written as one message."""
        first, last = some[0][0], some[-1][0]
        if len(some) == 1:
            self._written.append(first.frames(self.line))
        else:
            headers = {HEADER_SERVICE: first.answer.headers[HEADER_SERVICE], HEADER_BATCH: len(some)}
            ids = {reply.request.message_id for reply, _ in some if isinstance(reply.request, Part)}
            id_ = ids.pop() if len(ids) == 1 else None
            answer = Answer(Result.DECIDED, id_, batches.joined([part for _, part in some]), headers=headers)
            joined = first._replace(answer=answer, body=answer.body or b"", replied=last.replied)
            self._written.append(joined.frames(self.line))
        self.unconfirmed.add([reply for reply, _ in some])

    def give_up(self) -> list[Reply]:
        """Forget all that is on its way. Gives what it was."""
        self._written.clear()
        unwritten = [reply for replies in self._together.values() for reply, _ in replies]
        self._together.clear()
        return [reply for replies in self.unconfirmed.give_up() for reply in replies] + unwritten

    async def close(self) -> None:
        """Close the line. Raises nothing."""
        try:
            await self.line.close()
        except Exception as exc:  # whatever the library raised: it ends with the connection at the latest
            _log.debug("a line for replies: %r", exc)


def _messages(replies: Sequence[tuple[Reply, bytes]]) -> Iterator[Sequence[tuple[Reply, bytes]]]:
    """Replies in as many messages as the adapter reads whole."""
    first = size = 0
    for place, (_, part) in enumerate(replies):
        if place - first >= batches.MOST or size + len(part) > _MOST_BYTES:
            yield replies[first:place]
            first, size = place, 0
        size += len(part)
    yield replies[first:]
