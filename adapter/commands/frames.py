"""Frames that are pushed to Kamailio as they are, for the user's own route: done once they are read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from adapter.command_contract import WITHIN, CommandOutcome
from adapter.commands.execution import Verdict
from adapter.errors import CodecError
from adapter.model.transaction import RESEND_FOR
from adapter.wire import command as wire
from adapter.wire import netstring, to_kamailio

if TYPE_CHECKING:
    from collections.abc import Callable

    from adapter.ports.commands import Asked
    from adapter.ports.links import Links
    from adapter.wire.command import Result

MAX_UNREAD: Final = 10_000
"""Frames of a node that wait to be read, beyond which none is pushed."""


class PushedFrames:
    """Pushes them, if Kamailio tells them from resumes, and waits for their receipts.

    Args:
        links: the way to Kamailio.
        end: is told the outcome of each, and when it came (epoch seconds).
        clock: gives epoch seconds.
    """

    def __init__(
        self,
        links: Links,
        end: Callable[[Asked, Verdict, float], None],
        clock: Callable[[], float],
    ) -> None:
        self._links = links
        self._end = end
        self._clock = clock
        self._number = 0
        self._waiting: dict[str, tuple[Asked, float, float]] = {}  # by token: came at, until

    def __len__(self) -> int:
        return len(self._waiting)

    def push(self, asked: Asked, now: float) -> None:
        """Push a frame; its outcome comes with its receipt. What is refused is kept as a dead letter."""
        try:
            self._send(asked)
        except CodecError as exc:
            unavailable = exc.reason in ("no-hello", "overload")
            outcome = CommandOutcome.UNAVAILABLE if unavailable else CommandOutcome.REFUSED
            asked.dead_letter(exc.reason, exc.detail)
            self._end(asked, Verdict(outcome, None, str(exc)), now)
            return
        if not asked.to.queue:
            self._end(asked, Verdict(CommandOutcome.DONE), now)
            return
        self._number += 1
        token = f"{wire.RECEIPT}{id(self):x}.{self._number}"
        self._waiting[token] = asked, now, now + (WITHIN if asked.within is None else asked.within)
        self._links.send(asked.node, to_kamailio.sync(token), RESEND_FOR, None)

    def _send(self, asked: Asked) -> None:
        """Raises CodecError: Kamailio would take it for another frame, or could not read it."""
        node, body = asked.node, asked.body
        wire.check_command(body)
        if not self._links.takes_commands(node):
            raise CodecError("no-hello", "the node's configuration does not tell commands from resumes")
        if self._links.waiting(node) >= MAX_UNREAD:
            raise CodecError("overload", f"{MAX_UNREAD} frames wait to be read by the node")
        if len(body) > self._links.max_payload(node):
            raise CodecError("too-large", f"{len(body)} bytes; Kamailio reads {netstring.MAX_OUT}")
        self._links.send(node, body, RESEND_FOR, None)

    def on_result(self, node: str, result: Result) -> bool:
        """Take a receipt; False: it is the result of a command."""
        if not result.id.startswith(wire.RECEIPT):
            return False
        found = self._waiting.get(result.id)
        if found is not None and found[0].node == node:
            del self._waiting[result.id]
            self._end(found[0], Verdict(CommandOutcome.DONE), found[1])
        return True

    def tick(self) -> None:
        """Give up what has no receipt in time."""
        if not self._waiting:
            return
        now = self._clock()
        for token, (asked, came_at, until) in list(self._waiting.items()):
            if now >= until:
                del self._waiting[token]
                late = Verdict(CommandOutcome.TIMEOUT, None, "Kamailio gave no receipt for the frame")
                self._end(asked, late, came_at)
