"""Which of the suspensions that were left to another replica this one is to claim."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from adapter.observe.sparse import Sparse
from adapter.relay.standby_buffer import StandbyBuffer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from adapter.cluster.membership import Membership
    from adapter.cluster.roles import Roles
    from adapter.model.transaction import TransactionId
    from adapter.observe.trip_metrics import TripMetrics
    from adapter.ports.links import Links
    from adapter.ports.store import Store
    from adapter.relay.doubts import Doubts
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
        doubts: what may have been answered without a trace.
    """

    def __init__(
        self,
        inflight: Store,
        links: Links,
        metrics: TripMetrics,
        membership: Membership,
        roles: Roles,
        doubts: Doubts,
    ) -> None:
        self.standby = StandbyBuffer()
        """Frames that are left to another replica for now, or of which nobody knows who has claimed them."""
        self._inflight = inflight
        self._links = links
        self._metrics = metrics
        self._membership = membership
        self._roles = roles
        self._doubts = doubts
        self._told = Sparse(1)  # a second
        self._untold = 0

    def answerable(self, node: str, left: list[HeldFrame]) -> list[HeldFrame]:
        """Leave in silence what another replica may have answered that left no trace, where Kamailio would
        take a second answer for one to its next question. If that replica lives, its trace is waited for."""
        if not left or self._links.drops_repeats(node):
            return left
        doubts = self._doubts
        found = [frame for frame in left if not doubts.untraced(frame.arrived)]
        if len(found) < len(left):
            rest = [frame for frame in left if doubts.untraced(frame.arrived)]
            kept = [frame for frame in rest if doubts.may_clear_in_time(frame.arrived)]
            self.standby.put_back(node, kept)
            self._leave(node, len(rest) - len(kept))
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
        found = [frames.pop(id_) for id_ in unclaimed]
        self._keep_on(node, list(frames.values()))
        if not found or self._links.drops_repeats(node):
            return found
        if (await self._doubts.wait(min(frame.arrived for frame in found))).gone:
            return found
        self._leave(node, len(found))
        return []

    def _leave(self, node: str, number: int) -> None:
        if not number:
            return
        self._metrics.left_unanswered.labels(node).inc(number)
        self._untold += number
        if self._told.take(self._doubts.now) is not None:
            do = "include evapi-adapter.cfg, which drops a second answer"
            log.warning(
                "left unanswered: another replica may answer it", node=node, calls=self._untold, do=do
            )
            self._untold = 0

    def _keep_on(self, node: str, rest: Sequence[HeldFrame]) -> None:
        """Keep on what the store could not tell of, as it went away or is just back: by now that is left to
        another replica for longer than it was held. All else is claimed."""
        since = self._doubts.now - self._roles.of(node).wait
        kept = [frame for frame in rest if frame.arrived > since]
        self.standby.put_back(node, kept)
        self._metrics.duplicates.labels(node).inc(len(rest) - len(kept))

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
