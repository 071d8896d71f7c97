"""Commands as the broker hands them over, and takes their replies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from adapter.records import record

if TYPE_CHECKING:
    from collections.abc import Callable


@record
class ReplyAddress:
    """Where the reply to a command goes. ``queue``: its ``reply_to``; empty: nobody waits for one."""

    queue: str = ""
    correlation_id: str = ""


@record
class Asked:
    """One command on its way to one node.

    Args:
        node: to which.
        body: as it was published.
        to: where its reply goes.
        within: seconds that it has; None: its message does not say.
        redelivered: whether another consumer, or an earlier connection, had it before.
        answer: is to be called once: sends the body of a reply, if there is one, and lets the broker forget
            the command. Until then it is delivered again if this process dies.
        dead_letter: keeps the command for an operator: why, machine-readable and in words.
    """

    node: str
    body: bytes
    to: ReplyAddress
    within: float | None
    redelivered: bool
    answer: Callable[[bytes | None], None]
    dead_letter: Callable[[str, str], None]


class CommandReplies(Protocol):
    """Sends replies to commands that were delivered to another process. A broker is one."""

    def reply(self, node: str, to: ReplyAddress, body: bytes) -> None:
        """Send a reply; never waits, and it may be lost."""
        ...
