"""Whose turn it is: what this replica does for a node, and what it leaves to others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from adapter.cluster.drain import Drain, DrainEvent

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from adapter.cluster.membership import Membership
    from adapter.ports.broker import Broker
    from adapter.ports.links import Links

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
_FOR_NOW: Final = float("inf")


class Role:
    """By the membership, and by what this replica is able to do this instant.

    ``clock`` gives epoch seconds. ``longest``: seconds of the longest
    deadline. To be ``look``\\ ed at often.
    """

    def __init__(
        self,
        membership: Membership,
        broker: Broker,
        links: Links,
        clock: Callable[[], float],
        longest: float = 2.0,
    ) -> None:
        self._membership = membership
        self._broker = broker
        self._links = links
        self._clock = clock
        self._longest = longest
        self._lost_at: float | None = None  # the broker, as of the last look
        self._looked = clock()
        self._since: dict[str, float] = {}  # when this replica became the active one, by node
        self.drain = Drain.SERVING
        """How far this replica has come in taking no more calls."""
        self.astray = False
        """Whether this replica's clock is wrong, and another can serve whose clock is not."""
        self.broker_seen = False
        """Whether the broker was ever there: before that this replica has asked nothing."""

    def look(self, now: float) -> None:
        """Note since when the broker is lost; a gap of a lease tells that this process stood still."""
        if now - self._looked > self._membership.lease:
            self._membership.woke(now)
        self._looked = now
        if self._broker.ready:
            self._lost_at, self.broker_seen = None, True
        elif self._lost_at is None:
            self._lost_at = now

    def obey(self) -> bool:
        """Begin to drain if an operator orders it by now, end it if not; True if that changes anything."""
        ordered = self._membership.drain_ordered
        return self.advance(DrainEvent.ORDERED if ordered else DrainEvent.COUNTERMANDED)

    def advance(self, event: DrainEvent) -> bool:
        """Take in what happens to a drain; True if that changes its state."""
        before, self.drain = self.drain, self.drain.after(event)
        return before is not self.drain

    def see(self, identities: Mapping[str, str]) -> None:
        """Take in at once which Kamailio each linked node is: names may clash."""
        self._membership.here(identities)

    def stepped(self, by: float) -> None:
        """The clock was set forward by so many seconds: that was no standing still."""
        self._membership.stepped(by)
        self._looked += by
        self._since = {node: since + by for node, since in self._since.items()}
        if self._lost_at is not None:
            self._lost_at += by

    def asks(self, node: str) -> bool:
        """Return True if a request of the node would be published now, and its reply come here."""
        return self._broker.ready and self._broker.takes_replies(node)

    def accepts_new(self, node: str) -> bool:
        """Whether what is claimed of the node now is published."""
        return self.drain.claims and self.asks(node) and node not in self._membership.paused

    @property
    def current(self) -> bool:
        """Whether this replica's lease lasts, so that nobody has taken over what it owns."""
        return self._membership.current(self._clock())

    def can_serve(self, node: str) -> bool:
        """Whether this replica can take a suspension of the node all the way, and may."""
        return (
            self.accepts_new(node) and not self.astray and self._links.sound(node) and not self.yields(node)
        )

    def yields(self, node: str) -> bool:
        """Whether this replica leaves the node to one that has the store, which it has lost itself.

        Where Kamailio drops a second answer both go on: replies may come to either, and only who claimed a
        suspension knows what to do with them.
        """
        return self._membership.away and self.plain(node) and self._membership.yields(node)

    def active(self, node: str) -> bool:
        """Whether this replica is the one to claim the node's suspensions.

        Nothing there drops a second answer where the configuration is plain: who has never seen whether
        there are others waits until it has.
        """
        if self._membership.blind and not self._membership.bus and self.plain(node):
            return False
        chosen = self._membership.active(node, self.can_serve(node))
        active = chosen == self._membership.replica and self.current and self._entitled(node)
        if not active:
            self._since.pop(node, None)
        elif node not in self._since:
            self._since[node] = self._clock()
        return active

    def listens(self, node: str) -> bool:
        """Whether nobody claims for the node, though this replica could: it listens for others first."""
        return self.can_serve(node) and not self.active(node) and not self._membership.served(node)

    def _entitled(self, node: str) -> bool:
        """Whether nobody else can be claiming, as far as the store alone does not see to that."""
        membership = self._membership
        if not membership.bus or not (membership.away or self.plain(node)):
            return True  # the store gives each suspension to one of them
        return membership.entitled(node, self._clock(), self.plain(node))

    def plain(self, node: str) -> bool:
        """Whether the node's configuration takes any answer, a second one, too."""
        return not self._links.drops_repeats(node)

    def may_write(self, node: str) -> bool:
        """Whether answers that are queued for the node are still this replica's to write."""
        membership = self._membership
        if not (membership.away and membership.bus and self.plain(node)):
            return self.current
        if membership.unsure or self.yields(node):
            return False
        now = self._clock()
        return membership.echo.lasts(now) or membership.alone(now) or membership.echo.given_up(now)

    def is_confirmed_active(self, node: str) -> bool:
        """Whether it is active and every other replica knows it: all have beaten since.

        Those that read the node count, even where they cannot serve it any more: until just now they may
        have, and one that drains claims until Kamailio knows.
        """
        membership = self._membership
        if not self.active(node) or membership.elders(node) or membership.split(node):
            return False
        return not membership.linked(node) or self._clock() >= self._since[node] + membership.lease / 2

    def relaxed(self, node: str) -> bool:
        """Whether what the node suspends may be read a little late, as another replica claims it. Who has
        lost the broker cannot know: where the others have, too, callers are to be told at once.
        """
        return self.asks(node) and not self.active(node)

    def publishes_notices(self, node: str) -> bool:
        """Whether to publish what nobody claims: as the active one, or where there is none."""
        membership = self._membership
        if membership.elders(node) and self._links.incarnation(node):
            return False  # told under the other name; an address alone is no proof
        if node in membership.paused:
            return membership.writer(node, self._links.sound(node)) == membership.replica
        return self.active(node) or membership.active(node, self.can_serve(node)) is None

    def sweeps(self, node: str) -> bool:
        """Whether this replica is the one to answer what is past its deadline.

        One alone, since just after an outage the store may not know yet what another has answered.
        While the store is away each does it for what it owns.
        """
        membership = self._membership
        if membership.away:
            return True
        chosen = membership.active(node, self.can_serve(node)) or membership.writer(
            node, self._links.sound(node)
        )
        return chosen == membership.replica and self.current

    def grace(self, node: str, now: float) -> float:
        """Seconds for which a suspension of the node is left to somebody or something else.

        Its Kamailio's other name comes first. Where nothing drops a second answer, who has not claimed
        it under that name by the end of a lease will not.
        """
        own = self._grace(node, now)
        if not self._membership.elders(node):
            return own
        return max(own, STANDBY_DELAY if self._links.drops_repeats(node) else self._membership.lease)

    def _grace(self, node: str, now: float) -> float:
        if self.active(node):
            return 0.0 if self.is_confirmed_active(node) or self._membership.away else HANDOVER_WAIT
        membership, plain = self._membership, self.plain(node)
        if (
            membership.away
            and membership.bus
            and (self.can_serve(node) or (plain and not membership.alone(now)))
        ):
            return self._longest  # whoever is active may die, and nobody could say of what it has claimed
        if not self.current:
            return _FOR_NOW  # the beat under way tells within the store's timeout who is active
        if self.can_serve(node):
            if membership.settling(now) or (plain and membership.bus and membership.beginning(now)):
                return _FOR_NOW
            if not (plain and membership.bus):
                return STANDBY_DELAY
            # What the active one has claimed is in the store, if the store has answered it since.
            known = membership.contact(membership.active(node, True))
            return max(STANDBY_DELAY, min(now - known + STANDBY_DELAY, self._longest))
        # While the store is away the others do not learn that it is not able any more.
        ours = self._membership.away and self._membership.active(node, True) == self._membership.replica
        if self._membership.served(node) and not ours:
            return self._membership.lease  # who lives and has not claimed it by then has not got it
        return 0.0 if self._lost_at is None or self.waited(now) else RETURN_WAIT

    def waited(self, now: float) -> bool:
        """Whether the broker's return has been waited for."""
        return self._lost_at is not None and now >= self._lost_at + RETURN_WAIT
