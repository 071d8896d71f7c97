"""This replica among the others: its beat, which nodes it is active for, what it takes over."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import structlog

from adapter.cluster.clock import WRONG
from adapter.cluster.identities import Watch, clashes
from adapter.cluster.placement import Placement
from adapter.contract import results_queue
from adapter.errors import StoreUnavailable
from adapter.model.beat import Beat, heard, told
from adapter.model.transaction import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from adapter.cluster.clock import Timekeeping
    from adapter.cluster.membership import Membership
    from adapter.cluster.role import Role
    from adapter.model.beat import Snapshot
    from adapter.observe.metrics import ClusterMetrics
    from adapter.ports.broker import Broker
    from adapter.ports.nodes import NodeView
    from adapter.ports.recovery import Recovery
    from adapter.ports.store import Store

log = structlog.get_logger()

SPLIT_EACH: Final = 0.1
"""Seconds between two beats while two Kamailios go by one name: what a replica settles of the other's
calls is found by them."""
HURRY: Final = 0.3
"""Seconds after a change for which every look beats, so that replicas which lost the same server
soon know of each other."""


MEND_CLOCK: Final = "chronyc tracking; timedatectl set-ntp true"
RESTART: Final = "chronyc tracking; then restart this replica: it sets its clock by Redis' when it starts"
RESET_AFTER: Final = 0.5
"""Seconds for which a link that is not read is kept while another replica has one that is. What was
written to it is adopted only after its reset; and a Kamailio that hangs is found out by the others,
too, so that nobody has to connect again."""


class Heartbeat:
    """To be ticked. ``links_per_node``: see ``Placement``. ``about`` tells what people may want to know of
    this one with each beat; ``clock`` gives epoch seconds, and ``timekeeping`` keeps it right."""

    def __init__(
        self,
        inflight: Store,
        broker: Broker,
        nodes: NodeView,
        role: Role,
        recovery: Recovery,
        membership: Membership,
        metrics: ClusterMetrics,
        links_per_node: int = 0,
        about: Callable[[], Mapping[str, Any]] = dict,
        clock: Callable[[], float] = time.time,
        timekeeping: Timekeeping | None = None,
    ) -> None:
        self._inflight = inflight
        self._broker = broker
        self._nodes = nodes
        self._role = role
        self._recovery = recovery
        self._membership = membership
        self._metrics = metrics
        self._about = about
        self._clock = clock
        self._timekeeping = timekeeping
        self._number = 0  # of the last beat
        self._said_last: Beat | None = None  # over the bus
        self._say_at = float("-inf")
        self._stepped_down = False  # while the store was away, from anything
        self.placement = Placement(links_per_node, nodes, membership, role, recovery, inflight, clock)
        self.watch = Watch()
        self._known: tuple[str, ...] = ()  # nodes, as of the last tick
        self._beating = asyncio.Lock()
        self._priority = 0
        self._told: Beat | None = None
        self._seen: Beat | None = None
        self._changed_at = float("-inf")
        self._due = float("-inf")
        self._beat: asyncio.Task[None] | None = None  # under way
        self._unsound_since: dict[str, float] = {}
        self._active: dict[str, str | None] = {}  # by node, as of the last look
        self._lost: set[str] = set()  # nodes whose requests nobody could publish for a while
        self._given_up: set[str] = set()  # those of them whose callers need not wait for the deadline
        self._orphaned: dict[tuple[str, State], dict[str, _Orphaned]] = {}  # by node and owner
        self.store_ready = False

    @property
    def state(self) -> Beat:
        """What this replica says of itself."""
        readers, stuck = frozenset(self._nodes.readers), frozenset(self._nodes.unsound)
        accepting = self._role.drain.accepts and not self._role.astray
        deaf = frozenset(node for node in readers if not self._broker.takes_replies(node))
        names = self._nodes.names if self._membership.bus else ()
        return Beat(
            self._broker.ready,
            accepting,
            readers,
            self._priority,
            stuck=stuck,
            deaf=deaf,
            results=self._broker.beside,
            claims=frozenset(node for node in names if self._role.active(node)),
            yields=frozenset(node for node in names if self._role.yields(node)),
            identities=self._nodes.identities,
        )

    def active_for(self) -> list[str]:
        """The nodes for which this replica was the active one at the last beat."""
        return [node for node, who in self._active.items() if who == self._membership.replica]

    def serves(self, node: str) -> bool:
        """Whether the node may count on this replica: what its health gate is told."""
        if not (self._role.drain.accepts and self._role.asks(node)) or node in self._membership.paused:
            return False
        seen = self._told is not None or self._membership.bus  # who starts without the store listens first
        return self.store_ready or (seen and self._role.active(node))

    def tick(self, now: float) -> None:
        """Begin to beat where it is time: four times a lease, and more often after a change.

        To be called often, with the monotonic clock's seconds. Raises what ended the last beat.
        """
        state = self.state
        if self._membership.bus and (now >= self._say_at or state != self._said_last):
            self._say(state, now)
        if self._beat is not None:
            if not self._beat.done():
                return
            beaten, self._beat = self._beat, None
            beaten.result()
        if state != self._seen:
            self._seen, self._changed_at = state, now
        if self._nodes.known != self._known:  # at once, so that new ones are connected to
            self._known, self._due = self._nodes.known, now
        if now >= self._due or now < self._changed_at + HURRY:
            self._due = now + (SPLIT_EACH if self._membership.splits else self._membership.lease / 4)
            self._beat = asyncio.create_task(self.beat())

    async def stop(self) -> None:
        """End a beat that is under way."""
        if self._beat is not None:
            self._beat.cancel()
            await asyncio.gather(self._beat, return_exceptions=True)

    async def beat(self) -> None:
        """Beat, look who else does, and take over what has become this replica's."""
        async with self._beating:
            await self._beat_and_look()

    async def _beat_and_look(self) -> None:
        self._reset_unsound()
        state, asked = self.state, self._clock()
        self._membership.here(state.identities)
        lapsed = self._told is not None and not self._role.current
        self._note_stepping_down()
        try:
            snapshot = await self._inflight.beat(self._said(state))
        except StoreUnavailable as exc:
            self._membership.lost(asked)
            self._membership.refresh(self._clock())
            if self.store_ready:
                log.error("in-flight store: away", error=str(exc))
            self.store_ready = False
        else:
            asked += self._learn(snapshot, asked)
            self._membership.update(snapshot, asked, self._clock())
            self._judge_clock(snapshot)
            self._broker.hear(self._queues_of_others(state, snapshot))
            if not self.store_ready:
                log.info("in-flight store: ready", replicas=self._membership.replicas)
            self.store_ready = True
            self._told = state
            if lapsed or self._stepped_down:
                await self._lapsed()
        self._metrics.replicas.set(len(self._membership.replicas))
        with contextlib.suppress(StoreUnavailable):  # whoever is to leave stays for now
            await self.placement.look(state.broker and state.accepting)
        self._look_at_names(state)
        names = self._nodes.names
        self._active = {node: who for node, who in self._active.items() if node in names}
        self._orphaned = {key: each for key, each in self._orphaned.items() if key[0] in names}
        # Side by side, so that what they ask of the store goes in a few round trips, however many they are.
        await asyncio.gather(*map(self._look_after, names))
        if self.store_ready and self._priority != state.priority:
            with contextlib.suppress(StoreUnavailable):  # told with the next beat
                await self._inflight.beat(self._said(self.state))

    def _said(self, state: Beat) -> Beat:
        """What this replica says now: numbered, with its time."""
        self._number += 1
        now = self._clock()
        contact = self._membership.contact_age(now)
        return replace(state, number=self._number, at=now, contact=contact, about=self._about())

    def _say(self, state: Beat, now: float) -> None:
        """Beat over the bus, so that others know of this replica where the store is away."""
        self._say_at, self._said_last = now + self._membership.lease / 4, state
        said = replace(self._said(state), about={})
        if self._broker.ready:
            self._membership.echo.said(said, self._clock())
            self._broker.say(f"{self._membership.replica}\n{told(said)}".encode())

    def on_said(self, body: bytes) -> None:
        """Take in what a replica says of itself over the bus."""
        name, _, said = body.partition(b"\n")
        beat = heard(said)
        if beat is not None:
            self._membership.heard(name.decode(errors="replace"), beat, self._clock())

    def _note_stepping_down(self) -> None:
        membership, now = self._membership, self._clock()
        if membership.away and membership.bus:
            seen = membership.echo.lasts(now)
            self._stepped_down |= not seen or any(map(self._role.yields, self._nodes.names))

    def _learn(self, snapshot: Snapshot, asked: float) -> float:
        """Correct the clock by what the store says. Gives by how much it was set, where that was done."""
        if self._timekeeping is None or snapshot.at is None:
            return 0.0
        others = self._offs(snapshot, self._membership.lease)
        moved = self._timekeeping.learn(snapshot.at, asked, self._clock(), others, not self._nodes.names)
        if moved:
            self._role.stepped(moved)
        if abs(moved) > WRONG:
            off = f"{abs(moved):.1f} s {'behind' if moved > 0 else 'ahead of'} that of Redis and the others"
            log.error("this machine's clock is wrong: this replica does not go by it", off=off, do=MEND_CLOCK)
        return moved

    def _offs(self, snapshot: Snapshot, lease: float) -> list[float]:
        """Seconds by which the clocks of the others that live are ahead of the store's."""
        me = self._membership.replica
        return [
            beat.off for name, beat in snapshot.beats.items() if name != me and beat.at and beat.age <= lease
        ]

    def _judge_clock(self, snapshot: Snapshot) -> None:
        """Leave the nodes to others while this replica's clock is wrong, and theirs is not."""
        role, keeping = self._role, self._timekeeping
        if keeping is None or snapshot.at is None:
            return
        able = [
            beat.off
            for name, beat in snapshot.beats.items()
            if name in self._membership.replicas and name != self._membership.replica and beat.at
            # Who is not accepting since its clock is wrong, too, is not left the nodes.
            if beat.accepting and beat.broker and beat.nodes.issuperset(self._nodes.readers)
        ]
        astray = keeping.astray(able)
        if astray != role.astray:
            role.astray = astray
            off = round(keeping.off, 3)
            if astray:
                log.error("clock wrong: nodes are left to other replicas", seconds_ahead=off, do=RESTART)
            else:
                log.info("clock right again, or no other replica has a better one", seconds_ahead=off)

    def _queues_of_others(self, own: Beat, snapshot: Snapshot) -> Mapping[str, set[str]]:
        """By node, where other replicas that live have replies sent, where that is not where this one has."""
        found: dict[str, set[str]] = {}
        for replica, beat in snapshot.beats.items():
            if replica == self._membership.replica or beat.age > self._membership.lease:
                continue
            if beat.results == own.results:
                continue
            for node in beat.nodes | beat.results.keys():
                queue = beat.results.get(node) or results_queue(node)
                if queue != (own.results.get(node) or results_queue(node)):
                    found.setdefault(node, set()).add(queue)
        return found

    def _look_at_names(self, own: Beat) -> None:
        """Tell of names that clash, once for each clash, and when it is over."""
        found = clashes(self._membership.beats(replace(own, about=self._about())))
        if self._membership.away:  # what was told lasts until the others can be seen again
            found += self.watch.told
        began, ended = self.watch.look(found, self._clock())
        for clash in began:
            log.error(clash.kind, names=clash.names, sides=clash.sides, do=clash.do)
        for clash in ended:
            log.info("names are right again", was=clash.kind, names=clash.names)
        self._metrics.name_clashes.set(len(self.watch.told))

    def _reset_unsound(self) -> None:
        """Reset links that are not read, once others have had the time to find theirs so, too."""
        now, unsound = self._clock(), self._nodes.unsound
        self._unsound_since = {node: self._unsound_since.get(node, now) for node in unsound}
        for node, since in self._unsound_since.items():
            if now >= since + RESET_AFTER and self._membership.linked(node):
                self._nodes.reset(node, "it does not read, and another replica can write to it")

    async def _lapsed(self) -> None:
        """The lease was over before this beat: what this replica owned may be another's by now."""
        log.warning("own lease was over: this process or the store stood still")
        self._stepped_down = False
        # Who was active meanwhile has a higher priority: where it is this one again, it is to be outdone.
        self._active = {node: who for node, who in self._active.items() if who != self._membership.replica}
        alone = self._membership.alone(self._clock())
        for node in self._nodes.names:
            if alone and not self._role.plain(node):
                continue  # nobody has taken over, and Kamailio would drop what somebody has written
            self._nodes.forget(node)
            await self._recovery.recover(node)

    async def _look_after(self, node: str) -> None:
        me = self._membership.replica
        if self._broker.ready:
            self._given_up.discard(node)
        elif not self._membership.served(node):
            if self._role.broker_seen or len(self._membership.replicas) > 1:  # else nobody has asked
                self._lost.add(node)
            if self._broker.gone and node not in self._given_up:
                self._given_up.add(node)
                await self._recovery.give_up(node)
        active = self._membership.active(node, self._role.can_serve(node))
        before = self._active.get(node)
        known = node in self._active
        self._active[node] = active
        self._metrics.active.labels(node).set(active == me)
        if active == me and before != me:
            self._priority = max(self._membership.top_priority, self._priority, int(self._clock())) + 1
            self._nodes.set_priority(node, self._priority)
            log.info("active", node=node, instead_of=before, priority=self._priority)
        if active == me:
            everything = node in self._lost or (known and self._fell_silent(before, node))
            orphaned = self._membership.cannot_ask(node) | self._membership.dead
            await self._adopt(node, orphaned, State.CLAIMED, ask=not everything)
            if everything:
                self._lost.discard(node)
                await self._recovery.ask_again(node)
        elif before == me:
            self._nodes.set_priority(node, 0)  # not alike with another that took it at the same moment
            log.info("standby", node=node, active=active)
        writes = self._membership.writer(node, node in self._nodes.readers) == me
        await self._write_left(node, writes)
        if writes:
            await self._adopt(
                node, self._membership.cannot_write(node) | self._membership.dead, State.SETTLED
            )
        self._metrics.in_flight.labels(node).set(await self._inflight.count(node))

    async def _write_left(self, node: str, writes: bool) -> None:
        """Write what replicas that are linked to another Kamailio of this name have settled of this one's.

        Once more when that is over: what this one has left to them is bygone by then.
        """
        split = self._membership.split(node)
        if split or node in self._membership.left:
            if not split:
                self._membership.left.discard(node)
            await self._recovery.recover(node, partial(self._may_not, node) if writes else _nobody)

    def _may_not(self, node: str, owner: str) -> bool:
        return self._membership.may_not_write(owner, node)

    def _fell_silent(self, before: str | None, node: str) -> bool:
        return before is not None and self._membership.silenced(before, node)

    async def _adopt(self, node: str, owners: Iterable[str], state: State, ask: bool = True) -> None:
        """Look at each beat for what these own, as long as that may become more: with the dead it does
        not, and one that has lost its link settles for a moment what it had under way. Then each lease,
        and not never: a store that is away for a moment gives nothing, whatever there is.
        """
        now, lease, dead = self._clock(), self._membership.lease, self._membership.dead
        before = self._orphaned.get((node, state), {})
        known = {owner: before.get(owner) or _Orphaned(now) for owner in owners}
        self._orphaned[node, state] = known
        left = sorted(owner for owner, each in known.items() if now >= each.look_at)
        if left and await self._recovery.adopt(node, left, state, ask) == 0:
            for owner in left:
                if owner in dead or now >= known[owner].since + lease:
                    known[owner].look_at = now + lease


def _nobody(_: str) -> bool:
    return False


@dataclass(slots=True)
class _Orphaned:
    """Since when somebody's records of a node are looked for, and when to look again."""

    since: float
    look_at: float = float("-inf")
