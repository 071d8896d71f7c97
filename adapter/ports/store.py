"""The in-flight store: who may answer which suspension, and until when.

Verbs take batches, since one loop tick's worth of them costs one round trip. Each is atomic
for each transaction. Losing a race is a result, not an error. A store that is away raises
``StoreUnavailable``: what was asked may or may not have happened.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adapter.model.beat import Beat, Snapshot
    from adapter.model.transaction import Progress, Settlement, State, Transaction, TransactionId

NOTE_INTERVAL: Final = 0.5
"""Seconds between two entries of the journal: a round trip and a wake-up of their own."""
REPLICAS_KEPT: Final = 600.0
"""Seconds for which a silent replica is listed: longer than anything it owned can last."""


class Claim(IntEnum):
    """What became of a claim."""

    LOST = 0  # another copy of this event was first, or it is over already: do nothing
    WON = 1  # yours, in the state that was asked for
    FULL = 2  # yours, but the node has its limit in flight: settled as ``overload``


class Store(Protocol):
    """The port.

    ``replica`` is the name under which this process owns what it claims. ``retention``: seconds for which the
    store remembers a resumed id, and past a deadline for which it keeps anything.

    Every verb that waits raises StoreUnavailable if the store is away.
    """

    replica: str
    retention: float

    async def claim(
        self, transactions: Sequence[Transaction], limit: int, write_behind: bool = False
    ) -> list[Claim]:
        """Take the transactions for this replica.

        Args:
            transactions: CLAIMED ones, or SETTLED ones, whose outcome is known already: these take no place
                under the limit.
            limit: how many transactions of one node may be claimed.
            write_behind: the transactions have just come, and this replica is the one to claim them. A store
                that others share may then answer before it has told them.

        Returns:
            What became of each, in the order of the arguments.
        """
        ...

    async def settle(
        self, settlements: Sequence[Settlement], write_behind: bool = False
    ) -> list[Transaction | None]:
        """Give the licence to resume: CLAIMED -> SETTLED.

        Args:
            settlements: the answers.
            write_behind: nobody else settles what this replica has claimed. A store that others share may
                then answer before it has told them.

        Returns:
            For each, the record for the one call that settled it, None for every other. ``again`` of a record
            is set if another replica had it before, as far as the store knows.
        """
        ...

    async def progress(
        self, steps: Sequence[Progress], write_behind: bool = False
    ) -> list[Transaction | None]:
        """Add to what is known of suspensions that go on waiting: CLAIMED -> CLAIMED.

        Args:
            steps: what is added. What is there already stays; a deadline that is no later changes nothing.
            write_behind: as for ``settle``.

        Returns:
            For each, the record with everything that anybody added; None if it is not claimed.
        """
        ...

    async def resumed(self, ids: Sequence[TransactionId]) -> None:
        """Note that Kamailio has read these resumes: SETTLED -> RESUMED. Other ids are left alone."""
        ...

    async def release(self, ids: Sequence[TransactionId]) -> None:
        """Leave to whoever adopts it from ``NOBODY`` what this replica has settled: SETTLED -> SETTLED.

        Only for what it has, for certain, not written. It owns it no more, even if the store fails meanwhile;
        if the store was away before, it still does. Other ids are left alone.
        """
        ...

    def due(self, node: str) -> bool:
        """Return True if ``expire`` may find anything now. Ask first: ``expire`` may be a round trip."""
        ...

    async def expire(self, node: str, limit: int = 500, write_behind: bool = False) -> list[Transaction]:
        """Settle as ``timeout`` what is past its deadline; also forget what is past its retention.

        Args:
            node: whose transactions.
            limit: how many to settle at most, the earliest first.
            write_behind: what this replica owns is settled in time though the store is slow.

        Returns:
            The records that this call settled.
        """
        ...

    async def unclaimed(self, ids: Sequence[TransactionId]) -> list[TransactionId]:
        """Return the ids that nobody has claimed, in the order given: neither in flight nor remembered.

        If the store cannot tell, an id counts as claimed, because the caller would otherwise claim it a
        second time.
        """
        ...

    async def answered(self, ids: Sequence[TransactionId]) -> list[TransactionId]:
        """Return the ids that have had their answer, in the order given: settled, or remembered as resumed.

        If the store cannot tell, an id counts as open, because the caller would otherwise drop its answer.
        """
        ...

    async def adopt(
        self, node: str, owners: Sequence[str], state: State, limit: int = 500
    ) -> list[Transaction]:
        """Make this replica the owner of what other replicas own.

        Args:
            node: whose transactions.
            owners: the replicas that own them, or ``NOBODY``.
            state: in which they must be.
            limit: how many to adopt at most.

        Returns:
            The records, with this replica as the owner.
        """
        ...

    async def beat(self, beat: Beat) -> Snapshot:
        """Tell that this replica lives, and how it is. Return what every replica told last."""
        ...

    async def note(self, entry: bytes, seconds: float) -> None:
        """Keep an entry of this replica's journal for so many seconds, if possible: nothing depends on it.

        One each ``NOTE_INTERVAL`` at most.
        """
        ...

    async def remember(self, key: str, value: bytes, seconds: float) -> None:
        """Keep a value for so many seconds (at least 0.001), for whoever shares the store, if possible."""
        ...

    async def recall(self, key: str) -> bytes | None:
        """Return the value kept last under the key; None if it is gone, or the store is not shared."""
        ...

    async def leave(self) -> None:
        """Take this replica off the list, so that nobody waits for its lease to end."""
        ...

    async def count(self, node: str) -> int:
        """Return how many suspensions of a node are claimed and not settled."""
        ...

    async def get(self, id: TransactionId) -> Transaction | None:  # noqa: A002
        """Return the record, if it is claimed or settled."""
        ...

    async def scan(self, node: str) -> list[Transaction]:
        """Return every record of a node."""
        ...

    async def close(self) -> None:
        """Close the connections. The records stay."""
        ...
