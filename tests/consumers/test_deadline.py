"""A handler's coroutine runs as it would under a plain ``await``, whether or not it waits."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from consumers.deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Awaitable, Generator


def soon() -> Deadline:
    return Deadline(asyncio.get_running_loop().time() + 0.01)


def late() -> Deadline:
    """One that does not come while a test runs."""
    return Deadline(asyncio.get_running_loop().time() + 3600)


async def test_no_timer_where_nothing_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    async def at_once() -> int:
        return 7

    monkeypatch.delattr(asyncio, "timeout_at")
    assert await Deadline(0).bound(at_once()) == 7


async def test_each_step_is_in_the_same_task() -> None:
    tasks = [asyncio.current_task()]

    async def steps() -> int:
        for _ in range(3):
            tasks.append(asyncio.current_task())
            await asyncio.sleep(0)
        return 7

    assert await late().bound(steps()) == 7
    assert len(tasks) == 4
    assert len(set(tasks)) == 1


async def test_results_and_errors_come_in() -> None:
    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def waits() -> int:
        try:
            await future
        except KeyError:
            await asyncio.sleep(0)
            return 7
        return 0

    bound = asyncio.ensure_future(Deadline(None).bound(waits()))
    await asyncio.sleep(0)
    future.set_exception(KeyError())
    assert await bound == 7


async def test_errors_go_out() -> None:
    async def fails(after: int) -> None:
        for _ in range(after):
            await asyncio.sleep(0)
        raise KeyError(after)

    for after in (0, 1, 2):
        deadline = late()
        with pytest.raises(KeyError, match=str(after)):
            await deadline.bound(fails(after))
        assert not deadline.passed


async def test_time_limits_and_groups_of_its_own() -> None:
    async def own() -> list[str]:
        seen = []
        try:
            async with asyncio.timeout(0):
                await asyncio.Event().wait()
        except TimeoutError:
            seen.append("own time limit")
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(asyncio.sleep(3600))
                group.create_task(asyncio.to_thread(int, "x"))
        except* ValueError:
            seen.append("own group")
        return seen

    async def cancelling(awaited: Awaitable[list[str]]) -> int:
        assert await awaited == ["own time limit", "own group"]
        task = asyncio.current_task()
        assert task is not None
        return task.cancelling()

    # In 3.11 a group leaves its mark on the task.
    plain = await asyncio.create_task(cancelling(own()))
    assert await asyncio.create_task(cancelling(Deadline(None).bound(own()))) == plain


async def test_the_deadline_is_the_outer_one_although_it_is_set_later() -> None:
    async def own() -> None:
        async with asyncio.timeout(3600):
            await asyncio.Event().wait()

    deadline = soon()
    with pytest.raises(TimeoutError):
        await deadline.bound(own())
    assert deadline.passed
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()


async def test_both_at_the_same_time() -> None:
    """As with two nested limits: the outer one counts."""

    async def own(when: float) -> None:
        async with asyncio.timeout_at(when):
            await asyncio.Event().wait()

    when = asyncio.get_running_loop().time()
    deadline = Deadline(when)
    with pytest.raises(TimeoutError):
        await deadline.bound(own(when))
    assert deadline.passed


async def test_a_first_step_that_takes_too_long_counts_as_long_as_it_is_the_only_one() -> None:
    async def own(waits: bool) -> int:
        if waits:
            await asyncio.Event().wait()
        return 7

    assert await Deadline(0).bound(own(False)) == 7
    with pytest.raises(TimeoutError):
        await Deadline(0).bound(own(True))


async def test_other_awaitables() -> None:
    class Seven:
        def __await__(self) -> Generator[Any, None, int]:
            yield from asyncio.sleep(0).__await__()
            return 7

    assert await late().bound(Seven()) == 7


async def test_who_drops_it_ends_it() -> None:
    ended = []

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    bound = Deadline(None).bound(waits())
    bound.send(None)
    bound.close()
    assert ended == [True]
