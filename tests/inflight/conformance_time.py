"""What every in-flight store does, run on each of them: deadlines, and replicas that die."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from adapter.model.beat import Beat
from adapter.model.transaction import NOBODY, Outcome, State
from adapter.ports.store import Claim
from tests.inflight.worlds import LIVE, claimed, decided, settled_claim, suspension

if TYPE_CHECKING:
    from adapter.model.transaction import Transaction, TransactionId
    from tests.inflight.worlds import World

A, B, C = suspension(1), suspension(2), suspension(3)


# Deadlines


async def test_expire_settles_what_is_due(world: World) -> None:
    one, two = world.store("one"), world.store("two")
    late = claimed(A, one, world, left=-1)
    await one.claim([late, claimed(B, one, world)], 10)
    expected = replace(late, state=State.SETTLED, outcome=Outcome.TIMEOUT, owner="two", request=b"")
    assert await two.expire("sbc1") == [expected]
    assert await one.get(A) == expected
    assert await two.expire("sbc1") == []
    assert await one.settle([decided(A)]) == [None]
    assert await one.count("sbc1") == 1


async def test_a_deadline_passes_with_time(world: World) -> None:
    one = world.store("one")
    await one.claim([claimed(A, one, world, left=0.25), claimed(B, one, world)], 10)
    expired: list[Transaction] = []

    async def due() -> bool:
        expired.extend(await one.expire("sbc1"))
        return bool(expired)

    await world.until(due, 0.25)
    assert [record.id for record in expired] == [A]


async def test_expire_takes_the_earliest_first_and_at_most_the_limit(world: World) -> None:
    one = world.store("one")
    lefts = [-1.0, -3.0, -2.0]
    await one.claim([claimed(id_, one, world, left) for id_, left in zip((A, B, C), lefts, strict=True)], 10)
    assert [record.id for record in await one.expire("sbc1", limit=2)] == [B, C]
    assert [record.id for record in await one.expire("sbc1", limit=2)] == [A]


async def test_expire_is_for_one_node_and_for_what_is_not_settled(world: World) -> None:
    one = world.store("one")
    far = suspension(1, node="sbc2")
    await one.claim(
        [
            claimed(A, one, world, left=-1),
            settled_claim(claimed(B, one, world, left=-1)),
            claimed(far, one, world, left=-1),
        ],
        10,
    )
    await one.settle([decided(A)])
    assert await one.expire("sbc1") == []
    assert [record.id for record in await one.expire("sbc2")] == [far]


async def test_what_nobody_receipts_is_dropped_after_the_retention(world: World) -> None:
    one = world.store("one")
    settled, kept = settled_claim(claimed(B, one, world, left=-61)), suspension(4)
    await one.claim([claimed(A, one, world, left=-61), settled, claimed(C, one, world, left=-30)], 10)
    await one.claim([claimed(kept, one, world, left=-30)], 10)
    await one.settle([decided(A), decided(kept)])
    assert [record.id for record in await one.expire("sbc1")] == [C]
    assert {record.id for record in await one.scan("sbc1")} == {C, kept}
    assert await one.claim([claimed(A, one, world)], 10) == [Claim.WON]


async def test_what_nobody_swept_in_time_is_settled_before_it_is_dropped(world: World) -> None:
    one = world.store("one")
    await one.claim([claimed(A, one, world, left=-100)], 10)
    assert [record.id for record in await one.expire("sbc1")] == [A]
    assert await one.get(A) is not None
    assert await one.expire("sbc1") == []
    assert await one.get(A) is None


async def test_a_settled_record_is_dropped_in_time(world: World) -> None:
    one = world.store("one")
    await one.claim([claimed(A, one, world, left=-59.75)], 10)
    await one.settle([decided(A)])

    async def gone() -> bool:
        assert await one.expire("sbc1") == []
        return await one.get(A) is None

    await world.until(gone, 0.25)


# Replicas


async def test_adopt_takes_what_others_owned_in_one_state(world: World) -> None:
    dead, gone, live, heir = (world.store(name) for name in ("dead", "gone", "live", "heir"))
    far = suspension(1, node="sbc2")
    first = claimed(A, dead, world)
    await dead.claim([first, claimed(B, dead, world), claimed(far, dead, world)], 10)
    await gone.claim([claimed(suspension(4), gone, world)], 10)
    await live.claim([claimed(C, live, world)], 10)
    (settled,) = await gone.settle([decided(B, b"answer")])
    assert settled is not None

    owners = ["dead", "gone"]
    adopted = {record.id: record for record in await heir.adopt("sbc1", owners, State.CLAIMED)}
    assert adopted.keys() == {A, suspension(4)}
    assert adopted[A] == replace(first, owner="heir")
    assert await heir.adopt("sbc1", owners, State.CLAIMED) == []
    assert await heir.adopt("sbc1", owners, State.SETTLED) == [replace(settled, owner="heir")]
    assert await heir.adopt("sbc1", owners, State.SETTLED) == []
    adopted[B] = replace(settled, owner="heir")
    assert {record.id: record for record in await live.scan("sbc1") if record.owner == "heir"} == adopted
    assert [record.id for record in await heir.adopt("sbc2", ["dead"], State.CLAIMED)] == [far]


async def test_what_is_released_is_nobodys_until_one_adopts_it(world: World) -> None:
    one, two, three = world.store("one"), world.store("two"), world.store("three")
    far = suspension(1, node="sbc2")
    given = [claimed(id_, one, world) for id_ in (A, B, C, far)]
    await one.claim(given, 10)
    await one.settle([decided(A), decided(far)])
    await two.settle([decided(C)])
    await one.release([A, B, C, far, suspension(9)])
    found = {record.id: (record.owner, record.state) for record in await two.scan("sbc1")}
    assert found == {A: (NOBODY, State.SETTLED), B: ("one", State.CLAIMED), C: ("two", State.SETTLED)}
    assert await one.settle([decided(A)]) == [None], "it has had its answer"
    assert await one.adopt("sbc1", ["one"], State.SETTLED) == []
    taken = await asyncio.gather(*(each.adopt("sbc1", [NOBODY], State.SETTLED) for each in (three, one, two)))
    assert sorted(len(each) for each in taken) == [0, 0, 1]
    (record,) = (record for each in taken for record in each)
    assert (record.id, record.outcome, record.decision) == (A, Outcome.DECIDED, decided(A).decision)
    assert [each.id for each in await two.adopt("sbc2", [NOBODY], State.SETTLED)] == [far]
    await two.resumed([A])
    assert await two.get(A) is None


async def test_adopted_ones_go_on(world: World) -> None:
    dead, heir = world.store("dead"), world.store("heir")
    await dead.claim([claimed(A, dead, world), claimed(B, dead, world, left=-1)], 10)
    await heir.adopt("sbc1", ["dead"], State.CLAIMED)
    assert await heir.claim([claimed(A, heir, world)], 10) == [Claim.LOST]
    (record,) = await heir.settle([decided(A)])
    assert record is not None
    assert record.incarnation == "a1b2"
    (expired,) = await heir.expire("sbc1")
    assert (expired.id, expired.incarnation) == (B, "a1b2")
    await heir.resumed([A, B])
    assert await heir.scan("sbc1") == []


@pytest.mark.parametrize("state", State)
async def test_adopt_takes_at_most_the_limit(world: World, state: State) -> None:
    dead, heir = world.store("dead"), world.store("heir")
    ids = {suspension(number) for number in range(600)}
    await dead.claim([claimed(id_, dead, world) for id_ in ids], 1000)
    of_state = {id_ for id_ in ids if (id_.index % 2 == 0) == (state is State.SETTLED)}
    await dead.settle([decided(id_) for id_ in ids if id_.index % 2 == 0])
    sizes: list[int] = []
    found: set[TransactionId] = set()
    while adopted := await heir.adopt("sbc1", ["dead"], state, limit=140):
        sizes.append(len(adopted))
        found.update(record.id for record in adopted)
    assert sizes == [140, 140, 20]
    assert found == of_state


async def test_of_two_heirs_each_record_goes_to_one(world: World) -> None:
    dead, *heirs = (world.store(name) for name in ("dead", "heir1", "heir2", "heir3"))
    ids = [suspension(number) for number in range(60)]
    await dead.claim([claimed(id_, dead, world) for id_ in ids], 100)
    asked = [heir.adopt("sbc1", ["dead"], State.CLAIMED, limit=25) for heir in heirs * 2]
    shares = await asyncio.gather(*asked)
    assert sorted(record.id.index for share in shares for record in share) == list(range(60))
    owners = {record.id: record.owner for share in shares for record in share}
    assert {record.id: record.owner for record in await dead.scan("sbc1")} == owners


async def test_replicas_beat_and_leave(world: World) -> None:
    one, two = world.store("one"), world.store("two")
    assert (await one.beat(LIVE))[:3] == ({"one": LIVE}, False, frozenset())
    ages: dict[str, float] = {}

    async def older() -> bool:
        ages.update((name, beat.age) for name, beat in (await two.beat(LIVE)).beats.items())
        return ages["one"] >= 0.02

    await world.until(older, 0.25)
    assert ages["two"] == 0.0
    assert (await two.beat(LIVE)).known
    await one.leave()
    assert (await two.beat(LIVE)).beats == {"two": LIVE}
    await one.leave()
    assert not (await one.beat(LIVE)).known
    assert (await two.beat(LIVE)).beats.keys() == {"one", "two"}


async def test_a_beat_tells_the_others_how_a_replica_is(world: World) -> None:
    one, two = world.store("one"), world.store("two")
    states = [
        Beat(),
        Beat(broker=False, priority=2**40),
        Beat(accepting=False, nodes=frozenset({"sbc1", "bücher:8448", 'a "quoted" {one}'}), priority=3),
    ]
    for said in states:
        assert (await one.beat(said)).beats["one"] == said
        found = (await two.beat(LIVE)).beats
        assert replace(found["one"], age=0.0) == said
        assert found["two"] == LIVE


async def test_an_operator_can_read_it(world: World) -> None:
    one = world.store("one")
    assert "one" in repr(one)
    assert "\n" not in repr(one)
