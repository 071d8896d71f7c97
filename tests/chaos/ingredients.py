"""What a pair of faults is made of. Each begins with its ``with`` and is healed at the end of it.

They wait for nobody to be ready again: that is what comes after the pair, once both are over.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

from tests.chaos.faults_plain import OFTEN
from tests.chaos.servers import Kind
from tests.harness.sipp import SippCaller

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from tests.chaos.replica import Replica
    from tests.chaos.world import World
    from tests.harness.proxy import Proxy
    from tests.harness.rabbitmq import RabbitServer
    from tests.harness.redis import RedisServer

    Which = Callable[[World], Replica]
    Does = Callable[[World], AbstractContextManager[object]]

ACTIVE: Final = "active"
STANDBY: Final = "standby"
STORE: Final = "store"
BROKER: Final = "broker"
KAMAILIO: Final = "Kamailio"
CONSUMERS: Final = "consumers"
CLOCK: Final = "clock"
LOAD: Final = "load"
LINKED: Final = 1.0
"""Seconds from Kamailio's start until a replica is linked: one tries each 0.5 s."""


@dataclass(frozen=True, slots=True)
class Ingredient:
    """``of``: what it happens to; two of the same are no pair. ``silences``: whether Kamailio hears
    nothing of that replica meanwhile, or the store nothing of anybody; ``dies``: whether others hear nothing
    of that replica; ``blinds``: whether that replica has no store; ``mutes``: whether it, or all, have no
    RabbitMQ; ``forgets``: whether the store may have lost what it was told. ``clocked``: whether it needs
    clocks; ``gated``: whether it needs the include.
    """

    name: str
    of: str
    does: Does
    silences: bool = False
    dies: bool = False
    blinds: bool = False
    mutes: bool = False
    forgets: bool = False
    clocked: bool = False
    gated: bool = False


def _active(world: World) -> Replica:
    return world.active


def _standby(world: World) -> Replica:
    return next(replica for replica in world.replicas if replica is not world.active)


def _ended(which: Which, how: signal.Signals) -> Does:
    @contextlib.contextmanager
    def does(world: World) -> Iterator[None]:
        replica = which(world)
        code = replica.bridge.stop(how)
        if code and how is signal.SIGTERM:
            world.notes.append(f"{replica.name} ended with {code} after SIGTERM")
        yield
        replica.bridge.process.start()

    return does


def _stopped(which: Which) -> Does:
    @contextlib.contextmanager
    def does(world: World) -> Iterator[None]:
        replica = which(world)
        replica.bridge.process.pause()
        yield
        replica.bridge.process.resume()
        world.sleep(1.0)
        if not replica.bridge.process.running:  # its watchdog may end it; its supervisor starts it again
            world.notes.append(f"{replica.name} ended itself when it woke")
            replica.bridge.process.start()

    return does


def _cut(way: Callable[[World], Proxy | None]) -> Does:
    @contextlib.contextmanager
    def does(world: World) -> Iterator[None]:
        proxy = way(world)
        assert proxy is not None, "servers known by several addresses are not behind a proxy"
        proxy.cut()
        yield
        proxy.heal()

    return does


@contextlib.contextmanager
def _redis_killed(world: World) -> Iterator[None]:
    redis = cast("RedisServer", world.servers.redis)
    redis.kill()
    yield
    redis.start()


@contextlib.contextmanager
def _redis_hangs(world: World) -> Iterator[None]:
    redis = cast("RedisServer", world.servers.redis)
    redis.pause()
    yield
    redis.resume()


@contextlib.contextmanager
def _redis_emptied(world: World) -> Iterator[None]:
    redis = cast("RedisServer", world.servers.redis)
    over = threading.Event()

    def empty() -> None:
        while not over.is_set():
            redis.ask("FLUSHALL")
            over.wait(OFTEN[1])

    thread = threading.Thread(target=empty, name="empty", daemon=True)
    thread.start()
    yield
    over.set()
    thread.join()


@contextlib.contextmanager
def _rabbitmq_killed(world: World) -> Iterator[None]:
    rabbitmq = cast("RabbitServer", world.servers.rabbitmq)
    os.kill(rabbitmq.pid, signal.SIGKILL)
    rabbitmq.kill()
    yield
    rabbitmq.start()


@contextlib.contextmanager
def _rabbitmq_hangs(world: World) -> Iterator[None]:
    rabbitmq = cast("RabbitServer", world.servers.rabbitmq)
    rabbitmq.pause()
    yield
    rabbitmq.resume()


