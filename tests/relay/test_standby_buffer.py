"""Frames that are left to another replica for now."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from adapter.relay.standby_buffer import HeldFrame, StandbyBuffer
from adapter.relay.translate import Claimer
from tests.relay_bench import suspended


def frame(arrived: float, label: int = 1) -> HeldFrame:
    return HeldFrame(arrived, Claimer("r1", "sbc1", "a life"), suspended(label))


def test_each_is_given_once_in_the_order_of_arrival_and_not_too_early() -> None:
    held = StandbyBuffer()
    for label, arrived in enumerate((1.0, 2.0, 2.0, 3.0)):
        held.put("sbc1", frame(arrived, label))
    assert held.take("sbc1", 0.999) == []
    assert held.take("sbc1", 2.0) == [frame(1.0, 0), frame(2.0, 1), frame(2.0, 2)]
    assert held.take("sbc1", 2.999) == []
    assert len(held) == 1
    assert held.take("sbc1", float("inf")) == [frame(3.0, 3)]
    assert (len(held), list(held)) == (0, [])


def test_nodes_are_apart_and_those_with_nothing_held_are_not_named() -> None:
    held = StandbyBuffer()
    held.put("sbc1", frame(1.0))
    held.put("sbc2", frame(1.0, 2))
    for node in held:  # may be taken from meanwhile
        held.take(node, 1.0 if node == "sbc1" else 0.0)
    assert list(held) == ["sbc2"]
    held.put("sbc1", frame(2.0, 3))
    assert sorted(held) == ["sbc1", "sbc2"]
    assert len(held) == 2


def test_nothing_is_ever_long_enough_to_wait_for() -> None:
    held = StandbyBuffer()
    held.put("sbc1", frame(1e9))
    assert held.take("sbc1", float("-inf")) == []


def test_of_too_many_of_one_node_the_oldest_are_dropped() -> None:
    held = StandbyBuffer(most=3)
    held.put("sbc2", frame(0.0))
    for label in range(5):
        held.put("sbc1", frame(float(label), label))
    assert held.take("sbc1", 9.0) == [frame(2.0, 2), frame(3.0, 3), frame(4.0, 4)]
    assert len(held) == 1


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5))))
def test_nothing_is_lost_and_nothing_is_early(steps: list[tuple[bool, int]]) -> None:
    held, now, put, taken = StandbyBuffer(), 0, 0, list[HeldFrame]()
    held.put("sbc1", frame(0, 0))
    for goes_in, seconds in steps:
        now += seconds
        if goes_in:
            put += 1
            held.put("sbc1", frame(now, put))
        else:
            found = held.take("sbc1", now - 2)
            assert all(each.arrived <= now - 2 for each in found)
            taken += found
    taken += held.take("sbc1", now)
    assert [each.found for each in taken] == [suspended(label) for label in range(put + 1)]
