"""How a drain goes on: the whole table."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.cluster.drain import TRANSITIONS, Drain, DrainEvent

ORDERED, COUNTERMANDED, STOPPED, KNOWN = DrainEvent


@pytest.mark.parametrize(("state", "event"), list(product(Drain, DrainEvent)))
def test_every_step_keeps_what_must_hold(state: Drain, event: DrainEvent) -> None:
    after = state.after(event)
    assert (after is state) == ((state, event) not in TRANSITIONS)
    if state.ends:
        assert after.ends, "the end of a process cannot be taken back"
    if event is KNOWN:
        assert after.accepts == state.accepts
        assert after.claims == state.accepts, "who told Kamailio that it drains claims nothing from now on"
    if event is STOPPED:
        assert after.ends
        assert after.claims == state.claims, "until Kamailio knows"
    if event in (ORDERED, COUNTERMANDED) and not state.ends:
        assert after.accepts == (event is COUNTERMANDED)


@given(st.lists(st.sampled_from(DrainEvent)))
def test_who_claims_nothing_accepts_nothing(events: list[DrainEvent]) -> None:
    state = Drain.SERVING
    for event in events:
        state = state.after(event)
        assert state.claims or not state.accepts
    assert state.ends == (STOPPED in events)
