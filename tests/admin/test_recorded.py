"""Calls that can be asked about again, from what journals keep of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from adapter.admin.recorded import Recording, record
from adapter.model.transaction import Outcome, Transaction, TransactionId
from adapter.observe.journal import Journal
from adapter.observe.journal_entry import unpack

if TYPE_CHECKING:
    from adapter.inflight.operator import OperatorStore

AT = 1_700_000_000.0


def transaction(label: int, event: str = "invite", at: float = AT) -> Transaction:
    id_ = TransactionId("sbc1", 1, label, 1)
    return Transaction(id_, event, at + 2, at, b"{%d}" % label, "r1", call_id=f"{label}@h")


def taken(journal: Journal) -> bytes:
    entry = journal.take()
    assert entry is not None
    return entry


def recorded(journal: Journal, most: int = 100, undecided: bool = False) -> Recording:
    found = Recording("invite", most, undecided)
    for step in unpack(taken(journal)):
        found.add(step)
    return found


def ended(
    journal: Journal,
    one: Transaction,
    outcome: Outcome = Outcome.DECIDED,
    decision: bytes = b'{"action":"allow"}',
) -> None:
    journal.claimed(one.claimed_at, [one])
    journal.published(one.claimed_at, [one])
    journal.resumed(one.claimed_at + 0.1, one, outcome, 0.1, decision)


def labels(found: Recording) -> list[int]:
    return [call.id.label for call in found.calls]


def test_request_and_decision_of_those_that_services_decided() -> None:
    journal = Journal(payloads=True)
    ended(journal, transaction(1))
    ended(journal, transaction(2), Outcome.TIMEOUT)
    ended(journal, transaction(3), Outcome.OPERATOR)
    ended(journal, transaction(4, "other"))
    journal.claimed(AT, [transaction(5)])
    journal.resumed(AT, transaction(6), Outcome.OVERLOAD, 0.0, b"{}")  # at once: no request was published
    found = recorded(journal)
    (call,) = found.calls
    assert (call.id.label, call.call_id, call.at, call.request) == (1, "1@h", AT, b"{1}")
    assert (call.outcome, call.decision) == ("decided", {"action": "allow"})
    assert (found.found, found.good, found.not_decided, found.in_flight) == (4, 1, 2, 1)
    assert (found.without_payload, dict(found.others)) == (0, {"other": 1})


def test_all_of_them() -> None:
    journal = Journal(payloads=True)
    ended(journal, transaction(1), Outcome.TIMEOUT, b'{"code":503}')
    ended(journal, transaction(2))
    found = recorded(journal, undecided=True)
    assert [(call.outcome, call.decision) for call in found.calls] == [
        ("timeout", {"code": 503}),
        ("decided", {"action": "allow"}),
    ]
    assert found.not_decided == 0


def test_the_latest_of_more_than_are_wanted() -> None:
    journal = Journal(payloads=True)
    for label in range(1, 6):
        ended(journal, transaction(label))
    found = recorded(journal, most=2)
    assert (labels(found), found.good, found.found) == ([4, 5], 5, 5)


@pytest.mark.parametrize("kept", ["request", "decision", "neither"])
def test_what_was_not_kept_is_counted(kept: str) -> None:
    first, second = Journal(payloads=kept == "request"), Journal(payloads=kept == "decision")
    one = transaction(1)
    first.claimed(AT, [one])
    second.resumed(AT, one, Outcome.DECIDED, 0.1, b"{}")
    found = Recording("invite", 10)
    for step in (*unpack(taken(first)), *unpack(taken(second))):
        found.add(step)
    assert (labels(found), found.without_payload, found.found) == ([], 1, 1)


def test_an_answer_that_is_written_twice_counts_once() -> None:
    journal = Journal(payloads=True)
    ended(journal, transaction(1))
    journal.resumed(AT + 1, transaction(1), Outcome.DECIDED, 1.0, b"{}")
    assert labels(recorded(journal)) == [1]


class Store:
    """Journals of several replicas, in pages as Redis gives them."""

    def __init__(self, journals: dict[str, list[tuple[str, bytes]]]) -> None:
        self._journals = journals

    async def journal(self, replica: str, after: str = "0", most: int = 1000) -> list[tuple[str, bytes]]:
        begin = (*map(int, after.split("-")), 0)[:2]
        later = [each for each in self._journals[replica] if tuple(map(int, each[0].split("-"))) > begin]
        return later[:most]


async def read(store: Store, since: float) -> Recording:
    found = Recording("invite", 1000)
    typed: OperatorStore = store  # type: ignore[assignment]
    await record(typed, ["a", "b"], since, found)
    return found


def entry_id(at: float, part: int = 0) -> str:
    return f"{round(at * 1000)}-{part}"


async def test_claimed_by_one_replica_and_answered_by_another() -> None:
    """Whichever of them comes first by its name."""
    one, other = transaction(1), transaction(2)
    parts = {name: (Journal(payloads=True), Journal(payloads=True)) for name in ("a", "b")}
    for name, call in (("a", one), ("b", other)):
        parts[name][0].claimed(AT, [call])
        parts["b" if name == "a" else "a"][1].resumed(AT + 1, call, Outcome.DECIDED, 1.0, b"{}")
    store = Store(
        {
            name: [(entry_id(AT + 0.5), taken(first)), (entry_id(AT + 1.5), taken(second))]
            for name, (first, second) in parts.items()
        }
    )
    found = await read(store, AT)
    assert (sorted(labels(found)), found.in_flight) == ([1, 2], 0)


async def test_more_than_a_page_and_from_a_time_on() -> None:
    entries = []
    for label in range(250):
        journal = Journal(payloads=True)
        ended(journal, transaction(label, at=AT + label))
        entries.append((entry_id(AT + label + 0.4), taken(journal)))
    store = Store({"a": entries[::2], "b": entries[1::2]})
    found = await read(store, AT + 100)
    assert labels(found) == list(range(100, 250))


async def test_what_was_claimed_before_counts_not_though_it_ended_later() -> None:
    journal = Journal(payloads=True)
    journal.claimed(AT, [transaction(1)])
    journal.resumed(AT + 2, transaction(1), Outcome.DECIDED, 2.0, b"{}")
    found = await read(Store({"a": [(entry_id(AT + 3), taken(journal))], "b": []}), AT + 1)
    assert (labels(found), found.found) == ([], 0)
