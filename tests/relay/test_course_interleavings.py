"""Anything may happen to calls that several services decide: each is answered once, as its services said."""

from __future__ import annotations

import asyncio

import pytest

from tests.harness.examples import examples
from tests.relay.course_world import World


def play(seed: int, steps: int, failover: bool = False, tagged: bool = True) -> None:
    """One world, to its end."""

    async def whole() -> None:
        world = World(seed, failover, tagged)
        await world.run(steps)
        world.check()

    asyncio.run(whole())


@pytest.mark.parametrize("seed", range(examples(60)))
def test_each_call_is_answered_once_as_its_services_said(seed: int) -> None:
    play(seed, 150)


@pytest.mark.parametrize("seed", range(examples(30)))
def test_services_in_this_process_have_ids_without_tags(seed: int) -> None:
    play(seed, 150, tagged=False)


@pytest.mark.parametrize("seed", range(examples(50)))
def test_each_call_is_answered_once_while_the_common_store_comes_and_goes(seed: int) -> None:
    play(seed, 150, failover=True)
