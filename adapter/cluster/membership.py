"""Who does what for which node, by the last beats of all replicas. Pure.

For each node one replica is active: rendezvous hashing over those that live and can take a
suspension all the way, so that all agree without talking. When a replica comes or goes, only the
nodes that it gets or had change hands (Thaler and Ravishankar, "Using name-based mappings to
increase hit rates", 1998).

How old a beat is, this process's own clock tells: from when it heard of it. A clock that jumps, Redis' or
another machine's, makes nobody look dead.

While the store is away replicas hear each other over the ``bus`` alone (RabbitMQ). Where there is none, or it
is away, too, the last list holds, and for one lease after the store's return still, until everybody has
beaten again. Who may claim when is the table in ``ARCHITECTURE.md``.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from adapter.cluster.echo import NEVER, Echo
from adapter.cluster.identities import differ, elders, incarnation_of
from adapter.model.beat import node_order, replica_order

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from adapter.model.beat import Beat, Snapshot

FORMER_FOR: Final = 60.0
"""Seconds for which replies may come to what a replica of the former build asked: more than any deadline."""
YIELDS_AFTER: Final = 2.0
"""Leases for which the store has answered another replica and not this one, after which it leaves plain nodes
to that one: a store that crashes again and again is not back for all at one time."""
_PAUSE: Final = node_order("")


def choose(node: str, replicas: Iterable[str]) -> str | None:
    """The one of the replicas that rendezvous hashing picks for a node; None of none."""
    return max(replicas, key=lambda replica: (_weight(node, replica), replica), default=None)


@lru_cache(maxsize=1 << 16)
def _weight(node: str, replica: str) -> bytes:
    return hashlib.blake2b(f"{replica}\0{node}".encode(), digest_size=8, usedforsecurity=False).digest()


@dataclass(slots=True)
class _Heard:
    """The last beat of another replica. ``at``: until when it is known to have lived. ``contact``: when the
    store answered it last, at the latest. ``bus``: when it was last heard over the bus."""

    beat: Beat
    at: float
    contact: float
    bus: float = NEVER


class Membership:
    """``replica`` is this one. ``lease``: seconds without a beat after which one is dead. ``bus``: there is a
    second way to hear of others; ``heard`` and ``echo`` are to be told of it.

    Times are seconds of any one clock. What this replica itself can do is told with each question,
    since it knows that before it beats.
    """

    def __init__(self, replica: str, lease: float, bus: bool = False) -> None:
        self.replica = replica
        self.bus = bus
        self.lease = lease
        self.away = False
        """Whether the store is: then the last list holds, and the last orders."""
        self.paused: frozenset[str] = frozenset()
        """Nodes whose suspensions nobody is to take, by an operator's order."""
        self.drain_ordered = False
        """Whether an operator wants this replica to claim nothing."""
        self._heard: dict[str, _Heard] = {}
        self._others: Mapping[str, Beat] = {}  # that live
        self._active: dict[tuple[str, bool], str | None] = {}  # answers, as long as these are the others
        self._dead: frozenset[str] = frozenset()
        self._here: Mapping[str, str] = {}  # which Kamailio each of this replica's nodes is
        self._elders: Mapping[str, tuple[str, ...]] = {}
        self.splits: frozenset[str] = frozenset()
        """This replica's nodes whose names stand for two Kamailios."""
        self.left: set[str] = set()
        """Nodes of which an answer was left to a replica that is linked to another Kamailio of this name."""
        self._top_priority = 0
        self._updated = NEVER
        self._settled_at = NEVER
        self._woke = NEVER  # and not heard of the others since
        self._remembers_since = NEVER
        self._alone_until = NEVER
        self.echo = Echo(lease)
        self._lost_to_all = NEVER  # until when, as far as is known, the store answered nobody
        self._shadow = NEVER
        self._untagged_until = NEVER

    def __repr__(self) -> str:
        state = "as last seen" if self.away else "live"
        return f"<Membership {self.replica}, others {state}: {sorted(self._others)}>"

    def update(self, snapshot: Snapshot, asked: float, now: float) -> None:
        """Take in what the store says of everybody; it was asked at an earlier time."""
        self._hear(snapshot, now)
        if self.away or (not snapshot.known and self._updated != NEVER):
            self._settled_at = now + self.lease
            self._remembers_since = now
        self.drain_ordered = replica_order(self.replica) in snapshot.orders
        self.paused = frozenset(order[len(_PAUSE) :] for order in snapshot.orders if order.startswith(_PAUSE))
        former = [now - each.at for each in self._heard.values() if not each.beat.tags]
        if former:
            self._untagged_until = max(self._untagged_until, now - min(former) + FORMER_FOR)
        self._top_priority = max([self._top_priority, *(each.beat.priority for each in self._heard.values())])
        first = self._updated == NEVER
        self._updated = asked
        self.away = False
        self.refresh(now)
        others = self._others.values()
        self.splits = frozenset(n for n in self._here if any(self._differs(b, n) for b in others))
        self._active.clear()
        if first and not self._others:
            self._alone_until = now + self.lease
        if asked >= self._woke:
            self._woke = NEVER

    def _hear(self, snapshot: Snapshot, now: float) -> None:
        """Note which of the beats are new, and when they were made: no earlier than the last look, where the
        store's clock has not jumped, and never later than now."""
        heard: dict[str, _Heard] = {}
        for replica, beat in snapshot.beats.items():
            before, made = self._heard.get(replica), now - beat.age
            if replica == self.replica:
                continue
            if before is not None and beat.number:
                # While a replica hands back its beats have one number, and tell later times.
                if (beat.number, beat.at) <= (before.beat.number, before.beat.at):
                    heard[replica] = before
                    continue
                made = min(max(made, self._updated), now)
            heard[replica] = self._newer(replica, _Heard(beat, made, made), now)
        for replica, before in self._heard.items():
            if now - before.bus <= self.lease:
                heard.setdefault(replica, before)  # it has not got the store, and is here all the same
        self._heard = heard

    def here(self, identities: Mapping[str, str]) -> None:
        """Take in which Kamailio each node is to which this replica is linked.

        Whether another replica's link is to another Kamailio, only a look can tell that comes later: after
        a restart their last beats tell of the life before.
        """
        if identities != self._here:
            before, self._here = self._here, identities
            self.splits = frozenset(n for n in self.splits if identities.get(n) == before.get(n))
            self._compare_names()

    def _compare_names(self) -> None:
        self._active.clear()
        self._elders = elders(self._here, self._others.values())

    def elders(self, node: str) -> tuple[str, ...]:
        """Return the smaller names under which the node's Kamailio is served, too: those count."""
        return self._elders.get(node, ())

    def _elsewhere(self, beat: Beat, node: str) -> bool:
        """Return True if another replica calls another Kamailio by this name."""
        return node in self.splits and self._differs(beat, node)

    def _differs(self, beat: Beat, node: str) -> bool:
        return differ(self._here[node], beat.identities.get(node, ""))

    def split(self, node: str) -> bool:
        """Return True if two Kamailios go by this name: each is served by the replicas linked to it."""
        return node in self.splits

    def linked_to(self, node: str, incarnation: str) -> bool:
        """Return True if another replica is linked to this incarnation of the node's Kamailio."""
        return any(
            incarnation_of(beat.identities.get(node, "")) == incarnation for beat in self._others.values()
        )

    def may_not_write(self, replica: str, node: str) -> bool:
        """Return True if another replica is dead, or linked to another Kamailio of this name."""
        beat = self._others.get(replica)
        return replica != self.replica and (beat is None or self._elsewhere(beat, node))

    def _newer(self, replica: str, heard: _Heard, now: float) -> _Heard:
        before = self._heard.get(replica)
        if before is not None:
            heard.bus = max(heard.bus, before.bus)
            heard.contact = max(heard.contact, before.contact)
            if self._blind(before):
                self._shadow = max(self._shadow, now)
        return heard

    def _is_mute(self, replica: str) -> bool:
        heard = self._heard.get(replica)
        return heard is not None and heard.bus == NEVER

    def _blind(self, heard: _Heard) -> bool:
        """Whether what a replica claims is not to be found in the store. One that stood still claims
        nothing until the store has answered it."""
        return self.away or (heard.contact < heard.at - self.lease / 2 and bool(heard.beat.claims))

    # The bus

    def heard(self, replica: str, beat: Beat, now: float) -> None:
        """A beat came over the bus. This replica's own tells that all before it have come, too."""
        if replica == self.replica:
            self.echo.came(beat, now)
        else:
            before = self._heard.get(replica)
            if before is not None and beat.number <= before.beat.number:
                before.bus = now
            else:
                contact = NEVER if beat.contact is None else now - beat.contact
                self._heard[replica] = self._newer(replica, _Heard(beat, now, contact, now), now)
        self.refresh(now)

    def refresh(self, now: float) -> None:
        """Go by the beats as old as they are now."""
        if self.away and all(now - each.contact > self.lease for each in self._heard.values()):
            self._lost_to_all = now
        live = {replica: each.beat for replica, each in self._heard.items() if now - each.at <= self.lease}
        if now < self._settled_at or (self.away and not self.echo.lasts(now)):
            live = {**self._others, **live}
        elif self.away:  # one of the former build, which goes by its last list: nothing tells that it is dead
            live = {**{r: b for r, b in self._others.items() if self._is_mute(r)}, **live}
        for replica, each in self._heard.items():
            if self._blind(each):  # one that is seen by nobody claims nothing after half a lease
                self._shadow = max(self._shadow, min(now, each.at + self.lease / 2))
            if replica in live:
                live[replica] = each.beat
        self._others = live
        self._compare_names()
        settling = now < self._settled_at  # who could not be seen may hand back yet what it has answered
        self._dead = frozenset() if settling else frozenset(self._heard.keys() - live.keys())

    @property
    def shadow(self) -> float:
        """Until when another replica may have answered what came, without any trace in the store."""
        # Those that live and have the store have left their traces in it.
        others = self._heard.items()
        untraced = self.away or any(self._blind(each) or name not in self._others for name, each in others)
        return max(self._shadow, self.echo.since) if untraced else self._shadow

    def entitled(self, node: str, now: float, strictly: bool) -> bool:
        """Whether this replica may claim, as far as it has heard of others over the bus.

        ``strictly``: not at one moment with another. If Kamailio's configuration tells a second answer from
        the first, that is not needed.
        """
        if strictly and self.beginning(now):
            return False
        if strictly and self._another_claims(node):
            return False
        if strictly and node in self.echo.claims and self.remembers(now):
            return True  # who claims goes on, though its echo is late: the store is there
        known = self._updated != NEVER
        if not self.echo.ever:
            return known and self.echo.given_up(now)
        listened = now - self.echo.since >= (self.lease / 2 if known else self.lease)
        if not (self.echo.lasts(now) and listened):
            return False
        if not strictly:
            return True
        return self.echo.told(node, now) >= self.lease / 2

    def _another_claims(self, node: str) -> bool:
        return any(node in b.claims and not self._elsewhere(b, node) for b in self._others.values())

    def yields(self, node: str) -> bool:
        """Whether this replica leaves a node to one that has the store, which it has lost itself."""
        since = max(self._updated, self._lost_to_all) + YIELDS_AFTER * self.lease
        return self.away and any(
            self._serves(beat, node) and self._heard[replica].contact > since
            for replica, beat in self._others.items()
            if replica in self._heard
        )

    def contact(self, replica: str | None) -> float:
        """When the store answered a replica last, at the latest."""
        heard = self._heard.get(replica or "")
        return NEVER if heard is None else heard.contact

    def contact_age(self, now: float) -> float | None:
        """Seconds since the store answered this replica; None: never."""
        return None if self._updated == NEVER else now - self._updated

    def alone(self, now: float) -> bool:
        """Whether nobody else is there, as far as this replica has been able to see."""
        listened = self.echo.lasts(now) and now - self.echo.since >= self.lease
        return not self._heard and (self._updated != NEVER or listened)

    def beginning(self, now: float) -> bool:
        """Whether this replica saw nobody at its first look, and others had no time to show since."""
        return now < self._alone_until

    def stepped(self, by: float) -> None:
        """The clock was set forward by so many seconds."""
        self.echo.stepped(by)
        for each in self._heard.values():
            each.at += by
            each.bus += by
            each.contact += by

    def lost(self, asked: float) -> None:
        """The store is away: it did not answer what it was asked at that time."""
        self.away = True
        self._active.clear()
        if asked >= self._woke:
            self._woke = NEVER

    def woke(self, now: float) -> None:
        """This process stood still for so long that it may have been taken for dead. That the store
        seems not to have answered meanwhile says nothing."""
        self._woke = now

    def untagged(self, now: float) -> bool:
        """Whether correlation ids may come without a tag: replies to a replica of the former build, which
        beats or did until a moment ago. It ends by itself after a rolling update."""
        return now < self._untagged_until

    @property
    def blind(self) -> bool:
        """Whether this replica has never seen who else there is."""
        return self._updated == NEVER

    def remembers(self, when: float) -> bool:
        """Whether the store was there all the time since then, and a lease before, and has forgotten nothing:
        what it does not know of was not done."""
        return not self.away and self._remembers_since + self.lease <= when

    def updated_since(self, when: float) -> bool:
        """Whether the store has answered a beat that was sent since then."""
        return not self.away and self._updated >= when

    @property
    def unsure(self) -> bool:
        """Whether this process stood still, and does not know yet what the others did meanwhile."""
        return self._woke != NEVER

    @property
    def replicas(self) -> list[str]:
        """Those that live, this one among them."""
        return sorted([self.replica, *self._others])

    def beats(self, own: Beat) -> dict[str, Beat]:
        """The last beats of all that live; of this replica alone while the store is away."""
        return {**({} if self.away else self._others), self.replica: own}

    def current(self, now: float) -> bool:
        """Whether this replica may go by the list: its own lease lasts, or nobody's can be seen."""
        return not self.unsure and (self.away or now - self._updated <= self.lease)

    def settling(self, now: float) -> bool:
        """Whether the store has just come back, so that others' claims may not be in it yet."""
        return now < self._settled_at

    def active(self, node: str, able: bool) -> str | None:
        """Who is to claim the node's suspensions; ``able``: whether this replica can serve it."""
        if node in self.paused:
            return None
        key = node, able
        if key not in self._active:
            serving = [replica for replica, beat in self._others.items() if self._serves(beat, node)]
            if able:
                serving.append(self.replica)
            if self.away:  # nothing changes hands that need not: what is claimed is in nobody's store
                serving = [each for each in serving if self._claimed(each, node)] or serving
            self._active[key] = choose(node, serving)
        return self._active[key]

    def _serves(self, beat: Beat, node: str) -> bool:
        return beat.serves(node) and not self._elsewhere(beat, node)

    def _claimed(self, replica: str, node: str) -> bool:
        return node in (self.echo.claims if replica == self.replica else self._others[replica].claims)

    def assignees(self, node: str, count: int, able: bool) -> list[str]:
        """The replicas that are to connect to a node: the first ``count`` that live, by rendezvous
        hashing; all where it is 0. Those that can take a suspension all the way go before the others;
        ``able``: whether this replica can."""

        def preference(replica: str) -> tuple[bool, bytes, str]:
            beat = self._others.get(replica)
            serves = able if beat is None else beat.broker and beat.accepting
            return serves, _weight(node, replica), replica

        return sorted(self.replicas, key=preference, reverse=True)[: count or None]

    def reads(self, replica: str, node: str) -> bool:
        """Whether another replica has a link to the node that is read."""
        beat = self._others.get(replica)
        return beat is not None and node in beat.nodes

    def served(self, node: str) -> bool:
        """Whether another replica can serve the node."""
        return node not in self.paused and any(self._serves(beat, node) for beat in self._others.values())

    def writer(self, node: str, able: bool) -> str | None:
        """Who is to write what nobody else can; ``able``: whether this replica can write to it."""
        linked = [
            replica
            for replica, beat in self._others.items()
            if node in beat.nodes and not self._elsewhere(beat, node)
        ]
        return choose(node, [*linked, self.replica] if able else linked)

    def linked(self, node: str) -> bool:
        """Whether another replica can write to the node."""
        return any(node in beat.nodes for beat in self._others.values())

    @property
    def dead(self) -> frozenset[str]:
        """Replicas whose lease is over, an earlier life of this process among them."""
        return self._dead

    def silenced(self, replica: str, node: str) -> bool:
        """Whether a replica may hold requests or replies of the node that will not come: dead, or cut off."""
        beat = self._others.get(replica)
        return replica != self.replica and (beat is None or not beat.asks(node))

    def cannot_ask(self, node: str) -> frozenset[str]:
        """Replicas that live and whose broker is away, or which do not consume the node's replies."""
        return frozenset(
            replica
            for replica, beat in self._others.items()
            if not beat.asks(node) and not self._elsewhere(beat, node)
        )

    def cannot_write(self, node: str) -> frozenset[str]:
        """Replicas that live and of which nothing will be written to the node."""
        return frozenset(
            replica
            for replica, beat in self._others.items()
            if node not in beat.nodes and node not in beat.stuck
        )

    @property
    def top_priority(self) -> int:
        """The highest consumer priority that another replica ever had: one that hangs may still consume."""
        return self._top_priority
