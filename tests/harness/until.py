"""``until``: how a test waits for what it is about. Blocking code has `tests.harness.process.wait_until`."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

WITHIN = 20.0
"""Seconds: long enough for a machine that does ten other things, too."""


async def until(condition: Callable[[], object], within: float = WITHIN, *, pause: float = 0.002) -> None:
    """Return once the condition holds.

    Args:
        condition: Asked again and again. If it gives a coroutine, what that returns counts.
        within: Seconds to wait.
        pause: Seconds between two questions. 0 asks in each turn of the loop, for what holds only a moment.

    Raises:
        TimeoutError: It did not hold in time.
    """
    async with asyncio.timeout(within):
        while True:
            holds = condition()
            if inspect.iscoroutine(holds):
                holds = await holds
            if holds:
                return
            await asyncio.sleep(pause)
