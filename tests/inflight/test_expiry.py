"""What is past its deadline is answered in time, however long the remote store takes."""

from __future__ import annotations

import asyncio

import pytest

from adapter.inflight.expiry import LATE, REMOTE_LOOK
from adapter.model.transaction import Outcome, Progress, State
from adapter.ports.store import Claim
from tests.harness.until import until
from tests.inflight.faulty import Bench
from tests.inflight.worlds import claimed, decided, suspension

A, B = suspension(1), suspension(2)
NODE = "sbc1"


class Slow(Bench):
    """A is claimed behind, and due. The remote store does not answer what is due until ``answers``."""

    def __init__(self) -> None:
        super().__init__()
        self.answering = asyncio.Event()

    async def begin(self) -> None:
        """Shortly before it is due it is looked at."""
        assert await self.one.claim([self.claim(A, left=1)], 10, write_behind=True) == [Claim.WON]
        await self.one.flushed()
        self.world.time += 1 - REMOTE_LOOK
        assert self.one.due(NODE)
        assert await self.expire() == []
        await until(lambda: self.remote.calls["get"])
        self.remote.calls.clear()
        self.world.time += REMOTE_LOOK

    def hold(self) -> None:
        self.remote.held["expire"] = self.answering

    async def expire(self, write_behind: bool = True) -> list[int]:
        return [record.id.index for record in await self.one.expire(NODE, write_behind=write_behind)]

    async def answers(self) -> None:
        self.answering.set()
        await until(lambda: self.one._expiry.due_there(NODE))


async def test_what_this_replica_owns_does_not_wait() -> None:
    bench = Slow()
    await bench.begin()
    bench.hold()
    assert await bench.expire() == [A.index]
    assert not bench.one.due(NODE)
    await bench.one.flushed()
    record = await bench.two.get(A)
    assert record is not None
    assert (record.state, record.outcome) == (State.SETTLED, Outcome.TIMEOUT)
    await bench.answers()
    assert await bench.expire() == [], "it was answered here"
    assert bench.remote.calls["expire"] == 1


async def test_nor_for_what_is_told_before_the_question() -> None:
    bench = Slow()
    await bench.one.claim([bench.claim(B)], 10, write_behind=True)
    await bench.begin()
    bench.remote.held["settle"] = bench.answering
    await bench.one.settle([decided(B)], write_behind=True)
    assert await bench.expire() == [A.index]
    assert bench.remote.calls["expire"] == 0
    await bench.answers()
    assert await bench.expire() == []
    await bench.one.flushed()
    outcomes = [record.outcome for id_ in (A, B) if (record := await bench.two.get(id_)) is not None]
    assert outcomes == [Outcome.TIMEOUT, Outcome.DECIDED]


async def test_a_replica_that_may_not_answer_alone_waits() -> None:
    bench = Slow()
    await bench.begin()
    bench.hold()
    asked = asyncio.ensure_future(bench.expire(write_behind=False))
    await until(lambda: bench.remote.calls["expire"])
    await asyncio.sleep(0.02)
    assert not asked.done()
    bench.answering.set()
    assert await asked == [A.index]


async def test_what_another_replica_has_answered_is_not_answered_here_however_long_it_takes() -> None:
    bench = Slow()
    await bench.begin()
    await bench.two.settle([decided(A)])
    assert await bench.expire() == []
    bench.hold()
    assert await bench.expire() == []
    await bench.answers()
    assert await bench.expire() == []


@pytest.mark.parametrize("moved", [False, True], ids=["answered", "moved its deadline"])
async def test_nor_if_the_remote_store_is_slow_from_the_first_question_on(moved: bool) -> None:
    bench = Slow()
    assert (
        await bench.one.claim([bench.claim(A, left=1), bench.claim(B, left=1)], 10, True) == [Claim.WON] * 2
    )
    await bench.one.flushed()
    if moved:
        await bench.two.progress([Progress(A, b"", bench.world.time + 10)])
    else:
        await bench.two.settle([decided(A)])
    bench.hold()
    bench.world.time += 1 - REMOTE_LOOK
    assert await bench.expire() == []
    await until(lambda: bench.remote.calls["get"] == 2)
    bench.world.time += REMOTE_LOOK
    assert await bench.expire() == [B.index], "which nobody else has touched"
    await bench.answers()
    assert await bench.expire() == []


async def test_what_was_not_looked_at_waits() -> None:
    bench = Slow()
    await bench.one.claim([bench.claim(A, left=1)], 10, write_behind=True)
    await bench.one.flushed()
    bench.world.time += 1
    bench.remote.held["get"] = bench.answering
    bench.hold()
    assert await bench.expire() == []
    await bench.answers()
    assert await bench.expire() == [A.index]


async def test_an_answer_that_came_late_keeps_nothing_that_is_due_since() -> None:
    bench = Slow()
    await bench.one.claim([bench.claim(B, left=1 + REMOTE_LOOK / 2)], 10, write_behind=True)
    await bench.begin()
    bench.hold()
    assert await bench.expire() == [A.index]
    bench.world.time += REMOTE_LOOK / 2
    await bench.answers()
    assert await bench.expire() == [B.index]
    assert bench.remote.calls["expire"] == 1


async def test_where_one_after_the_other_is_due_and_the_look_is_late_nothing_waits() -> None:
    bench = Slow()
    await bench.one.claim([bench.claim(B, left=1 + REMOTE_LOOK / 2)], 10, write_behind=True)
    await bench.begin()
    assert await bench.expire() == [A.index]
    bench.world.time += REMOTE_LOOK / 2 + 2 * LATE
    bench.hold()
    bench.one._expiry._patience = 3600.0
    assert await asyncio.wait_for(bench.expire(), 10) == [B.index]


async def test_where_it_is_the_first_one_the_remote_store_is_asked_however_late_the_look_is() -> None:
    bench = Slow()
    await bench.begin()
    await bench.two.settle([decided(A)])
    bench.world.time += 2 * LATE
    assert await bench.expire() == []


async def test_what_the_remote_store_has_settled_of_others_is_returned_later() -> None:
    bench = Slow()
    await bench.begin()
    await bench.two.claim([claimed(B, bench.two, bench.world, left=0)], 10)
    bench.hold()
    assert await bench.expire() == [A.index]
    await bench.answers()
    assert await bench.expire() == [B.index]


async def test_who_closes_waits_for_no_answer() -> None:
    bench = Slow()
    await bench.begin()
    bench.hold()
    await bench.expire()
    await bench.one.close()
    assert bench.remote.closed


async def test_who_is_ended_while_it_waits_leaves_nothing_behind() -> None:
    bench = Slow()
    await bench.begin()
    bench.hold()
    before = asyncio.all_tasks()
    asked = asyncio.ensure_future(bench.expire(write_behind=False))
    await until(lambda: bench.remote.calls["expire"])
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    await until(lambda: asyncio.all_tasks() <= before)
