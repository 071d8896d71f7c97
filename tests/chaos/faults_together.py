"""Redis is away, and then a replica dies, restarts or starts."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING, Final, cast

from tests.chaos.world import DEADLINE
from tests.harness.process import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.chaos.replica import Replica
    from tests.chaos.world import World
    from tests.harness.redis import RedisServer

FIRST_ALONE: Final = 2.0
"""Seconds for which Redis is away before the second fault: longer than a lease."""
TAKES_OVER: Final = 3.0
"""Seconds after the active replica has gone while Redis is away, within which another answers: 10 % of a
run of 30 s. Calls from a deadline before it until then may be lost with what only the dead one knew."""


def redis_then_kill(world: World, seconds: float) -> None:
    """Both come back at the end, Redis first."""
    _redis_then(world, seconds, _kill)


def redis_back_then_replica(world: World, seconds: float) -> None:
    """Redis comes back a little after the replica has died; the replica at the end."""
    _redis_then(world, seconds, _kill, redis_after=2.0)


def redis_then_restart(world: World, seconds: float) -> None:
    """The replica is stopped in order and started at once, while Redis is away."""

    def restart(replica: Replica) -> None:
        code = replica.bridge.stop(signal.SIGTERM)
        if code:
            world.notes.append(f"{replica.name} ended with {code} after SIGTERM")
        replica.bridge.process.start()

    _redis_then(world, seconds, restart)


def _kill(replica: Replica) -> None:
    replica.bridge.stop(signal.SIGKILL)


def _redis_then(
    world: World, seconds: float, happens: Callable[[Replica], None], redis_after: float | None = None
) -> None:
    redis, replica = cast("RedisServer", world.servers.redis), world.active
    world.mark("fault")
    redis.kill()
    world.sleep(FIRST_ALONE)
    world.mark("second")
    gone_over(world)
    happens(replica)
    world.sleep(seconds if redis_after is None else redis_after)
    redis.start()
    if redis_after is not None:
        world.sleep(max(seconds - redis_after, 0))
    if not replica.bridge.process.running:
        replica.bridge.process.start()
    world.mark("back")


def gone_over(world: World) -> None:
    """What only the replica knew that goes now, without a store, is excused."""
    now = time.time()
    world.excuse(now - DEADLINE, now + TAKES_OVER)


def start_without_redis(world: World, seconds: float) -> None:
    """All replicas end, Redis too; they start, and Redis comes back so many seconds after that.

    While none runs nobody can answer: without the include Kamailio does not know that, either.
    """
    redis = cast("RedisServer", world.servers.redis)
    world.mark("fault")
    began = time.time()
    for replica in world.replicas:
        replica.bridge.stop(signal.SIGTERM)
    redis.kill()
    for replica in world.replicas:
        replica.bridge.process.start()
    wait_until(lambda: all(replica.alive for replica in world.replicas), "the replicas to answer")
    world.sleep(TAKES_OVER)
    world.mark("started")
    world.excuse(began - DEADLINE, time.time())
    world.sleep(seconds)
    redis.start()
    world.mark("back")
