"""Which replicas are there, by their last beats. Pure.

How old a beat is, this process's own clock tells: from when it heard of it. A clock that jumps, Redis' or
another machine's, makes nobody look dead.

While the store is away replicas hear each other over the ``bus`` alone (RabbitMQ). Where there is none, or it
is away, too, the last list holds, and for one lease after the store's return still, until everybody has
beaten again. Who may claim when is in ``role``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from adapter.cluster.echo import Echo
from adapter.cluster.identities import differ, elders
from adapter.cluster.last_beat import LastBeat
from adapter.cluster.traces import Traces
from adapter.cluster.view import FOREVER, NEVER
from adapter.model.beat import node_order, replica_order

if TYPE_CHECKING:
    from collections.abc import Mapping

    from adapter.model.beat import Beat, Snapshot

FORMER_FOR: Final = 60.0
"""Seconds for which replies may come to what a replica of the former build asked: more than any deadline."""
_PAUSE: Final = node_order("")


class Membership:
    """What this replica knows of the others. Times are seconds of any one clock.

    Args:
        replica: the name of this one.
        lease: seconds without a beat after which a replica is dead.
        bus: whether there is a second way to hear of others, of which ``heard`` and ``said`` are told.
    """

    def __init__(self, replica: str, lease: float, bus: bool = False) -> None:
        self.replica = replica
        self.bus = bus
        self.lease = lease
        self.version = 0
        """Counts the changes."""
        self.away = False
        """Whether the store is: then the last list holds, and the last orders."""
        self.paused: frozenset[str] = frozenset()
        """Nodes whose suspensions nobody is to take, by an operator's order."""
        self.drain_ordered = False
        """Whether an operator wants this replica to claim nothing."""
        self.others: Mapping[str, Beat] = {}
        """The last beat of each other replica that lives."""
        self.dead: frozenset[str] = frozenset()
        """Replicas whose lease is over, an earlier life of this process among them."""
        self.splits: frozenset[str] = frozenset()
        """This replica's nodes whose names stand for two Kamailios."""
        self.elders: Mapping[str, tuple[str, ...]] = {}
        """By node the smaller names under which its Kamailio is served, too: those count."""
        self.top_priority = 0
        """The highest consumer priority that another replica ever had: one that hangs may still consume."""
        self.priority = 0
        """With which this replica consumes the replies of the nodes that it took over last."""
        self.gave_way: dict[str, float] = {}
        """By node, when this replica left it to another one last. What it had claimed until then others may
        settle, and while the store is away this replica does not hear of it."""
        self.left: set[str] = set()
        """Nodes of which an answer was left to a replica that is linked to another Kamailio of this name."""
        self.mute_at = NEVER
        """When this replica told the store last, or tried to, that it has no broker."""
        self.echo = Echo(lease)
        self.updated_at = NEVER
        """When the store was asked what it has told last of everybody."""
        self.settled_at = NEVER
        """When claims of others have had the time to come to a store that was away."""
        self.begun_at = NEVER
        """When others have had the time to show, if this replica saw nobody at first."""
        self.lost_to_all = NEVER
        """Until when, as far as is known, the store answered nobody."""
        self.untagged_until = NEVER
        """Until when correlation ids may come without a tag: replies to a replica of the former build, which
        beats or did until a moment ago. It ends by itself after a rolling update."""
        self._heard: dict[str, LastBeat] = {}
        self._here: Mapping[str, str] = {}  # which Kamailio each of this replica's nodes is
        self._woke = NEVER  # and not heard of the others since
        self._there_since = NEVER  # the store
        self._remembers_since = NEVER
        self._memory = ""  # see ``Snapshot``
        self._blind_until = NEVER  # the store was away from this replica
        self.traces = Traces()

    def __repr__(self) -> str:
        state = "as last seen" if self.away else "live"
        return f"<Membership {self.replica}, others {state}: {sorted(self.others)}>"

    # What happens

    def update(self, snapshot: Snapshot, asked: float, now: float) -> None:
        """Take in what the store says of everybody; it was asked at an earlier time."""
        self._mark_unseen(now)
        back = self.away or (not snapshot.known and self.updated_at != NEVER)
        self._hear(snapshot, now, back or now < self.settled_at)
        if back:
            self.settled_at = now + self.lease
            self._there_since = now
            if not (snapshot.known and snapshot.memory and snapshot.memory == self._memory):
                self._remembers_since = now
            self._blind_until = now
            for replica, each in self._heard.items():
                self._mark(replica, each, now)
        self._memory = snapshot.memory
        self.drain_ordered = replica_order(self.replica) in snapshot.orders
        self.paused = frozenset(order[len(_PAUSE) :] for order in snapshot.orders if order.startswith(_PAUSE))
        former = [now - each.at for each in self._heard.values() if not each.beat.tags]
        if former:
            self.untagged_until = max(self.untagged_until, now - min(former) + FORMER_FOR)
        self.top_priority = max([self.top_priority, *(each.beat.priority for each in self._heard.values())])
        first = self.updated_at == NEVER
        self.updated_at = asked
        self.away = False
        self.refresh(now)
        self.traces.stored(snapshot.beats, asked)
        others = self.others.values()
        self.splits = frozenset(n for n in self._here if any(self._differs(b, n) for b in others))
        if first and not self.others:
            self.begun_at = now + self.lease
        self._awake(asked)

    def _hear(self, snapshot: Snapshot, now: float, back: bool) -> None:
        """Note which of the beats are new, and when they were made: no earlier than the last look, where the
        store's clock has not jumped, and never later than now. A store that is just ``back`` may have
        forgotten who is there."""
        heard: dict[str, LastBeat] = {}
        for replica, beat in snapshot.beats.items():
            before, made = self._heard.get(replica), now - beat.age
            if replica == self.replica:
                continue
            if before is not None and beat.number:
                # While a replica hands back its beats have one number, and tell later times.
                if (beat.number, beat.at) <= (before.beat.number, before.beat.at):
                    heard[replica] = before
                    before.listed = max(before.listed, beat.answered_at(made))
                    continue
                made = min(max(made, self.updated_at), now)
            found = LastBeat(beat, made, made, listed=beat.answered_at(made))
            heard[replica] = self._newer(replica, found, now)
        for replica, before in self._heard.items():
            # It has not got the store, and is here all the same; or may be: who ends goes while it lives.
            unseen = self.bus and now - before.at > self.lease and self.echo.may_miss(before.beat, before.at)
            if back or unseen or now - before.bus <= self.lease:
                heard.setdefault(replica, before)
        self._heard = heard

    def _newer(self, replica: str, heard: LastBeat, now: float) -> LastBeat:
        before = self._heard.get(replica)
        if before is not None:
            heard.bus = max(heard.bus, before.bus)
            heard.listed = max(heard.listed, before.listed)
            heard.contact = max(heard.contact, before.contact)
            if self._leaves_no_trace(before):
                self.traces.mark(replica, now)
        if before is None or before.at < self._blind_until:
            self.traces.mark(replica, self._blind_until)
        self.traces.said(replica, heard.beat)
        return heard

    def heard(self, replica: str, beat: Beat, now: float) -> None:
        """A beat came over the bus. This replica's own tells that all before it have come, too."""
        self._mark_unseen(now)
        before = self._heard.get(replica)
        if replica == self.replica:
            self.echo.came(beat, now)
        elif before is not None and beat.number <= before.beat.number:
            before.bus = now
        else:
            contact = NEVER if beat.contact is None else now - beat.contact
            self._heard[replica] = self._newer(replica, LastBeat(beat, now, contact, now), now)
        self.refresh(now)

    def said(self, beat: Beat, now: float) -> None:
        """This replica has said so over the bus."""
        self.echo.said(beat, now)
        self.version += 1

    def refresh(self, now: float) -> None:
        """Go by the beats as old as they are now."""
        if self.away and all(now - each.contact > self.lease for each in self._heard.values()):
            self.lost_to_all = now
        self._mark_unseen(now)
        live = {replica: each.beat for replica, each in self._heard.items() if now - each.at <= self.lease}
        settling = now < self.settled_at
        if settling or self.away:
            live = {**self._unjudged(settling, now), **live}
        for replica, each in self._heard.items():
            if self._leaves_no_trace(each):
                self._mark(replica, each, now)
            if replica in live:
                live[replica] = each.beat
        self.others = live
        # Who could not be seen may hand back yet what it has answered.
        self.dead = frozenset() if settling else frozenset(self._heard.keys() - live.keys())
        self._compare_names()

    def _unjudged(self, settling: bool, now: float) -> Mapping[str, Beat]:
        """Those of the last list of which nothing can tell whether they live: without a bus that brings this
        replica's own beats back, all; else those of the former build, which are not heard there."""
        since = self.echo.since + self.lease if settling else NEVER
        if not self.bus or now < since or not self.echo.lasts(now):
            return self.others
        return {r: b for r, b in self.others.items() if r in self._heard and self._heard[r].bus == NEVER}

    def _mark(self, replica: str, heard: LastBeat, now: float) -> None:
        # One that is seen by nobody claims nothing after half a lease. In the store it may see this one.
        until = heard.at + self.lease / 2
        if heard.contact >= heard.at - self.lease / 2:
            until = max(until, self.listed_until)
        self.traces.mark(replica, min(now, until))

    def _mark_unseen(self, now: float) -> None:
        for replica in self._unseen(now):
            self.traces.mark(replica, now)

    def _leaves_no_trace(self, heard: LastBeat) -> bool:
        """Return True if what a replica claims is not to be found in the store. One that stood still claims
        nothing until the store has answered it."""
        return self.away or (heard.contact < heard.at - self.lease / 2 and bool(heard.beat.claims))

    def lost(self, asked: float) -> None:
        """The store is away: it did not answer what it was asked at that time."""
        self.away = True
        self._awake(asked)

    def woke(self, now: float) -> None:
        """This process stood still for so long that it may have been taken for dead. That the store
        seems not to have answered meanwhile says nothing."""
        self._woke = now
        self.version += 1

    def _awake(self, asked: float) -> None:
        if asked >= self._woke:
            self._woke = NEVER
        self.version += 1

    def stepped(self, by: float) -> None:
        """The clock was set forward by so many seconds."""
        self.echo.stepped(by)
        for each in self._heard.values():
            each.at += by
            each.bus += by
            each.contact += by
            each.listed += by
        self.mute_at += by
        self.version += 1

    def set_identities(self, identities: Mapping[str, str]) -> None:
        """Take in which Kamailio each node is to which this replica is linked.

        Whether another replica's link is to another Kamailio, only a look can tell that comes later: after
        a restart their last beats tell of the life before.
        """
        if identities != self._here:
            before, self._here = self._here, identities
            self.splits = frozenset(n for n in self.splits if identities.get(n) == before.get(n))
            self._compare_names()

    def _compare_names(self) -> None:
        self.elders = elders(self._here, self.others.values())
        self.version += 1

    # Who is there

    @property
    def nobody_heard(self) -> bool:
        """Whether no other replica was heard of, alive or dead."""
        return not self._heard

    @property
    def replicas(self) -> list[str]:
        """Those that live, this one among them."""
        return sorted([self.replica, *self.others])

    def serves(self, replica: str, node: str) -> bool:
        """Return True if another replica that lives can take a suspension of this node all the way."""
        return self.others[replica].serves(node) and not self.elsewhere(replica, node)

    def still_claims(self, replica: str, node: str) -> bool:
        """Return True if another replica that drains claims for this node, until somebody can serve it."""
        beat = self.others[replica]
        claims = beat.claiming and not beat.accepting and beat.asks(node) and node in beat.nodes
        return claims and not self.elsewhere(replica, node)

    def relieved(self, node: str) -> bool:
        """Return True if this replica may end: another that lives serves the node, and consumes its replies
        now. One that is about to consume its first ones serves it, too, but may need long for that."""
        return any(
            self.serves(replica, node) and node not in beat.unheard for replica, beat in self.others.items()
        )

    def elsewhere(self, replica: str, node: str) -> bool:
        """Return True if another replica that lives calls another Kamailio by this name."""
        return node in self.splits and self._differs(self.others[replica], node)

    def _differs(self, beat: Beat, node: str) -> bool:
        return differ(self._here[node], beat.identities.get(node, ""))

    # The store

    @property
    def lease_ends(self) -> float:
        """Until when this replica may go by the list: its own lease lasts, or nobody's can be seen. NEVER, if
        this process stood still, and does not know yet what the others did meanwhile."""
        if self._woke != NEVER:
            return NEVER
        return FOREVER if self.away else self.updated_at + self.lease

    def contact_age(self, now: float) -> float | None:
        """Return the seconds since the store answered this replica; None: never."""
        return None if self.updated_at == NEVER else now - self.updated_at

    @property
    def remembers_from(self) -> float:
        """Since when the store has forgotten nothing; after an outage in which it may have, a lease later: by
        then all have given back what they did."""
        return FOREVER if self.away else self._remembers_since + self.lease

    @property
    def there_from(self) -> float:
        """Since when the store has been there for a lease; FOREVER: it is away."""
        return FOREVER if self.away else self._there_since + self.lease

    @property
    def listed_until(self) -> float:
        """Until when another replica may go by what the store says of this one."""
        return self.updated_at + self.lease

    @property
    def bound(self) -> bool:
        """Whether one that has the store alone may take this one for a replica without broker, as the store
        was told last: until each that lived then has been heard over the bus."""
        if self.mute_at < self.updated_at:
            return False
        living = (each for each in self._heard.values() if each.at > self.updated_at - self.lease)
        return any(each.bus <= self.mute_at for each in living)

    @property
    def unseen_from(self) -> float:
        """From when on another replica may claim by the bus alone, where this one does not hear it; FOREVER:
        none can, or this one has not got the store either."""
        return min(map(self._unseen_from, self._heard.values()), default=FOREVER)

    def _unseen_from(self, heard: LastBeat) -> float:
        if self.away or not (self.bus and self.echo.may_miss(heard.beat, heard.at)):
            return FOREVER
        return max(self.echo.until, heard.listed + self.lease)

    def _unseen(self, now: float) -> list[str]:
        if now > self.echo.given_up_at:
            return []
        return [name for name, each in self._heard.items() if self._unseen_from(each) < now]

    def contact(self, replica: str) -> float:
        """Return when the store answered another replica last, at the latest; NEVER if that is not known."""
        heard = self._heard.get(replica)
        return NEVER if heard is None else heard.contact

    def updated_since(self, when: float) -> bool:
        """Return True if the store has answered a beat that was sent since then."""
        return not self.away and self.updated_at >= when

    def untraced_until(self, now: float) -> float:
        """Return until when another replica may have answered what came, without a trace in the store yet."""
        return max(self.traces.until, self._unheard_until(now)[0])

    def may_clear(self, arrived: float, now: float) -> bool:
        """Return True if all that may have answered what arrived then live, and give back what they did."""
        until, for_good = self._unheard_until(now)
        return self.traces.may_clear(arrived, self.others) and not (for_good and arrived <= until)

    def _unheard_until(self, now: float) -> tuple[float, bool]:
        """Until when one may have answered of which too little was heard; whether that remains so."""
        others, found, for_good = self._heard.items(), NEVER, False
        # Those that live and have the store have left their traces in it. Others would have been heard.
        dead = any(self.echo.may_miss(each.beat, each.at) for name, each in others if name not in self.others)
        if self.away or dead or any(self._leaves_no_trace(each) for _, each in others):
            found, for_good = self.echo.since, True
        # That one which was not heard since an outage has stopped knows only who has heard others meanwhile.
        since = self.echo.since if self.echo.lasts(now) else FOREVER
        blind = self._blind_until
        unheard = [name for name, each in others if each.at <= blind and not NEVER < since <= each.at]
        if unheard and blind > found:
            found, for_good = blind, for_good or not all(name in self.others for name in unheard)
        if unseen := self._unseen(now):
            found, for_good = now, for_good or not all(name in self.others for name in unseen)
        return found, for_good
