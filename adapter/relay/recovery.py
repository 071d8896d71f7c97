"""Going on where somebody stopped: another replica, this one's own link or broker, or a whole node."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from adapter.model.transaction import NOBODY, Outcome, Settlement, State, Transaction
from adapter.relay.answers import is_left_unwritten

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from adapter.observe.observer import Observer
    from adapter.observe.trip_metrics import TripMetrics
    from adapter.ports.store import Store
    from adapter.relay.trip import Trip


class StoreRecovery:
    """The port ``Recovery``, on what is in the store.

    What is found goes on through the ``trip``. ``clock`` gives epoch seconds."""

    def __init__(
        self,
        trip: Trip,
        inflight: Store,
        observer: Observer,
        metrics: TripMetrics,
        clock: Callable[[], float],
    ) -> None:
        self._trip = trip
        self._inflight = inflight
        self._observer = observer
        self._metrics = metrics
        self._clock = clock

    def __repr__(self) -> str:
        return f"<StoreRecovery {self._inflight.replica}>"

    async def adopt(self, node: str, owners: Sequence[str], state: State, ask: bool = True) -> int:
        """Go on where other replicas stopped: publish what is claimed (``ask``: unless that is done
        for all of the node anyhow), resume what is settled. Gives how many.
        """
        released = 0
        if NOBODY in owners:
            released = await self._adopt_released(node)
            owners = [owner for owner in owners if owner != NOBODY]
        adopted = await self._inflight.adopt(node, owners, state) if owners else []
        if adopted:
            self._observer.adopted(node, owners, state, adopted)
        if state is State.SETTLED:
            for transaction in adopted:
                self._trip.resume(transaction, adopted=True)
        elif ask:
            self._ask_again(adopted)
        return released + len(adopted)

    async def _adopt_released(self, node: str) -> int:
        """Write what its owner had no link for: it is this replica's alone by now, and was not written."""
        adopted = await self._inflight.adopt(node, [NOBODY], State.SETTLED)
        if adopted:
            self._observer.adopted(node, ["a replica without a link"], State.SETTLED, adopted)
        now = self._clock()
        for record in adopted:
            if now < record.written_until:
                self._trip.resume(replace(record, again=False))
        return len(adopted)

    async def ask_again(self, node: str) -> None:
        """Publish again whatever is claimed of a node: its requests or replies may be lost."""
        self._ask_again([t for t in await self._inflight.scan(node) if t.state is State.CLAIMED])

    def _ask_again(self, transactions: Sequence[Transaction]) -> None:
        now = self._clock()  # what is past its deadline is the next tick's, as a timeout
        again = [t for t in transactions if t.deadline > now and not self._trip.stale(t)]
        if again:
            self._trip.publish_again(again)

    async def give_up(self, node: str) -> None:
        """Answer what this replica has asked and the broker has taken with it: no reply will come."""
        records = await self._inflight.scan(node)
        ours = [t.id for t in records if t.state is State.CLAIMED and t.owner == self._inflight.replica]
        await self._trip.settle([Settlement(id_, Outcome.UNAVAILABLE) for id_ in ours])

    async def recover(self, node: str, theirs: Callable[[str], bool] = lambda _: False) -> None:
        """Write the resumes of this replica that a link which is gone has left unread, and what is released.

        Args:
            node: the node to which they go.
            theirs: whether to write those of another owner, too, which cannot.
        """
        under_way = self._trip.under_way(node)
        records = await self._inflight.scan(node)
        under_way |= self._trip.under_way(node)
        now = self._clock()
        for record in records:
            ours = record.owner == self._inflight.replica
            ours = ours or (theirs(record.owner) and not self._trip.stale(record))
            if is_left_unwritten(record, ours, record.id in under_way, now):
                self._trip.resume(record, again=True)
        await self._adopt_released(node)

    async def forget_node(self, node: str) -> int:
        """Forget what is in flight of a node that is no more. Gives how many."""
        ids = [record.id for record in await self._inflight.scan(node)]
        if ids:
            await self._inflight.settle([Settlement(id_, Outcome.UNAVAILABLE) for id_ in ids])
            await self._inflight.resumed(ids)
            self._metrics.stale.labels(node).inc(len(ids))
        return len(ids)
