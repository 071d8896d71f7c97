"""The table of roles: every combination of facts gives one role, and what must hold of it holds."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapter.cluster.membership import Membership
from adapter.cluster.rendezvous import choose
from adapter.cluster.role import HANDOVERS, Decision, Handover, Role, decide
from adapter.cluster.seen import seen
from adapter.cluster.view import FOREVER, NEVER, Here, Seen, View
from adapter.model.beat import Beat, Snapshot, node_order
from tests.harness.examples import examples

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW = 100.0
LEASE = 1.0
NODE = "sbc1"
TIMES = (NEVER, NOW - 1.0, NOW - 0.1, NOW, NOW + 0.1, NOW + 1.0, FOREVER)
BOTH = (False, True)


def check(view: View) -> Decision:
    """What holds of every decision."""
    found = decide(view, NOW)
    here, known, role = view.here, view.seen, found.role
    current = known.lease_ends >= NOW
    assert (role is Role.PAUSED) == known.paused
    assert (role is Role.DRAINING) == (not known.paused and not here.claims)
    assert found.is_active == (role in (Role.ACTIVE, Role.ACTIVE_UNCONFIRMED))
    assert found.is_confirmed_active == (role is Role.ACTIVE)
    if role in (Role.STANDBY, Role.ACTIVE, Role.ACTIVE_UNCONFIRMED):
        assert found.can_serve
        assert current
    if found.is_active:
        assert found.chosen == known.replica
        assert found.may_write, "who claims can answer"
        assert not found.relaxed
        assert not found.yields
    if found.can_serve:
        assert found.accepts_new
        assert here.sound
        assert not here.clock_wrong
    if found.accepts_new:
        assert here.asks
        assert here.claims
    if found.writes_behind:
        assert role is Role.ACTIVE
        assert not here.plain
    if not current:
        assert not found.is_active
        assert not found.may_write
        assert known.away or not found.sweeps
    if known.paused:
        assert found.chosen is None
        assert not found.served
    assert found.listens <= (found.can_serve and not found.is_active)
    if here.plain and known.bus and not known.away and known.unseen_from < NOW <= known.bus_given_up_at:
        assert found.can_serve or found.wait >= view.longest, "another may answer"
        assert not found.is_active or known.echo_until == NEVER or known.echo_until >= NOW
    if here.plain and known.away and known.bus and known.bound:
        assert not found.is_active or known.echo_until == NEVER, "others may take it for one without broker"
    assert found.wait >= 0
    assert (found.wait == 0) or role is not Role.ACTIVE
    assert found.until >= NOW
    return found


def heres() -> Iterator[Here]:
    for asks, sound, plain, claims, clock_wrong in product(BOTH, repeat=5):
        yield Here(asks, sound, plain, True, claims, clock_wrong, None)


@pytest.mark.parametrize(("away", "bus"), list(product(BOTH, BOTH)))
def test_every_combination_of_facts_gives_one_role(away: bool, bus: bool) -> None:
    """All that the five rows rest on, each fact both ways, with and without the times that they wait for."""
    roles = set()
    for here in heres():
        for paused, preferred, theirs, another, linked, updated in product(BOTH, repeat=6):
            for lease_ends, echo_until, heard_since in product((NEVER, FOREVER), repeat=3):
                known = Seen(
                    "r2",
                    LEASE,
                    paused=paused,
                    away=away,
                    bus=bus,
                    updated=updated,
                    lease_ends=lease_ends,
                    rival="r1",
                    preferred=preferred,
                    linked=linked,
                    claimed_by_another=another,
                    store_is_anothers=theirs,
                    echo_until=echo_until,
                    echo_since=heard_since,
                    known_at=heard_since,
                    there_from=FOREVER if away else NEVER,
                )
                roles.add(check(View(here, known)).role)
    assert roles == set(Role)


times = st.sampled_from(TIMES)
heres_drawn = st.builds(
    Here,
    asks=st.booleans(),
    sound=st.booleans(),
    plain=st.booleans(),
    incarnation_known=st.booleans(),
    claims=st.booleans(),
    clock_wrong=st.booleans(),
    broker_lost_at=st.none() | st.sampled_from((NOW - 1.0, NOW - 0.05, NOW)),
)
seen_drawn = st.builds(
    Seen,
    replica=st.just("r2"),
    lease=st.just(LEASE),
    paused=st.booleans(),
    away=st.booleans(),
    bus=st.booleans(),
    updated=st.booleans(),
    lease_ends=times,
    settled_at=times,
    begun_at=times,
    there_from=times,
    rival=st.sampled_from((None, "r1")),
    preferred=st.booleans(),
    claimable=st.booleans(),
    contact=times,
    served=st.booleans(),
    linked=st.booleans(),
    heir=st.sampled_from((None, "r1")),
    inherits=st.booleans(),
    claimed_by_another=st.booleans(),
    store_is_anothers=st.booleans(),
    renamed=st.booleans(),
    split=st.booleans(),
    nobody=st.booleans(),
    claimed=st.booleans(),
    unseen_from=times,
    listed_until=times,
    bound=st.booleans(),
    echo_until=times,
    echo_since=times,
    known_at=times,
    bus_given_up_at=times,
).map(lambda known: known._replace(served=known.served and not known.paused))
views = st.builds(
    View,
    here=heres_drawn,
    seen=seen_drawn,
    active_since=st.none() | st.sampled_from((NOW - 0.4, NOW - 9.0)),
    longest=st.just(2.0),
)


@given(views)
@settings(max_examples=examples(200))
def test_whatever_is_known_and_whenever(view: View) -> None:
    check(view)


@given(views, st.floats(0.0, 1.0, exclude_max=True))
@settings(max_examples=examples(200))
def test_a_decision_holds_until_the_time_that_it_says(view: View, part: float) -> None:
    found = decide(view, NOW)
    if view.active_since is None and found.is_active:
        view = view._replace(active_since=NOW)  # as is noted with the decision
    later = NOW + part * min(found.until - NOW, 5.0)
    assert decide(view, later)._replace(until=0.0) == found._replace(until=0.0) or later == found.until


ORDERS = frozenset([node_order(NODE)])


@given(
    st.dictionaries(st.sampled_from(("r1", "r2", "r3", "r4")), heres_drawn, min_size=1),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.data(),
)
@settings(max_examples=examples(200), deadline=None)
def test_of_those_that_know_of_each_other_at_most_one_claims(
    there: dict[str, Here], plain: bool, bus: bool, paused: bool, away: bool, data: st.DataObject
) -> None:
    """Each has beaten, and seen what all the others can do now; then the store may go away for all."""
    there = {name: here._replace(plain=plain) for name, here in there.items()}
    claiming = data.draw(st.none() | st.sampled_from(sorted(there)))
    beats = {
        name: Beat(
            here.asks,
            here.claims and not here.clock_wrong,
            frozenset([NODE] if here.sound else []),
            claims=frozenset([NODE] if name == claiming else []),
        )
        for name, here in there.items()
    }
    decisions = {}
    for name, here in there.items():
        found = Membership(name, LEASE, bus)
        found.update(Snapshot(beats, True, ORDERS if paused else frozenset()), NOW, NOW)
        found.said(beats[name], NOW)
        if away:
            found.lost(NOW)
        known = seen(found, NODE, NOW, 0.0)
        if bus:
            drawn = data.draw(seen_drawn)
            known = known._replace(
                echo_until=drawn.echo_until, echo_since=drawn.echo_since, known_at=drawn.known_at
            )
        decisions[name] = decide(View(here, known), NOW)
    active = [name for name, each in decisions.items() if each.is_active]
    able = [name for name, each in decisions.items() if each.can_serve]
    assert len(active) <= 1
    stays = away and claiming in able and not paused
    assert set(active) <= {claiming if stays else choose(NODE, able)}, "without need nothing changes hands"
    if not bus or not (plain or away):
        assert bool(active) == bool(able), "somebody does"
    assert len([each for each in decisions.values() if each.publishes_notices]) <= (
        1 if able or paused else len(there)
    )
    assert away or sum(each.sweeps for each in decisions.values()) <= 1
    assert sum(each.writes_left for each in decisions.values()) == any(each.sound for each in there.values())


@pytest.mark.parametrize(("before", "now"), list(product(BOTH, BOTH)))
def test_who_consumes_first_changes_with_who_is_chosen(before: bool, now: bool) -> None:
    changes = HANDOVERS[before, now] in (Handover.TAKES_OVER, Handover.GIVES_WAY)
    assert changes == (before != now)
    assert len(HANDOVERS) == 4
