"""On a node that drops no second answer nobody is answered twice, whatever happens; and who can be, is."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from adapter.relay import doubts
from tests.harness.examples import examples
from tests.relay.plain_world import NODE, World
from tests.relay_bench import NOW

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from typing import Any

    from tests.replicas_bench import Replica


LATE = [0, 10, 50]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doubts, "LOOK_EACH", 0.0)


def play(seed: int, story: Callable[[World], Coroutine[Any, Any, None]]) -> World:
    """Return the world after a story that begins with two replicas which know each other."""

    async def whole() -> World:
        world = World(seed)
        for _ in range(2):
            world.start()
        await world.run(3.0, calls=False)
        try:
            await story(world)
        finally:
            await world.close()
        return world

    return asyncio.run(whole())


def fault(world: World, alone: Sequence[str]) -> None:
    """One thing goes, or comes back. ``alone``: what may go for one replica."""
    draw = world.draw
    one = draw.choice(world.replicas) if world.replicas else None
    what = draw.choice(["hang", "hang", "forget", *alone, "link", "kill", "start"])
    if what == "hang":
        world.hung = not world.hung
    elif what == "forget" and draw.random() < 0.5:
        world.memory += 1
        for node in world.common._nodes.values():
            for id_ in draw.sample(list(node.records), len(node.records) // 2):
                node.claimed -= node.records.pop(id_).state == 1
    elif what == "start" and len(world.replicas) < 3:
        world.start()
    elif one is None:
        return
    elif what == "store":
        world.ways[one.name].cut = not world.ways[one.name].cut
    elif what == "bus":
        world.buses[one.name] = not world.buses[one.name]
    elif what == "link":
        one.links.down ^= {NODE}
    elif what == "kill" and draw.random() < 0.5:
        world.kill(one)


async def anything(world: World) -> None:
    world.notices = LATE
    alone = world.draw.choice([["bus", "bus"], ["store", "store"], ["bus", "store"]])
    for _ in range(10):
        fault(world, alone)
        await world.run(world.draw.choice((0.06, 0.3, 0.7, 1.2)))


@pytest.mark.parametrize("seed", range(examples(15)))
def test_nobody_is_answered_twice(seed: int) -> None:
    play(seed, anything)


async def one_with_each_alone(world: World) -> None:
    world.notices = LATE
    (active,) = (each for each in world.replicas if each.roles.of(NODE).is_active)
    (standby,) = (each for each in world.replicas if each is not active)
    first, second = world.draw.sample([active, standby], 2)
    await world.run(1.0)
    world.buses[first.name] = False
    await world.run(world.draw.choice((0.0, 0.1, 0.6, 1.5)))
    world.ways[second.name].cut = True
    await world.run(3.0)
    world.draw.choice([lambda: world.buses.update({first.name: True}), lambda: _heal(world, second)])()
    await world.run(1.5)
    world.buses[first.name], world.ways[second.name].cut = True, False
    await world.run(1.0)
    await world.run(3.0, calls=False)


def _heal(world: World, replica: Replica) -> None:
    world.ways[replica.name].cut = False


@pytest.mark.parametrize("seed", range(examples(8)))
def test_one_that_has_the_store_alone_leaves_calls_to_one_that_has_rabbitmq_alone(seed: int) -> None:
    world = play(seed, one_with_each_alone)
    silent = sorted(world.calls[label] - NOW for label in world.calls.keys() - world.answered.keys())
    assert len(silent) < 0.4 * len(world.calls), "whoever is left takes over"


async def cut_off_while_the_store_hangs(world: World) -> None:
    (active,) = (each for each in world.replicas if each.roles.of(NODE).is_active)
    await world.run(1.0)
    world.buses[active.name] = False
    await world.run(0.6)
    world.hung = True
    await world.run(0.7)
    world.hung = False
    await world.run(1.1)
    world.buses[active.name] = True
    await world.run(1.0)
    await world.run(3.0, calls=False)


@pytest.mark.parametrize("seed", range(2))
def test_all_are_answered_though_the_store_hung_while_the_active_replica_was_cut_off(seed: int) -> None:
    world = play(seed, cut_off_while_the_store_hangs)
    assert world.answered.keys() == world.calls.keys()
