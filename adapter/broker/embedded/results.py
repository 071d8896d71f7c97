"""The replies of one node, on their way to the bridge."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from adapter.ports.broker import Receiver, Reply

_log = logging.getLogger(__name__)

RETRY: Final = 0.1
"""Seconds until replies that the receiver did not take are delivered again."""


class Results:
    """What waits for one node. ``task`` delivers it, and is there only while there is something.

    Args:
        node: whose replies they are.
        retry: seconds until replies that the receiver did not take are delivered again.
        most: replies that are kept; then the oldest go.
        on_end: is called when there is nothing to deliver any more.
    """

    def __init__(self, node: str, retry: float, most: int, on_end: Callable[[], None]) -> None:
        self.attached = False
        self.replies: list[Reply] = []
        self.task: asyncio.Task[None] | None = None
        self._node = node
        self._retry = retry
        self._most = most
        self._on_end = on_end

    def add(self, reply: Reply, receiver: Receiver | None) -> None:
        """Deliver a reply in the next round of the loop, with all others that this round brings."""
        self.replies.append(reply)
        if len(self.replies) > self._most:
            del self.replies[0]  # the oldest is the nearest to its deadline, or past it
        self.deliver_soon(receiver)

    def deliver_soon(self, receiver: Receiver | None) -> None:
        """Deliver what waits, if the node is attached and somebody takes it."""
        if self.task is None and self.replies and self.attached and receiver is not None:
            self.task = asyncio.get_running_loop().create_task(self._deliver(receiver))

    async def _deliver(self, receiver: Receiver) -> None:
        """One batch after the other. A node has its own task: the trouble of one is not another's."""
        try:
            while self.replies and self.attached:
                batch, self.replies = self.replies, []
                try:
                    await receiver.on_replies(batch)
                except Exception as exc:
                    _log.warning("%s: %d replies again: %r", self._node, len(batch), exc)
                    self.replies[:0] = batch
                    await asyncio.sleep(self._retry)
        finally:
            self.task = None
            self._on_end()
