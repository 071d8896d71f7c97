"""What this replica alone claims and settles is done here, and the remote store is told a little later."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from adapter.errors import StoreUnavailable
from adapter.inflight.expiry import OVERDUE, REMOTE_LOOK
from adapter.model.transaction import Outcome, State, Transaction, TransactionId
from adapter.ports.store import Claim
from tests.inflight.faulty import Bench
from tests.inflight.worlds import LIVE, claimed, decided, settled_claim, suspension

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

A, B, C = (suspension(number) for number in range(1, 4))


async def behind(bench: Bench, *ids: TransactionId, limit: int = 10) -> list[Claim]:
    return await bench.one.claim([bench.claim(id_) for id_ in ids], limit, write_behind=True)


async def there(bench: Bench, id_: TransactionId) -> Transaction:
    """The record of the remote store."""
    found = await bench.two.get(id_)
    assert found is not None
    return found


async def test_nobody_waits_for_the_remote_store() -> None:
    bench = Bench()
    assert await behind(bench, A, B) == [Claim.WON, Claim.WON]
    [record] = await bench.one.settle([decided(A)], write_behind=True)
    assert record is not None
    assert (record.state, record.outcome, record.owner) == (State.SETTLED, Outcome.DECIDED, "one")
    assert not bench.remote.calls
    await bench.one.flushed()
    assert bench.remote.calls == {"claim": 1, "settle": 1}
    assert await bench.two.get(A) == record
    assert (await there(bench, B)).state is State.CLAIMED


async def test_the_remote_store_is_told_before_long() -> None:
    bench = Bench()
    await behind(bench, A)
    while not bench.remote.calls["claim"]:
        await asyncio.sleep(0)
    await bench.one.settle([decided(A)], write_behind=True)
    while bench.remote.calls["settle"] < 2:
        await asyncio.sleep(0)
    assert (await there(bench, A)).state is State.SETTLED


@pytest.mark.parametrize("verb", ["expire", "scan", "unclaimed", "resumed", "settle", "count"])
async def test_before_it_is_asked_for_anything_it_is_told(verb: str) -> None:
    bench = Bench()
    await behind(bench, A, B)
    [record] = await bench.one.settle([decided(B)], write_behind=True)
    assert record is not None
    one = bench.one
    ask: dict[str, Callable[[], Awaitable[object]]] = {
        "expire": partial(one.expire, "sbc1"),
        "scan": partial(one.scan, "sbc1"),
        "unclaimed": partial(one.unclaimed, [A]),
        "resumed": partial(one.resumed, [C]),
        "settle": partial(one.settle, [decided(C)]),
        "count": partial(one.count, "sbc1"),
    }
    await ask[verb]()
    assert await bench.two.get(B) == record
    assert (await there(bench, A)).state is State.CLAIMED


async def test_a_claim_does_not_wait_for_what_was_done_before() -> None:
    """Each gathering of calls would cost a round trip more, and what others do would go one by one."""
    bench = Bench()
    await behind(bench, A, B)
    await bench.one.settle([decided(B)], write_behind=True)
    assert await bench.one.claim([bench.claim(C)], 10) == [Claim.WON]
    assert bench.remote.calls == {"claim": 1}
    await bench.one.flushed()
    assert bench.remote.calls == {"claim": 2, "settle": 1}
    assert [(await there(bench, each)).state for each in (A, B, C)] == [
        State.CLAIMED,
        State.SETTLED,
        State.CLAIMED,
    ]


async def test_who_asks_waits_for_what_was_done_before_and_for_nothing_after_it() -> None:
    """With a store that takes longer than the pause between two tellings it would wait for ever."""
    bench = Bench()
    before, after = asyncio.Event(), asyncio.Event()
    bench.remote.held["claim"] = before
    await behind(bench, A)
    asking = asyncio.ensure_future(bench.one.count("sbc1"))
    while bench.remote.calls["claim"] < 1:
        await asyncio.sleep(0)
    bench.remote.held["claim"] = after
    await behind(bench, B)
    while bench.remote.calls["claim"] < 2:
        await asyncio.sleep(0)
    assert not asking.done()
    before.set()
    assert await asking == 2
    after.set()
    await bench.one.flushed()


async def test_what_another_has_answered_is_left_to_it() -> None:
    bench = Bench()
    await bench.two.claim([claimed(A, bench.two, bench.world)], 10)
    assert await behind(bench, A) == [Claim.WON]
    await bench.two.settle([decided(A)])
    await bench.one.flushed()
    assert await bench.one.settle([decided(A)], write_behind=True) == [None]
    assert await behind(bench, A) == [Claim.LOST]


async def test_what_another_has_claimed_and_not_answered_may_be_settled_all_the_same() -> None:
    bench = Bench()
    await bench.two.claim([claimed(A, bench.two, bench.world)], 10)
    await behind(bench, A)
    await bench.one.flushed()
    [record] = await bench.one.settle([decided(A)], write_behind=True)
    assert record is not None
    assert record.owner == "one"
    await bench.one.flushed()
    assert await bench.two.settle([decided(A)]) == [None]


async def test_an_answer_known_at_once_is_taken_from_who_has_none() -> None:
    bench = Bench()
    await bench.two.claim([claimed(A, bench.two, bench.world)], 10)
    assert await behind(bench, A, limit=0) == [Claim.FULL]
    await bench.one.flushed()
    assert (await there(bench, A)).outcome is Outcome.OVERLOAD
    assert await bench.two.settle([decided(A)]) == [None]


async def test_the_limit_is_that_of_what_is_claimed_here() -> None:
    bench = Bench()
    malformed = replace(bench.claim(C), state=State.SETTLED, outcome=Outcome.MALFORMED)
    assert await bench.one.claim([malformed], 1, write_behind=True) == [Claim.WON]
    assert await behind(bench, A, B, limit=1) == [Claim.WON, Claim.FULL]
    await bench.one.settle([decided(A)], write_behind=True)
    D = suspension(4)
    assert await behind(bench, D, limit=1) == [Claim.WON]
    await bench.one.flushed()
    assert (await there(bench, B)).outcome is Outcome.OVERLOAD
    assert (await there(bench, C)).request == b""
    assert await bench.two.count("sbc1") == 1


async def test_each_is_claimed_and_answered_once() -> None:
    bench = Bench()
    assert await behind(bench, A) == [Claim.WON]
    assert await behind(bench, A) == [Claim.LOST]
    assert await bench.one.settle([decided(A)], write_behind=True) != [None]
    await bench.one.flushed()
    calls = bench.remote.calls.copy()
    assert await bench.one.settle([decided(A)], write_behind=True) == [None]
    assert await behind(bench, A) == [Claim.LOST]
    await bench.one.flushed()
    assert bench.remote.calls - calls == {}
    await bench.one.resumed([A])
    assert await bench.one.settle([decided(A)], write_behind=True) == [None]


async def test_what_is_not_known_here_is_asked_of_the_remote_store() -> None:
    bench = Bench()
    await behind(bench, A)
    await bench.two.claim([claimed(B, bench.two, bench.world)], 10)
    first, second, third = await bench.one.settle([decided(A), decided(B), decided(C)], write_behind=True)
    assert first is not None
    assert second is not None
    assert (first.id, second.id, third) == (A, B, None)
    assert second.owner == "one"


async def test_what_the_remote_store_has_expired_is_not_answered_again() -> None:
    bench = Bench()
    await behind(bench, A)
    await bench.one.flushed()
    bench.world.time += 61
    bench.remote.held["expire"] = asyncio.Event()
    expiring = asyncio.ensure_future(bench.one.expire("sbc1"))
    while not bench.remote.calls["expire"]:
        await asyncio.sleep(0)
    assert await bench.one.settle([decided(A)], write_behind=True) != [None]
    bench.remote.held["expire"].set()
    assert await expiring == []


async def test_where_the_remote_store_cannot_be_told_of_a_claim_it_is_away() -> None:
    bench = Bench()
    bench.remote.away = True
    assert await behind(bench, A) == [Claim.WON]
    await bench.one.flushed()
    assert bench.one.away
    [record] = await bench.one.settle([decided(A)], write_behind=True)
    assert record is not None
    assert await behind(bench, B) == [Claim.WON]
    await bench.returns()
    assert await bench.two.get(A) == record
    assert (await there(bench, B)).owner == "one"


async def test_who_settles_while_the_remote_store_is_not_told_of_the_claim_goes_on_where_it_is_away() -> None:
    bench = Bench()
    bench.remote.refused = {"claim"}
    await behind(bench, A)
    [record] = await bench.one.settle([decided(A)], write_behind=True)
    assert record is not None
    await bench.one.flushed()
    assert bench.one.away
    assert record.state is State.SETTLED


async def test_where_the_remote_store_cannot_be_told_of_an_answer_it_is_away() -> None:
    bench = Bench()
    await behind(bench, A)
    await bench.one.flushed()
    bench.remote.lost = {"settle"}
    [record] = await bench.one.settle([decided(A)], write_behind=True)
    assert record is not None
    await bench.one.flushed()
    assert bench.one.away
    assert await bench.one.settle([decided(A)], write_behind=True) == [None]
    await bench.returns()
    assert await bench.two.get(A) == record


@pytest.mark.parametrize("verb", ["claim", "settle", "get"])
async def test_an_error_that_nobody_foresaw_loses_no_claim_for_the_remote_store(verb: str) -> None:
    """Such as a record that cannot be read: what is not confirmed stays owed, also where it comes twice."""
    bench = Bench()
    await bench.one.beat(LIVE)
    await bench.two.claim([claimed(B, bench.two, bench.world)], 10)
    await behind(bench, A)
    await bench.one.flushed()
    await behind(bench, B, C)
    await bench.one.settle([decided(A), decided(C)], write_behind=True)
    bench.remote.broken = {verb}
    with capture_logs() as logs:
        await bench.one.flushed()
    assert bench.one.away
    failed, away = (each["event"] for each in logs)
    assert (failed, away) == ("in-flight store: not flushed", "in-flight store: away")
    with pytest.raises(StoreUnavailable, match="ValueError"):
        await bench.one.beat(LIVE)
    assert [record.id for record in await bench.one.scan("sbc1")] == [A, B, C]
    await bench.returns()
    assert {each.id: (each.state, each.owner) for each in await bench.two.scan("sbc1")} == {
        A: (State.SETTLED, "one"),
        B: (State.CLAIMED, "two"),
        C: (State.SETTLED, "one"),
    }


async def test_before_it_closes_all_is_told() -> None:
    bench = Bench()
    bench.remote.held["claim"] = asyncio.Event()
    await behind(bench, A)
    closing = asyncio.ensure_future(bench.one.close())
    while not bench.remote.calls["claim"]:
        await asyncio.sleep(0)
    assert not bench.remote.closed
    bench.remote.held["claim"].set()
    await closing
    assert bench.remote.closed
    assert (await there(bench, A)).state is State.CLAIMED


async def test_it_is_asked_what_is_due_when_something_is_or_may_be() -> None:
    bench = Bench()
    await behind(bench, A)
    await bench.one.claim([bench.claim(B, left=30)], 10)
    assert bench.one.due("sbc1"), "it was not asked yet"
    assert await bench.one.expire("sbc1") == []
    assert not bench.one.due("sbc1")
    bench.world.time += REMOTE_LOOK
    assert bench.one.due("sbc1"), "something of others may be due"
    await bench.one.expire("sbc1")
    bench.world.time += 30 - REMOTE_LOOK
    await bench.one.settle([decided(A)], write_behind=True)
    assert [record.id for record in await bench.one.expire("sbc1")] == [B]
    bench.world.time += 40
    await bench.one.expire("sbc1")
    assert not bench.one.due("sbc1")


async def test_what_is_due_here_and_another_has_answered_is_asked_for_a_while() -> None:
    bench = Bench()
    await behind(bench, A)
    await bench.one.flushed()
    await bench.two.settle([decided(A)])
    bench.world.time += 60
    assert await bench.one.expire("sbc1") == []
    assert bench.one.due("sbc1")
    bench.world.time += OVERDUE
    await bench.one.expire("sbc1")
    assert not bench.one.due("sbc1")


async def test_what_another_must_have_answered_takes_no_place_and_is_not_answered_here() -> None:
    bench = Bench()
    await behind(bench, A)
    await bench.one.flushed()
    await bench.two.settle([decided(A)])
    bench.world.time += 60 + OVERDUE
    bench.one.due("sbc1")
    assert await bench.one.settle([decided(A)], write_behind=True) == [None]
    assert await behind(bench, A, B, C, limit=1) == [Claim.LOST, Claim.WON, Claim.FULL]


async def test_what_the_remote_store_was_not_told_of_is_not_overdue() -> None:
    """As of a process that stood still just after it had claimed: nobody else can have answered."""
    bench = Bench()
    await behind(bench, A)
    bench.world.time += 60 + OVERDUE
    assert bench.one.due("sbc1")
    assert [record.id for record in await bench.one.expire("sbc1")] == [A]


async def test_what_it_is_owed_is_due() -> None:
    bench = Bench()
    await bench.one.expire("sbc1")
    bench.one._resync._deliver(settled_claim(bench.claim(A)))
    assert bench.one.due("sbc1")
    assert len(await bench.one.expire("sbc1")) == 1
    assert not bench.one.due("sbc1")


async def test_while_away_what_is_due_is_known_here() -> None:
    bench = Bench()
    await behind(bench, A)
    await bench.goes()
    assert not bench.one.due("sbc1")
    bench.world.time += 60
    assert bench.one.due("sbc1")


async def test_of_what_another_has_claimed_it_says_so() -> None:
    bench = Bench()
    await bench.two.claim([claimed(A, bench.two, bench.world), claimed(B, bench.two, bench.world)], 10)
    await behind(bench, C)
    first, third = await bench.one.settle([decided(A), decided(C)], write_behind=True)
    assert first is not None
    assert third is not None
    assert (first.again, third.again) == (True, False)
    [second] = await bench.one.adopt("sbc1", ["two"], State.CLAIMED)
    assert second.again
    [answered] = await bench.one.settle([decided(B)], write_behind=True)
    assert answered is not None
    assert answered.again


async def test_and_of_what_is_timed_out_for_another() -> None:
    bench = Bench()
    await bench.two.claim([claimed(A, bench.two, bench.world)], 10)
    await behind(bench, B)
    bench.world.time += 60
    assert {record.id: record.again for record in await bench.one.expire("sbc1")} == {A: True, B: False}
