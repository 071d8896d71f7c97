"""New channels in place of one on which a queue refuses publications.

A queue refuses what it has no room for. A quorum queue without a leader refuses, too, what comes
on a channel that never published to it, and goes on to do so on that channel when it has one
again (RabbitMQ 3.10: the channel keeps asking the server that is gone). An election is over in
less than a second, so for as long the refused publications are tried again on new channels.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from adapter.amqp.tasks import end
from adapter.amqp.words import EXPECTED

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from adapter.broker.rabbitmq.limits import Limits


class ChannelRenewal:
    """One at a time, for everybody whose publications were refused."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._renew: Callable[[], Awaitable[None]] | None = None
        self._task: asyncio.Task[None] | None = None
        self._since = self._last = float("-inf")

    def begin(self, renew: Callable[[], Awaitable[None]]) -> None:
        """From now on channels are made by ``renew``."""
        self._renew = renew

    async def end(self) -> None:
        """Make no more."""
        self._renew = None
        if self._task is not None:
            await end(self._task)

    async def worth_another(self, by_present: bool) -> bool:
        """Whether to try again what was refused: by the present channel, or by one before it.

        While refusals go on for longer than ``refused_for``, nobody waits for that; the channel
        is still renewed now and then, since it cannot be known whether the queue or the channel
        is to blame.
        """
        now = asyncio.get_running_loop().time()
        if now - self._last > self._limits.refusals_apart:
            self._since = now
        self._last = now
        lasts = now - self._since
        if by_present and self._task is None and self._renew is not None:
            pause = min(max(self._limits.renew_interval, lasts / 4), self._limits.refused_for)
            self._task = asyncio.create_task(self._soon(self._renew, pause))
            self._task.add_done_callback(self._done)
        if lasts > self._limits.refused_for:
            return False
        if self._task is not None:
            await asyncio.wait({self._task})
        return True

    @staticmethod
    async def _soon(renew: Callable[[], Awaitable[None]], pause: float) -> None:
        await asyncio.sleep(pause)
        with contextlib.suppress(*EXPECTED):  # who looks after the publishing sees that, too
            await renew()

    def _done(self, _: asyncio.Task[None]) -> None:
        self._task = None
