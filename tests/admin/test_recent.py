"""The last minute by the journals: outcomes, shares, latencies, rates."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.admin.recent import WINDOW, Recent
from adapter.errors import CodecError
from adapter.model.transaction import Outcome, Transaction, TransactionId
from adapter.observe.journal import Journal
from adapter.ports.broker import Reply

NOW = 1_700_000_000.25
CALL = Transaction(
    TransactionId("sbc1", 37, 1, 1), "invite_request", NOW + 2, NOW, b"", "r1", call_id="abc@host"
)


def entry(*answers: tuple[Outcome, float], service: str = "") -> bytes:
    """What a replica writes of these answers, as it writes it."""
    journal = Journal()
    journal.claimed(NOW, [CALL])
    journal.published(NOW, [CALL])
    if service:
        journal.replied(NOW, [(CALL.id, Reply(str(CALL.id), b"", None, service=service))])
    for outcome, seconds in answers:
        journal.resumed(NOW, CALL, outcome, seconds, b"{}")
    journal.read(NOW, [CALL.id])
    found = journal.take()
    assert found is not None
    return found


def recent(*answers: tuple[Outcome, float]) -> Recent:
    found = Recent()
    found.add(NOW - 2, entry(*answers))
    found.covered = WINDOW
    return found


def test_answers_are_counted_and_what_nobody_decided_is_a_fallback() -> None:
    found = recent(
        (Outcome.DECIDED, 0.01), (Outcome.DECIDED, 0.02), (Outcome.OPERATOR, 9.0), (Outcome.TIMEOUT, 2.0)
    )
    assert found.outcomes == {"decided": 2, "operator": 1, "timeout": 1}
    assert found.calls == 4
    assert found.fallbacks == 0.25


def test_of_no_call_there_is_neither_a_share_nor_a_latency() -> None:
    found = Recent()
    assert found.fallbacks is None
    assert found.latencies(0.5, 1.0) == [None, None]
    assert found.rate(NOW) == 0


def test_the_steps_of_courses_are_counted_beside_their_answers() -> None:
    journal = Journal()
    journal.stepped(NOW, CALL.id, CALL.event, "fraud", "timeout", 0.5)
    journal.stepped(NOW, CALL.id, CALL.event, "", "timeout", 0.5)  # of whoever is bound to the event
    for step in ("backup", "backup", "stale"):
        journal.stepped(NOW, CALL.id, CALL.event, "", step, 0.5)
    found = recent((Outcome.DECIDED, 0.01))
    found.add(NOW - 1, journal.take() or b"")
    assert found.steps == {"backup": 2, "stale": 1}
    assert found.outcomes == {"decided": 1}
    found.look(NOW + WINDOW + 2)
    assert found.steps == {}


def test_who_replied_is_known() -> None:
    found = recent()
    found.add(NOW, entry(service="least-cost"))
    assert found.services == {"least-cost"}


def test_seconds_of_the_window_and_the_present_rate() -> None:
    found = Recent()
    for ago, number in ((0, 9), (1, 4), (2, 6), (6, 50), (WINDOW, 2)):
        found.add(NOW - ago, entry(*[(Outcome.DECIDED, 0.01)] * number))
    found.covered = 100.0
    found.look(NOW)
    assert found.covered == WINDOW
    seconds = found.per_second(NOW)
    assert len(seconds) == WINDOW
    assert (seconds[0], seconds[-1], seconds[-2], seconds[-6]) == (2, 4, 6, 50)
    assert found.rate(NOW) == 10 / 5, "the second that is not over yet is left out"
    found.look(NOW + 2)
    assert sum(found.outcomes.values()) == 69


def test_a_rate_goes_by_the_seconds_that_are_known() -> None:
    found = recent(*[(Outcome.DECIDED, 0.01)] * 10)
    found.covered = 3.0
    assert found.rate(NOW) == 10 / 2
    found.covered = 0.0
    assert found.rate(NOW - 1) == 10


@given(
    st.lists(st.floats(0, 100, allow_subnormal=False), min_size=1, max_size=60),
    st.floats(0.01, 1.0, exclude_max=True),
)
def test_a_latency_is_within_one_per_cent_and_the_longest_exact(seconds: Any, share: Any) -> None:
    found = recent(*((Outcome.DECIDED, each) for each in seconds))
    near, longest = found.latencies(share, 1.0)
    exact = sorted(seconds)[max(-(-int(share * 1e9) * len(seconds) // 10**9) - 1, 0)]
    assert longest == max(seconds)
    assert near is not None
    assert near == pytest.approx(exact, rel=0.0101, abs=1.01e-6) or any(
        near == pytest.approx(each, rel=0.0101, abs=1.01e-6) for each in seconds
    )
    assert sum(each <= near * 1.0001 + 1e-6 for each in seconds) >= share * len(seconds) - 1e-6


@pytest.mark.parametrize(
    "broken", [b"", b"\xc1", b"\x01", msgpack.packb([[4, 0, [[1]]]]), msgpack.packb([[4, 0]])]
)
def test_what_is_no_entry_is_refused(broken: bytes) -> None:
    with pytest.raises(CodecError):
        Recent().add(NOW, broken)
