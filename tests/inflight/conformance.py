"""What every in-flight store does, run on each of them: claim, settle, resumed, unclaimed, answered."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from adapter.model.transaction import Outcome, State
from adapter.ports.store import Claim
from tests.inflight.worlds import claimed, decided, settled_claim, suspension

if TYPE_CHECKING:
    from adapter.ports.store import Store
    from tests.inflight.worlds import World

A, B, C = suspension(1), suspension(2), suspension(3)


async def test_the_first_claim_wins(world: World) -> None:
    one, two = world.store("one"), world.store("two")
    assert await one.claim([claimed(A, one, world)], 10) == [Claim.WON]
    assert await two.claim([claimed(A, two, world)], 10) == [Claim.LOST]
    assert await one.claim([claimed(A, one, world)], 10) == [Claim.LOST]
    found = await two.get(A)
    assert found is not None
    assert found.owner == "one"


async def test_of_simultaneous_claims_one_wins(world: World) -> None:
    stores = [world.store(f"replica{number}") for number in range(5)]
    results = await asyncio.gather(*(store.claim([claimed(A, store, world)], 10) for store in stores))
    assert sorted(result for (result,) in results) == [Claim.LOST] * 4 + [Claim.WON]


async def test_results_come_in_the_order_of_the_arguments(world: World) -> None:
    one = world.store("one")
    far = suspension(1, node="sbc2")
    await one.claim([claimed(B, one, world), claimed(far, one, world)], 10)
    asked = [claimed(id_, one, world) for id_ in (A, far, B, A, C)]
    assert await one.claim(asked, 10) == [Claim.WON, Claim.LOST, Claim.LOST, Claim.LOST, Claim.WON]
    records = await one.settle([decided(id_) for id_ in (C, far, suspension(9), A, C)])
    assert [record and record.id for record in records] == [C, far, None, A, None]


async def test_nothing_asked_is_nothing_answered(world: World) -> None:
    one = world.store("one")
    assert await one.claim([], 10) == []
    assert await one.settle([]) == []
    await one.resumed([])
    assert await one.expire("sbc1") == []
    assert await one.unclaimed([]) == []
    assert await one.adopt("sbc1", [], State.CLAIMED) == []
    assert await one.get(A) is None
    assert await one.scan("sbc1") == []
    assert await one.count("sbc1") == 0


async def test_a_record_is_kept_as_it_was_claimed(world: World) -> None:
    one, two = world.store("one"), world.store("two")
    given = replace(claimed(A, one, world, body=bytes(range(256)) * 40), event="ünicode ☎")
    await one.claim([given], 10)
    assert await two.get(A) == given
    assert await two.scan("sbc1") == [given]
    assert await two.scan("sbc2") == []


@pytest.mark.parametrize("decision", [None, b"", b"{}", bytes(range(256)) * 200])
async def test_a_settled_record_holds_the_answer_instead_of_the_request(
    world: World, decision: bytes | None
) -> None:
    one, two = world.store("one"), world.store("two")
    given = claimed(A, one, world)
    await one.claim([given], 10)
    (record,) = await two.settle([decided(A, decision)])
    expected = replace(
        given, state=State.SETTLED, outcome=Outcome.DECIDED, decision=decision, owner="two", request=b""
    )
    assert record == expected
    assert await one.get(A) == expected


async def test_many_at_once(world: World) -> None:
    one = world.store("one")
    ids = [suspension(number) for number in range(600)]
    assert await one.claim([claimed(id_, one, world) for id_ in ids], 599) == [Claim.WON] * 599 + [Claim.FULL]
    assert await one.count("sbc1") == 599
    records = await one.settle([decided(id_) for id_ in ids])
    assert [record and record.id for record in records] == [*ids[:599], None]
    assert len(await one.scan("sbc1")) == 600
    await one.resumed(ids)
    assert await one.scan("sbc1") == []


# The limit


async def test_over_the_limit_a_claim_is_settled_as_overload(world: World) -> None:
    one = world.store("one")
    given = claimed(C, one, world)
    asked = [claimed(A, one, world), claimed(B, one, world), given]
    assert await one.claim(asked, 2) == [Claim.WON, Claim.WON, Claim.FULL]
    assert await one.get(C) == replace(given, state=State.SETTLED, outcome=Outcome.OVERLOAD, request=b"")
    assert await one.settle([decided(C)]) == [None]
    assert await one.claim([given], 10) == [Claim.LOST]
    assert await one.count("sbc1") == 2


async def test_the_limit_is_for_each_node(world: World) -> None:
    one = world.store("one")
    far = suspension(1, node="sbc2")
    assert await one.claim([claimed(A, one, world), claimed(far, one, world)], 1) == [Claim.WON, Claim.WON]


async def test_settled_and_expired_ones_leave_their_place(world: World) -> None:
    one = world.store("one")
    await one.claim([claimed(A, one, world), claimed(B, one, world, left=-1)], 2)
    await one.settle([decided(A)])
    await one.expire("sbc1")
    assert await one.count("sbc1") == 0
    ids = [suspension(number) for number in (4, 5, 6)]
    results = await one.claim([claimed(id_, one, world) for id_ in ids], 2)
    assert results == [Claim.WON, Claim.WON, Claim.FULL]


async def test_what_is_claimed_as_settled_takes_no_place(world: World) -> None:
    one, two = world.store("one"), world.store("two")
    given = settled_claim(claimed(A, one, world))
    asked = [claimed(B, one, world), given, claimed(C, one, world)]
    assert await one.claim(asked, 1) == [Claim.WON, Claim.WON, Claim.FULL]
    assert await one.get(A) == replace(given, request=b"")
    assert await two.claim([claimed(A, two, world)], 10) == [Claim.LOST]
    assert await two.settle([decided(A)]) == [None]


# Settle and resumed


async def test_one_settle_is_granted(world: World) -> None:
    stores = [world.store(f"replica{number}") for number in range(4)]
    await stores[0].claim([claimed(A, stores[0], world)], 10)
    results = await asyncio.gather(*(store.settle([decided(A)]) for store in stores))
    winners = [record.owner for (record,) in results if record is not None]
    assert len(winners) == 1
    found = await stores[0].get(A)
    assert found is not None
    assert [found.owner] == winners
    assert await stores[0].settle([decided(A)]) == [None]


async def test_settling_twice_in_one_call_is_granted_once(world: World) -> None:
    one = world.store("one")
    await one.claim([claimed(A, one, world)], 10)
    first, second = await one.settle([decided(A, b"1"), decided(A, b"2")])
    assert first is not None
    assert (first.decision, second) == (b"1", None)


async def test_a_resumed_id_is_remembered(world: World) -> None:
    one, two = world.store("one"), world.store("two")
    await one.claim([claimed(A, one, world)], 10)
    await one.settle([decided(A)])
    await one.resumed([A])
    assert await one.get(A) is None
    assert await two.claim([claimed(A, two, world)], 10) == [Claim.LOST]
    assert await two.settle([decided(A)]) == [None]
    assert await two.claim([claimed(suspension(1, seq=2), two, world)], 10) == [Claim.WON]


async def test_a_resumed_id_is_forgotten_after_the_retention(forgetful: World) -> None:
    one = forgetful.store("one")
    await one.claim([claimed(A, one, forgetful)], 10)
    await one.settle([decided(A)])
    await one.resumed([A])

    async def claimed_again() -> bool:
        return await one.claim([claimed(A, one, forgetful)], 10) == [Claim.WON]

    await forgetful.until(claimed_again, 0.25)
    assert await one.settle([decided(A)]) != [None]


async def test_what_is_not_settled_is_not_resumed(world: World) -> None:
    one = world.store("one")
    await one.claim([claimed(A, one, world)], 10)
    await one.resumed([A, B])
    assert await one.settle([decided(A)]) != [None]
    assert await one.claim([claimed(B, one, world)], 10) == [Claim.WON]


# Unclaimed and answered

OVERDUE, FAR, NEW = suspension(4), suspension(1, node="sbc2"), suspension(1, seq=2)


async def of_every_state(one: Store, world: World) -> None:
    """A and B are claimed, C is settled, OVERDUE is past its deadline."""
    await one.claim(
        [
            claimed(A, one, world),
            claimed(B, one, world),
            settled_claim(claimed(C, one, world)),
            claimed(OVERDUE, one, world, left=-1),
        ],
        10,
    )


async def test_unclaimed_is_what_is_neither_in_flight_nor_remembered(world: World) -> None:
    one, two = world.store("one"), world.store("two")
    await of_every_state(one, world)
    await one.settle([decided(B)])
    await one.resumed([B])
    await one.expire("sbc1")
    asked = [suspension(9), A, FAR, B, NEW, C, OVERDUE, suspension(8)]
    for store in (one, two):
        assert await store.unclaimed(asked) == [suspension(9), FAR, NEW, suspension(8)]
    assert await two.claim([claimed(FAR, two, world)], 10) == [Claim.WON]
    assert await one.unclaimed(asked) == [suspension(9), NEW, suspension(8)]


async def test_answered_is_what_is_settled_or_remembered(world: World) -> None:
    one, two = world.store("one"), world.store("two")
    await of_every_state(one, world)
    await one.claim([claimed(FAR, one, world)], 10)
    asked = [suspension(9), OVERDUE, FAR, B, NEW, C, A]
    for store in (one, two):
        assert await store.answered(asked) == [C]
    await two.settle([decided(B), decided(FAR)])
    await two.resumed([B])
    await one.expire("sbc1")
    for store in (one, two):
        assert await store.answered(asked) == [OVERDUE, FAR, B, C]
        assert await store.answered([]) == []


async def test_a_forgotten_id_is_unclaimed_again(forgetful: World) -> None:
    one = forgetful.store("one")
    await one.claim([claimed(A, one, forgetful)], 10)
    await one.settle([decided(A)])
    await one.resumed([A])

    async def unclaimed() -> bool:
        return await one.unclaimed([A]) == [A]

    await forgetful.until(unclaimed, 0.25)
    assert await one.answered([A]) == []


async def test_many_are_asked_for_at_once(world: World) -> None:
    one = world.store("one")
    ids = [suspension(number) for number in range(600)]
    await one.claim([claimed(id_, one, world) for id_ in ids[::2]], 1000)
    assert await one.unclaimed(ids) == ids[1::2]
