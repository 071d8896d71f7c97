"""A real Redis killed, hanging, restarted empty: what one replica does in memory, the others find
there afterwards."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from adapter.errors import StoreUnavailable
from adapter.inflight.failover import FailoverStore
from adapter.model.transaction import Progress, State
from adapter.ports.store import Claim
from tests.inflight.steps import lines
from tests.inflight.worlds import LIVE, RedisWorld, claimed, decided, line, step, suspension

if TYPE_CHECKING:
    from adapter.ports.store import Store
    from tests.harness.redis import RedisServer

A, B, C, D = (suspension(number) for number in range(1, 5))
FAR = suspension(1, node="sbc2")


async def back(world: RedisWorld, *stores: FailoverStore) -> None:
    async def answers() -> bool:
        try:
            for store in stores:
                await store.beat(LIVE)
        except StoreUnavailable:
            return False
        return True

    await world.until(answers, 0)
    assert not any(store.away for store in stores)


async def states(store: Store) -> dict[object, tuple[State, str]]:
    found = [*await store.scan("sbc1"), *await store.scan("sbc2")]
    return {record.id: (record.state, record.owner) for record in found}


async def test_killed_and_back_empty(own_server: RedisServer) -> None:
    async with RedisWorld(own_server.url) as world:
        plain = world.store("plain")
        one, two = (FailoverStore(world.store(name)) for name in ("one", "two"))
        await back(world, one, two)
        await one.claim([claimed(id_, one, world) for id_ in (A, B, FAR)], 9)
        await two.claim([claimed(D, two, world)], 9)
        await one.settle([decided(B)])
        own_server.kill()
        assert await one.settle([decided(A), decided(D)]) != [None, None]
        await one.resumed([A])
        assert await one.claim([claimed(C, one, world)], 9) == [Claim.WON]
        assert await two.unclaimed([C]) == []
        assert await two.settle([decided(C)]) == [None]
        with pytest.raises(StoreUnavailable):
            await one.beat(LIVE)
        own_server.start()
        await back(world, one, two)
        assert await states(plain) == {
            B: (State.SETTLED, "one"),
            C: (State.CLAIMED, "one"),
            D: (State.CLAIMED, "two"),
            FAR: (State.CLAIMED, "one"),
        }
        assert await plain.unclaimed([A, B, C, D, FAR]) == []
        assert await plain.get(FAR) == await one.get(FAR)
        # And all of it can be adopted from there.
        assert {record.id for record in await plain.adopt("sbc1", ["one", "two"], State.CLAIMED)} == {C, D}


async def test_restarted_empty_between_two_calls(own_server: RedisServer) -> None:
    async with RedisWorld(own_server.url) as world:
        plain, one = world.store("plain"), FailoverStore(world.store("one"))
        await back(world, one)
        await one.claim([claimed(A, one, world), claimed(B, one, world)], 9)
        await one.settle([decided(B)])
        await one.resumed([B])
        own_server.restart()
        assert await plain.unclaimed([A, B]) == [A, B]
        await back(world, one)
        assert await plain.unclaimed([A, B]) == []
        assert await states(plain) == {A: (State.CLAIMED, "one")}
        assert await one.settle([decided(A)]) != [None]


async def test_hanging_and_going_on_with_what_it_was_asked(own_server: RedisServer) -> None:
    async with RedisWorld(own_server.url) as patient, RedisWorld(own_server.url, timeout=0.2) as world:
        patient.prefix = world.prefix
        plain, one = patient.store("plain"), FailoverStore(world.store("one"))

        async def up() -> bool:
            """Also on a machine that is slower, for once, than this test's timeout."""
            try:
                await one.beat(LIVE)
            except StoreUnavailable:
                return False
            await one.claim([claimed(id_, one, world) for id_ in (A, B)], 9)
            return await one.count("sbc1") == 2 and not one.away

        await world.until(up, 0)
        own_server.pause()
        try:
            # Asked of Redis, which carries it out once it goes on; answered here.
            (first,), won, _ = await asyncio.gather(
                one.settle([decided(A, b"1")]), one.claim([claimed(C, one, world)], 9), one.expire("sbc1")
            )
            assert first is not None
            assert won == [Claim.WON]
            assert one.away
            assert await one.settle([decided(A, b"2")]) == [None]
            assert await one.settle([decided(C)]) != [None]
            await one.resumed([C])
        finally:
            own_server.resume()
        await back(world, one)
        assert await states(plain) == {A: (State.SETTLED, "one"), B: (State.CLAIMED, "one")}
        record = await plain.get(A)
        assert record is not None
        assert record.decision == b"1"
        assert await plain.unclaimed([A, B, C, D]) == [D]
        assert await one.expire("sbc1") == []


async def test_answers_that_were_added_without_it_reach_it(own_server: RedisServer) -> None:
    async with RedisWorld(own_server.url) as patient, RedisWorld(own_server.url, timeout=0.2) as world:
        patient.prefix = world.prefix
        plain, one = patient.store("plain"), FailoverStore(world.store("one"))

        async def up() -> bool:
            with contextlib.suppress(StoreUnavailable):
                await one.beat(LIVE)
            return not one.away and await one.progress([Progress(A, b"")]) != [None] and not one.away

        await plain.claim([replace(claimed(A, one, world), owner="one")], 9)
        await one.adopt("sbc1", ["one"], State.CLAIMED)
        await world.until(up, 0)
        await one.progress([step(A, "before")])
        await plain.progress([step(A, "of another")])
        own_server.pause()
        try:
            assert await one.progress([step(A, "asked")]) != [None]
            assert one.away
            assert await one.progress([step(A, "here")], True) != [None]
        finally:
            own_server.resume()
        await back(world, one)
        found, here = await plain.get(A), await one.get(A)
        assert found is not None
        assert lines(found).keys() == {line(each) for each in ("before", "of another", "asked", "here")}
        assert here == found
        own_server.restart()  # empty
        await back(world, one)
        assert await plain.get(A) == found


async def test_thousands_are_handed_back(own_server: RedisServer) -> None:
    async with RedisWorld(own_server.url) as world:
        plain, one = world.store("plain"), FailoverStore(world.store("one"))
        await back(world, one)
        ids = [suspension(number) for number in range(3000)]
        await one.claim([claimed(id_, one, world) for id_ in ids], 5000)
        own_server.kill()
        await one.settle([decided(id_) for id_ in ids[:2000]])
        await one.resumed(ids[:1500])
        own_server.start()
        await back(world, one)
        assert await plain.count("sbc1") == 1000
        assert len(await plain.scan("sbc1")) == 1500
        assert await plain.unclaimed(ids) == []
