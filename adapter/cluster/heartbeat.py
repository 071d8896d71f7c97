"""This replica among the others: when it beats, and what is done after each beat."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

import structlog

from adapter.cluster.identities import Watch, clashes
from adapter.cluster.view import NEVER
from adapter.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from adapter.cluster.beats import Beats
    from adapter.cluster.membership import Membership
    from adapter.cluster.placement import Placement
    from adapter.cluster.takeover import Takeover
    from adapter.model.beat import Beat
    from adapter.observe.metrics import ClusterMetrics
    from adapter.ports.nodes import NodeView
    from adapter.ports.store import Store

log = structlog.get_logger()

SPLIT_EACH: Final = 0.1
"""Seconds between two beats while two Kamailios go by one name: what a replica settles of the other's
calls is found by them."""
HURRY: Final = 0.3
"""Seconds after a change for which every look beats, so that replicas which lost the same server
soon know of each other."""


class Heartbeat:
    """To be ticked.

    Args:
        inflight: the store, in which replicas beat.
        membership: who else is there.
        beats: what this replica says of itself, and how the answer is taken in.
        placement: which nodes this replica connects to.
        takeover: what it takes over from others.
        nodes: what it is linked to.
        metrics: of the cluster.
        clock: gives epoch seconds.
    """

    def __init__(
        self,
        inflight: Store,
        membership: Membership,
        beats: Beats,
        placement: Placement,
        takeover: Takeover,
        nodes: NodeView,
        metrics: ClusterMetrics,
        clock: Callable[[], float],
    ) -> None:
        self._inflight = inflight
        self._membership = membership
        self._beats = beats
        self._placement = placement
        self._takeover = takeover
        self._nodes = nodes
        self._metrics = metrics
        self._clock = clock
        self._known: tuple[str, ...] = ()  # nodes, as of the last tick
        self._beating = asyncio.Lock()
        self._seen: Beat | None = None
        self._changed_at = float("-inf")
        self._due = float("-inf")
        self._beat: asyncio.Task[None] | None = None  # under way
        self.watch = Watch()
        self.store_ready = False
        self.store_problem = ""
        """Why the store does not answer, as it was told last; empty while it does."""

    @property
    def store_seen(self) -> bool:
        """Whether the store has answered since this replica started."""
        return self._membership.updated_at != NEVER

    @property
    def waits_for_store(self) -> bool:
        """Whether health gates stay shut until the store has answered once: nothing else tells of others."""
        return not (self.store_ready or self.store_seen or self._membership.bus)

    def serves(self, node: str) -> bool:
        """Return True if the node may count on this replica: what its health gate is told."""
        return self._beats.serves(node, self.store_ready)

    def tick(self, now: float) -> None:
        """Begin to beat where it is time: four times a lease, and more often after a change.

        To be called often, with the monotonic clock's seconds. Raises what ended the last beat.
        """
        state = self._beats.state
        self._beats.say(state, now)
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
            self._takeover.reset_unsound()
            state = self._beats.state
            await self._say(state)
            self._metrics.replicas.set(len(self._membership.replicas))
            with contextlib.suppress(StoreUnavailable):  # whoever is to leave stays for now
                await self._placement.update(state.broker and state.accepting)
            self._look_at_names(state)
            await self._look_after_nodes()
            if self.store_ready and self._membership.priority != state.priority:
                with contextlib.suppress(StoreUnavailable):  # told with the next beat
                    await self._inflight.beat(self._beats.numbered(self._beats.state))

    async def _say(self, state: Beat) -> None:
        """Beat, and take in what the store answers."""
        membership, asked = self._membership, self._clock()
        membership.set_identities(state.identities)
        lapsed = self._takeover.has_lapsed()
        if not state.broker:
            membership.mute_at = asked
        try:
            said = self._beats.numbered(state)
            snapshot = await self._inflight.beat(said)
        except StoreUnavailable as exc:
            membership.lost(asked)
            membership.refresh(self._clock())
            if self.store_ready:
                log.error("in-flight store: away", error=str(exc))
            self.store_ready, self.store_problem = False, str(exc)
        else:
            if membership.away and not lapsed:  # an outage may have begun since it was asked
                lapsed = self._takeover.has_lapsed()
            self._beats.take_in(said, snapshot, asked)
            if not self.store_ready:
                log.info("in-flight store: ready", replicas=membership.replicas)
            self.store_ready, self.store_problem = True, ""
            await self._takeover.recover(lapsed)

    async def _look_after_nodes(self) -> None:
        names = self._nodes.names
        self._takeover.forget_others(names)
        # Side by side, so that what they ask of the store goes in a few round trips, however many they are.
        await asyncio.gather(*map(self._look_after, names))

    async def _look_after(self, node: str) -> None:
        await self._takeover.look_after(node)
        self._metrics.in_flight.labels(node).set(await self._inflight.count(node))

    def _look_at_names(self, own: Beat) -> None:
        """Tell of names that clash, once for each clash, and when it is over."""
        found = clashes(self._beats.everybody(own))
        if self._membership.away:  # what was told lasts until the others can be seen again
            found += self.watch.told
        began, ended = self.watch.update(found, self._clock())
        for clash in began:
            log.error(clash.kind, names=clash.names, sides=clash.sides, do=clash.do)
        for clash in ended:
            log.info("names are right again", was=clash.kind, names=clash.names)
        self._metrics.name_clashes.set(len(self.watch.told))