@contextlib.contextmanager
def _kamailio_killed(world: World) -> Iterator[None]:
    world.servers.kamailio.kill()
    world.kamailio_killed.append(time.time())
    yield
    started = time.time()
    world.servers.kamailio.start()
    world.kamailio_away.append(time.time() - world.kamailio_killed[-1])
    if world.servers.kind is Kind.PLAIN:  # it does not know that nobody hears it, and nobody does yet
        world.excuse(started, time.time() + LINKED)


@contextlib.contextmanager
def _consumer_killed(world: World) -> Iterator[None]:
    world.consumers[0].kill()
    yield
    world.consumers[0].start()


@contextlib.contextmanager
def _consumers_stop(world: World) -> Iterator[None]:
    for consumer in world.consumers:
        consumer.pause()
    yield
    for consumer in world.consumers:
        consumer.resume()


@contextlib.contextmanager
def _surge(world: World) -> Iterator[None]:
    """Twice as many calls again, for 3 s at most."""
    rate, seconds = 2 * world.rate, 3.0
    caller = SippCaller(
        world.folder,
        world.servers.kamailio.sip_port,
        calls=round(rate * seconds),
        rate=rate,
        timeout=seconds + 40,
        name=f"surge-{time.monotonic_ns()}",
    )
    with caller:
        yield
        world.surged += Counter(caller.wait().codes)


def _clock(of: Callable[[World], Callable[[float], None]], off: float) -> Does:
    @contextlib.contextmanager
    def does(world: World) -> Iterator[None]:
        put = of(world)
        put(off)
        yield
        put(0.0)

    return does


def _redis_clock(world: World) -> Callable[[float], None]:
    assert world.servers.clock is not None, "these servers have no clock of their own"
    return world.servers.clock.put


INGREDIENTS: Final = (
    Ingredient("SIGKILL active", ACTIVE, _ended(_active, signal.SIGKILL), silences=True, dies=True),
    Ingredient("SIGTERM active", ACTIVE, _ended(_active, signal.SIGTERM), silences=True, dies=True),
    Ingredient("SIGSTOP active", ACTIVE, _stopped(_active), silences=True, dies=True),
    Ingredient("active cut off from Kamailio", ACTIVE, _cut(lambda w: _active(w).evapi), silences=True),
    Ingredient("active cut off from RabbitMQ", ACTIVE, _cut(lambda w: _active(w).amqp), mutes=True),
    Ingredient("active cut off from Redis", ACTIVE, _cut(lambda w: _active(w).redis), blinds=True),
    Ingredient("SIGKILL standby", STANDBY, _ended(_standby, signal.SIGKILL), silences=True, dies=True),
    Ingredient("SIGSTOP standby", STANDBY, _stopped(_standby), silences=True, dies=True),
    Ingredient("standby cut off from Kamailio", STANDBY, _cut(lambda w: _standby(w).evapi), silences=True),
    Ingredient("standby cut off from RabbitMQ", STANDBY, _cut(lambda w: _standby(w).amqp), mutes=True),
    Ingredient("standby cut off from Redis", STANDBY, _cut(lambda w: _standby(w).redis), blinds=True),
    Ingredient("Redis killed", STORE, _redis_killed, silences=True, forgets=True),
    Ingredient("Redis hangs", STORE, _redis_hangs, silences=True),
    Ingredient("Redis emptied", STORE, _redis_emptied, silences=True, forgets=True),
    Ingredient("RabbitMQ killed", BROKER, _rabbitmq_killed, mutes=True),
    Ingredient("RabbitMQ hangs", BROKER, _rabbitmq_hangs, mutes=True),
    Ingredient("Kamailio killed", KAMAILIO, _kamailio_killed),
    Ingredient("a consumer killed", CONSUMERS, _consumer_killed),
    Ingredient("consumers stop", CONSUMERS, _consumers_stop),
    Ingredient("three times the calls", LOAD, _surge),
    Ingredient("clock of active +30 s", CLOCK, _clock(lambda w: _active(w).put_clock, 30.0), clocked=True),
    Ingredient("clock of active -30 s", CLOCK, _clock(lambda w: _active(w).put_clock, -30.0), clocked=True),
    Ingredient("clock of Redis +30 s", CLOCK, _clock(_redis_clock, 30.0), clocked=True),
    Ingredient("clock of Redis -30 s", CLOCK, _clock(_redis_clock, -30.0), clocked=True),
)
