"""What every in-flight store does, run on each of them: several services answer one suspension."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from adapter.model.transaction import Outcome, Progress, State
from adapter.ports.store import Claim
from tests.inflight.worlds import claimed, decided, line, settled_claim, step, suspension

if TYPE_CHECKING:
    from adapter.model.transaction import Transaction
    from tests.inflight.worlds import World

A, B, C = suspension(1), suspension(2), suspension(3)


@pytest.mark.parametrize("behind", [False, True])
async def test_what_is_added_stays_and_the_rest_is_as_it_was(world: World, behind: bool) -> None:
    one, two = world.store("one"), world.store("two")
    given = replace(claimed(A, one, world, body=bytes(range(256)) * 300), call_id="a@host")
    assert await one.claim([given], 10, behind) == [Claim.WON]
    first = replace(given, course=line("fraud"))
    assert await one.progress([step(A, "fraud")], behind) == [first]
    assert await one.get(A) == first
    second = replace(given, course=line("fraud") + line("screening"))
    assert await two.progress([step(A, "screening")]) == [second]
    assert await two.scan("sbc1") == [second]
    assert await one.count("sbc1") == 1
    # The one that waits for it here has all of it, too.
    assert await one.progress([Progress(A, b"")]) == [second]


async def test_what_is_not_claimed_is_not_added_to(world: World) -> None:
    one, two = world.store("one"), world.store("two")
    await one.claim([claimed(A, one, world), claimed(B, one, world, left=-1)], 10)
    await one.claim([settled_claim(claimed(C, one, world))], 10)
    await one.settle([decided(A)])
    await one.expire("sbc1")
    steps = [step(id_, "fraud") for id_ in (A, B, C, suspension(9))]
    for store in (one, two):
        assert await store.progress(steps) == [None] * 4
        assert await store.progress(steps, True) == [None] * 4
    await one.resumed([A])
    assert await two.progress([step(A, "fraud")]) == [None]
    assert await one.progress([]) == []
    assert {record.course for record in await two.scan("sbc1")} == {b""}


@pytest.mark.parametrize("behind", [False, True])
async def test_results_come_in_the_order_of_the_steps(world: World, behind: bool) -> None:
    one = world.store("one")
    far = suspension(1, node="sbc2")
    await one.claim([claimed(id_, one, world) for id_ in (A, far, B)], 10)
    asked = [step(A, "1"), step(far, "2"), step(C, "3"), step(A, "4"), step(B, "5")]
    records = await one.progress(asked, behind)
    assert [record and (record.id, record.course) for record in records] == [
        (A, line("1")),
        (far, line("2")),
        None,
        (A, line("1") + line("4")),
        (B, line("5")),
    ]


@pytest.mark.parametrize("decision", [None, b"", b"{}"])
async def test_a_settled_record_keeps_what_services_answered(world: World, decision: bytes | None) -> None:
    one, two = world.store("one"), world.store("two")
    given = claimed(A, one, world)
    await one.claim([given], 10)
    await one.progress([step(A, "fraud")])
    (record,) = await two.settle([decided(A, decision)])
    settled = replace(given, request=b"", state=State.SETTLED, outcome=Outcome.DECIDED, decision=decision)
    assert record == replace(settled, owner="two", course=line("fraud"))
    assert await one.get(A) == record
    (adopted,) = await one.adopt("sbc1", ["two"], State.SETTLED)
    assert adopted == replace(record, owner="one")


async def test_a_claim_may_know_answers_already(world: World) -> None:
    one, two = world.store("one"), world.store("two")
    waiting = replace(claimed(A, one, world), course=line("fraud"))
    settled = replace(settled_claim(claimed(B, one, world)), course=line("fraud"), request=b"")
    full = replace(claimed(C, one, world), course=line("fraud"))
    assert await one.claim([waiting, settled, full], 1) == [Claim.WON, Claim.WON, Claim.FULL]
    overload = replace(full, state=State.SETTLED, outcome=Outcome.OVERLOAD, request=b"")
    found = {record.id: record for record in await two.scan("sbc1")}
    assert found == {A: waiting, B: settled, C: overload}
    expected = replace(waiting, course=line("fraud") + line("screening"))
    assert await two.progress([step(A, "screening")]) == [expected]


async def test_an_heir_goes_on_where_the_dead_one_stood(world: World) -> None:
    dead, heir = world.store("dead"), world.store("heir")
    given = claimed(A, dead, world)
    await dead.claim([given, claimed(B, dead, world, left=-1)], 10)
    await dead.progress([step(A, "fraud"), step(B, "fraud")])
    adopted = {record.id: record for record in await heir.adopt("sbc1", ["dead"], State.CLAIMED)}
    assert adopted[A] == replace(given, owner="heir", course=line("fraud"))
    (record,) = await heir.progress([step(A, "screening")], True)
    assert record == replace(given, owner="heir", course=line("fraud") + line("screening"))
    (expired,) = await heir.expire("sbc1")
    assert (expired.id, expired.outcome, expired.course) == (B, Outcome.TIMEOUT, line("fraud"))


@pytest.mark.parametrize("behind", [False, True])
async def test_of_many_that_add_at_once_nothing_is_lost(world: World, behind: bool) -> None:
    stores = [world.store(f"replica{number}") for number in range(4)]
    given = claimed(A, stores[0], world)
    await stores[0].claim([given], 10)
    services = [f"service{number}" for number in range(40)]
    steps = [
        stores[number % 4].progress([step(A, name)], behind and number % 4 == 0)
        for number, name in enumerate(services)
    ]
    found = [record for (record,) in await asyncio.gather(*steps)]
    assert None not in found
    (record,) = await stores[0].settle([decided(A)])
    assert record is not None
    assert sorted(record.course.splitlines(keepends=True)) == sorted(map(line, services))


# The deadline


@pytest.mark.parametrize("behind", [False, True])
async def test_a_deadline_moves(world: World, behind: bool) -> None:
    one, two = world.store("one"), world.store("two")
    given = claimed(A, one, world, left=-1)
    later = given.deadline + 60
    await one.claim([given, claimed(B, one, world, left=-1)], 10)
    assert await one.progress([step(A, "fraud", later)], behind) == [
        replace(given, course=line("fraud"), deadline=later)
    ]
    assert [record.id for record in await one.expire("sbc1")] == [B]
    assert await two.expire("sbc1") == []
    found = await two.get(A)
    assert found is not None
    assert found.deadline == later


async def test_it_ends_at_the_deadline_that_it_has_now(world: World) -> None:
    one = world.store("one")
    given = claimed(A, one, world, left=-1)
    later = given.deadline + 1.25
    await one.claim([given], 10)
    await one.progress([step(A, "fraud", later)])
    assert await one.expire("sbc1") == []
    expired: list[Transaction] = []

    async def due() -> bool:
        expired.extend(await one.expire("sbc1"))
        return bool(expired)

    await world.until(due, 0.25)
    (record,) = expired
    assert (record.id, record.deadline, record.course) == (A, later, line("fraud"))
    assert world.now() >= later - 0.001  # Redis keeps whole milliseconds


async def test_a_deadline_never_moves_back(world: World) -> None:
    one, two = world.store("one"), world.store("two")
    given = claimed(A, one, world)
    await one.claim([given], 10)
    for store in (one, two):
        (record,) = await store.progress([step(A, store.replica, given.deadline - 30)])
        assert record is not None
        assert record.deadline == given.deadline
    assert await one.expire("sbc1") == []


async def test_a_record_is_kept_for_the_retention_after_its_last_deadline(forgetful: World) -> None:
    """The store of ``forgetful`` keeps everything for 0.2 s beyond a deadline."""
    one, two = forgetful.store("one"), forgetful.store("two")
    given = claimed(A, one, forgetful, left=0.05)
    await one.claim([given], 10)
    await one.progress([step(A, "fraud", given.deadline + 1.0)])

    async def past() -> bool:
        return forgetful.now() > given.deadline + 0.5

    await forgetful.until(past, 0.6)
    assert await two.count("sbc1") == 1
    (record,) = await two.settle([decided(A)])
    assert record is not None
    assert record.course == line("fraud")
