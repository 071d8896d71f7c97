"""What happens by the clock: deadlines, and what waits for somebody or something else."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from adapter.evapi.nodes import Nodes
    from adapter.metrics import Metrics
    from adapter.relay import Relay

SWEEP_INTERVAL: Final = 0.02
"""Seconds between two looks: by so much a fallback may come late."""


class Sweeper:
    """``run`` and ``tick`` are a task each: only the one waits for the store."""

    def __init__(self, relay: Relay, nodes: Nodes, metrics: Metrics) -> None:
        self._relay = relay
        self._nodes = nodes
        self._metrics = metrics

    async def run(self) -> None:
        """Sweep for ever. Ends only by cancellation."""
        while True:
            await self.sweep()
            await asyncio.sleep(SWEEP_INTERVAL)

    async def tick(self) -> None:
        """Look after the links and what waits in the relay, for ever. Ends only by cancellation."""
        while True:
            self._nodes.refresh()
            self._relay.tick()
            due = time.monotonic() + SWEEP_INTERVAL
            await asyncio.sleep(SWEEP_INTERVAL)
            self._metrics.loop_lag.observe(max(time.monotonic() - due, 0.0))

    async def sweep(self) -> None:
        """Answer what is past its deadline on every node that can be told and is this replica's."""
        due = [node for node in self._nodes.readers if self._relay.due(node)]
        if due:
            await asyncio.gather(*(self._relay.expire(node) for node in due))
