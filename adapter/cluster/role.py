"""What a replica does for a node and what it leaves to others: the roles, in one table. Pure.

``decide`` takes a ``View`` of all that is known and a time, and gives a ``Decision``. A replica has the role
of the first row that does not hold; if all hold it is ``ACTIVE``.

| it is              | unless                                                                    |
|--------------------|---------------------------------------------------------------------------|
| PAUSED             | no operator has paused the node                                           |
| DRAINING           | its drain has not come so far that it claims nothing                      |
| CUT_OFF            | it can take a suspension all the way, and knows what the others do        |
| STANDBY            | rendezvous hashing picks it, and nobody else can be claiming              |
| ACTIVE_UNCONFIRMED | every other replica that reads the node knows that it is active           |

| what is suspended is left to others by | for                                                   |
|----------------------------------------|-------------------------------------------------------|
| ACTIVE                                 | no time: it claims at once                            |
| ACTIVE_UNCONFIRMED                     | ``HANDOVER_WAIT``; without the store no time          |
| STANDBY                                | ``STANDBY_DELAY``; without the store the deadline     |
| CUT_OFF, DRAINING, PAUSED              | a lease if another serves the node, or drains and     |
|                                        | claims still; if nobody does, until the broker's      |
|                                        | return has been waited for; plain: the deadline if    |
|                                        | another may claim by the bus alone, unseen            |
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final, NamedTuple

from adapter.cluster.view import FOREVER, NEVER

if TYPE_CHECKING:
    from adapter.cluster.view import Seen, View

STANDBY_DELAY: Final = 0.15
"""Seconds for which a standby leaves a suspension to the active replica: longer than a claim takes."""
READ_PAUSE: Final = 0.05
"""Seconds between two reads of what another replica is to claim: a wake-up costs more than ten events. So a
standby may have an event by so much later than the active replica."""
RETURN_WAIT: Final = 0.06
"""Seconds since the broker was lost for which its return is waited for before ``unavailable`` is
answered: another server of a cluster takes over in less, and a caller does not notice."""
HANDOVER_WAIT: Final = 0.03
"""Seconds for which one that has just become active leaves a suspension to the one before, which does
not know it yet: that tells the store of its claims within 10 ms."""


class Role(enum.Enum):
    """What a replica is for a node."""

    PAUSED = "paused"
    DRAINING = "draining"
    CUT_OFF = "cut off"
    STANDBY = "standby"
    ACTIVE_UNCONFIRMED = "active, unconfirmed"
    ACTIVE = "active"


class Handover(enum.Enum):
    """What a beat changes in who consumes a node's replies first."""

    TAKES_OVER = "consumes before all others from now on, and adopts"
    KEEPS = "goes on so"
    GIVES_WAY = "consumes behind the others from now on"
    STAYS_OUT = "stays behind"


HANDOVERS: Final = {  # by: whether this replica was the chosen one, and whether it is now
    (False, True): Handover.TAKES_OVER,
    (True, True): Handover.KEEPS,
    (True, False): Handover.GIVES_WAY,
    (False, False): Handover.STAYS_OUT,
}


class Decision(NamedTuple):
    """What this replica does for a node, until a fact changes or a time comes.

    Attributes:
        role: what it is.
        chosen: the replica that is to claim: by hashing, of those that can serve the node.
        wait: seconds for which a suspension is left to somebody or something else; 0: it is claimed now.
        is_active: it claims the node's suspensions.
        is_confirmed_active: and every other replica knows it.
        writes_behind: the store may be told of what is done after it is done. Not if nothing drops a second
            answer: should this process die before it has told, another must not take for unanswered what was
            answered.
        can_serve: it can take a suspension all the way, and may.
        accepts_new: what it claims is published, rather than answered `unavailable`.
        asks: a request would be published now, and its reply come here.
        relaxed: the node may be read a little late, as another replica claims.
        publishes_notices: it publishes what nobody claims.
        sweeps: it answers what is past its deadline.
        may_write: answers that are queued for the node are still this replica's to write.
        yields: it leaves the node to a replica that knows more: of what the store has.
        listens: nobody claims, though this replica could: it listens for others first.
        served: another replica can serve the node.
        claimable: another replica that drains claims still.
        writes_left: it writes what replicas that cannot write have settled.
        resets: another replica can write to the node, so a link that is not read may be given up.
        alone: nobody else is there, as far as this replica has been able to see.
        plain: the node's configuration drops no second answer.
        until: when time alone changes something.
    """

    role: Role
    chosen: str | None
    wait: float
    is_active: bool
    is_confirmed_active: bool
    writes_behind: bool
    can_serve: bool
    accepts_new: bool
    asks: bool
    relaxed: bool
    publishes_notices: bool
    sweeps: bool
    may_write: bool
    yields: bool
    listens: bool
    served: bool
    claimable: bool
    writes_left: bool
    resets: bool
    alone: bool
    plain: bool
    until: float


