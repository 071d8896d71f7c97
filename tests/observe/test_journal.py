"""The journal: what is noted comes out again, bounded, and nothing where it is off."""

from __future__ import annotations

import contextlib

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.errors import CodecError
from adapter.model.transaction import Outcome, State, Transaction, TransactionId
from adapter.observe.journal import MOST, Journal
from adapter.observe.journal_entry import Kind, Step, unpack, unpack_commands
from adapter.observe.sink import Commanded
from adapter.ports.broker import Reply

NOW = 1_700_000_000.0
ID = TransactionId("sbc1", 37, 1840980198, 1)
OTHER = TransactionId("sbc2", 4_294_967_295, 0, 12)


def call(id_: TransactionId = ID, event: str = "invite_request", call_id: str = "abc@host") -> Transaction:
    return Transaction(id_, event, NOW + 2.0, NOW, b"\x81", "r1", call_id=call_id)


def adopted(journal: Journal, at: float, *calls: Transaction) -> None:
    journal.adopted(at, "sbc1", ["r2"], State.CLAIMED, calls)


def taken(journal: Journal) -> list[Step]:
    entry = journal.take()
    assert entry is not None
    return unpack(entry)


def test_what_is_noted_comes_out_in_its_order() -> None:
    journal = Journal()
    journal.claimed(NOW + 1, [call(), call(OTHER, "message_request", "")])
    journal.published(NOW + 2, [call(), call(OTHER)])
    adopted(journal, NOW + 2.5, call())
    said = Reply(str(ID), b"{}", service="lcr", received=NOW + 2.1, replied=NOW + 2.2)
    journal.replied(NOW + 3, [(ID, said), (OTHER, Reply(str(OTHER), b"{}"))])
    journal.resumed(NOW + 4, call(), Outcome.DECIDED, 4.0, b"{}")
    journal.read(NOW + 5, [ID])
    assert taken(journal) == [
        Step(Kind.EVENT, NOW + 1, ID, "invite_request", "abc@host", {"arrived": NOW}),
        Step(Kind.EVENT, NOW + 1, OTHER, "message_request", "", {"arrived": NOW}),
        Step(Kind.PUBLISHED, NOW + 2, ID),
        Step(Kind.PUBLISHED, NOW + 2, OTHER),
        Step(Kind.ADOPTED, NOW + 2.5, ID),
        Step(Kind.REPLY, NOW + 3, ID, more={"service": "lcr", "received": NOW + 2.1, "replied": NOW + 2.2}),
        Step(Kind.REPLY, NOW + 3, OTHER),
        Step(Kind.RESUME, NOW + 4, ID, "invite_request", "abc@host", {"outcome": "decided", "seconds": 4.0}),
        Step(Kind.READ, NOW + 5, ID),
    ]
    assert journal.take() is None, "it was taken"


def test_the_steps_of_a_course_come_out_too() -> None:
    journal = Journal()
    journal.stepped(NOW, ID, "invite_request", "screening", "decided", 0.25)
    journal.stepped(NOW, OTHER, "invite_request", "", "stale", 2.0)
    journal.stepped(NOW + 1, ID, "invite_request", "", "service", 1.0)
    entry = journal.take()
    assert entry is not None
    assert [len(items) for _, _, items in msgpack.unpackb(entry)] == [2, 1], "those of one instant share"
    of = {"service": "screening", "status": "decided", "seconds": 0.25}
    assert unpack(entry) == [
        Step(Kind.STEP, NOW, ID, "invite_request", more=of),
        Step(
            Kind.STEP, NOW, OTHER, "invite_request", more={"service": "", "status": "stale", "seconds": 2.0}
        ),
        Step(
            Kind.STEP,
            NOW + 1,
            ID,
            "invite_request",
            more={"service": "", "status": "service", "seconds": 1.0},
        ),
    ]


def test_payloads_only_where_they_are_kept() -> None:
    journal = Journal(payloads=True)
    journal.claimed(NOW, [call()])
    journal.resumed(NOW, call(), Outcome.DECIDED, 0.0, b'{"action":"allow"}')
    event, resume = taken(journal)
    assert event.more == {"arrived": NOW, "request": b"\x81"}
    assert resume.more["decision"] == b'{"action":"allow"}'


def test_resumes_of_one_instant_share_a_batch_and_no_others() -> None:
    journal = Journal()
    for at, id_ in ((NOW, ID), (NOW, OTHER), (NOW + 1, ID)):
        journal.resumed(at, call(id_), Outcome.TIMEOUT, 2.0, b"")
    journal.read(NOW + 1, [ID])
    journal.resumed(NOW + 1, call(OTHER), Outcome.TIMEOUT, 2.0, b"")
    entry = journal.take()
    assert entry is not None
    assert [len(items) for _, _, items, *_ in msgpack.unpackb(entry)] == [2, 1, 1, 1]
    assert [(step.at, step.id) for step in unpack(entry)] == [
        (NOW, ID),
        (NOW, OTHER),
        (NOW + 1, ID),
        (NOW + 1, ID),
        (NOW + 1, OTHER),
    ]


