"""How many handlers run at a time, and what becomes of those that wait for their turn."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from adapter.contract import Request, encode_request
from consumers import Message, Result, Service, allow
from consumers.testing import ask, opened
from tests.harness.until import until

if TYPE_CHECKING:
    import pytest

NOW = 1_000.0


class Busy:
    """A service whose handlers stay at work until they are let go."""

    def __init__(self, concurrency: int | None) -> None:
        self.service = Service("busy", concurrency=concurrency, clock=lambda: NOW)
        self.running = self.most = 0
        self.go_on = asyncio.Event()
        self.service.on("e")(self.decide)

    async def decide(self, request: Request) -> dict[str, Any]:
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await self.go_on.wait()
            return allow()
        finally:
            self.running -= 1

    def ask(self, left: float | None = 60.0) -> asyncio.Task[Any]:
        deadline = None if left is None else NOW + left
        body = encode_request(Request("e", "n", {}, 1, 1, 1, deadline))
        return asyncio.ensure_future(self.service.answer(Message(body, "n:1:1:1")))


async def test_no_more_run_than_may() -> None:
    busy = Busy(3)
    asked = [busy.ask(left) for left in (60.0, None, 60.0, 60.0, None)]
    await until(lambda: busy.running == 3)
    busy.go_on.set()
    assert [answer.result for answer in await asyncio.gather(*asked)] == [Result.DECIDED] * 5
    assert busy.most == 3


async def test_without_a_limit_all_run() -> None:
    busy = Busy(None)
    asked = [busy.ask() for _ in range(20)]
    await until(lambda: busy.running == 20)
    busy.go_on.set()
    await asyncio.gather(*asked)


async def test_who_waits_is_dropped_at_the_deadline_and_holds_nobody_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    busy = Busy(1)
    first, second, third = busy.ask(), busy.ask(0.02), busy.ask()
    assert (await second).result is Result.EXPIRED
    assert "dropped, with 0.000 s left" in caplog.text
    busy.go_on.set()
    assert [(await each).result for each in (first, third)] == [Result.DECIDED, Result.DECIDED]


async def test_a_handler_that_is_cancelled_at_its_deadline_gives_its_place_up() -> None:
    busy = Busy(1)
    first, second = busy.ask(0.05), busy.ask()
    assert (await first).result is Result.LATE
    await until(lambda: busy.running == 1)
    busy.go_on.set()
    assert (await second).result is Result.DECIDED


async def test_who_is_cancelled_from_without_while_it_waits_takes_no_place() -> None:
    busy = Busy(1)
    first, second, third = busy.ask(), busy.ask(), busy.ask()
    await until(lambda: busy.running == 1)
    second.cancel()
    busy.go_on.set()
    assert [(await each).result for each in (first, third)] == [Result.DECIDED, Result.DECIDED]


def test_what_is_held_by_default() -> None:
    assert Service("s").prefetch == 100
    assert Service("s", concurrency=20).prefetch == 40
    assert Service("s", concurrency=65_535).prefetch == 65_535
    assert Service("s", concurrency=20, prefetch=25).prefetch == 25


def test_one_event_loop_after_the_other() -> None:
    """As a suite of tests has them, all with the same service."""
    service = Service("twice", concurrency=1)
    service.on("e")(_pause)

    async def several() -> list[dict[str, Any]]:
        async with opened(service):
            return await asyncio.gather(*(ask(service, "e", {}) for _ in range(3)))

    for _ in range(2):
        assert asyncio.run(several()) == [allow()] * 3


async def _pause(_: Request) -> dict[str, Any]:
    await asyncio.sleep(0.001)
    return allow()
