"""All that the role of a replica for one node rests on, in one value. Pure."""

from __future__ import annotations

from typing import Final, NamedTuple

NEVER: Final = float("-inf")
FOREVER: Final = float("inf")


class Here(NamedTuple):
    """What this replica can do for the node at this instant.

    Attributes:
        asks: a request would be published now, and its reply come here.
        sound: the node reads what is written to it.
        plain: the node's configuration drops no second answer.
        incarnation_known: the node's Kamailio tells which incarnation it is.
        claims: no drain keeps this replica from claiming.
        clock_wrong: its clock is wrong, and another replica can serve whose clock is not.
        broker_lost_at: when its broker was lost; None: it is there.
    """

    asks: bool
    sound: bool
    plain: bool
    incarnation_known: bool
    claims: bool
    clock_wrong: bool
    broker_lost_at: float | None


class Seen(NamedTuple):
    """What this replica has seen of the others, the store and the bus, as far as the node is concerned.

    Attributes:
        replica: this one.
        lease: seconds without a beat after which a replica counts as dead.
        paused: by an operator's order.
        away: the store is.
        bus: there is a second way to hear of others.
        updated: the store has told who is there at least once.
        lease_ends: when this replica may not go by that any more; NEVER: now, as it stood still.
        settled_at: when claims of others have had the time to come to a store that has just come back.
        begun_at: when others have had the time to show, if this replica saw nobody at first.
        woke: this process stood still, and has not heard of the others since.
        there_from: since when the store has been there for a lease; FOREVER: it is away.
        remembers_from: since when all is in the store again that it may have forgotten; FOREVER: it is away.
        rival: whom hashing picks of the others that serve the node.
        preferred: hashing picks this replica rather than the rival.
        contact: when the store answered the rival last; NEVER if this replica is preferred.
        served: another replica can serve the node.
        claimable: another replica that drains claims for the node, until somebody can serve it.
        linked: another replica can write to it.
        heir: whom hashing picks of those.
        inherits: hashing picks this replica rather than the heir.
        claimed_by_another: another replica says that it claims the node's suspensions.
        taken: and it can serve the node.
        store_is_anothers: another replica has the store, which this one has lost itself.
        renamed: the node's Kamailio goes by a smaller name, too, which counts.
        split: two Kamailios go by this name.
        nobody: no other replica was heard of.
        claimed: this replica claimed the node's suspensions when it beat last over the bus.
        unseen_from: from when on another may claim by the bus alone, which this one does not hear.
        listed_until: until when others may go by what the store says of this replica.
        bound: the store has this replica for one without broker, and another may go by that.
        echo_until: when the last beat that came back over the bus is too old; NEVER: none ever came.
        echo_since: since when they come without a gap.
        known_at: since when all know from the bus that this replica can serve the node; FOREVER: not yet.
        bus_given_up_at: when the bus counts as not there, as nothing came back; FOREVER: something did.
    """

    replica: str
    lease: float
    paused: bool = False
    away: bool = False
    bus: bool = False
    updated: bool = True
    lease_ends: float = FOREVER
    settled_at: float = NEVER
    begun_at: float = NEVER
    woke: bool = False
    there_from: float = NEVER
    remembers_from: float = NEVER
    rival: str | None = None
    preferred: bool = True
    contact: float = NEVER
    served: bool = False
    claimable: bool = False
    linked: bool = False
    heir: str | None = None
    inherits: bool = True
    claimed_by_another: bool = False
    taken: bool = False
    store_is_anothers: bool = False
    renamed: bool = False
    split: bool = False
    nobody: bool = True
    claimed: bool = False
    unseen_from: float = FOREVER
    listed_until: float = NEVER
    bound: bool = False
    echo_until: float = NEVER
    echo_since: float = NEVER
    known_at: float = FOREVER
    bus_given_up_at: float = FOREVER

    @property
    def listened_at(self) -> float:
        """When this replica has listened for long enough to go by what it hears over the bus."""
        return self.echo_since + (self.lease / 2 if self.updated else self.lease)

    @property
    def alone_at(self) -> float:
        """When whoever else is there would have been heard over the bus."""
        return self.echo_since + self.lease

    @property
    def trusted_at(self) -> float:
        """When the others have had the time to stop, as they know that this replica can serve the node."""
        return self.known_at + self.lease / 2


class View(NamedTuple):
    """All that a decision rests on. Times are seconds of the clock by which it is asked for.

    Attributes:
        here: what this replica can do.
        seen: what it has seen.
        active_since: since when it has been active; None: it was not.
        longest: seconds of the longest deadline.
    """

    here: Here
    seen: Seen
    active_since: float | None = None
    longest: float = 2.0
