"""What happens by the clock: deadlines, beats, and what waits for somebody or something else.

One timer for all of it: on an idle machine each wake-up costs 70 to 130 us (measured), far more than
the looks that it is for.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from adapter.observe.metrics import ProcessMetrics
    from adapter.ports.nodes import Connecting, NodeView
    from adapter.relay.trip import Trip

SWEEP_INTERVAL: Final = 0.02
"""Seconds between two looks: by so much a fallback may come late."""
BUSY_INTERVAL: Final = 0.005
"""The same while one after the other is past its deadline: most are when the machine is busiest."""
BUSY: Final = 0.1
"""Seconds after a fallback for which that is so."""


class Ticker:
    """``run`` it in a task. ``also`` are called at each look with the monotonic clock's seconds; none of
    them may wait.
    """

    def __init__(
        self,
        trip: Trip,
        nodes: NodeView,
        connector: Connecting,
        metrics: ProcessMetrics,
        also: Sequence[Callable[[float], None]] = (),
    ) -> None:
        self._trip = trip
        self._nodes = nodes
        self._connector = connector
        self._metrics = metrics
        self._also = also
        self._sweeping: asyncio.Task[None] | None = None
        self._missed = False
        self._busy_until = float("-inf")

    async def run(self) -> None:
        """Look after everything, for ever. Ends by cancellation, or raises what a look raised."""
        while True:
            now = time.monotonic()
            self._connector.refresh()
            self._trip.tick()
            for look in self._also:
                look(now)
            self._sweep_soon()
            wait = BUSY_INTERVAL if now < self._busy_until else SWEEP_INTERVAL
            began = time.monotonic()
            await asyncio.sleep(wait)
            self._metrics.loop_lag.observe(max(time.monotonic() - began - wait, 0.0))

    async def stop(self) -> None:
        """End a sweep that is under way."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            await asyncio.gather(self._sweeping, return_exceptions=True)

    def _sweep_soon(self) -> None:
        """One sweep at a time, in a task of its own: only it waits for the store.

        A look that finds one under way follows it at once: a store that is slow, as in a burst of replies,
        would cost a fallback its own time and an interval.
        """
        if self._sweeping is not None:
            if not self._sweeping.done():
                self._missed = True
                return
            done, self._sweeping = self._sweeping, None
            done.result()
        if due := self._due():
            self._sweeping = asyncio.create_task(self._sweep(due))

    async def sweep(self) -> None:
        """Answer what is past its deadline on every node that can be told and is this replica's."""
        await self._sweep(self._due())

    def _due(self) -> list[str]:
        return [node for node in self._nodes.readers if self._trip.due(node)]

    async def _sweep(self, due: Sequence[str]) -> None:
        while due:
            self._missed = False
            if any(await asyncio.gather(*(self._trip.expire(node) for node in due))):
                self._busy_until = time.monotonic() + BUSY
            due = self._due() if self._missed else []
