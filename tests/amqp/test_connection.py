"""Whether a server that says nothing is let go of, on a clock that the test moves."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from adapter.amqp.connection import Connection
from adapter.amqp.limits import ConnectionLimits
from adapter.errors import BrokerUnavailable
from tests.harness.held_clock import run


class Watched(Connection):
    """A connection to a server that answers as ``answers`` says, of which the test sets the state."""

    def __init__(self, answers: Any) -> None:
        self.limits = ConnectionLimits(1)
        self.wire: Any = SimpleNamespace(paused=False, heard_at=float("-inf"))
        self._unblocked: asyncio.Event = asyncio.Event()
        self._unblocked.set()
        self.answers = answers
        self.asked: list[float] = []
        self.aborted_for = ""

    async def channel(self, confirms: bool = False) -> Any:
        return self

    async def ask(self, _: object) -> None:
        self.asked.append(round(asyncio.get_running_loop().time(), 3))
        await self.answers()

    def abort(self, why: str) -> None:
        self.aborted_for = why


async def at_once() -> None:
    pass


async def never() -> None:
    await asyncio.Event().wait()


async def refuses() -> None:
    raise OSError("refused")


def test_it_is_asked_while_it_says_nothing_and_at_once_in_doubt() -> None:
    async def work() -> None:
        watched, doubt = Watched(at_once), asyncio.Event()
        began = asyncio.get_running_loop().time()
        task = asyncio.create_task(watched.watch(watched.ask, doubt))
        await asyncio.sleep(2.5)
        watched.wire.heard_at = asyncio.get_running_loop().time()  # it speaks: no need to ask
        await asyncio.sleep(1.0)
        doubt.set()
        await asyncio.sleep(0.1)
        assert [at - began for at in watched.asked] == pytest.approx([1.0, 2.0, 3.5])
        assert not doubt.is_set()
        task.cancel()
        await asyncio.wait([task])

    run(work())


@pytest.mark.parametrize("answers, why", [(never, "no answer within 1 s"), (refuses, "refused")])
def test_one_that_gives_no_answer_is_let_go_of(answers: Any, why: str) -> None:
    async def work() -> None:
        watched = Watched(answers)
        with pytest.raises(BrokerUnavailable, match=why):
            await watched.watch(watched.ask)
        assert bool(watched.aborted_for) == (answers is never)

    run(work())


@pytest.mark.parametrize("state", ["paused", "blocked"])
def test_one_that_owes_no_answer_is_waited_for_and_watched_again(state: str) -> None:
    """The adapter let go of a server that had blocked a connection, on which it says beats, and watched no
    more once so much had come that nothing was read for a second."""

    async def work() -> None:
        gate = asyncio.Event()
        watched = Watched(gate.wait)

        def is_so(so: bool) -> None:
            watched.wire.paused = so and state == "paused"
            if so and state == "blocked":
                watched._unblocked.clear()
            else:
                watched._unblocked.set()

        task = asyncio.create_task(watched.watch(watched.ask))
        await asyncio.sleep(1.5)
        is_so(True)
        await asyncio.sleep(10)
        assert not watched.aborted_for
        is_so(False)
        gate.set()
        await asyncio.sleep(2.5)
        assert len(watched.asked) >= 3
        gate.clear()
        await asyncio.wait([task])
        assert watched.aborted_for

    run(work())
