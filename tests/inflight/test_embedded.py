"""What only the embedded store can show, since its clock is ours."""

from __future__ import annotations

from adapter.inflight.base import Claim
from adapter.inflight.embedded import REPLICAS_KEPT
from tests.inflight.worlds import EmbeddedWorld, claimed, decided, suspension

A = suspension(1)


async def test_an_id_resumed_in_a_second_life_is_remembered_anew() -> None:
    world = EmbeddedWorld(retention=60)
    one = world.store("one")
    for claim in (Claim.WON, Claim.WON):  # the second before anybody has cleared the first away
        assert await one.claim([claimed(A, one, world)], 10) == [claim]
        await one.settle([decided(A)])
        await one.resumed([A])
        world.time += 60
    world.time -= 1
    await one.expire("sbc1")
    assert await one.claim([claimed(A, one, world)], 10) == [Claim.LOST]
    world.time += 1
    await one.expire("sbc1")
    assert await one.claim([claimed(A, one, world)], 10) == [Claim.WON]


async def test_a_timer_of_a_first_life_does_not_end_the_second() -> None:
    world = EmbeddedWorld(retention=1)
    one = world.store("one")
    await one.claim([claimed(A, one, world, left=10)], 10)
    await one.settle([decided(A)])
    await one.resumed([A])
    world.time += 1
    await one.claim([claimed(A, one, world, left=60)], 10)
    world.time += 10
    assert await one.expire("sbc1") == []
    assert await one.count("sbc1") == 1
    world.time += 50
    assert [record.id for record in await one.expire("sbc1")] == [A]


async def test_nothing_is_left_after_the_retention() -> None:
    world = EmbeddedWorld(retention=60)
    one = world.store("one")
    ids = [suspension(number) for number in range(40)]
    await one.claim([claimed(id_, one, world, left=1) for id_ in ids], 30)
    await one.settle([decided(id_) for id_ in ids[:20]])
    await one.resumed(ids[:10])
    world.time += 1
    assert len(await one.expire("sbc1")) == 10
    world.time += 60
    assert await one.expire("sbc1") == []
    node = one._store.node("sbc1")
    left = (node.records, node.timers, node.remembered, node.forget, node.claimed)
    assert not any(left)


async def test_a_silent_replica_is_forgotten() -> None:
    world = EmbeddedWorld()
    one, two = world.store("one"), world.store("two")
    await one.beat()
    world.time += REPLICAS_KEPT - 1
    assert await two.beat() == {"one": REPLICAS_KEPT - 1, "two": 0}
    world.time += 1
    assert await two.beat() == {"two": 0}
