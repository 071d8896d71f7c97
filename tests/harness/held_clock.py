"""An event loop whose clock stands until nothing is left to do, and then shows the next timer's time.

Nothing here waits for real, so an hour of pauses takes no time. For what has no sockets.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Coroutine


class HeldClock(asyncio.SelectorEventLoop):
    """``time()`` begins with 0."""

    def __init__(self) -> None:
        self._now = 0.0
        super().__init__()

    def time(self) -> float:
        """Seconds since the loop was made, all of them skipped."""
        return self._now

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:  # type: ignore[attr-defined]
            self._now = max(self._now, self._scheduled[0].when())  # type: ignore[attr-defined]
        super()._run_once()  # type: ignore[misc]


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run a test in such a loop."""
    with asyncio.Runner(loop_factory=HeldClock) as runner:
        runner.run(work)
