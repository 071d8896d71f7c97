"""The store behind Sentinel while the master changes: verbs end in time, and work again by themselves."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from adapter.errors import StoreUnavailable
from tests.clusters.streams import TIMEOUT, Stream
from tests.inflight.worlds import RedisWorld

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.harness.redis import RedisSentinel


@pytest.fixture
async def stream(sentinel: RedisSentinel) -> AsyncIterator[Stream]:
    async with RedisWorld(sentinel.url, timeout=TIMEOUT) as world:
        found = Stream(world, world.store("one"))
        await found.until_it_works()
        assert not found.failures
        yield found


async def test_the_master_killed(sentinel: RedisSentinel, stream: Stream) -> None:
    old = await asyncio.to_thread(sentinel.kill_master)
    try:
        await stream.until_it_fails()
        await stream.until_it_works()
    finally:
        await asyncio.to_thread(sentinel.revive)
    assert sentinel.master is not old
    await stream.until_it_works()


async def test_the_master_hangs_and_wakes(sentinel: RedisSentinel, stream: Stream) -> None:
    old = sentinel.master
    await asyncio.to_thread(old.pause)
    try:
        await stream.until_it_fails()
        await stream.until_it_works()
    finally:
        old.resume()
    failures = len(stream.failures)
    await asyncio.gather(asyncio.to_thread(sentinel.revive), stream.until_it_works())
    assert len(stream.failures) == failures
    assert sentinel.master is not old


async def test_a_planned_change_of_masters(sentinel: RedisSentinel, stream: Stream) -> None:
    with sentinel.planned_failover() as old:
        await asyncio.gather(asyncio.to_thread(sentinel.wait_for_failover, old), stream.until_it_works())
    await asyncio.to_thread(sentinel.revive)
    await stream.until_it_works()
    assert sentinel.master is not old


async def test_a_sentinel_that_hangs_keeps_nobody_waiting(sentinel: RedisSentinel) -> None:
    first = sentinel.sentinels[0]  # the first of the URL
    await asyncio.to_thread(first.pause)
    try:
        async with RedisWorld(sentinel.url, timeout=TIMEOUT) as world:
            assert await world.store("one").count("sbc1") == 0
    finally:
        first.resume()


async def test_a_name_that_no_sentinel_knows(sentinel: RedisSentinel) -> None:
    async with RedisWorld(sentinel.url.replace("/main", "/other"), timeout=TIMEOUT) as world:
        with pytest.raises(
            StoreUnavailable, match=r"no sentinel has a master 'other': 127\.0\.0\.1:\d+ does not know"
        ):
            await world.store("one").count("sbc1")
