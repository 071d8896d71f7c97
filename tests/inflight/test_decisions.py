"""Decisions for equal calls: what is kept here, what other replicas keep, and when Redis does not say."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgpack
import pytest

from adapter.errors import StoreUnavailable
from adapter.inflight import decisions
from adapter.inflight.decisions import MOST, MOST_BYTES, DecisionCache
from adapter.inflight.failover import FailoverStore
from adapter.inflight.local import LocalStore
from adapter.inflight.redis import RedisStore
from adapter.ports.cache import Kept
from tests.harness.redis import RedisCluster, RedisSentinel
from tests.harness.until import until
from tests.inflight.worlds import LIVE, RedisWorld

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import redis as redis_py

    from adapter.ports.store import Store
    from tests.harness.redis import RedisServer

START = 1_790_000_000.0


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def world(redis_server: RedisServer) -> AsyncIterator[RedisWorld]:
    found = RedisWorld(redis_server.url)
    yield found
    await found.close()


def kept(text: str = "{}", fresh: float = 10.0, stale: float = 60.0) -> Kept:
    """Fresh for so many seconds from the start, and of use for so many."""
    return Kept(text.encode(), START + fresh, START + stale)


def alone(clock: Clock) -> DecisionCache:
    return DecisionCache(LocalStore("one"), clock)


async def told(*caches: DecisionCache) -> None:
    """Wait until the store has what they keep."""
    for cache in caches:
        await cache.close()


# Here


async def test_a_decision_is_kept_until_it_is_of_no_more_use(clock: Clock) -> None:
    cache = alone(clock)
    assert cache.near("a") is None
    assert await cache.find("a") is None
    cache.keep("a", kept())
    for now in (0.0, 9.0, 11.0, 59.0):
        clock.now = START + now
        assert cache.near("a") == await cache.find("a") == kept()
    clock.now = START + 60.0
    assert cache.near("a") is None
    assert await cache.find("a") is None
    assert repr(cache) == "<DecisionCache 0 decisions, 0 bytes>"


async def test_the_last_decision_counts(clock: Clock) -> None:
    cache = alone(clock)
    cache.keep("a", kept("1", fresh=50))
    cache.keep("a", kept("2", fresh=5))
    assert cache.near("a") == kept("2", fresh=5)
    assert repr(cache) == "<DecisionCache 1 decisions, 2 bytes>"


@pytest.mark.parametrize("stale", [0.0, -1.0, float("nan")])
async def test_what_is_of_no_use_any_more_is_not_kept(clock: Clock, stale: float) -> None:
    cache = alone(clock)
    cache.keep("a", kept(stale=stale))
    assert "<DecisionCache 0 decisions" in repr(cache)


async def test_of_too_many_the_one_used_the_longest_ago_goes(clock: Clock) -> None:
    cache = alone(clock)
    for number in range(MOST):
        cache.keep(str(number), kept())
    cache.near("0")
    cache.keep("one more", kept())
    assert cache.near("1") is None
    assert None not in (cache.near("0"), cache.near("2"), cache.near("one more"))
    await told(cache)


async def test_of_too_large_ones_too(clock: Clock) -> None:
    cache = alone(clock)
    half = kept("x" * (MOST_BYTES // 2 - 10))
    for key in ("a", "b", "c"):
        cache.keep(key, half)
    assert cache.near("a") is None
    assert cache.near("b") == cache.near("c") == half
    cache.keep("d", kept("x" * (MOST_BYTES + 1)))
    assert repr(cache) == "<DecisionCache 0 decisions, 0 bytes>"


# Other replicas


async def test_another_replica_finds_it(world: RedisWorld, clock: Clock, probe: redis_py.Redis) -> None:
    one, two = (DecisionCache(world.store(name), clock) for name in ("one", "two"))
    given = kept('{"reason":"ünicode ☎"}', stale=60.5)
    one.keep("invite:7", given)
    await told(one)
    assert two.near("invite:7") is None
    assert await two.find("invite:7") == given
    assert two.near("invite:7") == given
    key = f"{world.prefix}:cache:invite:7"
    left: Any = probe.pttl(key)
    assert 50_000 < left <= 60_500
    probe.delete(key)
    assert await two.find("invite:7") == given, "here it is fresh"


async def test_what_is_fresh_no_more_is_looked_up_as_another_may_have_a_fresher_one(
    world: RedisWorld, clock: Clock
) -> None:
    one, two = (DecisionCache(world.store(name), clock) for name in ("one", "two"))
    one.keep("a", kept("1"))
    await told(one)
    two.keep("a", kept("2", fresh=30))
    await told(two)
    assert await one.find("a") == kept("1"), "it is fresh"
    clock.now += 10
    assert one.near("a") == kept("1")
    assert await one.find("a") == kept("2", fresh=30)
    assert one.near("a") == kept("2", fresh=30)
    # And what is less fresh there does not count.
    one.keep("b", kept("1", fresh=10))
    await told(one)
    two.keep("b", kept("2", fresh=9))
    await told(two)
    assert await one.find("b") == kept("1", fresh=10)


async def test_what_is_kept_while_the_store_is_asked_counts(world: RedisWorld, clock: Clock) -> None:
    one, two = (DecisionCache(world.store(name), clock) for name in ("one", "two"))
    one.keep("a", kept("1"))
    await told(one)
    asked = asyncio.ensure_future(two.find("a"))
    await asyncio.sleep(0)
    two.keep("a", kept("2", fresh=30))
    assert await asked == kept("2", fresh=30)


async def test_what_it_gives_is_of_use(world: RedisWorld, clock: Clock) -> None:
    one, two = (DecisionCache(world.store(name), clock) for name in ("one", "two"))
    one.keep("a", kept())
    await told(one)
    clock.now += 60  # by the clock of the replicas, not by that of Redis
    assert await two.find("a") is None
    one.keep("endless", kept(fresh=float("inf"), stale=float("inf")))
    await told(one)
    assert await two.find("endless") == kept(fresh=float("inf"), stale=float("inf"))


@pytest.mark.parametrize(
    "foreign",
    [
        b"",
        b"\xc1",
        b"{}",
        msgpack.packb(7),
        msgpack.packb([b"{}", START + 1]),
        msgpack.packb(["{}", START + 1, START + 2]),
        msgpack.packb([b"{}", None, START + 2]),
    ],
)
async def test_what_is_not_understood_is_not_there(
    world: RedisWorld, clock: Clock, probe: redis_py.Redis, foreign: bytes
) -> None:
    probe.set(f"{world.prefix}:cache:a", foreign)
    assert await DecisionCache(world.store("one"), clock).find("a") is None


async def test_what_a_later_version_adds_is_left_out(
    world: RedisWorld, clock: Clock, probe: redis_py.Redis
) -> None:
    probe.set(f"{world.prefix}:cache:a", msgpack.packb([*kept(), "more"]))
    assert await DecisionCache(world.store("one"), clock).find("a") == kept()


@pytest.mark.parametrize("kind", [RedisSentinel, RedisCluster])
async def test_behind_sentinel_and_in_a_cluster(
    tmp_path: Path, clock: Clock, kind: type[RedisSentinel | RedisCluster]
) -> None:
    with kind(tmp_path) as servers:
        async with RedisWorld(servers.url) as world:
            one, two = (DecisionCache(world.store(name), clock) for name in ("one", "two"))
            keys = [f"key{number}" for number in range(20)]  # on all masters
            for key in keys:
                one.keep(key, kept(key))
            await told(one)

            async def found() -> bool:  # the first look connects
                return await asyncio.gather(*map(two.find, keys)) == [kept(key) for key in keys]

            await world.until(found, 0)


# Without Redis


async def test_away_it_goes_on_with_what_is_here(own_server: RedisServer, clock: Clock) -> None:
    async with RedisWorld(own_server.url) as world:
        store = FailoverStore(world.store("one"))
        cache = DecisionCache(store, clock)
        cache.keep("a", kept())
        await told(cache)
        own_server.kill()
        for _ in range(2):  # not noticed yet, and noticed
            cache.keep("b", kept())
            await told(cache)
            assert await cache.find("b") == kept()
            assert await cache.find("c") is None
            clock.now += 20
            assert await cache.find("a") == kept(), "it may be of use"
            with pytest.raises(StoreUnavailable):
                await store.beat(LIVE)
        own_server.start()
        await until(lambda: _back(store))
        cache.keep("d", kept())
        await told(cache)
        assert await DecisionCache(store, clock).find("d") == kept()


async def _back(store: FailoverStore) -> bool:
    try:
        await store.beat(LIVE)
    except StoreUnavailable:
        return False
    return not store.away


@pytest.mark.parametrize("outlives", [False, True])
async def test_nobody_waits_long_for_one_that_hangs(
    own_server: RedisServer, clock: Clock, monkeypatch: pytest.MonkeyPatch, outlives: bool
) -> None:
    """Its timeout is 10 s."""
    async with RedisWorld(own_server.url) as world:
        plain = world.store("one")
        store: Store = FailoverStore(plain) if outlives else plain
        cache = DecisionCache(store, clock)
        cache.keep("a", kept())
        await told(cache)
        own_server.pause()
        try:
            began = asyncio.get_running_loop().time()
            cache.keep("b", kept())
            clock.now += 20
            assert await cache.find("a") == kept()
            assert await cache.find("c") is None
            assert asyncio.get_running_loop().time() < began + 5
        finally:
            own_server.resume()
        await told(cache)
        monkeypatch.setattr(decisions, "PATIENCE", 10.0)
        assert await DecisionCache(store, clock).find("b") == kept(), "it was told all the same"


async def test_a_store_that_refuses_costs_nobody_anything(own_server: RedisServer, clock: Clock) -> None:
    own_server.ask("ACL", "SETUSER", "weak", "on", ">secret", "~*", "+@all", "-get", "-set")
    store = RedisStore(own_server.url.replace("redis://", "redis://weak:secret@"), "one")
    cache = DecisionCache(store, clock)
    cache.keep("a", kept())
    await told(cache)
    assert cache.near("a") == kept()
    assert await cache.find("b") is None
    await store.close()


async def test_what_is_shared_by_nobody_is_kept_by_nobody_else(clock: Clock) -> None:
    store = LocalStore("one")
    DecisionCache(store, clock).keep("a", kept())
    await asyncio.sleep(0)
    assert await DecisionCache(store, clock).find("a") is None
