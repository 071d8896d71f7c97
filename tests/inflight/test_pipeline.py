"""The asks of a tick in one round trip; nobody waits for ever, and nobody gets another's answer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.errors import StoreUnavailable
from adapter.inflight.pipeline import MOST, Ask, Command, Pipeline, Script, grouped

if TYPE_CHECKING:
    from collections.abc import Sequence

CLAIM, SETTLE = Script("claim", "", "c"), Script("settle", "", "s")
KEYS = ("records", "deadlines")


class Echo:
    """Answers each member with itself, a command of its own with the command."""

    def __init__(self) -> None:
        self.runs: list[list[Command]] = []
        self.gate: asyncio.Event | None = None
        self.closed = False

    async def run(self, commands: Sequence[Command]) -> list[Any]:
        assert not self.closed
        self.runs.append(list(commands))
        if self.gate is not None:
            await self.gate.wait()
        return [self._reply(command) for command in commands]

    def _reply(self, command: Command) -> Any:
        if command.script is None:
            return command.arguments
        members = command.arguments[5:]
        return StoreUnavailable("refused") if "poison" in members else list(members)

    async def close(self) -> None:
        self.closed = True


def ask(batch: Pipeline, *members: str, script: Script = CLAIM) -> asyncio.Future[Any]:
    return batch.ask(script, KEYS, ("head",), members, members)


async def test_the_asks_of_a_tick_are_one_round_trip() -> None:
    transport = Echo()
    batch = Pipeline(transport, 60, lambda: 7)
    answers = [
        ask(batch, "a", "b"),
        ask(batch, "c"),
        batch.ask(None, (), ("ZCARD", "deadlines")),
        ask(batch, "d", script=SETTLE),
    ]
    assert await asyncio.gather(*answers) == [["a", "b"], ["c"], ("ZCARD", "deadlines"), ["d"]]
    assert transport.runs == [
        [
            Command(CLAIM, (2, *KEYS, 7, "head", "a", "b", "c")),
            Command(None, ("ZCARD", "deadlines")),
            Command(SETTLE, (2, *KEYS, 7, "head", "d")),
        ]
    ]


async def test_while_an_answer_is_awaited_asks_gather() -> None:
    transport = Echo()
    transport.gate = asyncio.Event()
    batch = Pipeline(transport, 60, lambda: 7)
    answers = []
    for member in "abcd":
        answers.append(ask(batch, member))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert len(transport.runs) == 1
    transport.gate.set()
    assert await asyncio.gather(*answers) == [["a"], ["b"], ["c"], ["d"]]
    assert [command.arguments[5:] for run in transport.runs for command in run] == [("a",), ("b", "c", "d")]


async def test_a_lane_that_hangs_costs_the_timeout_and_no_more() -> None:
    transport = Echo()
    transport.gate = asyncio.Event()
    batch = Pipeline(transport, 0.02, lambda: 7)
    loop = asyncio.get_running_loop()
    start = loop.time()
    first = ask(batch, "a")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    waiting = ask(batch, "b")
    for answer in (first, waiting):
        with pytest.raises(StoreUnavailable, match=r"no answer within 0\.02 s"):
            await answer
    assert loop.time() - start >= 0.02
    transport.gate = None
    assert await ask(batch, "c") == ["c"]


async def test_a_refusal_is_for_its_own_command() -> None:
    batch = Pipeline(Echo(), 60, lambda: 7)
    poisoned, beside, other = ask(batch, "poison"), ask(batch, "a"), ask(batch, "b", script=SETTLE)
    for answer in (poisoned, beside):
        with pytest.raises(StoreUnavailable, match="refused"):
            await answer
    assert await other == ["b"]


async def test_whatever_goes_wrong_nobody_waits_for_ever() -> None:
    class Broken(Echo):
        async def run(self, commands: Sequence[Command]) -> list[Any]:
            raise ValueError("a fault of ours")

    batch = Pipeline(Broken(), 60, lambda: 7)
    with pytest.raises(StoreUnavailable, match="ValueError: a fault of ours"):
        await ask(batch, "a")
    with pytest.raises(StoreUnavailable, match="ValueError"):
        await ask(batch, "b")


async def test_a_cancelled_asker_leaves_the_others_their_answers() -> None:
    batch = Pipeline(Echo(), 60, lambda: 7)
    gone, stays = ask(batch, "a"), ask(batch, "b")
    gone.cancel()
    assert await stays == ["b"]
    refused, stays = ask(batch, "poison"), ask(batch, "b", script=SETTLE)
    refused.cancel()
    assert await stays == ["b"]


async def test_with_the_flush_cancelled_its_askers_are() -> None:
    transport = Echo()
    transport.gate = asyncio.Event()
    batch = Pipeline(transport, 60, lambda: 7)
    answer = ask(batch, "a")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert batch._work is not None
    batch._work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await answer


async def test_close_answers_what_was_asked_and_takes_no_more() -> None:
    transport = Echo()
    batch = Pipeline(transport, 60, lambda: 7)
    answer = ask(batch, "a")
    await batch.close()
    assert await answer == ["a"]
    assert transport.closed
    with pytest.raises(StoreUnavailable, match="closed"):
        ask(batch, "b")


asks = st.lists(st.tuples(st.sampled_from([CLAIM, SETTLE]), st.lists(st.sampled_from("abc"), max_size=3)))


@given(asks)
def test_within_a_batch_asks_about_one_transaction_keep_their_order(
    given_asks: list[tuple[Script, list[str]]],
) -> None:
    plan = [Ask(script, KEYS, (), members, (), None) for script, members in given_asks]  # type: ignore[arg-type]
    order = [each for group in grouped(plan) for each in group]
    assert sorted(map(id, order)) == sorted(map(id, plan))
    for member in "abc":
        # Asks by the same script are simultaneous; what counts is which script comes when.
        assert [a.script for a in order if member in a.members] == [
            a.script for a in plan if member in a.members
        ]


def test_a_command_stays_small() -> None:
    members = [str(number) for number in range(MOST // 2)]
    plan = [Ask(CLAIM, KEYS, (), members, (), None) for _ in range(5)]  # type: ignore[arg-type]
    assert [len(group) for group in grouped(plan)] == [2, 2, 1]


def test_other_arguments_are_another_command() -> None:
    plan = [Ask(CLAIM, KEYS, (limit,), ["a"], (), None) for limit in (1, 2, 1)]  # type: ignore[arg-type]
    assert [[each.head for each in group] for group in grouped(plan)] == [[(1,)], [(2,)], [(1,)]]
