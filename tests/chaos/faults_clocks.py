"""Clocks that go wrong: of one replica, of all, of Redis, of the consumers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.chaos.faults import Fault
    from tests.chaos.world import World

    Put = Callable[[World, float], None]


def off(put: Callable[[World], Callable[[float], None]], seconds: float, *, for_good: bool) -> Fault:
    """A fault: what ``put`` gives is told how many seconds to be ahead; not ``for_good``: and then, 0."""

    def fault(world: World, lasts: float) -> None:
        set_to = put(world)
        world.mark("fault")
        set_to(seconds)
        if for_good:
            world.after.append(lambda: set_to(0.0))
            return
        world.sleep(lasts)
        set_to(0.0)
        world.mark("back")

    return fault


def active(world: World) -> Callable[[float], None]:
    """The replica that is active now."""
    return world.active.put_clock


def standby(world: World) -> Callable[[float], None]:
    """One that is not."""
    return world.standby.put_clock


def all_replicas(world: World) -> Callable[[float], None]:
    """Every replica: the same as if Redis, RabbitMQ, Kamailio and consumers were off."""

    def put(seconds: float) -> None:
        for replica in world.replicas:
            replica.put_clock(seconds)

    return put


def redis(world: World) -> Callable[[float], None]:
    """Redis alone."""
    assert world.servers.clock is not None, "these servers have no clock of their own"
    return world.servers.clock.put


def consumers(world: World) -> Callable[[float], None]:
    """Every consumer."""
    assert world.consumer_clock is not None, "these consumers have no clock of their own"
    return world.consumer_clock.put
