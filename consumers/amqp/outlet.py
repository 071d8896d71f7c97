"""The replies of one channel that are on their way."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from adapter.amqp.ledgers import Unconfirmed
from consumers.amqp import frames

if TYPE_CHECKING:
    from adapter.amqp.line import Line
    from consumers.amqp.delivery import Delivery
    from consumers.messages import Answer, Extension


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


class Outlet:
    """A line on which replies go out; nobody else publishes on it."""

    __slots__ = ("line", "unconfirmed", "written")

    def __init__(self, line: Line) -> None:
        self.line = line
        self.unconfirmed: Unconfirmed[Reply] = Unconfirmed()
        """Those that the server has not answered."""
        self.written: list[bytes] = []
        """Frames for the next write, in their order."""

    def add(self, reply: Reply) -> None:
        """Have it written with the next ones. Raises ValueError where AMQP cannot carry it."""
        self.written.append(
            frames.reply(
                self.line.number,
                self.line.most,
                reply.answer,
                reply.body,
                reply.to,
                reply.message_id,
                reply.request.received,
                reply.replied,
            )
        )
        self.unconfirmed.add(reply)

    def take(self) -> list[bytes]:
        """What is to be written now."""
        written, self.written = self.written, []
        return written

    def give_up(self) -> list[Reply]:
        """Forget all that is on its way. Gives what it was."""
        self.written.clear()
        return self.unconfirmed.give_up()
