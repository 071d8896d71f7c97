"""How many replicas there are changes."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.chaos.world import World


def two_one_three(world: World, seconds: float) -> None:
    """The active one ends in order; after so many seconds it comes back, and a third with it."""
    _one_three(world, seconds, signal.SIGTERM)


def killed_one_three(world: World, seconds: float) -> None:
    """The same, but the active one is killed."""
    _one_three(world, seconds, signal.SIGKILL)


def _one_three(world: World, seconds: float, how: signal.Signals) -> None:
    replica = world.active
    world.mark("fault")
    code = replica.bridge.stop(how)
    if code and how is signal.SIGTERM:
        world.notes.append(f"{replica.name} ended with {code} after SIGTERM")
    world.sleep(seconds)
    replica.bridge.process.start()
    world.add_replica()
    world.mark("back")
