"""What happens to Redis where nothing but it keeps two replicas from answering the same call."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, cast

if TYPE_CHECKING:
    from tests.chaos.world import World
    from tests.harness.redis import RedisServer

OFTEN: Final = (0.02, 0.4)
"""Seconds between two times that Redis is emptied, at random: some of them just before somebody looks."""
UP: Final = (0.05, 1.0)
DOWN: Final = (0.0, 1.0)
"""Seconds for which a Redis that crashes in a loop lives, and is dead, at random."""


def empty_redis(world: World, seconds: float) -> None:
    """At once, and again and again."""
    redis = cast("RedisServer", world.servers.redis)
    world.mark("fault")
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        redis.ask("FLUSHALL")
        world.sleep(world.random.uniform(*OFTEN))
    world.mark("back")


def redis_in_a_loop(world: World, seconds: float) -> None:
    """It crashes as soon as it is well, again and again."""
    redis = cast("RedisServer", world.servers.redis)
    world.mark("fault")
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        redis.kill()
        world.sleep(world.random.uniform(*DOWN))
        redis.start()
        world.sleep(world.random.uniform(*UP))
    world.mark("back")
