"""The roles of this replica, for each node as of this instant. What they are is in ``role``. Pure.

A decision is made once, and holds until a fact changes that it rests on: those of this replica are looked at
each time, as they may change at any moment; the membership counts its changes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from adapter.cluster.drain import Drain, DrainEvent
from adapter.cluster.role import decide, waited
from adapter.cluster.seen import seen
from adapter.cluster.view import Here, View

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from adapter.cluster.membership import Membership
    from adapter.cluster.role import Decision
    from adapter.ports.broker import Broker
    from adapter.ports.links import Links


class Roles:
    """By the membership, and by what this replica can do now. To be ``refresh``\\ ed often.

    Args:
        membership: who else is there.
        broker: whether requests can be published, and replies come.
        links: whether the nodes read what is written to them.
        clock: gives epoch seconds, by which the membership goes, too.
        longest: gives the seconds of the longest deadline.
    """

    def __init__(
        self,
        membership: Membership,
        broker: Broker,
        links: Links,
        clock: Callable[[], float],
        longest: Callable[[], float] = lambda: 2.0,
    ) -> None:
        self._membership = membership
        self._broker = broker
        self._links = links
        self._clock = clock
        self._longest = longest
        self._lost_at: float | None = None  # the broker, as of the last look
        self._looked_at = clock()
        self._active_since: dict[str, float] = {}  # by node
        # By node: what the decision rests on, from when until when it holds, and it.
        self._made: dict[str, tuple[tuple[object, ...], float, float, Decision]] = {}
        self.drain = Drain.SERVING
        """How far this replica has come in taking no more calls."""
        self.clock_wrong = False
        """Whether this replica's clock is wrong, and another can serve whose clock is not."""
        self.broker_seen = False
        """Whether the broker was ever there: before that this replica has asked nothing."""

    def __repr__(self) -> str:
        roles = {node: decision.role.value for node, (*_, decision) in self._made.items()}
        return f"<Roles of {self._membership.replica}: {roles}>"

    def of(self, node: str) -> Decision:
        """Return what this replica does for a node now."""
        now, membership, broker, links = self._clock(), self._membership, self._broker, self._links
        facts = (  # a plain tuple: this is asked with each read and each write
            membership.version,
            broker.ready and broker.takes_replies(node),
            links.sound(node),
            links.drops_repeats(node),
            node in membership.elders and bool(links.incarnation(node)),
            self.drain,
            self.clock_wrong,
            self._lost_at,
        )
        made = self._made.get(node)
        if made is not None and made[0] == facts and made[1] <= now < made[2]:
            return made[3]
        _, asks, sound, drops_repeats, incarnation_known, drain, clock_wrong, lost_at = facts
        here = Here(asks, sound, not drops_repeats, incarnation_known, drain.claims, clock_wrong, lost_at)
        since = self._active_since.get(node)
        longest = self._longest()
        found = seen(membership, node, now, 0.0 if drops_repeats else longest)
        decision = decide(View(here, found, since, longest), now)
        if not decision.is_active:
            self._active_since.pop(node, None)
        elif since is None:
            self._active_since[node] = now
        self._made[node] = facts, now, decision.until, decision
        return decision

    def refresh(self, now: float) -> None:
        """Note since when the broker is lost; a gap of a lease tells that this process stood still."""
        if now - self._looked_at > self._membership.lease:
            self._membership.woke(now)
        self._looked_at = now
        if self._broker.ready:
            self._lost_at, self.broker_seen = None, True
        elif self._lost_at is None:
            self._lost_at = now

    def waited(self, now: float) -> bool:
        """Return True if the broker is lost, and its return has been waited for."""
        return waited(self._lost_at, now)

    def set_identities(self, identities: Mapping[str, str]) -> None:
        """Take in at once which Kamailio each linked node is: names may clash."""
        self._membership.set_identities(identities)

    def obey(self) -> bool:
        """Begin to drain if an operator orders it by now, end it if not; True if that changes anything."""
        ordered = self._membership.drain_ordered
        return self.advance(DrainEvent.ORDERED if ordered else DrainEvent.COUNTERMANDED)

    def advance(self, event: DrainEvent) -> bool:
        """Take in what happens to a drain; True if that changes its state."""
        before, self.drain = self.drain, self.drain.after(event)
        return before is not self.drain

    def stepped(self, by: float) -> None:
        """The clock was set forward by so many seconds: that was no standing still."""
        self._membership.stepped(by)
        self._looked_at += by
        self._active_since = {node: since + by for node, since in self._active_since.items()}
        if self._lost_at is not None:
            self._lost_at += by
