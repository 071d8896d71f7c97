"""Replies that come before their claim, and how many of them are waited for."""

from __future__ import annotations

from adapter.model.transaction import Outcome, Settlement, TransactionId
from adapter.relay.early_replies import LOOKS, MOST, EarlyReplies


def settlement(number: int) -> Settlement:
    return Settlement(TransactionId("sbc1", number, 1, 1), Outcome.DECIDED, b"{}")


def test_of_a_queue_full_of_stale_replies_few_are_looked_at_again() -> None:
    early = EarlyReplies[TransactionId, Settlement](lambda each: each.id)
    given_up = early.add([settlement(number) for number in range(MOST + 5)], 0.0)
    assert [each.id.index for each in given_up] == list(range(MOST, MOST + 5))
    due = early.due(LOOKS[0])
    assert len(due) == MOST
    assert early.add(due, LOOKS[0]) == []
    assert early.add([settlement(MOST)], LOOKS[0]) == [settlement(MOST)]
    early.drop(due)
    assert early.add([settlement(MOST)], LOOKS[0]) == []