def decide(view: View, now: float) -> Decision:
    """Say what this replica does for a node."""
    here, seen = view.here, view.seen
    yields = here.plain and _yields(seen, now)
    accepts_new = here.claims and here.asks and not seen.paused
    can_serve = accepts_new and not here.clock_wrong and here.sound and not yields
    chosen = None if seen.paused else seen.replica if can_serve and seen.preferred else seen.rival
    is_chosen = chosen == seen.replica
    confirmed_at = _confirmed_at(view, now)
    role = _role(
        (Role.PAUSED, not seen.paused),
        (Role.DRAINING, here.claims),
        (Role.CUT_OFF, can_serve and _hears(seen, now)),
        (Role.STANDBY, is_chosen and _entitled(here.plain, seen, now)),
        (Role.ACTIVE_UNCONFIRMED, now >= confirmed_at),
    )
    active = role in (Role.ACTIVE, Role.ACTIVE_UNCONFIRMED)
    writes = here.sound and seen.inherits
    return Decision(
        role=role,
        chosen=chosen,
        wait=_wait(role, can_serve, view, now),
        is_active=active,
        is_confirmed_active=role is Role.ACTIVE,
        writes_behind=role is Role.ACTIVE and not here.plain,
        can_serve=can_serve,
        accepts_new=accepts_new,
        asks=here.asks,
        # A replica that has lost the broker cannot know: if the others have, too, callers are told at once.
        relaxed=here.asks and not active,
        publishes_notices=_publishes_notices(view, active, chosen),
        # One alone, since just after an outage the store may not know yet what another has answered.
        # While the store is away each does it for what it owns.
        sweeps=seen.away or ((is_chosen or (chosen is None and writes)) and now <= seen.lease_ends),
        may_write=_may_write(here.plain, yields, seen, now),
        yields=yields,
        listens=can_serve and not active and not seen.served,
        served=seen.served,
        claimable=seen.claimable,
        writes_left=writes,
        resets=seen.linked,
        alone=_alone(seen, now),
        plain=here.plain,
        until=_until(role, confirmed_at, view, now),
    )


def waited(broker_lost_at: float | None, now: float) -> bool:
    """Return True if the broker is lost, and its return has been waited for."""
    return broker_lost_at is not None and now >= broker_lost_at + RETURN_WAIT


def _role(*rows: tuple[Role, bool]) -> Role:
    """Return the first role whose condition does not hold."""
    return next((role for role, holds in rows if not holds), Role.ACTIVE)


def _yields(seen: Seen, now: float) -> bool:
    """Return True if another can say better than this replica what has been answered."""
    knows_more = seen.store_is_anothers if seen.away else seen.taken and now < seen.remembers_from
    return seen.woke or knows_more


def _hears(seen: Seen, now: float) -> bool:
    """Return True if this replica may go by what it knows of the others."""
    if now > seen.lease_ends:
        return False
    return not (seen.away and seen.bus) or now <= seen.echo_until or now > seen.bus_given_up_at


def _entitled(plain: bool, seen: Seen, now: float) -> bool:
    """Return True if nobody else can be claiming, as far as the store alone does not see to that.

    If nothing drops a second answer, no two may claim at one moment.
    """
    if not seen.bus:
        return seen.updated or not plain  # who has never seen whether there are others waits until it has
    if not (seen.away or plain):
        return True  # the store gives each suspension to one of them
    if plain and (now < seen.begun_at or seen.claimed_by_another):
        return False
    if plain and seen.claimed and now >= seen.there_from and now <= seen.unseen_from:
        return True  # who claims goes on, though its echo is late: the others have the store
    if seen.echo_until == NEVER:
        return seen.updated and now > seen.bus_given_up_at
    if plain and seen.away and (seen.bound or (now < seen.listed_until and not seen.claimed)):
        return False  # one that has the store, and not the bus, may go by what was told there
    heard = now <= seen.echo_until and now >= seen.listened_at
    return heard and (not plain or now >= seen.trusted_at)


