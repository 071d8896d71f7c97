"""What happens to a world: each does it, lets it last so many seconds, and heals it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections import Counter
from typing import TYPE_CHECKING, Final, cast

from tests.harness.sipp import SippCaller

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.chaos.world import World
    from tests.harness.proxy import Proxy
    from tests.harness.rabbitmq import RabbitCluster, RabbitServer
    from tests.harness.redis import RedisSentinel, RedisServer

    Fault = Callable[[World, float], None]

RABBITMQ_STARTS: Final = 4.0
"""Seconds that RabbitMQ takes to start: it is begun so much before it is to be back."""


def nothing(world: World, seconds: float) -> None:
    world.mark("fault")
    world.sleep(seconds)


def kill_active(world: World, seconds: float) -> None:
    replica = world.active
    world.mark("fault")
    replica.bridge.stop(signal.SIGKILL)
    world.sleep(seconds)
    replica.bridge.start()
    world.mark("back")


def kill_only(world: World, seconds: float) -> None:
    """What Redis has just after the kill is what the replica had claimed."""
    (replica,) = world.replicas
    world.mark("fault")
    replica.bridge.stop(signal.SIGKILL)
    world.claimed_at_kill = world.claimed()
    world.sleep(seconds)
    replica.bridge.process.start()
    replica.wait()
    world.mark("back")


def restart_both(world: World, _seconds: float) -> None:
    world.mark("fault")
    for replica in world.replicas:
        code = replica.bridge.stop(signal.SIGTERM)
        if code:
            world.notes.append(f"{replica.name} ended with {code} after SIGTERM")
        replica.bridge.process.start()
        replica.wait()
    world.mark("back")


def kill_consumer(world: World, seconds: float) -> None:
    world.mark("fault")
    world.random.choice(world.consumers).kill()
    world.sleep(seconds)
    world.start_consumers()


def pause_active(world: World, seconds: float) -> None:
    replica = world.active
    world.mark("fault")
    replica.bridge.process.pause()
    world.sleep(seconds)
    replica.bridge.process.resume()
    world.mark("back")
    world.sleep(1.0)
    if not replica.bridge.process.running:  # its watchdog may end it; its supervisor starts it again
        world.notes.append(f"{replica.name} ended itself when it woke")
        replica.bridge.process.start()


def kill_redis(world: World, seconds: float) -> None:
    redis = cast("RedisServer", world.servers.redis)
    world.mark("fault")
    redis.kill()
    world.sleep(seconds)
    redis.start()
    world.mark("back")


def fail_over_redis(world: World, _seconds: float) -> None:
    redis = cast("RedisSentinel", world.servers.redis)
    world.mark("fault")
    old = redis.kill_master()
    redis.wait_for_failover(old)
    world.mark("back")
    redis.revive()


def pause_redis(world: World, seconds: float) -> None:
    redis = cast("RedisServer", world.servers.redis)
    world.mark("fault")
    redis.pause()
    world.sleep(seconds)
    redis.resume()
    world.mark("back")


def cut_evapi(world: World, seconds: float) -> None:
    _cut(world, world.active.evapi, seconds)


def cut_amqp(world: World, seconds: float) -> None:
    _cut(world, world.active.amqp, seconds)


def cut_redis(world: World, seconds: float) -> None:
    _cut(world, world.active.redis, seconds)


def _cut(world: World, proxy: Proxy | None, seconds: float) -> None:
    assert proxy is not None, "servers known by several addresses are not behind a proxy"
    world.mark("fault")
    proxy.cut()
    world.sleep(seconds)
    proxy.heal()
    world.mark("back")


def kill_rabbitmq(world: World, seconds: float) -> None:
    rabbitmq = cast("RabbitServer", world.servers.rabbitmq)
    began = time.monotonic()
    # It takes some time to die: what matters is when its connections end.
    with socket.create_connection(("127.0.0.1", rabbitmq.port), 5) as connection:
        os.kill(rabbitmq.pid, signal.SIGKILL)
        with contextlib.suppress(ConnectionResetError):  # one way or the other
            connection.recv(1)
        world.mark("fault")
    rabbitmq.kill()
    world.sleep(max(seconds - RABBITMQ_STARTS - (time.monotonic() - began), 0))
    rabbitmq.start()
    world.mark("back")


def pause_rabbitmq(world: World, seconds: float) -> None:
    rabbitmq = cast("RabbitServer", world.servers.rabbitmq)
    world.mark("fault")
    rabbitmq.pause()
    world.sleep(seconds)
    rabbitmq.resume()
    world.mark("back")


def kill_rabbitmq_node(world: World, seconds: float) -> None:
    """The one that leads the service's queue (it did at the start), where the most is lost."""
    cluster = cast("RabbitCluster", world.servers.rabbitmq)
    number = world.leader
    world.mark("fault")
    cluster.kill(number)
    world.sleep(seconds)
    cluster.start(number)
    world.mark("back")


def kill_kamailio(world: World, seconds: float) -> None:
    world.mark("fault")
    world.servers.kamailio.kill()
    world.kamailio_killed.append(time.time())
    world.sleep(seconds)
    world.servers.kamailio.start()
    world.mark("back")


def pause_consumers(world: World, seconds: float) -> None:
    world.mark("fault")
    for consumer in world.consumers:
        consumer.pause()
    world.sleep(seconds)
    for consumer in world.consumers:
        consumer.resume()
    world.mark("back")


def pause_kamailio(world: World, seconds: float) -> None:
    world.mark("fault")
    world.servers.kamailio.pause()
    world.sleep(seconds)
    world.servers.kamailio.resume()
    world.mark("back")


def surge(world: World, seconds: float) -> None:
    """Twice as many calls again, for so long."""
    rate = 2 * world.rate
    world.mark("fault")
    caller = SippCaller(
        world.folder,
        world.servers.kamailio.sip_port,
        calls=round(rate * seconds),
        rate=rate,
        timeout=seconds + 20,
        name=f"surge-{time.monotonic_ns()}",
    )
    with caller:
        world.surged += Counter(caller.wait().codes)
    world.mark("back")
