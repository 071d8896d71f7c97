"""Who does what for which node, by the last beats of all replicas. Pure.

For each node one replica is active: rendezvous hashing over those that live and can take a
suspension all the way, so that all agree without talking. When a replica comes or goes, only the
nodes that it gets or had change hands (Thaler and Ravishankar, "Using name-based mappings to
increase hit rates", 1998).

How old a beat is, this process's own clock tells: from when it heard of it. A clock that jumps, Redis' or
another machine's, makes nobody look dead.

While the store is away nobody's beat is seen: the last list holds, and for one lease after the
return still, until everybody has beaten again.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from adapter.identities import differ, elders, life_of
from adapter.inflight.base import node_order, replica_order

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from adapter.inflight.base import Beat, Roll

FORMER_FOR: Final = 60.0
"""Seconds for which replies may come to what a replica of the former build asked: more than any deadline."""
_NEVER: Final = float("-inf")
_PAUSE: Final = node_order("")


def choose(node: str, replicas: Iterable[str]) -> str | None:
    """The one of the replicas that rendezvous hashing picks for a node; None of none."""
    return max(replicas, key=lambda replica: (_weight(node, replica), replica), default=None)


@lru_cache(maxsize=1 << 16)
def _weight(node: str, replica: str) -> bytes:
    return hashlib.blake2b(f"{replica}\0{node}".encode(), digest_size=8, usedforsecurity=False).digest()


@dataclass(slots=True)
class _Heard:
    """The last beat of another replica, and until when it is known to have lived."""

    beat: Beat
    at: float


class Roster:
    """``replica`` is this one. ``lease``: seconds without a beat after which a replica is dead.

    Times are seconds of any one clock. What this replica itself can do is told with each question,
    since it knows that before it beats.
    """

    def __init__(self, replica: str, lease: float) -> None:
        self.replica = replica
        self.lease = lease
        self.away = False
        """Whether the store is: then the last list holds, and the last orders."""
        self.paused: frozenset[str] = frozenset()
        """Nodes whose suspensions nobody is to take, by an operator's order."""
        self.drained = False
        """Whether an operator wants this replica to claim nothing."""
        self._heard: dict[str, _Heard] = {}
        self._others: Mapping[str, Beat] = {}  # that live
        self._active: dict[tuple[str, bool], str | None] = {}  # answers, as long as these are the others
        self._dead: frozenset[str] = frozenset()
        self._here: Mapping[str, str] = {}  # which Kamailio each of this replica's nodes is
        self._elders: Mapping[str, tuple[str, ...]] = {}
        self.splits: frozenset[str] = frozenset()
        """This replica's nodes whose names stand for two Kamailios."""
        self._top_rank = 0
        self._looked = _NEVER
        self._settled_at = _NEVER
        self._woke = _NEVER  # and not heard of the others since
        self._remembers_since = _NEVER
        self._untagged_until = _NEVER

    def __repr__(self) -> str:
        state = "as last seen" if self.away else "live"
        return f"<Roster {self.replica}, others {state}: {sorted(self._others)}>"

    def looked(self, roll: Roll, asked: float, now: float) -> None:
        """Take in what the store says of everybody; it was asked at an earlier time."""
        self._hear(roll, now)
        beats = {replica: heard.beat for replica, heard in self._heard.items()}
        live = {replica: heard.beat for replica, heard in self._heard.items() if now - heard.at <= self.lease}
        if self.away or (not roll.known and self._looked != _NEVER):
            self._settled_at = now + self.lease
            self._remembers_since = now
        if now < self._settled_at:
            live = {**self._others, **live}
        self._others = live
        self.splits = frozenset(n for n in self._here if any(self._differs(b, n) for b in live.values()))
        self._compare_names()
        self.drained = replica_order(self.replica) in roll.orders
        self.paused = frozenset(order[len(_PAUSE) :] for order in roll.orders if order.startswith(_PAUSE))
        self._top_rank = max([self._top_rank, *(beat.rank for beat in beats.values())])
        self._dead = frozenset(beats.keys() - live.keys())
        former = [beat.age for beat in beats.values() if not beat.tags]
        if former:
            self._untagged_until = max(self._untagged_until, now - min(former) + FORMER_FOR)
        self._looked = asked
        self.away = False
        if asked >= self._woke:
            self._woke = _NEVER

    def _hear(self, roll: Roll, now: float) -> None:
        """Note which of the beats are new, and when they were made: no earlier than the last look, where the
        store's clock has not jumped, and never later than now."""
        heard: dict[str, _Heard] = {}
        for replica, beat in roll.beats.items():
            before, made = self._heard.get(replica), now - beat.age
            if replica == self.replica:
                continue
            if before is not None and beat.number:
                # While a replica hands back its beats have one number, and tell later times.
                if (beat.number, beat.at) <= (before.beat.number, before.beat.at):
                    heard[replica] = before
                    continue
                made = min(max(made, self._looked), now)
            heard[replica] = _Heard(beat, made)
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

    def linked_to(self, node: str, life: str) -> bool:
        """Return True if another replica is linked to this life of the node's Kamailio."""
        return any(life_of(beat.identities.get(node, "")) == life for beat in self._others.values())

    def may_not_write(self, replica: str, node: str) -> bool:
        """Return True if another replica is dead, or linked to another Kamailio of this name."""
        beat = self._others.get(replica)
        return replica != self.replica and (beat is None or self._elsewhere(beat, node))

    def lost(self, asked: float) -> None:
        """The store is away: it did not answer what it was asked at that time."""
        self.away = True
        if asked >= self._woke:
            self._woke = _NEVER

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
        return self._looked == _NEVER

    def remembers(self, when: float) -> bool:
        """Whether the store was there all the time since then, and a lease before, and has forgotten nothing:
        what it does not know of was not done."""
        return not self.away and self._remembers_since + self.lease <= when

    def looked_since(self, when: float) -> bool:
        """Whether the store has answered a beat that was sent since then."""
        return not self.away and self._looked >= when

    @property
    def unsure(self) -> bool:
        """Whether this process stood still, and does not know yet what the others did meanwhile."""
        return self._woke != _NEVER

    @property
    def replicas(self) -> list[str]:
        """Those that live, this one among them."""
        return sorted([self.replica, *self._others])

    def beats(self, own: Beat) -> dict[str, Beat]:
        """The last beats of all that live; of this replica alone while the store is away."""
        return {**({} if self.away else self._others), self.replica: own}

    def current(self, now: float) -> bool:
        """Whether this replica may go by the list: its own lease lasts, or nobody's can be seen."""
        return not self.unsure and (self.away or now - self._looked <= self.lease)

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
            self._active[key] = choose(node, [*serving, self.replica] if able else serving)
        return self._active[key]

    def _serves(self, beat: Beat, node: str) -> bool:
        return beat.serves(node) and not self._elsewhere(beat, node)

    def linkers(self, node: str, count: int, able: bool) -> list[str]:
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
    def top_rank(self) -> int:
        """The highest rank with which another replica ever consumed replies: one that hangs still may."""
        return self._top_rank
