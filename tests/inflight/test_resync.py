"""The remote store comes back: what was done in memory is handed back, and what others did counts."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from adapter.errors import StoreUnavailable
from adapter.inflight.resync import BEAT_AGAIN, LOSABLE, STEP
from adapter.model.transaction import Outcome, State
from adapter.ports.store import Claim
from tests.harness.until import until
from tests.inflight.faulty import Bench, Fault
from tests.inflight.worlds import LIVE, claimed, decided, settled_claim, suspension

if TYPE_CHECKING:
    from adapter.model.beat import Beat, Snapshot
    from adapter.model.transaction import TransactionId

A, B, C, D, E = (suspension(number) for number in range(1, 6))


async def states(bench: Bench) -> dict[TransactionId, tuple[State, str]]:
    """What the remote store holds: state and owner."""
    return {record.id: (record.state, record.owner) for record in await bench.two.scan("sbc1")}


async def test_all_that_was_done_is_handed_back() -> None:
    bench = Bench()
    one = bench.one
    await one.beat(LIVE)
    await one.claim([bench.claim(id_) for id_ in (A, B, C)], 10)
    await bench.goes()
    await one.settle([decided(A), decided(B)])
    await one.resumed([B])
    await one.claim([bench.claim(D), settled_claim(bench.claim(E)), bench.claim(suspension(6))], 2)
    await one.settle([decided(D, b"answer")])
    await one.claim([bench.claim(suspension(7))], 1)
    snapshot = await bench.returns()
    assert snapshot.beats["one"] == LIVE
    assert not one.away
    assert await states(bench) == {
        A: (State.SETTLED, "one"),
        C: (State.CLAIMED, "one"),
        D: (State.SETTLED, "one"),
        E: (State.SETTLED, "one"),
        suspension(6): (State.SETTLED, "one"),
        suspension(7): (State.SETTLED, "one"),
    }
    answer, overload = await bench.two.get(D), await bench.two.get(suspension(7))
    assert (answer and answer.decision, overload and overload.outcome) == (b"answer", Outcome.OVERLOAD)
    assert await bench.two.get(C) == bench.claim(C)
    assert await bench.two.unclaimed([A, B, C, D, E]) == []
    # And it goes on there.
    assert await one.settle([decided(C), decided(A)]) != [None, None]
    assert await bench.two.settle([decided(C)]) == [None]


async def test_a_claim_whose_answer_was_lost_is_ours_all_the_same() -> None:
    bench = Bench()
    bench.remote.lost = {"claim"}
    assert await bench.one.claim([bench.claim(A)], 10) == [Claim.WON]
    await bench.returns()
    assert await states(bench) == {A: (State.CLAIMED, "one")}
    assert await bench.one.settle([decided(A)]) != [None]


async def test_what_another_adopted_or_settled_meanwhile_is_its_own() -> None:
    bench = Bench()
    one, two = bench.one, bench.two
    await one.claim([bench.claim(id_) for id_ in (A, B, C)], 10)
    await one.claim([settled_claim(bench.claim(D))], 10)
    await bench.goes()
    await two.settle([decided(B), decided(C)])
    await two.resumed([C])
    assert {record.id for record in await two.adopt("sbc1", ["one"], State.CLAIMED)} == {A}
    assert {record.id for record in await two.adopt("sbc1", ["one"], State.SETTLED)} == {D}
    await bench.returns()
    assert not bench.here
    assert await states(bench) == {
        A: (State.CLAIMED, "two"),
        B: (State.SETTLED, "two"),
        D: (State.SETTLED, "two"),
    }


async def test_what_was_left_to_another_is_not_claimed_here_again() -> None:
    bench = Bench()
    one, two = bench.one, bench.two
    await one.claim([bench.claim(A), bench.claim(B)], 10)
    await bench.goes()
    await two.settle([decided(A)])
    bench.remote.mend()
    bench.remote.faults = iter([Fault(before=1, after=1)] * 20)
    beat = asyncio.ensure_future(one.beat(LIVE))
    while not bench.remote.calls["settle"]:
        await asyncio.sleep(0)
    await one.claim([bench.claim(C)], 10)  # which will keep it busy
    while A in bench.here:
        await asyncio.sleep(0)
    assert one.away
    assert await one.claim([bench.claim(A)], 10) == [Claim.LOST]
    await beat
    await bench.goes()
    assert await one.claim([bench.claim(A)], 10) == [Claim.LOST]
    bench.world.time += 60
    with pytest.raises(StoreUnavailable):
        await one.beat(LIVE)
    assert not one._local._disowned
    assert await one.claim([bench.claim(A)], 10) == [Claim.WON]


async def test_what_was_left_to_another_is_over_once_the_answer_given_here_is_read() -> None:
    bench = Bench()
    one, two = bench.one, bench.two
    await one.claim([bench.claim(A)], 10)
    await bench.goes()
    await one.settle([decided(A)])
    await two.settle([decided(A)])
    await bench.returns()
    await one.resumed([A])
    bench.remote.forget(bench.world)
    await one.beat(LIVE)
    assert await bench.remote.inner.unclaimed([A]) == []


async def test_an_answer_given_here_counts_where_the_remote_store_still_waits() -> None:
    bench = Bench()
    one, two = bench.one, bench.two
    await one.claim([bench.claim(A), bench.claim(B), bench.claim(C)], 10)
    await bench.goes()
    await one.settle([decided(A, b"here"), decided(B), decided(C)])
    await one.resumed([B, C])
    await two.adopt("sbc1", ["one"], State.CLAIMED)
    await two.settle([decided(C)])
    await bench.returns()
    record = await two.get(A)
    assert record is not None
    assert (record.decision, record.owner) == (b"here", "one")
    assert await two.settle([decided(A), decided(B)]) == [None, None]
    assert await states(bench) == {A: (State.SETTLED, "one")}
    assert await two.unclaimed([B, C]) == []


async def test_what_the_remote_store_settled_unheard_is_told_by_the_next_expiry() -> None:
    bench = Bench()
    one, two = bench.one, bench.two
    await two.claim([claimed(A, two, bench.world), claimed(B, two, bench.world, left=-1)], 10)
    bench.remote.lost = {"settle"}
    assert await one.settle([decided(A)]) == [None]
    await bench.returns()
    assert [record.id for record in await one.expire("sbc1")] == [A, B]
    assert await one.expire("sbc1") == []
    # The same of what was claimed here, and is not due by this process' clock.
    await one.claim([bench.claim(C)], 10)
    await bench.goes()
    await bench.remote.inner.settle([decided(C, None)])
    await bench.returns()
    assert [record.id for record in await one.expire("sbc1")] == [C]
    assert await one.settle([decided(C)]) == [None]


async def test_an_adoption_that_was_not_heard_of_is_told_by_the_next_expiry() -> None:
    bench = Bench()
    one, two = bench.one, bench.two
    await two.claim([settled_claim(claimed(A, two, bench.world)), claimed(B, two, bench.world)], 10)
    bench.remote.lost = {"adopt"}
    assert await one.adopt("sbc1", ["two"], State.SETTLED) == []
    await bench.returns()
    assert [record.id for record in await one.expire("sbc1")] == [A]
    assert await states(bench) == {A: (State.SETTLED, "one"), B: (State.CLAIMED, "two")}


async def test_what_is_found_settled_is_not_settled_here_meanwhile() -> None:
    bench = Bench()
    one = bench.one
    await one.claim([bench.claim(A)], 10)
    await bench.goes()
    await bench.remote.inner.settle([decided(A, b"unheard")])
    bench.remote.mend()
    bench.remote.faults = iter([Fault(before=1, after=1)] * 20)
    beat = asyncio.ensure_future(one.beat(LIVE))
    while not one._local.was_granted(A):
        await asyncio.sleep(0)
    assert one.away
    assert await one.settle([decided(A)]) == [None]
    assert [record.decision for record in await one.expire("sbc1")] == [b"unheard"]
    await beat


async def test_what_was_resumed_just_before_is_told_again() -> None:
    """A failover may lose it, and a standby would take it for unclaimed."""
    bench = Bench()
    one = bench.one
    await one.claim([settled_claim(bench.claim(id_)) for id_ in (A, B)], 10)
    await one.resumed([A])
    bench.world.time += LOSABLE + 1
    await one.resumed([B])
    bench.remote.forget(bench.world)
    await bench.goes()
    await bench.returns()
    assert await bench.remote.inner.unclaimed([A, B]) == [A]
    assert await bench.remote.inner.scan("sbc1") == []


async def test_where_it_has_lost_its_memory_all_is_handed_back() -> None:
    bench = Bench()
    one = bench.one
    await one.beat(LIVE)
    await one.claim([bench.claim(A), bench.claim(B), bench.claim(C)], 10)
    await one.settle([decided(B), decided(C)])
    await one.resumed([C])
    bench.remote.forget(bench.world)
    await one.beat(LIVE)
    assert not one.away
    remote = bench.remote.inner
    assert {record.id: record.state for record in await remote.scan("sbc1")} == {
        A: State.CLAIMED,
        B: State.SETTLED,
    }
    assert await remote.unclaimed([C, D]) == [D]
    assert await one.settle([decided(A)]) != [None]


async def test_where_it_loses_its_memory_while_all_is_handed_back_nothing_is_dropped() -> None:
    """It has a record, so that the claim is lost, and when asked whose that is it has forgotten it."""
    bench = Bench()
    one = bench.one
    await one.beat(LIVE)
    await one.claim([bench.claim(A), bench.claim(B)], 10)
    await one.settle([decided(B)])
    await one.resumed([B])
    await bench.goes()
    bench.remote.held["settle"] = asyncio.Event()  # the step between the claim and the question whose it is
    before = bench.remote.calls["settle"]
    returning = asyncio.create_task(bench.returns())
    await until(lambda: bench.remote.calls["settle"] > before)
    bench.remote.forget(bench.world)
    bench.remote.held.pop("settle").set()
    await returning
    assert await states(bench) == {A: (State.CLAIMED, "one")}
    (record,) = await one.settle([decided(A)])
    assert record is not None


async def test_what_the_remote_store_has_forgotten_is_answered_by_who_had_claimed_it() -> None:
    bench = Bench()
    one = bench.one
    await one.beat(LIVE)
    await one.claim([bench.claim(A), bench.claim(B)], 10)
    await one.settle([decided(B)])
    bench.remote.forget(bench.world)
    (record,) = await one.settle([decided(A)])
    assert record is not None
    assert record.state is State.SETTLED
    assert await one.settle([decided(A), decided(B), decided(C)]) == [None, None, None]
    await one.flushed()
    assert {found.id: found.state for found in await bench.remote.inner.scan("sbc1")} == {A: State.SETTLED}


async def test_a_replica_that_left_by_itself_is_not_alarmed() -> None:
    bench = Bench()
    await bench.one.beat(LIVE)
    await bench.one.leave()
    with capture_logs() as logs:
        assert not (await bench.one.beat(LIVE)).known
    assert logs == []


@pytest.mark.parametrize("when", ["refused", "lost"])
@pytest.mark.parametrize("verb", ["claim", "settle", "resumed", "get", "scan", "beat"])
async def test_where_it_fails_again_nothing_is_lost(verb: str, when: str) -> None:
    bench = Bench()
    one, two = bench.one, bench.two
    await one.claim([bench.claim(A), bench.claim(B), bench.claim(C)], 10)
    bench.remote.refused = {"expire"}
    await one.expire("sbc1")
    await one.settle([decided(B), decided(C)])
    await one.resumed([C])
    await one.claim([bench.claim(D)], 10)
    bench.remote.refused = set()
    getattr(bench.remote, when).add(verb)
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            await one.beat(LIVE)
        assert one.away
    assert {record.id for record in await one.scan("sbc1")} == {A, B, D}
    await bench.returns()
    assert await states(bench) == {
        A: (State.CLAIMED, "one"),
        B: (State.SETTLED, "one"),
        D: (State.CLAIMED, "one"),
    }
    assert await two.unclaimed([C]) == []


async def test_what_is_done_during_the_hand_back_is_handed_back_too() -> None:
    bench = Bench()
    one = bench.one
    await bench.goes()
    await one.claim([bench.claim(A), bench.claim(B)], 10)
    bench.remote.held["claim"] = asyncio.Event()
    bench.remote.mend()
    beat = asyncio.ensure_future(one.beat(LIVE))
    while not bench.remote.calls["claim"]:
        await asyncio.sleep(0)
    await one.settle([decided(A), decided(B)])
    await one.resumed([A])
    await one.claim([bench.claim(C)], 10)
    assert one.away
    bench.remote.held["claim"].set()
    await beat
    assert not one.away
    assert await states(bench) == {B: (State.SETTLED, "one"), C: (State.CLAIMED, "one")}
    assert await bench.two.unclaimed([A]) == []


async def test_the_hand_back_ends_while_there_is_always_more_to_hand_back() -> None:
    """With a slow server and many calls something is done during each of its turns."""
    bench = Bench()
    one = bench.one
    await one.claim([bench.claim(A)], 10)
    await bench.goes()
    ids = [suspension(number) for number in range(100, 200)]
    busy, remote = iter(ids), bench.remote.claim

    async def claimed_meanwhile(*arguments: Any) -> list[Claim]:
        id_ = next(busy)
        await one.claim([bench.claim(id_)], 1000, True)
        if id_ != ids[0]:
            await one.settle([decided(ids[ids.index(id_) - 1])], True)
            await one.resumed([ids[ids.index(id_) - 1]])
        return await remote(*arguments)

    bench.remote.__dict__["claim"] = claimed_meanwhile
    await bench.returns()
    assert not one.away
    del bench.remote.__dict__["claim"]
    await one.flushed()
    done = ids[: ids.index(next(busy))]
    assert len(done) < 20
    assert await bench.two.unclaimed([A, *done]) == []
    assert (await bench.two.get(done[-1]), await bench.two.get(A)) == (bench.claim(done[-1]), bench.claim(A))


async def test_of_beats_that_overlap_one_hands_back() -> None:
    bench = Bench()
    await bench.goes()
    await bench.one.claim([bench.claim(A)], 10)
    bench.remote.mend()
    bench.remote.faults = iter([Fault(before=1, after=1)] * 20)
    bench.remote.calls.clear()
    first, second = await asyncio.gather(bench.one.beat(LIVE), bench.one.beat(LIVE))
    assert first.beats == second.beats == {"one": LIVE}
    assert bench.remote.calls == {"beat": 2, "claim": 1}


async def test_a_long_hand_back_beats_on_the_way() -> None:
    bench = Bench()
    await bench.goes()
    ids = [suspension(number) for number in range(4 * STEP)]
    await bench.one.claim([bench.claim(id_) for id_ in ids], 10_000)

    class Slow:
        def __init__(self) -> None:
            self.claim = bench.remote.inner.claim

        async def __call__(self, *args: object) -> object:
            bench.world.time += BEAT_AGAIN * 0.6
            return await self.claim(*args)  # type: ignore[arg-type]

    bench.remote.inner.claim = Slow()  # type: ignore[assignment, method-assign]
    bench.remote.calls.clear()
    began, beat = bench.world.time, bench.remote.inner.beat
    told: list[float] = []

    async def noted(live: Beat) -> Snapshot:
        told.append(live.at)
        return await beat(live)

    bench.remote.inner.beat = noted  # type: ignore[assignment, method-assign]
    bench.remote.mend()
    await bench.one.beat(replace(LIVE, at=began))
    assert told == pytest.approx([began, began + BEAT_AGAIN * 1.2, began + BEAT_AGAIN * 2.4])
    assert bench.remote.calls["claim"] == 4
    assert bench.remote.calls["beat"] == 1 + 2
    assert len(await states(bench)) == len(ids)
