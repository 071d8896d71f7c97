"""What only the local store can show, since its clock is ours."""

from __future__ import annotations

from dataclasses import replace

from adapter.inflight.local import LocalStore
from adapter.model.transaction import Outcome, State
from adapter.ports.store import REPLICAS_KEPT, Claim
from tests.inflight.worlds import LIVE, LocalWorld, claimed, decided, suspension

A = suspension(1)


async def test_an_id_resumed_in_a_second_life_is_remembered_anew() -> None:
    world = LocalWorld(retention=60)
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
    world = LocalWorld(retention=1)
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
    world = LocalWorld(retention=60)
    one = world.store("one")
    ids = [suspension(number) for number in range(40)]
    await one.claim([claimed(id_, one, world, left=1) for id_ in ids], 30)
    await one.settle([decided(id_) for id_ in ids[:20]])
    await one.resumed(ids[:10])
    world.time += 1
    assert len(await one.expire("sbc1")) == 10
    world.time += 60
    assert await one.expire("sbc1") == []
    node = one._nodes["sbc1"]
    left = (node.records, node.timers, node.claimed, one._remembered, one._ends)
    assert not any(left)


async def test_a_silent_replica_is_forgotten() -> None:
    world = LocalWorld()
    one, two = world.store("one"), world.store("two")
    await one.beat(LIVE)
    world.time += REPLICAS_KEPT - 1
    assert (await two.beat(LIVE)).beats == {"one": replace(LIVE, age=REPLICAS_KEPT - 1), "two": LIVE}
    world.time += 1
    assert (await two.beat(LIVE))[:3] == ({"two": LIVE}, True, frozenset())


async def test_what_is_put_there_goes_on_as_it_is() -> None:
    world = LocalWorld(retention=60)
    one = world.store("one")
    due, later = suspension(2), suspension(3)
    settled = replace(claimed(later, one, world), state=State.SETTLED, outcome=Outcome.FAILED, request=b"")
    for record in (claimed(A, one, world), claimed(due, one, world, left=-1), settled):
        one.put(record)
    assert await one.count("sbc1") == 2
    assert [record.id for record in await one.expire("sbc1")] == [due]
    assert await one.settle([decided(later)]) == [None]
    assert await one.unclaimed([A, due, later, suspension(5)]) == [suspension(5)]
    # Put again it is what it is now, and counted once.
    for id_ in (A, later):
        one.put(claimed(id_, one, world))
    assert await one.count("sbc1") == 2
    assert await one.settle([decided(later)]) != [None]
    assert one.records() == await one.scan("sbc1")
    assert one.nodes == ["sbc1"]


async def test_what_is_disowned_is_not_claimed_again_and_not_answered_here() -> None:
    world = LocalWorld(retention=60)
    one = world.store("one")
    ours, theirs, both = A, suspension(2), suspension(3)
    await one.claim([claimed(id_, one, world) for id_ in (ours, theirs, both)], 10)
    await one.settle([decided(ours), decided(both)])
    one.disown(theirs)
    one.disown(both)
    assert await one.count("sbc1") == 0
    assert await one.get(theirs) is None
    assert await one.claim([claimed(theirs, one, world)], 10) == [Claim.LOST]
    assert [one.was_granted(id_) for id_ in (ours, theirs, both)] == [True, False, False]
    world.time += 1
    # Kamailio has read it after all: it was answered here, before another replica did.
    await one.resumed([both])
    assert one.was_granted(both)
    assert list(one.resumed_since(world.time)) == [both]
    assert list(one.resumed_since(world.time + 0.001)) == []
    one.put(claimed(theirs, one, world))
    assert [record.id for record in one.records()] == [ours, theirs]
    assert await one.settle([decided(theirs)]) != [None]
    assert one.was_granted(theirs)
    world.time += 60
    assert not one.due("sbc1")
    assert await one.unclaimed([theirs, both, ours]) == [both]


async def test_of_resumed_ids_the_newest_are_remembered() -> None:
    one = LocalStore("one", most_remembered=2)
    world = LocalWorld()
    ids = [suspension(number) for number in range(3)]
    await one.claim([claimed(id_, one, world) for id_ in ids], 10)
    await one.settle([decided(id_) for id_ in ids])
    await one.resumed(ids)
    assert await one.unclaimed(ids) == ids[:1]


async def test_what_is_over_does_not_count_as_due() -> None:
    world = LocalWorld(retention=60)
    one = world.store("one")
    await one.claim([claimed(A, one, world, left=1), claimed(suspension(2), one, world, left=2)], 10)
    await one.settle([decided(A)])
    world.time += 1
    assert not one.due("sbc1")
    world.time += 1
    assert one.due("sbc1")
    assert not one.due("sbc2")


async def test_what_another_had_and_is_adopted_was_not_resumed_here() -> None:
    world = LocalWorld()
    one = world.store("one")
    await one.claim([claimed(A, one, world)], 10)
    one.disown(A)
    assert list(one.resumed_since(0)) == []
    one.put(claimed(A, one, world))
    assert list(one.resumed_since(0)) == []
