"""Everything, in random order, one after another, each healed before the next."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from tests.chaos import faults
from tests.chaos.report import Bounds
from tests.chaos.run import Load, prepared, under_load
from tests.chaos.servers import Kind
from tests.chaos.world import Setup, World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.chaos.faults import Fault
    from tests.chaos.report import Report
    from tests.chaos.servers import Servers

SETUP: Final = Setup(consumers=3, in_flight=500)
BOUNDS: Final = Bounds(0.0, dropped=True)
"""Nobody unanswered, nothing wrong; the rest is only told."""
SHARES: Final = {Kind.ALONE: 0.75, Kind.CLUSTERS: 0.25}
"""Of the time."""
BETWEEN: Final = (2.0, 5.0)
LASTS: Final = (0.2, 6.0)
"""Seconds between two faults and of a fault, at random."""
ENDS: Final = 10.0
"""Seconds without faults in the end."""
_ANYWHERE: Final = (
    faults.kill_active,
    faults.restart_both,
    faults.kill_consumer,
    faults.pause_active,
    faults.cut_evapi,
    faults.kill_kamailio,
    faults.pause_consumers,
    faults.surge,
)
_ALONE: Final = (
    *_ANYWHERE,
    faults.kill_redis,
    faults.pause_redis,
    faults.cut_amqp,
    faults.cut_redis,
    faults.kill_rabbitmq,
    faults.pause_rabbitmq,
)
FAULTS: Final[dict[Kind, tuple[Fault, ...]]] = {
    Kind.ALONE: _ALONE,
    Kind.CLOCKS: _ALONE,
    Kind.CLUSTERS: (*_ANYWHERE, faults.fail_over_redis, faults.kill_rabbitmq_node),
}


def run_mix(servers: Servers, folder: Path, load: Load, seed: int, tell: Callable[[str], None]) -> Report:
    """Run faults for the length of the load. Raises HarnessError where the world does not heal."""

    def happens(world: World) -> None:
        end = time.monotonic() + load.seconds - ENDS
        for fault in _shuffled(world):
            world.sleep(world.random.uniform(*BETWEEN))
            if time.monotonic() > end:
                return
            lasts = world.random.uniform(*LASTS)
            tell(f"    {fault.__name__} for {lasts:.1f} s")
            fault(world, lasts)
            world.all_ready()

    with World(servers, prepared(servers, folder), SETUP, load.rate, seed) as world:
        return under_load(world, load, happens)


def _shuffled(world: World) -> Iterator[Fault]:
    """All of them in random order, and again."""
    while True:
        order = list(FAULTS[world.servers.kind])
        world.random.shuffle(order)
        yield from order
