"""The remote store goes away: this process goes on with what it owns, and leaves the rest alone."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from adapter.errors import StoreUnavailable
from adapter.inflight.expiry import OVERDUE
from adapter.inflight.failover import MOST_REMEMBERED
from adapter.model.transaction import Outcome, State
from adapter.ports.store import Claim
from tests.inflight.faulty import Bench
from tests.inflight.worlds import LIVE, claimed, decided, settled_claim, suspension

if TYPE_CHECKING:
    from collections.abc import Awaitable


A, B, C, D = (suspension(number) for number in range(1, 5))


# While the remote store is there


async def test_while_it_is_there_the_remote_store_does_the_work() -> None:
    bench = Bench()
    one, remote = bench.one, bench.remote
    await one.beat(LIVE)
    await one.claim([bench.claim(A), bench.claim(B)], 10)
    await one.settle([decided(A)])
    await one.resumed([A])
    assert await one.unclaimed([A, B, C]) == [C]
    assert await one.count("sbc1") == 1
    assert await one.get(B) == bench.claim(B)
    assert await one.scan("sbc1") == [bench.claim(B)]
    assert set(remote.calls.values()) == {1}
    assert not one.away
    assert bench.here == [B]


async def test_that_it_is_away_is_told_before_anything_is_answered_from_here() -> None:
    bench = Bench()
    await bench.one.beat(LIVE)
    told: list[int] = []
    bench.one._on_away = lambda: told.append(len(bench.here))
    bench.remote.away = True
    assert await bench.one.claim([bench.claim(A)], 10) == [Claim.WON]
    assert await bench.one.claim([bench.claim(B)], 10) == [Claim.WON]
    assert told == [0]


async def test_what_is_no_more_of_use_is_forgotten() -> None:
    bench = Bench()
    one = bench.one
    await one.beat(LIVE)
    await one.claim([bench.claim(id_, left) for id_, left in ((A, 5), (B, 500), (C, 60))], 10)
    await one.settle([decided(A), decided(C)])
    await one.resumed([C])
    bench.world.time += 60
    await one.beat(LIVE)
    assert bench.here == [A, B]
    assert not one._local._remembered
    bench.world.time += 5
    await one.beat(LIVE)
    assert bench.here == [B]


async def test_while_away_too_what_is_past_the_retention_is_forgotten() -> None:
    bench = Bench()
    await bench.one.claim([settled_claim(bench.claim(A, left=5)), bench.claim(B, left=500)], 10)
    await bench.goes()
    assert (await bench.one.get(A)) == replace(settled_claim(bench.claim(A, left=5)), request=b"")
    bench.world.time += 65
    with pytest.raises(StoreUnavailable):
        await bench.one.beat(LIVE)
    assert [record.id for record in await bench.one.scan("sbc1")] == [B]


async def test_an_id_that_comes_again_after_the_retention_is_a_new_one() -> None:
    bench = Bench()
    one = bench.one
    await one.claim([settled_claim(bench.claim(A)), settled_claim(bench.claim(B))], 10)
    await one.resumed([A, B])
    await one.claim([settled_claim(bench.claim(C, left=-61))], 10)
    bench.world.time += 60
    await one.expire("sbc1")
    assert await one.claim([bench.claim(A), bench.claim(C)], 10) == [Claim.WON, Claim.WON]
    await one.settle([decided(A)])
    await one.resumed([A])
    await one.beat(LIVE)
    assert list(one._local._remembered) == [A]
    await bench.goes()
    assert await one.settle([decided(C)]) != [None]


async def test_what_is_free_in_the_remote_store_is_not_taken_here() -> None:
    bench = Bench()
    one = bench.one
    await one.claim([settled_claim(bench.claim(A))], 10)
    bench.remote.held["resumed"] = asyncio.Event()
    asking = asyncio.ensure_future(one.resumed([A]))
    while not bench.remote.calls["resumed"]:
        await asyncio.sleep(0)
    bench.world.time += 1
    bench.remote.held["resumed"].set()
    await asking
    assert await one.claim([bench.claim(A)], 10) == [Claim.LOST]
    bench.world.time += 59
    assert await one.claim([bench.claim(A)], 10) == [Claim.WON]


async def test_of_resumed_ids_the_newest_are_remembered() -> None:
    bench = Bench()
    ids = [suspension(number) for number in range(MOST_REMEMBERED + 10)]
    await bench.one.claim([settled_claim(bench.claim(id_)) for id_ in ids], 1)
    await bench.one.resumed(ids)
    assert list(bench.one._local._remembered) == ids[10:]


async def test_close_and_repr_are_the_remote_store_s_too() -> None:
    bench = Bench()
    assert repr(bench.one) == "<FailoverStore one, remote: <FaultyStore one>>"
    bench.remote.away = True
    await bench.one.claim([bench.claim(A)], 10)
    assert repr(bench.one) == "<FailoverStore one, away, 1 records here, remote: <FaultyStore one>>"
    await bench.one.close()
    assert bench.remote.closed


# Going away


ASKS: dict[str, tuple[Any, Any]] = {
    "claim": (lambda one, bench: one.claim([bench.claim(C)], 10), [Claim.WON]),
    "settle": (lambda one, bench: one.settle([decided(A), decided(D)]), "A settled"),
    "resumed": (lambda one, bench: one.resumed([B]), None),
    "expire": (lambda one, bench: one.expire("sbc1"), []),
    "unclaimed": (lambda one, bench: one.unclaimed([A, D]), []),
    "answered": (lambda one, bench: one.answered([A, B, D]), [B]),
    "adopt": (lambda one, bench: one.adopt("sbc1", ["two"], State.CLAIMED), []),
    "count": (lambda one, bench: one.count("sbc1"), 1),
    "get": (lambda one, bench: one.get(A), "A claimed"),
    "scan": (lambda one, bench: one.scan("sbc1"), "A and B"),
    "leave": (lambda one, bench: one.leave(), None),
}


@pytest.mark.parametrize("when", ["refused", "lost", "away before"])
@pytest.mark.parametrize("verb", ASKS)
async def test_a_verb_that_fails_there_is_carried_out_near(verb: str, when: str) -> None:
    bench = Bench()
    one, remote = bench.one, bench.remote
    await one.beat(LIVE)
    first = bench.claim(A)
    await one.claim([first, bench.claim(B)], 10)
    (second,) = await one.settle([decided(B)])
    await bench.two.claim([claimed(D, bench.two, bench.world)], 10)
    if when == "away before":
        remote.away = True
        with pytest.raises(StoreUnavailable):
            await one.beat(LIVE)
    else:
        getattr(remote, when).add(verb)
    remote.calls.clear()
    ask, expected = ASKS[verb]
    settled = replace(first, state=State.SETTLED, outcome=Outcome.DECIDED, request=b"")
    settled = replace(settled, decision=decided(A).decision)
    named = {"A settled": [settled, None], "A claimed": first, "A and B": [first, second]}
    result = await ask(one, bench)
    assert result == (named[expected] if isinstance(expected, str) else expected)
    assert one.away
    assert remote.calls == ({} if when == "away before" else {verb: 1})
    # From now on the remote store is left in peace, but for the beat.
    remote.calls.clear()
    for other, _ in ASKS.values():
        await other(one, bench)
    assert not remote.calls


async def test_near_it_goes_on_to_the_end() -> None:
    bench = Bench()
    one = bench.one
    await one.claim([bench.claim(A), bench.claim(B, left=5)], 10)
    await bench.goes()
    asked = [bench.claim(A), bench.claim(C), settled_claim(bench.claim(D)), bench.claim(suspension(5))]
    assert await one.claim(asked, 3) == [Claim.LOST, Claim.WON, Claim.WON, Claim.FULL]
    (record,) = await one.settle([decided(A, b"1")])
    assert record is not None
    assert (record.decision, record.owner) == (b"1", "one")
    assert await one.settle([decided(A, b"2"), decided(D)]) == [None, None]
    await one.resumed([A])
    assert await one.claim([bench.claim(A)], 10) == [Claim.LOST]
    bench.world.time += 5
    assert [record.id for record in await one.expire("sbc1")] == [B]
    assert await one.expire("sbc1") == []


async def test_what_was_resumed_before_is_not_claimed_near() -> None:
    bench = Bench()
    await bench.one.claim([bench.claim(A)], 10)
    await bench.one.settle([decided(A)])
    await bench.one.resumed([A])
    await bench.goes()
    assert await bench.one.claim([bench.claim(A)], 10) == [Claim.LOST]
    bench.world.time += 60
    assert await bench.one.claim([bench.claim(A)], 10) == [Claim.WON]
    assert bench.here == [A]


async def test_a_copy_long_overdue_is_not_answered_near() -> None:
    """Another replica has done so: the remote store was there at that time."""
    bench = Bench()
    await bench.one.claim([bench.claim(A, left=1), bench.claim(B, left=1 + OVERDUE)], 10)
    await bench.two.settle([decided(A)])
    bench.world.time += 1 + OVERDUE
    await bench.goes()
    assert [record.id for record in await bench.one.expire("sbc1")] == [B]


async def test_adopted_ones_go_on_near() -> None:
    bench = Bench()
    two = bench.two
    await two.claim([claimed(A, two, bench.world), claimed(B, two, bench.world)], 10)
    await two.settle([decided(B)])
    for state, id_ in ((State.CLAIMED, A), (State.SETTLED, B)):
        assert [record.id for record in await bench.one.adopt("sbc1", ["two"], state)] == [id_]
    await bench.goes()
    assert [record and record.id for record in await bench.one.settle([decided(A), decided(B)])] == [A, None]


async def test_outages_are_logged_once() -> None:
    bench = Bench()
    await bench.one.beat(LIVE)
    await bench.one.claim([bench.claim(A)], 10)
    with capture_logs() as logs:
        bench.remote.away = True
        await asyncio.gather(*(bench.one.get(A) for _ in range(5)))
        with pytest.raises(StoreUnavailable):
            await bench.one.beat(LIVE)
        bench.world.time += 3
        await bench.returns()
    away, back = logs
    assert away == {
        "event": "in-flight store: away",
        "error": "get: no get",
        "records": 1,
        "log_level": "error",
    }
    assert back == {
        "event": "in-flight store: back",
        "pushed": 1,
        "dropped": 0,
        "seconds": 3.0,
        "log_level": "info",
    }


async def test_with_the_store_away_for_all_the_owner_answers_and_the_others_stay_still() -> None:
    bench = Bench()
    two = bench.failover("two")
    await bench.one.claim([bench.claim(A), bench.claim(B)], 10)
    await bench.goes()
    await bench.goes("two")
    assert await two.unclaimed([A, C]) == []
    assert await two.adopt("sbc1", ["one"], State.CLAIMED) == []
    assert await two.settle([decided(A)]) == [None]
    bench.world.time += 60
    assert await two.expire("sbc1") == []
    assert await bench.one.settle([decided(A)]) != [None]
    assert [record.id for record in await bench.one.expire("sbc1")] == [B]
    # The one that returns first still leaves the other the time to hand back.
    await bench.returns("two")
    assert await two.unclaimed([C]) == []
    await bench.one.claim([bench.claim(C)], 10)
    await bench.returns()
    bench.world.time += 1
    assert await two.unclaimed([C, D]) == [D]


# Answers that come after the remote store has been given up


async def late(bench: Bench, verb: str, ask: Awaitable[Any], meanwhile: Awaitable[Any]) -> tuple[Any, Any]:
    """What was asked, answered only after the store has been given up and this has been done."""
    bench.remote.held[verb] = asyncio.Event()
    asked = asyncio.ensure_future(ask)
    while not bench.remote.calls[verb]:
        await asyncio.sleep(0)
    await bench.goes()
    bench.remote.away = False
    done = await meanwhile
    bench.remote.held.pop(verb).set()
    return await asked, done


async def nothing() -> None: ...


async def test_a_late_claim_is_claimed_near() -> None:
    bench = Bench()
    result, _ = await late(bench, "claim", bench.one.claim([bench.claim(A)], 10), nothing())
    assert result == [Claim.WON]
    assert await bench.one.settle([decided(A)]) != [None]


async def test_a_late_claim_is_lost_to_one_made_near() -> None:
    bench = Bench()
    one = bench.one
    results = await late(bench, "claim", one.claim([bench.claim(A)], 10), one.claim([bench.claim(A)], 10))
    assert results == ([Claim.LOST], [Claim.WON])
    assert await one.settle([decided(A)]) != [None]


async def test_a_late_claim_is_lost_to_one_that_is_over() -> None:
    bench = Bench()
    one = bench.one

    async def to_the_end() -> None:
        await one.claim([settled_claim(bench.claim(A))], 10)
        await one.resumed([A])

    result, _ = await late(bench, "claim", one.claim([bench.claim(A)], 10), to_the_end())
    assert result == [Claim.LOST]


async def test_a_claim_answered_after_its_settlement_is_not_open_again() -> None:
    bench = Bench()
    one = bench.one
    bench.remote.held["claim"] = asyncio.Event()
    asked = asyncio.ensure_future(one.claim([bench.claim(A)], 10))
    while await one.settle([decided(A)]) == [None]:
        await asyncio.sleep(0)
    bench.remote.held["claim"].set()
    await asked
    await bench.goes()
    assert await one.settle([decided(A)]) == [None]


async def test_an_adoption_answered_after_the_settlement_is_not_open_again() -> None:
    bench = Bench()
    one, two = bench.one, bench.two
    await two.claim([claimed(A, two, bench.world)], 10)
    bench.remote.held["adopt"] = asyncio.Event()
    asked = asyncio.ensure_future(one.adopt("sbc1", ["two"], State.CLAIMED))
    while not bench.remote.calls["adopt"]:
        await asyncio.sleep(0)
    assert await one.settle([decided(A)]) != [None]
    bench.remote.held["adopt"].set()
    await asked
    await bench.goes()
    assert await one.settle([decided(A)]) == [None]


async def test_a_late_licence_counts_near() -> None:
    bench = Bench()
    one = bench.one
    await one.claim([bench.claim(A)], 10)
    (record,), _ = await late(bench, "settle", one.settle([decided(A)]), nothing())
    assert record is not None
    assert await one.settle([decided(A)]) == [None]


async def test_a_late_licence_is_lost_to_one_given_near() -> None:
    bench = Bench()
    one = bench.one
    await one.claim([bench.claim(A), bench.claim(B, left=-1)], 10)
    asked = one.settle([decided(A, b"far")])
    (far,), (near,) = await late(bench, "settle", asked, one.settle([decided(A, b"near")]))
    assert far is None
    assert near is not None
    await bench.returns()
    bench.remote.calls.clear()
    far_expired, near_expired = await late(bench, "expire", one.expire("sbc1"), one.expire("sbc1"))
    assert ([record.id for record in near_expired], far_expired) == ([B], [])


async def test_a_late_receipt_counts_near() -> None:
    bench = Bench()
    one = bench.one
    await one.claim([bench.claim(A)], 10)
    await one.settle([decided(A)])
    await late(bench, "resumed", one.resumed([A]), nothing())
    assert await one.scan("sbc1") == []
    assert await one.claim([bench.claim(A)], 10) == [Claim.LOST]


async def test_a_late_adoption_counts_near() -> None:
    bench = Bench()
    await bench.two.claim([claimed(A, bench.two, bench.world)], 10)
    adopted, _ = await late(bench, "adopt", bench.one.adopt("sbc1", ["two"], State.CLAIMED), nothing())
    assert [record.id for record in adopted] == [A]
    assert await bench.one.settle([decided(A)]) != [None]


async def test_a_late_adoption_is_lost_to_an_answer_given_near() -> None:
    bench = Bench()
    one = bench.one
    await one.claim([bench.claim(A)], 10)
    await bench.two.adopt("sbc1", ["one"], State.CLAIMED)
    asked = one.adopt("sbc1", ["two"], State.CLAIMED)
    adopted, (record,) = await late(bench, "adopt", asked, one.settle([decided(A)]))
    assert adopted == []
    assert record is not None
    assert await one.settle([decided(A)]) == [None]


async def test_a_late_word_of_what_is_unclaimed_is_not_heeded() -> None:
    bench = Bench()
    assert await late(bench, "unclaimed", bench.one.unclaimed([A]), nothing()) == ([], None)
