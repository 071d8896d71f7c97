from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from adapter.model.transaction import Outcome, State, Transaction, TransactionId

numbers = st.integers(0, 0xFFFFFFFF)
nodes = st.text(min_size=1, max_size=12)
ids = st.builds(TransactionId, nodes, numbers, numbers, st.integers(1, 1000))


@given(ids)
@example(TransactionId("10.0.0.5:8448", 37, 1840980198, 1))
@example(TransactionId("[2001:db8::5]:8448", 0, 0, 2))
@example(TransactionId("1:2:3:4", 5, 6, 7))
@example(TransactionId(":", 5, 6, 7))
def test_a_correlation_id_names_one_suspension(id_: TransactionId) -> None:
    assert TransactionId.parse(str(id_)) == id_
    assert TransactionId.of_member(id_.node, id_.member) == id_
    assert str(id_) == f"{id_.node}:{id_.member}"


def test_a_correlation_id_reads_as_the_contract_says() -> None:
    assert str(TransactionId("sbc1", 37, 1840980198, 1)) == "sbc1:37:1840980198:1"


@given(ids, ids)
def test_different_suspensions_have_different_correlation_ids(
    one: TransactionId, other: TransactionId
) -> None:
    assert (str(one) == str(other)) == (one == other)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sbc1",
        "37:1840980198:1",  # no node
        ":37:1840980198:1",
        "sbc1:37:1840980198",
        "sbc1:37:1840980198:",
        "sbc1::1840980198:1",
        "sbc1:37:label:1",
        "sbc1:37:1840980198:1.0",
        "sbc1:-37:1840980198:1",
        "sbc1:37:-1:1",
        "sbc1:37:1840980198:-1",
        "sbc1:+37:1840980198:1",
        "sbc1:037:1840980198:1",
        "sbc1: 37:1840980198:1",
        "sbc1:37:1840980198:1 ",
        "sbc1:37:1_840:1",
        "sbc1:٣٧:1840980198:1",
        "sbc1:37:" + "9" * 5000 + ":1",
    ],
)
def test_what_is_no_correlation_id(text: str) -> None:
    with pytest.raises(ValueError):
        TransactionId.parse(text)


@given(st.text(max_size=30))
def test_any_text_is_a_correlation_id_or_a_value_error(text: str) -> None:
    try:
        found = TransactionId.parse(text)
    except ValueError:
        return
    assert str(found) == text


@pytest.mark.parametrize("member", ["", "1:2", "1:2:3:4", "a:2:3", "1::3"])
def test_what_is_no_member(member: str) -> None:
    with pytest.raises(ValueError):
        TransactionId.of_member("sbc1", member)


def test_a_record_begins_claimed() -> None:
    record = Transaction(TransactionId("n", 1, 2, 3), "e", 2.0, 1.0, b"body", "replica")
    assert (record.state, record.outcome, record.decision) == (State.CLAIMED, None, None)


def test_ids_cannot_be_changed() -> None:
    id_ = TransactionId("n", 1, 2, 3)
    with pytest.raises(AttributeError):
        id_.seq = 4  # type: ignore[misc]
    assert len({id_, TransactionId("n", 1, 2, 3), TransactionId("n", 1, 2, 4)}) == 2


def test_a_record_is_frozen_for_the_type_checker_alone() -> None:
    """Python lets it be changed; mypy refuses it, and would refuse the `ignore` here if it did not."""
    one, other = (Transaction(TransactionId("n", 1, 2, 3), "e", 2.0, 1.0, b"", "r") for _ in range(2))
    assert one == other
    assert len({one, other}) == 1
    one.state = State.SETTLED  # type: ignore[misc]
    assert one != other
    assert replace(one, state=State.CLAIMED) == other
    assert not hasattr(one, "__dict__")


def test_outcomes_travel_by_their_names() -> None:
    for outcome in Outcome:
        assert Outcome(str(outcome)) is outcome
    with pytest.raises(ValueError):
        Outcome("Decided")
