"""Answers that are added here and by others, while the remote store is there and while it is not."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.inflight.resync import lines_beyond
from adapter.model.transaction import Progress, State, Transaction, TransactionId
from adapter.ports.store import Claim
from tests.inflight.faulty import Bench
from tests.inflight.steps import lines
from tests.inflight.worlds import LIVE, claimed, decided, line, step, suspension

A, B, C = (suspension(number) for number in range(1, 4))


class Told(Bench):
    """A bench that keeps what ``on_added`` tells."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[Transaction] = []
        self.one._resync._on_added = self.told.append


async def behind(bench: Bench, *ids: TransactionId) -> None:
    """Claimed, and the remote store knows."""
    won = await bench.one.claim([bench.claim(id_) for id_ in ids], 10, write_behind=True)
    assert won == [Claim.WON] * len(ids)
    await bench.one.flushed()
    bench.remote.calls.clear()


async def add(bench: Bench, service: str, id_: TransactionId = A) -> Transaction | None:
    (record,) = await bench.one.progress([step(id_, service)], write_behind=True)
    return record


async def there(bench: Bench, id_: TransactionId = A) -> Counter[bytes]:
    """What the remote store knows."""
    found = await bench.two.get(id_)
    assert found is not None
    return lines(found)


def of(*services: str) -> Counter[bytes]:
    return Counter(map(line, services))


# While the remote store is there


async def test_nobody_waits_for_the_remote_store_which_is_told_of_all_at_once() -> None:
    bench = Told()
    await behind(bench, A, B)
    given = bench.claim(A)
    await add(bench, "fraud")
    assert await add(bench, "screening") == replace(given, course=line("fraud") + line("screening"))
    (settled,) = await bench.one.settle([decided(A)], write_behind=True)
    await add(bench, "fraud", B)
    assert not bench.remote.calls
    await bench.one.flushed()
    assert bench.remote.calls == {"progress": 1, "settle": 1}
    assert await bench.two.get(A) == settled
    assert await there(bench) == of("fraud", "screening")
    assert await there(bench, B) == of("fraud")
    assert not bench.told


async def test_before_the_claim_is_told_there_is_nothing_else_to_tell() -> None:
    bench = Bench()
    await bench.one.claim([bench.claim(A)], 10, write_behind=True)
    await add(bench, "fraud")
    await bench.one.flushed()
    assert bench.remote.calls == {"claim": 1, "settle": 1}
    assert await there(bench) == of("fraud")


async def test_the_remote_store_is_told_before_long() -> None:
    bench = Bench()
    await behind(bench, A)
    await add(bench, "fraud")
    while not bench.remote.calls["progress"]:
        await asyncio.sleep(0)
    assert await there(bench) == of("fraud")


async def test_before_it_is_asked_for_anything_it_is_told() -> None:
    bench = Bench()
    await behind(bench, A)
    await add(bench, "fraud")
    (record,) = await bench.one.scan("sbc1")
    assert lines(record) == of("fraud")


async def test_asked_of_the_remote_store_it_gives_what_others_added_too() -> None:
    bench = Told()
    await behind(bench, A)
    later = bench.claim(A).deadline + 30
    await bench.two.progress([step(A, "fraud", later)])
    (record,) = await bench.one.progress([step(A, "screening")])
    assert record == replace(bench.claim(A), course=line("fraud") + line("screening"), deadline=later)
    assert not bench.told, "it is what was returned"
    # And it is what is known here, too.
    await bench.goes()
    assert await bench.one.get(A) == record
    bench.world.time += 60
    assert await bench.one.expire("sbc1") == []
    bench.world.time += 30
    assert [expired.course for expired in await bench.one.expire("sbc1")] == [record.course]


async def test_what_others_added_is_told_when_the_remote_store_is() -> None:
    bench = Told()
    await behind(bench, A)
    await bench.two.progress([step(A, "fraud")])
    assert await add(bench, "screening") == replace(bench.claim(A), course=line("screening"))
    assert not bench.told
    await bench.one.flushed()
    (record,) = bench.told
    assert lines(record) == await there(bench) == of("fraud", "screening")
    assert await bench.one.settle([decided(A)], write_behind=True) != [None]
    await bench.one.flushed()
    assert len(bench.told) == 1


