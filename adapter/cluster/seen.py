"""What a membership tells of a node: the part of a view that rests on others. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from adapter.cluster.rendezvous import choose
from adapter.cluster.view import NEVER, Seen

if TYPE_CHECKING:
    from adapter.cluster.membership import Membership

YIELDS_AFTER: Final = 2.0
"""Leases for which the store has answered another replica and not this one, after which it leaves plain nodes
to that one: a store that crashes again and again is not back for all at one time."""


def seen(membership: Membership, node: str, now: float, longest: float) -> Seen:
    """Return what a membership tells of a node.

    Who claims it goes on until the store has all again that it may have forgotten, and ``longest`` seconds
    more: until then, nobody else could say of all that waits whether it has been answered.
    """
    me, others, echo = membership.replica, membership.others, membership.echo
    serving = [each for each in others if membership.serves(each, node)]
    lost_since = max(membership.updated_at, membership.lost_to_all) + YIELDS_AFTER * membership.lease
    store_is_anothers = any(membership.contact(each) > lost_since for each in serving)
    against, may_be_chosen, claimed = serving, True, node in echo.claims
    if now < membership.remembers_from + longest:
        claiming = [each for each in serving if node in others[each].claims]
        serving = claiming or serving
        against, may_be_chosen = claiming if claimed else serving, claimed or not claiming
    rival = choose(node, serving)
    preferred = may_be_chosen and choose(node, [*against, me]) == me
    linked = [each for each, beat in others.items() if node in beat.nodes]
    heirs = [each for each in linked if not membership.elsewhere(each, node)]
    claimers = [each for each, beat in others.items() if node in beat.claims]
    return Seen(
        replica=me,
        lease=membership.lease,
        paused=node in membership.paused,
        away=membership.away,
        bus=membership.bus,
        updated=membership.updated_at != NEVER,
        lease_ends=membership.lease_ends,
        settled_at=membership.settled_at,
        begun_at=membership.begun_at,
        woke=membership.lease_ends == NEVER,
        there_from=membership.there_from,
        remembers_from=membership.remembers_from,
        rival=rival,
        preferred=preferred,
        contact=NEVER if preferred or rival is None else membership.contact(rival),
        served=rival is not None and node not in membership.paused,
        claimable=node not in membership.paused
        and any(membership.still_claims(each, node) for each in others),
        linked=bool(linked),
        heir=choose(node, heirs),
        inherits=choose(node, [*heirs, me]) == me,
        claimed_by_another=not all(membership.elsewhere(each, node) for each in claimers),
        taken=any(membership.serves(each, node) for each in claimers),
        store_is_anothers=store_is_anothers,
        renamed=node in membership.elders,
        split=node in membership.splits,
        nobody=membership.nobody_heard,
        claimed=claimed,
        unseen_from=membership.unseen_from,
        listed_until=membership.listed_until,
        bound=membership.bound,
        echo_until=echo.until,
        echo_since=echo.since,
        known_at=echo.known_at(node),
        bus_given_up_at=echo.given_up_at,
    )