def test_resumes_have_the_revision_of_their_policy() -> None:
    journal = Journal(revision_of=lambda transaction: "old" if transaction.id == ID else "new")
    for id_ in (ID, ID, OTHER):
        journal.resumed(NOW, call(id_), Outcome.TIMEOUT, 2.0, b"")
    entry = journal.take()
    assert entry is not None
    assert [len(items) for _, _, items, *_ in msgpack.unpackb(entry)] == [2, 1]
    assert [step.more["policy"] for step in unpack(entry)] == ["old", "old", "new"]


def test_a_batch_without_a_revision_is_read() -> None:
    item = (ID, "e", "", "timeout", 2.0, None)
    (step,) = unpack(msgpack.packb([(Kind.RESUME, NOW, [item])]))
    assert step.more == {"outcome": "timeout", "seconds": 2.0}


def test_off_it_notes_nothing_and_counts_nothing() -> None:
    journal = Journal(keeps=False)
    journal.claimed(NOW, [call()])
    journal.published(NOW, [call()])
    journal.replied(NOW, [(ID, Reply(str(ID), b""))])
    journal.resumed(NOW, call(), Outcome.DECIDED, 0.0, b"")
    journal.read(NOW, [ID])
    adopted(journal, NOW, call())
    assert (journal.take(), journal.dropped) == (None, 0)


def test_of_nothing_there_is_no_entry() -> None:
    journal = Journal()
    journal.claimed(NOW, [])
    journal.replied(NOW, [])
    journal.published(NOW, [])
    assert journal.take() is None


def test_beyond_its_room_it_counts_what_it_loses_until_it_is_taken() -> None:
    journal = Journal()
    journal.published(NOW, [call()] * (MOST - 1))
    journal.read(NOW, [ID, ID])  # a batch is not torn apart
    journal.claimed(NOW, [call(), call()])
    journal.replied(NOW, [(ID, Reply(str(ID), b""))])
    journal.resumed(NOW, call(), Outcome.DECIDED, 0.0, b"")
    adopted(journal, NOW, call(), call(), call())
    assert journal.dropped == 7
    assert len(taken(journal)) == MOST + 1
    journal.read(NOW, [ID])
    assert len(taken(journal)) == 1
    assert journal.dropped == 7


@given(st.text(max_size=30), st.text(max_size=30), st.integers(0, 0xFFFFFFFF))
def test_any_text_comes_through(event: str, call_id: str, label: int) -> None:
    journal = Journal()
    id_ = TransactionId("sbc1", 1, label, 1)
    journal.claimed(NOW, [call(id_, event, call_id)])
    (step,) = taken(journal)
    assert (step.id, step.event, step.call_id) == (id_, event, call_id)


def test_a_lone_surrogate_comes_through() -> None:
    journal = Journal()
    journal.claimed(NOW, [call(event="\udcff", call_id="a\ud800")])
    (step,) = taken(journal)
    assert (step.event, step.call_id) == ("\udcff", "a\ud800")


@pytest.mark.parametrize(
    "entry",
    [
        b"",
        b"\xc1",
        msgpack.packb(7),
        msgpack.packb([7]),
        msgpack.packb([[99, NOW, [["sbc1", 1, 2, 1]]]]),
        msgpack.packb([[Kind.READ, NOW, [["sbc1", 1]]]]),
        msgpack.packb([[Kind.RESUME, NOW, [[["sbc1", 1, 2, 1], "event"]]]]),
        msgpack.packb([[Kind.EVENT, NOW, 5]]),
        b"\x91" * 2000,
    ],
)
def test_what_is_no_entry_is_one_kind_of_error(entry: bytes) -> None:
    with pytest.raises(CodecError, match="no entry of a journal"):
        unpack(entry)


@given(st.binary(max_size=200))
def test_whatever_the_bytes_nothing_else_is_raised(entry: bytes) -> None:
    with contextlib.suppress(CodecError):
        unpack(entry)


@given(
    st.recursive(
        st.none() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=5),
        lambda inner: st.lists(inner, max_size=6),
        max_leaves=20,
    )
)
def test_whatever_the_structure_nothing_else_is_raised(value: object) -> None:
    try:
        entry = msgpack.packb(value)
    except (OverflowError, ValueError):
        return
    with contextlib.suppress(CodecError):
        assert all(isinstance(step.kind, Kind) for step in unpack(entry))


def test_commands_are_noted_and_no_steps_of_calls() -> None:
    made, told = Journal(), Commanded("sbc1", "hangup", "h1", "a@b", "done", 0.05, "")
    made.commanded(10.0, told)
    entry = made.take()
    assert entry is not None
    assert unpack_commands(entry) == [(10.0, told)]
    assert unpack(entry) == []
    with pytest.raises(CodecError):
        unpack_commands(b"\x01")
