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
    from adapter.model.transaction import Settlement, State, Transaction, TransactionId

NOTE_INTERVAL: Final = 0.5
"""Seconds between two entries of the journal: a round trip and a wake-up of their own."""
REPLICAS_KEPT: Final = 600.0
"""Seconds for which a silent replica is listed: longer than anything it owned can last."""


class Claim(IntEnum):
    """What became of a claim."""

    LOST = 0  # another copy of this event was first, or it is over already: do nothing
    WON = 1  # yours, in the state that was asked for
    FULL = 2  # yours, but the node has its limit in flight: settled as ``overload``


class InFlight(Protocol):
    """The port. ``replica`` is the name under which this process owns what it claims.

    ``retention``: seconds for which a resumed id is remembered, and for which nothing
    outlives its deadline.
    """

    replica: str
    retention: float

    async def claim(
        self, transactions: Sequence[Transaction], limit: int, write_behind: bool = False
    ) -> list[Claim]:
        """Take the transactions, all of this replica, with at most ``limit`` claimed for each node.

        One whose ``state`` is SETTLED (the outcome known at once) takes no place under the
        limit. Results in the order of the arguments.

        ``write_behind``: they have just come, and this replica is the one to claim them. A store that
        others share may then answer before it has told them.
        """
        ...

    async def settle(
        self, settlements: Sequence[Settlement], write_behind: bool = False
    ) -> list[Transaction | None]:
        """CLAIMED -> SETTLED. The record for the one call that did it, ``None`` for every other.

        ``again`` of a record tells that another replica had it before, as far as that is known.

        ``write_behind``: nobody else settles what this replica has claimed, so that a store that others
        share may answer before it has told them.
        """
        ...

    async def resumed(self, ids: Sequence[TransactionId]) -> None:
        """SETTLED -> RESUMED: Kamailio has read it. Ids that are not settled are left alone."""
        ...

    def due(self, node: str) -> bool:
        """Whether ``expire`` may find anything now: to be asked first, as that may be a round trip."""
        ...

    async def expire(self, node: str, limit: int = 500) -> list[Transaction]:
        """Settle as ``timeout`` what is past its deadline; also forget what is past its retention.

        At most ``limit`` of them, the earliest first.
        """
        ...

    async def unclaimed(self, ids: Sequence[TransactionId]) -> list[TransactionId]:
        """Those that nobody has claimed, in the order given: neither in flight nor remembered.

        What is not known counts as claimed: who asks is about to claim.
        """
        ...

    async def answered(self, ids: Sequence[TransactionId]) -> list[TransactionId]:
        """Those that have had their answer, in the order given: settled, or remembered as resumed.

        What is not known counts as open: who asks is about to drop an answer.
        """
        ...

    async def adopt(
        self, node: str, owners: Sequence[str], state: State, limit: int = 500
    ) -> list[Transaction]:
        """Own what the ``owners`` own of a node in this state: at most ``limit`` records."""
        ...

    async def beat(self, beat: Beat) -> Snapshot:
        """Say that this replica lives, and how it is; see who else does."""
        ...

    async def note(self, entry: bytes, seconds: float) -> None:
        """Keep an entry of this replica's journal for so long, as well as can be; nothing rests on it.

        One each ``NOTE_INTERVAL`` at most.
        """
        ...

    async def leave(self) -> None:
        """Take this replica off the list, so that nobody waits for its lease to end."""
        ...

    async def count(self, node: str) -> int:
        """How many suspensions of a node are claimed and not settled."""
        ...

    async def get(self, id: TransactionId) -> Transaction | None:  # noqa: A002
        """The record, where it is claimed or settled."""
        ...

    async def scan(self, node: str) -> list[Transaction]:
        """Every record of a node."""
        ...

    async def close(self) -> None:
        """Let go of connections. The records stay."""
        ...
