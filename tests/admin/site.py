"""A site as its replicas' beats tell of it, and what consumers answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from adapter.admin.overview import Load, Overview, Store
from adapter.model.beat import Beat
from adapter.model.transaction import Outcome, State, Transaction, TransactionId
from adapter.observe.journal import Journal
from adapter.ports.broker import Reply

if TYPE_CHECKING:
    from collections.abc import Mapping

LEASE = 1.0
NOW = 1_700_000_000.0


def beat(
    *active: str,
    links: Mapping[str, str] | None = None,
    age: float = 0.1,
    broker: bool = True,
    accepting: bool = True,
    **more: Any,
) -> Beat:
    """Of a replica that lives since 90 s, with good links to sbc1 and sbc2 unless others are given."""
    states = {"sbc1": "receipts", "sbc2": "receipts"} if links is None else links
    nodes = frozenset(node for node, how in states.items() if how in ("receipts", "paced"))
    about = {
        "version": "1.2",
        "since": NOW - 90,
        "http": "h:1",
        "links": dict(states),
        "active": list(active),
        **more,
    }
    return Beat(broker, accepting, nodes, 7, age, about=about)


def overview(
    beats: Mapping[str, Beat],
    orders: Mapping[str, Mapping[str, Any]] | None = None,
    loads: Mapping[str, Load] | None = None,
    nodes: tuple[str, ...] = (),
) -> Overview:
    return Overview(LEASE, Store(NOW, beats, orders or {}, loads or {}), nodes=nodes)


def answers(number: int, service: str = "", outcome: Outcome = Outcome.DECIDED) -> bytes:
    """A journal's entry of so many answers."""
    journal = Journal()
    call = record(1, claimed=NOW, deadline=NOW)
    if service:
        journal.replied(NOW, [(call.id, Reply(str(call.id), b"", None, service=service))])
    for _ in range(number):
        journal.resumed(NOW, call, outcome, 0.02, b"")
    found = journal.take()
    assert found is not None
    return found


def record(label: int, *, claimed: float, deadline: float, state: State = State.CLAIMED) -> Transaction:
    return Transaction(TransactionId("sbc1", 37, label, 1), "invite", deadline, claimed, b"", "r1", state)