async def test_what_another_has_claimed_is_added_to_there_and_not_held_here() -> None:
    bench = Bench()
    await bench.two.claim([claimed(A, bench.two, bench.world)], 10)
    for service in ("fraud", "screening"):
        assert await add(bench, service) is not None
    assert await there(bench) == of("fraud", "screening")
    assert not bench.here
    await bench.goes()
    assert await add(bench, "routing") is None


async def test_what_another_has_adopted_meanwhile_is_not_held_here_any_more() -> None:
    """A process that stood still past its lease goes on with what the other knows."""
    bench = Told()
    await behind(bench, A)
    await bench.two.adopt("sbc1", ["one"], State.CLAIMED)
    await bench.two.progress([step(A, "fraud")])
    await add(bench, "screening")
    await bench.one.flushed()
    record = await add(bench, "routing")
    assert record is not None
    assert lines(record) == of("fraud", "screening", "routing")
    (told,) = bench.told
    assert lines(told) == of("fraud", "screening")
    assert not bench.here


async def test_what_another_has_answered_meanwhile_is_left_to_it() -> None:
    bench = Bench()
    await behind(bench, A)
    await bench.two.settle([decided(A)])
    await add(bench, "fraud")
    await bench.one.flushed()
    assert not bench.here
    assert await bench.one.settle([decided(A)], write_behind=True) == [None]


async def test_what_another_has_claimed_first_gets_what_was_added_here() -> None:
    bench = Bench()
    await bench.two.claim([claimed(A, bench.two, bench.world)], 10)
    await bench.one.claim([bench.claim(A)], 10, write_behind=True)
    await add(bench, "fraud")
    bench.remote.held["get"] = asyncio.Event()
    flushing = asyncio.ensure_future(bench.one.flushed())
    while not bench.remote.calls["get"]:
        await asyncio.sleep(0)
    await add(bench, "screening")  # it is no less another's for that
    bench.remote.held["get"].set()
    await flushing
    await bench.one.flushed()
    assert await there(bench) == of("fraud", "screening")
    assert not bench.here


async def test_what_the_remote_store_has_forgotten_goes_on_here_and_is_told_again() -> None:
    bench = Bench()
    await bench.one.beat(LIVE)
    await behind(bench, A, B)
    await add(bench, "fraud")
    await bench.one.flushed()
    bench.remote.forget(bench.world)
    (record,) = await bench.one.progress([step(A, "screening")])
    assert record is not None
    assert lines(record) == of("fraud", "screening")
    await add(bench, "fraud", B)
    await bench.one.flushed()
    remote = {found.id: lines(found) for found in await bench.remote.inner.scan("sbc1")}
    assert remote == {A: of("fraud", "screening"), B: of("fraud")}


# While it is not


@pytest.mark.parametrize("when", ["refused", "lost"])
@pytest.mark.parametrize("write_behind", [False, True])
async def test_what_may_not_have_reached_it_reaches_it_once(when: str, write_behind: bool) -> None:
    bench = Told()
    await behind(bench, A)
    getattr(bench.remote, when).add("progress")
    (record,) = await bench.one.progress([step(A, "fraud")], write_behind)
    await bench.one.flushed()
    assert bench.one.away
    assert record == replace(bench.claim(A), course=line("fraud"))
    assert await bench.one.progress([step(A, "screening"), step(C, "fraud")]) != [None, None]
    await bench.returns()
    assert await there(bench) == of("fraud", "screening")
    assert not bench.told


@pytest.mark.parametrize("settled", [False, True])
async def test_after_an_outage_each_side_gets_what_it_lacks(settled: bool) -> None:
    bench = Told()
    await behind(bench, A)
    await add(bench, "early")
    await bench.goes()  # which flushes
    await add(bench, "here")
    await bench.two.progress([step(A, "there")])
    if settled:
        await bench.one.settle([decided(A)])
    await bench.returns()
    assert await there(bench) == of("early", "here", "there")
    if settled:
        assert not bench.told, "it has its answer"
        return
    (record,) = bench.told
    assert lines(record) == of("early", "here", "there")
    calls = bench.remote.calls.copy()
    await bench.one.beat(LIVE)
    assert bench.remote.calls - calls == {"beat": 1}


