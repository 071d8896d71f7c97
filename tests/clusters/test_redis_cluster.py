"""The store on a Cluster: many nodes at once, and while who serves them changes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from adapter.model.transaction import State
from adapter.ports.store import Claim
from tests.clusters.streams import TIMEOUT, Stream
from tests.inflight.worlds import RedisWorld, claimed, decided, suspension

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.harness.redis import RedisCluster, RedisServer

NODES = [f"sbc{number}" for number in range(12)]


@pytest.fixture
async def stream(redis_cluster: RedisCluster) -> AsyncIterator[Stream]:
    async with RedisWorld(redis_cluster.url, timeout=TIMEOUT) as world:
        found = Stream(world, world.store("one"))
        await found.until_it_works()
        assert not found.failures
        yield found


def serving(cluster: RedisCluster, stream: Stream) -> RedisServer:
    """Who has the records of the stream's node."""
    return cluster.master_of(f"{stream.world.prefix}:{{{stream.node}}}:records")


async def test_nodes_of_every_server_in_one_call(redis_cluster: RedisCluster) -> None:
    async with RedisWorld(redis_cluster.url) as world:
        servers = {redis_cluster.master_of(f"{world.prefix}:{{{node}}}:records").port for node in NODES}
        assert len(servers) == 3
        one, two = world.store("one"), world.store("two")
        ids = [suspension(number, node) for number in range(1, 4) for node in NODES]
        assert await one.claim([claimed(id_, one, world) for id_ in ids], 2) == [
            Claim.WON if id_.index < 3 else Claim.FULL for id_ in ids
        ]
        records = await two.settle([decided(id_) for id_ in ids])
        assert [record and record.id for record in records] == [id_ if id_.index < 3 else None for id_ in ids]
        await one.resumed(ids[::2])
        assert await one.unclaimed([*ids, suspension(9, "sbc3")]) == [suspension(9, "sbc3")]
        adopted = await asyncio.gather(*(one.adopt(node, ["two"], State.SETTLED) for node in NODES))
        left = {id_ for id_ in ids[1::2] if id_.index < 3}
        assert {record.id for found in adopted for record in found} == left


async def test_a_master_killed(redis_cluster: RedisCluster, stream: Stream) -> None:
    old = serving(redis_cluster, stream)
    await asyncio.to_thread(old.kill)
    try:
        await stream.until_it_fails()
        await stream.until_it_works()
    finally:
        await asyncio.to_thread(old.start)
        await asyncio.to_thread(redis_cluster.wait_until_whole)
    assert serving(redis_cluster, stream) is not old
    await stream.until_it_works()


async def test_a_master_hangs_and_wakes(redis_cluster: RedisCluster, stream: Stream) -> None:
    old = serving(redis_cluster, stream)
    await asyncio.to_thread(old.pause)
    try:
        await stream.until_it_fails()
        await stream.until_it_works()
    finally:
        old.resume()
        await asyncio.to_thread(redis_cluster.wait_until_whole)
    assert serving(redis_cluster, stream) is not old
    await stream.until_it_works()


async def test_a_planned_change_of_masters(redis_cluster: RedisCluster, stream: Stream) -> None:
    old = serving(redis_cluster, stream)
    redis_cluster.replica_of(old).ask("CLUSTER", "FAILOVER")
    async with asyncio.timeout(20):
        while serving(redis_cluster, stream) is old:
            await stream.until_it_works()
    await stream.until_it_works()
