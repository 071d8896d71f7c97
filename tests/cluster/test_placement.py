"""Which nodes a replica connects to, while replicas and nodes come and go."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from adapter.cluster.drain import Drain
from adapter.cluster.placement import GONE_AFTER, LEAVE_AFTER
from adapter.model.transaction import State, Transaction
from tests.harness.examples import examples
from tests.relay_bench import LEASE, id_of, suspended
from tests.replicas_bench import Group, Replica

NODES = tuple(f"sbc{number}" for number in range(1, 21))
NODE = "sbc1"  # for which rendezvous hashing prefers r3, then r1, then r2


def links(group: Group) -> Counter[str]:
    """How many replicas are linked to each node."""
    return Counter(node for each in group.all for node in each.nodes.names)


def linked(group: Group, node: str = NODE) -> list[str]:
    return [each.name for each in group.all if node in each.nodes.names]


async def join(group: Group, name: str) -> Replica:
    first = group.all[0]
    replica = Replica(name, first, first.nodes.known, share=2)
    group.all.append(replica)
    replica.now = first.now
    return replica


async def shared(*names: str, nodes: tuple[str, ...] = (NODE,)) -> Group:
    """Replicas that have long had their shares of two links to each node."""
    group = Group(*names, nodes=nodes, share=2)
    await settle(group)
    return group


async def settle(group: Group, *without: str) -> None:
    """All beat until nobody has a link to leave any more."""
    for _ in range(int(LEAVE_AFTER / LEASE * 2) + 4):
        group.move(LEASE / 2)
        await group.beat(*without)


async def test_each_node_has_two_links_and_each_replica_its_part() -> None:
    group = await shared("r1", "r2", "r3", "r4", nodes=NODES)
    assert links(group) == dict.fromkeys(NODES, 2)
    had = sorted(len(each.nodes.names) for each in group.all)
    assert had[0] >= 5
    assert had[-1] <= 15
    assert all(len(group.active(node)) == 1 for node in NODES)
    for each in group.all:
        assert each.placement.wanted == frozenset(each.nodes.names)


async def test_a_replica_alone_links_all() -> None:
    group = await shared("r1", nodes=NODES)
    assert links(group) == dict.fromkeys(NODES, 1)


async def test_who_has_no_share_has_no_link() -> None:
    group = await shared("r1", "r2", "r3")
    assert linked(group) == ["r1", "r3"]
    assert group["r2"].placement.wanted == frozenset()


async def test_who_comes_connects_before_another_leaves() -> None:
    group = await shared("r1", "r2")
    assert linked(group) == ["r1", "r2"]
    third = await join(group, "r3")
    third.drop(NODE)  # the link does not stand yet
    await settle(group)
    assert linked(group) == ["r1", "r2", "r3"]
    assert group.active() == ["r1"]
    third.links.unsound.clear()
    await group.beat()
    assert linked(group) == ["r1", "r2", "r3"], "for a moment it may come back to the one before"
    await settle(group)
    assert linked(group) == ["r1", "r3"]
    assert group.active() == ["r3"]


async def test_what_is_not_read_or_not_answered_yet_keeps_a_link() -> None:
    group = await shared("r1", "r2")
    second = group["r2"]
    second.nodes.busy.add(NODE)
    await join(group, "r3")
    await settle(group)
    assert NODE in second.nodes.names
    second.nodes.busy.clear()
    await second.trip._ask([_claimed(second)])
    await second.beat()
    assert NODE in second.nodes.names
    await second.store.inner.settle([])
    await second.recovery.forget_node(NODE)
    await second.beat()
    assert NODE not in second.nodes.names


def _claimed(replica: Replica) -> Transaction:
    from adapter.relay.standby_buffer import HeldFrame

    frame = HeldFrame(replica.now, replica.trip._claimer(NODE), suspended(1))
    (transaction,) = replica.trip._to_claim(NODE, [frame], True)
    return transaction


@pytest.mark.parametrize("lost", ["r1", "r3"])
async def test_a_replica_that_dies_is_replaced(lost: str) -> None:
    group = await shared("r1", "r2", "r3")
    for _ in range(3):
        group.move(LEASE * 0.4)
        await group.beat(lost)
    assert linked(group).count("r2") == 1
    others = {"r1", "r3"} - {lost}
    group.all = [each for each in group.all if each.name != lost]
    assert {"r2", *others} == set(linked(group))
    assert len(group.active()) == 1


async def test_one_that_drains_is_replaced_first() -> None:
    group = await shared("r1", "r2", "r3")
    group["r3"].roles.drain = Drain.ENDED
    await group.beat()
    assert linked(group) == ["r1", "r2", "r3"]
    assert group.active() == ["r1"]
    await settle(group)
    assert linked(group) == ["r1", "r2"]


async def test_nobody_leaves_while_the_store_is_away() -> None:
    group = await shared("r1", "r2")
    await join(group, "r3")
    await group.beat()
    for each in group.all:
        each.store.away = True
    await settle(group)
    assert linked(group) == ["r1", "r2", "r3"]


async def test_a_node_that_is_gone_is_forgotten_with_its_calls() -> None:
    group = await shared("r1", "r2")
    first = group["r1"]
    await first.events(suspended(1))
    assert await first.state(id_of(1)) is State.CLAIMED
    for each in group.all:
        each.nodes.known = ()
        each.nodes.gone = [NODE]
        each.drop(NODE)
    with capture_logs() as logs:
        await group.beat()
        group.move(GONE_AFTER - 0.1)
        await group.beat()
        assert linked(group) == ["r1", "r2"], "it may come back"
        group.move(0.2)
        await group.beat()
    assert linked(group) == []
    assert await first.record(id_of(1)) is None
    assert [entry["given_up"] for entry in logs if entry["event"] == "node: gone"] == [1, 0]


async def test_a_node_that_is_new_is_connected_to_at_the_next_tick() -> None:
    group = await shared("r1")
    first = group["r1"]
    first.replicas.tick(100.0)
    assert first.replicas._beat is not None
    await first.replicas._beat
    first.nodes.known = (NODE, "sbc2")
    first.replicas.tick(100.001)
    assert first.replicas._beat is not None
    await first.replicas._beat
    assert first.nodes.names == [NODE, "sbc2"]


@settings(max_examples=examples(20), deadline=None)
@given(st.lists(st.sampled_from(["join", "leave", "lose broker", "find broker", "rest"]), max_size=12))
async def test_whatever_happens_a_node_that_can_be_served_is(steps: list[str]) -> None:
    group = await shared("r0", "r1", nodes=NODES[:3])
    for number, step in enumerate(steps, 2):
        if step == "join" and len(group.all) < 5:
            await join(group, f"r{number}")
        elif step == "leave" and len(group.all) > 1:
            group.all.pop(1)  # the first has the clock of the store
        elif step.endswith("broker"):
            group.all[-1].broker.ready = step.startswith("find")
        if step == "rest":
            await settle(group)
        else:
            for _ in range(3):
                group.move(LEASE * 0.4)
                await group.beat()
        able = sum(each.broker.ready for each in group.all)
        for node in NODES[:3]:
            assert links(group)[node] >= min(2, len(group.all))
            assert len(group.active(node)) == min(able, 1)
