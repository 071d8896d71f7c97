"""What this replica takes over from others after each beat, and what it gives up since they may have."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog

from adapter.cluster.role import HANDOVERS, Handover
from adapter.cluster.view import NEVER
from adapter.model.transaction import NOBODY, State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from adapter.cluster.membership import Membership
    from adapter.cluster.roles import Roles
    from adapter.observe.metrics import ClusterMetrics
    from adapter.ports.broker import Broker
    from adapter.ports.nodes import Connecting, NodeView
    from adapter.ports.recovery import Recovery

log = structlog.get_logger()

RESET_AFTER: Final = 0.5
"""Seconds for which a link that is not read is kept while another replica has one that is. What was
written to it is adopted only after its reset; and a Kamailio that hangs is found out by the others,
too, so that nobody has to connect again."""


@dataclass(slots=True)
class _Orphaned:
    """Since when somebody's records of a node are looked for, and when to look again."""

    since: float
    look_at: float = NEVER


class Takeover:
    """For each node of this replica: who is chosen, and whose records nobody else goes on with.

    Args:
        membership: who lives, who is dead.
        roles: what this replica does for each node.
        broker: whether requests can be published.
        nodes: what this replica is linked to.
        connector: says before whom the replies of a node are consumed.
        recovery: goes on with what is in the store.
        metrics: of the cluster.
        clock: gives epoch seconds.
    """

    def __init__(
        self,
        membership: Membership,
        roles: Roles,
        broker: Broker,
        nodes: NodeView,
        connector: Connecting,
        recovery: Recovery,
        metrics: ClusterMetrics,
        clock: Callable[[], float],
    ) -> None:
        self._membership = membership
        self._roles = roles
        self._broker = broker
        self._nodes = nodes
        self._connector = connector
        self._recovery = recovery
        self._metrics = metrics
        self._clock = clock
        self._stepped_down = False  # while the store was away, from anything
        self._unsound_since: dict[str, float] = {}
        self._chosen: dict[str, str | None] = {}  # by node, as of the last beat
        self._lost: set[str] = set()  # nodes whose requests nobody could publish for a while
        self._given_up: set[str] = set()  # those of them whose callers need not wait for the deadline
        self._orphaned: dict[tuple[str, State], dict[str, _Orphaned]] = {}  # by node and owner

    def chosen_for(self) -> list[str]:
        """Return the nodes for which this replica was the chosen one at the last beat."""
        return [node for node, who in self._chosen.items() if who == self._membership.replica]

    def reset_unsound(self) -> None:
        """Reset links that are not read, once others have had the time to find theirs so, too."""
        now, unsound = self._clock(), self._nodes.unsound
        self._unsound_since = {node: self._unsound_since.get(node, now) for node in unsound}
        for node, since in self._unsound_since.items():
            if now >= since + RESET_AFTER and self._roles.of(node).resets:
                self._nodes.reset(node, "it does not read, and another replica can write to it")

    # A lease that was over

    def has_lapsed(self) -> bool:
        """Return True if others may have taken over from this replica since its last beat."""
        membership, now = self._membership, self._clock()
        if membership.away and membership.bus:
            yields = any(self._roles.of(node).yields for node in self._nodes.names)
            self._stepped_down |= yields or not membership.echo.lasts(now)
        return membership.updated_at != NEVER and now > membership.lease_ends

    async def recover(self, lapsed: bool) -> None:
        """Give up what is not written yet, and recover what is still this replica's, if others may have taken
        over.

        Args:
            lapsed: whether its lease was over before the beat that has just been answered.
        """
        if not lapsed and not self._stepped_down:
            return
        log.warning("own lease was over: this process or the store stood still")
        self._stepped_down = False
        # Who was active meanwhile has a higher priority: where it is this one again, it is to be outdone.
        self._chosen = {node: who for node, who in self._chosen.items() if who != self._membership.replica}
        decisions = [(node, self._roles.of(node)) for node in self._nodes.names]
        # Nobody has taken over of the others, and Kamailio would drop what somebody has written.
        names = [node for node, decision in decisions if decision.plain or not decision.alone]
        for node in names:  # of all before anything is waited for: they may be written again from now on
            self._nodes.forget(node)
        for node in names:
            await self._recovery.recover(node)

    # After each beat

    def forget_others(self, names: Iterable[str]) -> None:
        """Forget the nodes that this replica has left."""
        kept = set(names)
        self._chosen = {node: who for node, who in self._chosen.items() if node in kept}
        self._orphaned = {key: each for key, each in self._orphaned.items() if key[0] in kept}

    async def look_after(self, node: str) -> None:
        """Take over what has become this replica's."""
        await self._give_up_if_gone(node)
        membership, decision = self._membership, self._roles.of(node)
        known, before = node in self._chosen, self._chosen.get(node)
        self._hand_over(node, before, decision.chosen)
        if decision.chosen == membership.replica:
            everything = node in self._lost or (known and self._fell_silent(before, node))
            orphaned = cannot_ask(membership, node) | membership.dead
            await self._adopt(node, orphaned, State.CLAIMED, ask=not everything)
            if everything:
                self._lost.discard(node)
                await self._recovery.ask_again(node)
        writes = self._roles.of(node).writes_left
        await self._write_left(node, writes)
        if writes:
            lost = cannot_write(membership, node) | membership.dead
            if (
                lost
            ):  # a live one releases what it cannot write: where nothing else may be written, leave it time
                lost = (membership.dead if decision.plain else lost) | {NOBODY}
            await self._adopt(node, lost, State.SETTLED)

    async def _give_up_if_gone(self, node: str) -> None:
        if self._broker.ready:
            self._given_up.discard(node)
        elif not self._roles.of(node).served:
            if self._roles.broker_seen or self._membership.others:  # else nobody has asked
                self._lost.add(node)
            if self._broker.gone and node not in self._given_up:
                self._given_up.add(node)
                await self._recovery.give_up(node)

    def _hand_over(self, node: str, before: str | None, chosen: str | None) -> None:
        me = self._membership.replica
        self._chosen[node] = chosen
        self._metrics.active.labels(node).set(chosen == me)
        handover = HANDOVERS[before == me, chosen == me]
        if handover is Handover.TAKES_OVER:
            highest = max(self._membership.top_priority, self._membership.priority, int(self._clock()))
            self._membership.priority = highest + 1
            self._connector.set_priority(node, highest + 1)
            log.info("active", node=node, instead_of=before, priority=highest + 1)
        elif handover is Handover.GIVES_WAY:
            self._membership.gave_way[node] = self._clock()
            self._connector.set_priority(node, 0)  # not alike with another that took it at the same moment
            log.info("standby", node=node, active=chosen)

    def _fell_silent(self, before: str | None, node: str) -> bool:
        return before is not None and silenced(self._membership, before, node)

    async def _write_left(self, node: str, writes: bool) -> None:
        """Write what replicas that are linked to another Kamailio of this name have settled of this one's.

        Once more when that is over: what this one has left to them is bygone by then.
        """
        membership = self._membership
        split = node in membership.splits
        if split or node in membership.left:
            if not split:
                membership.left.discard(node)
            theirs = partial(may_not_write, membership, node) if writes else _nobody
            await self._recovery.recover(node, theirs)

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


def cannot_ask(membership: Membership, node: str) -> frozenset[str]:
    """Return the replicas that live and whose broker is away, or which do not consume the node's replies."""
    others = membership.others.items()
    return frozenset(
        each for each, beat in others if not beat.asks(node) and not membership.elsewhere(each, node)
    )


def cannot_write(membership: Membership, node: str) -> frozenset[str]:
    """Return the replicas that live and of which nothing will be written to the node."""
    others = membership.others.items()
    return frozenset(each for each, beat in others if node not in beat.nodes and node not in beat.stuck)


def silenced(membership: Membership, replica: str, node: str) -> bool:
    """Return True if a replica may hold requests or replies of the node: it is dead, or cut off."""
    beat = membership.others.get(replica)
    return replica != membership.replica and (beat is None or not beat.asks(node))


def may_not_write(membership: Membership, node: str, replica: str) -> bool:
    """Return True if another replica is dead, or linked to another Kamailio of this name."""
    there = replica in membership.others
    return replica != membership.replica and (not there or membership.elsewhere(replica, node))


def _nobody(_: str) -> bool:
    return False
