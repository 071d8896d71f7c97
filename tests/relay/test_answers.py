"""Whether an answer may still be written: the whole table."""

from __future__ import annotations

from itertools import product

import pytest

from adapter.cluster.role import READ_PAUSE
from adapter.model.transaction import RESEND_FOR, Outcome, State, Transaction
from adapter.relay.answers import Answer, Verdict, is_left_unwritten, is_untraced, verdict
from tests.relay_bench import NOW, id_of

BOTH = (False, True)
ANSWERS = [
    Answer(stale, elsewhere, again, drops, adopted, remembered, untraced)
    for stale, elsewhere, again, drops, adopted, untraced in product(BOTH, repeat=6)
    for remembered in (None, *BOTH)
]
WRITTEN = (Verdict.WRITE, Verdict.REPEAT)


def test_every_row_of_the_table_is_reached() -> None:
    assert {verdict(each) for each in ANSWERS} == set(Verdict)


@pytest.mark.parametrize("plain", BOTH)
def test_a_second_answer_is_written_only_where_it_does_no_harm(plain: bool) -> None:
    for answer in ANSWERS:
        found = verdict(answer)
        if answer.drops_repeats is plain or not answer.again:
            continue
        if plain and found in WRITTEN:
            assert (answer.remembered, answer.untraced, answer.adopted) == (True, False, False)
        assert plain or not found.withholds
        assert plain or found is not Verdict.ASK
        assert not plain or found is not Verdict.REPEAT


def test_nothing_is_written_to_a_kamailio_that_has_not_asked() -> None:
    for answer in ANSWERS:
        if answer.stale:
            assert verdict(answer) is (Verdict.LEAVE if answer.linked_elsewhere else Verdict.FORGET)
        elif not answer.again:
            assert verdict(answer) is Verdict.WRITE, "and what nobody can have written always is"


def test_once_the_store_has_been_asked_it_is_not_asked_again() -> None:
    for answer in ANSWERS:
        if answer.remembered is not None:
            assert verdict(answer) is not Verdict.ASK


def test_a_standby_reads_a_little_later_than_who_has_answered() -> None:
    assert is_untraced(NOW + READ_PAUSE, NOW)
    assert not is_untraced(NOW + READ_PAUSE + 0.001, NOW)
    assert not is_untraced(NOW, float("-inf"))


@pytest.mark.parametrize("state", State)
def test_what_the_store_has_is_written_again_while_somebody_waits(state: State) -> None:
    record = Transaction(id_of(), "e", NOW + 2.0, NOW, b"", "r1", state, Outcome.DECIDED, b"{}")
    for ours, under_way, late in product(BOTH, repeat=3):
        now = record.deadline + RESEND_FOR - (0.0 if late else 0.001)
        expected = ours and state is State.SETTLED and not under_way and not late
        assert is_left_unwritten(record, ours, under_way, now) is expected
