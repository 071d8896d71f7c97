"""The credit of prepaid calls: nothing is spent twice, and nothing is lost, whatever is told when."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumers.credit import Credit
from tests.harness.examples import examples

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def credit(tmp_path: Path) -> Credit:
    made = Credit(tmp_path / "credit")
    made.top_up("alice", 60)
    return made


def test_a_call_holds_all_that_its_account_has(credit: Credit) -> None:
    assert credit.hold("alice", "a", "sbc1", 1.0) == 60
    assert credit.hold("alice", "b", "sbc1", 1.0) == 0
    assert credit.hold("nobody", "c", "sbc1", 1.0) == 0
    assert credit.left("alice") == 0
    (call,) = credit.calls()
    assert call == ("a", "alice", "sbc1", 60, 0, 1.0)


def test_a_question_that_comes_again_holds_nothing_more(credit: Credit) -> None:
    credit.hold("alice", "a", "sbc1", 1.0)
    credit.top_up("alice", 5)
    assert credit.hold("alice", "a", "sbc1", 2.0) == 60
    assert credit.left("alice") == 5


def test_what_a_call_did_not_use_goes_back_once(credit: Credit) -> None:
    credit.hold("alice", "a", "sbc1", 1.0)
    credit.settle("a", 20)
    credit.settle("a", 20)
    assert credit.left("alice") == 40
    assert credit.calls() == []


def test_an_end_that_nobody_heard_of_is_charged_for_what_was_seen(credit: Credit) -> None:
    credit.hold("alice", "a", "sbc1", 1.0)
    credit.note("a", 12)
    credit.note("a", 7)
    credit.settle("a")
    assert credit.left("alice") == 48


def test_what_is_moved_to_a_running_call_can_be_moved_back(credit: Credit) -> None:
    credit.hold("alice", "a", "sbc1", 1.0)
    credit.top_up("alice", 30)
    (call,) = credit.calls()
    assert credit.move(call) == 30
    assert credit.move(call) == 0
    assert credit.calls()[0].held == 90
    credit.move_back(call, 30)
    assert (credit.calls()[0].held, credit.left("alice")) == (60, 30)


def test_nothing_is_moved_to_a_call_that_is_over(credit: Credit) -> None:
    credit.hold("alice", "a", "sbc1", 1.0)
    (call,) = credit.calls()
    credit.settle("a", 60)
    credit.top_up("alice", 30)
    assert credit.move(call) == 0
    credit.move_back(call, 30)
    assert credit.left("alice") == 30


_STEPS = st.one_of(
    st.tuples(st.just("hold"), st.sampled_from("abc")),
    st.tuples(st.just("settle"), st.sampled_from("abc"), st.integers(0, 100)),
    st.tuples(st.just("top_up"), st.integers(1, 50)),
    st.tuples(st.just("move")),
    st.tuples(st.just("note"), st.sampled_from("abc"), st.integers(0, 100)),
)


@settings(max_examples=examples(20))
@given(steps=st.lists(_STEPS, max_size=15))
def test_all_that_was_given_is_left_held_or_used(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, *tuple[object, ...]]]
) -> None:
    credit = Credit(tmp_path_factory.mktemp("drawn") / "credit")
    given_, used = 0, 0
    for name, *rest in steps:
        held = {call.call_id: call for call in credit.calls()}
        if name == "hold":
            credit.hold("alice", str(rest[0]), "sbc1", 0.0)
        elif name == "settle":
            call, talked = held.get(str(rest[0])), int(str(rest[1]))
            used += min(call.held, talked) if call else 0
            credit.settle(str(rest[0]), talked)
        elif name == "top_up":
            given_ += int(str(rest[0]))
            credit.top_up("alice", int(str(rest[0])))
        elif name == "note":
            credit.note(str(rest[0]), int(str(rest[1])))
        else:
            for call in held.values():
                credit.move(call)
        assert credit.left("alice") + sum(call.held for call in credit.calls()) + used == given_
        assert credit.left("alice") >= 0
