"""How a replica drains: it hands its nodes over, claims no more, finishes what it has or leaves it to others.

What state that is, and what moves it on, stands in ``cluster.drain``.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

import structlog

from adapter.cluster.drain import Drain, DrainEvent
from adapter.model.transaction import State

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from adapter.cluster.heartbeat import Heartbeat
    from adapter.cluster.membership import Membership
    from adapter.cluster.roles import Roles
    from adapter.evapi.nodes import Nodes
    from adapter.ports.store import Store
    from adapter.relay.trip import Trip

log = structlog.get_logger()

LOOK_EACH: Final = 0.05
"""Seconds between two looks at what is still in flight here."""
HANDOVER: Final = 3.0
"""Leases for which a replica that drains goes on claiming, so that another can connect to its nodes."""
LAST_WORDS: Final = 2.0
"""Seconds that Kamailio has to read that this replica drains, and then its last resumes."""


class Draining:
    """The steps of a drain.

    Args:
        drain_timeout: seconds that a drain has at most, when the process ends.
        roles: knows how far the drain is.
        membership: who else is there.
        nodes: the links to Kamailio, which is told.
        trip: whose batches are waited for.
        inflight: knows what this replica owns.
        heartbeat: tells the other replicas.
        spawn: does work in the background.
        clock: gives epoch seconds, as deadlines have them.
    """

    def __init__(
        self,
        drain_timeout: float,
        roles: Roles,
        membership: Membership,
        nodes: Nodes,
        trip: Trip,
        inflight: Store,
        heartbeat: Heartbeat,
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._drain_timeout = drain_timeout
        self._roles = roles
        self._membership = membership
        self._nodes = nodes
        self._trip = trip
        self._inflight = inflight
        self._heartbeat = heartbeat
        self._spawn = spawn
        self._clock = clock

    async def run(self) -> None:
        """Drain, as the process ends: claim no more, finish what is in flight or leave it to be adopted."""
        log.info("draining")
        self._roles.advance(DrainEvent.STOPPED)
        until = time.monotonic() + self._drain_timeout
        await self._hand_over()
        left = until - time.monotonic()
        await self._stop_claiming()
        if not await _at_most(left, self._finished()):
            log.warning("drain: out of time; what is left is adopted by another replica")
        await _at_most(LAST_WORDS, self._nodes.flushed())
        await self._nodes.handled()

    def obey(self, _: float) -> None:
        """Do what an operator has ordered of this replica as a whole."""
        if not self._roles.obey():
            return
        replica = self._membership.replica
        if self._roles.drain is Drain.ANNOUNCED:
            log.warning("drained by an operator: `evapi-adapter resume` ends it", replica=replica)
            self._spawn(self._obey())
        else:
            log.warning("resumed by an operator", replica=replica)

    async def owned(self, nodes: Sequence[str]) -> int:
        """Return how many transactions of these nodes this replica claimed or settled and no receipt ended,
        without those settled so long ago that nobody writes the answer any more.

        Where the store is away: what this process knows of.
        """
        await self._trip.idle()
        ours, now = self._inflight.replica, self._clock()
        records = [
            record for node in nodes for record in await self._inflight.scan(node) if record.owner == ours
        ]
        return sum(each.state is State.CLAIMED or now < each.written_until for each in records)

    async def _obey(self) -> None:
        await self._hand_over()
        if not self._roles.drain.accepts:  # the order was not taken back meanwhile
            await self._stop_claiming()

    async def _hand_over(self) -> None:
        """Let others take over, and claim meanwhile: for half of the time that a drain has at most."""
        await self._heartbeat.beat()  # from which the others know that they are to take over
        longest = min(HANDOVER * self._membership.lease, self._drain_timeout / 2)
        if not await _at_most(longest, self._relieved()):
            do = "its calls get Kamailio's own fallback until one does; see `evapi-adapter nodes`"
            log.warning("drain: no other replica serves these nodes", nodes=self._unrelieved, do=do)

    async def _stop_claiming(self) -> None:
        self._nodes.set_status(lambda _: "draining")
        # Who else serves by now: a replica that has just come back is to be left the rest.
        await self._heartbeat.beat()
        # Until Kamailio knows, it suspends calls for us: they are still claimed.
        await _at_most(LAST_WORDS, self._nodes.flushed())
        self._roles.advance(DrainEvent.KNOWN)

    async def _relieved(self) -> None:
        """Return once others serve the nodes that this replica does, or none is left that could.

        In a rolling update the new replica has no link as long as there are enough: it connects when it
        hears that this one drains, and then begins to consume the node's replies.
        """
        while self._unrelieved and not self._roles.drain.accepts:
            await asyncio.sleep(LOOK_EACH)

    @property
    def _unrelieved(self) -> list[str]:
        if not any(beat.accepting and beat.broker for beat in self._membership.others.values()):
            return []
        here = [node for node in self._nodes.up if node not in self._membership.paused]
        return [node for node in here if not self._membership.relieved(node)]

    async def _finished(self) -> None:
        while await self.owned(self._nodes.up):
            await asyncio.sleep(LOOK_EACH)


async def _at_most(seconds: float, work: Coroutine[Any, Any, None]) -> bool:
    """Do the work; whether it was done within so many seconds."""
    try:
        await asyncio.wait_for(work, seconds)
    except TimeoutError:
        return False
    return True