async def test_an_answer_that_came_twice_is_there_twice() -> None:
    """As of a service that is asked again after it has failed."""
    bench = Bench()
    await behind(bench, A)
    await add(bench, "fraud")
    await bench.goes()
    await add(bench, "fraud")
    await bench.returns()
    assert await there(bench) == of("fraud", "fraud")


async def test_of_two_deadlines_the_later_counts() -> None:
    bench = Bench()
    await behind(bench, A, B)
    await bench.goes()
    end = bench.claim(A).deadline
    await bench.one.progress([step(A, "fraud", end + 10), step(B, "fraud", end + 10)])
    await bench.two.progress([Progress(B, b"", end + 20)])
    await bench.returns()
    both = {A: end + 10, B: end + 20}
    assert {record.id: record.deadline for record in await bench.two.scan("sbc1")} == both
    assert {record.id: record.deadline for record in bench.one._local.records()} == both


async def test_what_is_adopted_meanwhile_gets_what_was_added_here() -> None:
    bench = Bench()
    await behind(bench, A)
    await bench.goes()
    await add(bench, "fraud")
    (adopted,) = await bench.two.adopt("sbc1", ["one"], State.CLAIMED)
    assert not adopted.course
    await bench.returns()
    assert not bench.here
    found = await bench.two.get(A)
    assert found is not None
    assert (found.owner, lines(found)) == ("two", of("fraud"))


@pytest.mark.parametrize("meanwhile", ["nothing", "added", "settled"])
async def test_an_answer_of_the_remote_store_that_comes_late(meanwhile: str) -> None:
    bench = Bench()
    await behind(bench, A)
    bench.remote.held["progress"] = asyncio.Event()
    asked = asyncio.ensure_future(bench.one.progress([step(A, "fraud")]))
    while not bench.remote.calls["progress"]:
        await asyncio.sleep(0)
    await bench.goes()
    bench.remote.away = False
    if meanwhile == "added":
        await add(bench, "screening")
    elif meanwhile == "settled":
        await bench.one.settle([decided(A)])
    bench.remote.held.pop("progress").set()
    (record,) = await asked
    if meanwhile == "settled":
        assert record is None
        return
    assert record is not None
    assert lines(record) == of("fraud", *["screening"] * (meanwhile == "added"))
    assert await bench.one.get(A) == record


async def test_a_licence_from_there_holds_all_that_is_known_here() -> None:
    bench = Bench()
    await behind(bench, A)
    bench.remote.inner.beside("one").put(replace(bench.claim(A), course=line("there")))
    bench.one._local.progress_one(step(A, "here"))
    (record,) = await bench.one.settle([decided(A)])
    assert record is not None
    assert lines(record) == of("here", "there")


several = st.lists(st.sampled_from([line("1"), line("2"), line("3")]), max_size=6)


@given(several, several)
def test_the_lines_that_one_side_lacks(known: list[bytes], course: list[bytes]) -> None:
    lacking = lines_beyond(b"".join(known), b"".join(course)).splitlines(keepends=True)
    assert Counter(lacking) == Counter(course) - Counter(known)
    rest = iter(course)
    assert all(each in rest for each in lacking), "in their order"


async def test_steps_of_one_that_are_told_together_move_its_deadline_once() -> None:
    bench = Bench()
    await behind(bench, A)
    end = bench.claim(A).deadline
    moved = partial(bench.one.progress, write_behind=True)
    await moved([step(A, "1", end + 10), step(A, "2"), Progress(A, b"", end + 5)])
    await bench.one.flushed()
    assert bench.remote.calls == {"progress": 1, "settle": 1}
    found = await bench.two.get(A)
    assert found is not None
    assert (found.deadline, lines(found)) == (end + 10, of("1", "2"))