def _confirmed_at(view: View, now: float) -> float:
    """Return when every other replica knows that this one is active: all have beaten since.

    Those that read the node count, even where they cannot serve it any more: until just now they may
    have, and one that drains claims until Kamailio knows.
    """
    seen = view.seen
    if seen.renamed or seen.split:
        return FOREVER
    if not seen.linked:
        return NEVER
    return (now if view.active_since is None else view.active_since) + seen.lease / 2


def _unseen(seen: Seen, now: float) -> bool:
    """Return True if another may claim by the bus alone, where this replica does not hear it."""
    return seen.bus and not seen.away and seen.unseen_from < now <= seen.bus_given_up_at


def _alone(seen: Seen, now: float) -> bool:
    """Return True if nobody else is there, as far as this replica has been able to see."""
    listened = now <= seen.echo_until and now >= seen.alone_at
    return seen.nobody and (seen.updated or listened)


def _wait(role: Role, can_serve: bool, view: View, now: float) -> float:
    """Return the seconds for which a suspension is left to somebody or something else."""
    if role in (Role.ACTIVE, Role.ACTIVE_UNCONFIRMED):
        wait = 0.0 if role is Role.ACTIVE or view.seen.away else HANDOVER_WAIT
    elif role is Role.STANDBY:
        wait = _standby_waits(view, now)
    else:
        wait = _others_wait(can_serve, view, now)
    if not view.seen.renamed:
        return wait
    # Its Kamailio's other name comes first. If nothing drops a second answer, who has not claimed it under
    # that name by the end of a lease will not.
    return max(wait, view.seen.lease if view.here.plain else STANDBY_DELAY)


def _standby_waits(view: View, now: float) -> float:
    plain, seen = view.here.plain, view.seen
    if seen.away and seen.bus:
        return view.longest  # whoever is active may die, and nobody could say of what it has claimed
    if now < seen.settled_at or (plain and seen.bus and now < seen.begun_at):
        return FOREVER
    if not (plain and seen.bus):
        return STANDBY_DELAY
    # What the active one has claimed is in the store, if the store has answered it since.
    return max(STANDBY_DELAY, min(now - seen.contact + STANDBY_DELAY, view.longest))


def _others_wait(can_serve: bool, view: View, now: float) -> float:
    here, seen = view.here, view.seen
    if seen.away and seen.bus and (can_serve or (here.plain and not _alone(seen, now))):
        return view.longest
    if now > seen.lease_ends:
        return FOREVER  # the beat under way tells within the store's timeout who is active
    if here.plain and _unseen(seen, now):
        return view.longest
    # While the store is away the others do not learn that it cannot serve any more.
    counts_on_it = seen.away and seen.preferred and not seen.paused
    if (seen.served or seen.claimable) and not counts_on_it:
        return seen.lease  # who lives and has not claimed it by then has not got it
    return 0.0 if here.broker_lost_at is None or waited(here.broker_lost_at, now) else RETURN_WAIT


def _publishes_notices(view: View, active: bool, chosen: str | None) -> bool:
    """Return True if this replica is active, or if there is none that is."""
    here, seen = view.here, view.seen
    if seen.renamed and here.incarnation_known:
        return False  # told under the other name; an address alone is no proof
    if seen.paused:
        return here.sound and seen.inherits
    return active or chosen is None


def _may_write(plain: bool, yields: bool, seen: Seen, now: float) -> bool:
    """Return True if nobody can have taken over what this replica has queued for the node."""
    if now > seen.lease_ends:
        return False
    if not (seen.away and seen.bus and plain):
        return True
    heard = now <= seen.echo_until or _alone(seen, now) or now > seen.bus_given_up_at
    return heard and not yields


def _until(role: Role, confirmed_at: float, view: View, now: float) -> float:
    """Return the next of the times that a decision depends on."""
    here, seen = view.here, view.seen
    if role is Role.STANDBY and here.plain and seen.bus:
        return now  # how long it waits depends on how long ago the store has answered the active one
    times = (
        confirmed_at,
        seen.lease_ends,
        seen.settled_at,
        seen.begun_at,
        seen.there_from,
        seen.remembers_from,
        seen.remembers_from + view.longest,
        seen.unseen_from,
        seen.listed_until,
        seen.echo_until,
        seen.listened_at,
        seen.alone_at,
        seen.trusted_at,
        seen.bus_given_up_at,
        NEVER if here.broker_lost_at is None else here.broker_lost_at + RETURN_WAIT,
    )
    return min(filter(now.__le__, times), default=FOREVER)
