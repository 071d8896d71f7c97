"""What happens by the clock: deadlines, this replica's beat, and dead replicas' transactions."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from adapter.errors import StoreUnavailable

if TYPE_CHECKING:
    from adapter.evapi.nodes import Nodes
    from adapter.inflight.base import InFlight
    from adapter.metrics import Metrics
    from adapter.relay import Relay

log = structlog.get_logger()

SWEEP_INTERVAL: Final = 0.02
"""Seconds between two looks for passed deadlines: by so much a fallback may come late."""


class Sweeper:
    """``run`` it in a task. ``lease``: seconds without a beat after which a replica is dead."""

    def __init__(
        self, inflight: InFlight, relay: Relay, nodes: Nodes, metrics: Metrics, lease: float
    ) -> None:
        self._inflight = inflight
        self._relay = relay
        self._nodes = nodes
        self._metrics = metrics
        self._lease = lease
        self._adopted: set[tuple[str, str]] = set()  # (dead replica, node) with nothing left to adopt
        self.store_ready = False

    async def run(self) -> None:
        """Sweep for ever. Ends only by cancellation."""
        loop = asyncio.get_running_loop()
        next_beat = 0.0
        while True:
            if loop.time() >= next_beat:
                next_beat = loop.time() + self._lease / 4
                await self.beat()
            await self.sweep()
            await asyncio.sleep(SWEEP_INTERVAL)

    async def sweep(self) -> None:
        """Answer what is past its deadline on every node that can be told."""
        up = self._nodes.up
        if up:
            await asyncio.gather(*(self._relay.expire(node) for node in up))

    async def beat(self) -> None:
        """Beat, look who else does, and adopt what the dead have left.

        An earlier life of this process is one of the dead: each life has a name of its own.
        """
        try:
            ages = await self._inflight.beat()
            dead = {replica for replica, age in ages.items() if age > self._lease}
            self._relay.replicas = ages.keys() - dead
            self._adopted = {(replica, node) for replica, node in self._adopted if replica in dead}
            in_doubt, self._relay.in_doubt = self._relay.in_doubt, False
            for node in self._nodes.up:
                await self._adopt(node, dead)
                if in_doubt:
                    await self._relay.recover(node)
                self._metrics.in_flight.labels(node).set(await self._inflight.count(node))
        except StoreUnavailable as exc:
            self._relay.in_doubt = True
            if self.store_ready:
                log.error("in-flight store: away", error=str(exc))
            self.store_ready = False
        else:
            if not self.store_ready:
                log.info("in-flight store: ready", replicas=sorted(ages))
            self.store_ready = True

    async def _adopt(self, node: str, dead: set[str]) -> None:
        left = sorted(replica for replica in dead if (replica, node) not in self._adopted)
        if left and await self._relay.adopt(node, left) == 0:
            self._adopted.update((replica, node) for replica in left)
