"""Which of the suspensions that were left to another replica this one is to claim."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from adapter.relay.answers import is_untraced

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from adapter.cluster.membership import Membership
    from adapter.cluster.roles import Roles
    from adapter.model.transaction import TransactionId
    from adapter.observe.trip_metrics import TripMetrics
    from adapter.ports.links import Links
    from adapter.ports.store import Store
    from adapter.relay.resumes import Resumes
    from adapter.relay.standby_buffer import HeldFrame

log = structlog.get_logger()


class Unclaimed:
    """Asks the store, as far as it can know.

    Args:
        inflight: knows who has claimed what.
        links: whether Kamailio drops a second answer.
        metrics: of the trip.
        membership: who else may have answered.
        roles: whether this replica is the active one by now.
        resumes: waits until the store has told whether it remembers.
    """

    def __init__(
        self,
        inflight: Store,
        links: Links,
        metrics: TripMetrics,
        membership: Membership,
        roles: Roles,
        resumes: Resumes,
    ) -> None:
        self._inflight = inflight
        self._links = links
        self._metrics = metrics
        self._membership = membership
        self._roles = roles
        self._resumes = resumes

    def answerable(self, node: str, left: list[HeldFrame]) -> list[HeldFrame]:
        """Leave in silence what another replica may have answered that left no trace, where Kamailio would
        take a second answer for one to its next question."""
        if not left or self._links.drops_repeats(node):
            return left
        until = self._membership.untraced_until
        found = [frame for frame in left if not is_untraced(frame.arrived, until)]
        if len(found) < len(left):
            self._metrics.left_unanswered.labels(node).inc(len(left) - len(found))
        return found

    async def find(self, node: str, left: Sequence[HeldFrame]) -> list[HeldFrame]:
        """Return those of the frames that nobody has claimed.

        For the active replica, which it may have become just now, that is all: a store that went away
        meanwhile knows none that is unclaimed, and a claim that somebody has is lost anyhow.
        """
        frames = {frame.id: frame for frame in left}
        for name in self._membership.elders.get(node, ()):
            frames = await self._not_claimed_as(name, frames)
        if self._roles.of(node).is_active:
            return list(frames.values())
        unclaimed = await self._inflight.unclaimed(list(frames))
        if self._roles.of(node).is_active:
            return list(frames.values())
        self._metrics.duplicates.labels(node).inc(len(frames) - len(unclaimed))
        found = [frames[id_] for id_ in unclaimed]
        if not found or self._links.drops_repeats(node):
            return found
        if await self._resumes.remembered(min(frame.arrived for frame in found)):
            return found
        log.info("not claimed: the store may have forgotten another's claim", node=node)
        return []

    async def _not_claimed_as(
        self, name: str, frames: Mapping[TransactionId, HeldFrame]
    ) -> dict[TransactionId, HeldFrame]:
        """Leave out what is claimed under another name of the same Kamailio."""
        unclaimed = await self._inflight.unclaimed([id_._replace(node=name) for id_ in frames])
        left = {id_._replace(node=name) for id_ in unclaimed}
        kept = {id_: frame for id_, frame in frames.items() if id_._replace(node=name) in left}
        for id_ in frames.keys() - kept.keys():
            self._metrics.duplicates.labels(id_.node).inc()
        return kept
