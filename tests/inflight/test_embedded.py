"""What only the embedded store can show, since its clock is ours."""

from __future__ import annotations

from dataclasses import replace

from adapter.inflight.embedded import REPLICAS_KEPT
from adapter.model.transaction import Outcome, State
from adapter.ports.store import Claim
from tests.inflight.worlds import LIVE, EmbeddedWorld, claimed, decided, suspension

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
    await one.beat(LIVE)
    world.time += REPLICAS_KEPT - 1
    assert (await two.beat(LIVE)).beats == {"one": replace(LIVE, age=REPLICAS_KEPT - 1), "two": LIVE}
    world.time += 1
    assert (await two.beat(LIVE))[:3] == ({"two": LIVE}, True, frozenset())


async def test_what_is_loaded_goes_on_as_it_is() -> None:
    world = EmbeddedWorld(retention=60)
    one = world.store("one")
    due, later, gone = suspension(2), suspension(3), suspension(4)
    settled = replace(claimed(later, one, world), state=State.SETTLED, outcome=Outcome.FAILED, request=b"")
    one.load([claimed(A, one, world), claimed(due, one, world, left=-1), settled], [(gone, world.time - 59)])
    assert await one.count("sbc1") == 2
    assert [record.id for record in await one.expire("sbc1")] == [due]
    assert await one.settle([decided(later), decided(gone)]) == [None, None]
    assert await one.unclaimed([A, due, later, gone, suspension(5)]) == [suspension(5)]
    # Loaded again it is what it is now, and counted once.
    one.load([claimed(A, one, world), claimed(later, one, world)])
    assert await one.count("sbc1") == 2
    assert await one.settle([decided(later)]) != [None]
    one.drop(A)
    one.drop(suspension(9))
    assert await one.count("sbc1") == 0
    assert await one.get(A) is None
    world.time += 1
    await one.expire("sbc1")
    assert await one.unclaimed([A, gone]) == [A, gone]
