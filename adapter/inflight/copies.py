"""What a replica knows of its own transactions without asking its store; see ``inflight.enduring``."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from heapq import heappop, heappush
from itertools import islice, takewhile
from typing import TYPE_CHECKING, Final

from adapter.inflight.embedded import EmbeddedInFlight, settled
from adapter.model.transaction import Outcome, State, Transaction
from adapter.ports.store import Claim

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from adapter.model.transaction import Settlement, TransactionId

OVERDUE: Final = 5.0
"""Seconds past its deadline after which a copy that says claimed is out of date: while the far store
was there, some replica has settled it."""
MOST_REMEMBERED: Final = 20_000
"""Ids to be remembered here of each kind; the far store remembers every one."""
PURGE_INTERVAL: Final = 1.0


class Copies:
    """Copies of the records that this replica owns, and ids that it knows to be resumed.

    A copy may be out of date: another replica may have settled or adopted it. Whether this process
    has had a licence it knows for sure: its copy is settled, or its id resumed.
    """

    def __init__(self, replica: str, retention: float, clock: Callable[[], float]) -> None:
        self._replica = replica
        self._retention = retention
        self._clock = clock
        self._purged_at = 0.0
        self.records: dict[TransactionId, Transaction] = {}
        self._claimed: Counter[str] = Counter()  # how many of them are not settled, by node
        self._deadlines: dict[str, list[tuple[float, TransactionId]]] = {}  # of those, a heap for each node
        self.resumed: dict[TransactionId, float] = {}  # and when, in the order of time
        self.left: dict[TransactionId, float] = {}  # to other replicas, and when, in the order of time
        self.near: EmbeddedInFlight | None = None
        """While the far store is away: the copies as a store."""
        self.owed: dict[str, list[Transaction]] = {}
        """By node, licences that this replica has, and of which nobody has been told yet."""

    def keep(self, record: Transaction, near: bool = False) -> None:
        """Take in what this replica owns now; ``near``: the store near does not know it yet."""
        self._put(record)
        if near and self.near is not None:
            self.near.load([record])

    def claim(self, transaction: Transaction, limit: int) -> Claim:
        """Take what has just come, by what is known here."""
        id_ = transaction.id
        if self.knows(id_):
            return Claim.LOST
        full = transaction.state is State.CLAIMED and self._claimed[id_.node] >= limit
        result = Claim.FULL if full else Claim.WON
        self.keep_claim(transaction, result, near=False)
        return result

    def is_claimed(self, id_: TransactionId) -> bool:
        """Whether it is claimed here, as far as this replica knows, and not answered."""
        copy = self.records.get(id_)
        return copy is not None and copy.state is State.CLAIMED

    def settle(self, settlement: Settlement) -> Transaction | None:
        """Give the licence for what is claimed here."""
        copy = self.records.get(settlement.id)
        if copy is None or copy.state is not State.CLAIMED:
            return None
        record = settled(copy, self._replica, settlement.outcome, settlement.decision)
        self._put(record)
        return record

    def due(self, node: str) -> bool:
        """Whether anything that is claimed is past its deadline; not for long, as another may have it."""
        heap, now = self._deadlines.get(node, []), self._clock()
        while heap and heap[0][0] <= now:
            deadline, id_ = heap[0]
            copy = self.records.get(id_)
            if copy is not None and copy.state is State.CLAIMED and now < deadline + OVERDUE:
                return True
            heappop(heap)
        return False

    def keep_claim(self, transaction: Transaction, result: Claim, near: bool) -> None:
        """Take in what was claimed, unless the answer comes after that to a later question about it."""
        if not self.had_licence(transaction.id):
            if result is Claim.FULL:
                transaction = settled(transaction, transaction.owner, Outcome.OVERLOAD, None)
            elif transaction.state is State.SETTLED:
                transaction = replace(transaction, request=b"")
            self.keep(transaction, near)

    def leave(self, id_: TransactionId) -> None:
        """Another replica has this record, or has had it resumed: it is not claimed here again."""
        now = self._clock()
        self._drop(id_)
        self.left.pop(id_, None)
        self.left[id_] = now
        if self.near is not None:
            self.near.load((), [(id_, now)])

    def _put(self, record: Transaction) -> None:
        before = self.records.get(record.id)
        self.records[record.id] = record
        was = before is not None and before.state is State.CLAIMED
        is_ = record.state is State.CLAIMED
        self._claimed[record.id.node] += is_ - was
        if is_ and not was:
            heappush(self._deadlines.setdefault(record.id.node, []), (record.deadline, record.id))

    def _remove(self, id_: TransactionId) -> None:
        if self.records.pop(id_).state is State.CLAIMED:
            self._claimed[id_.node] -= 1

    def _drop(self, id_: TransactionId) -> None:
        self._remove(id_)
        if self.near is not None:
            self.near.drop(id_)

    def note_resumed(self, ids: Sequence[TransactionId]) -> None:
        """Of those that were answered here only the ids count any more."""
        now = self._clock()
        for id_ in ids:
            copy = self.records.get(id_)
            if copy is None:
                over = self.left.pop(id_, None) is not None
            elif over := copy.state is State.SETTLED:
                self._remove(id_)
            if over:
                self.resumed.pop(id_, None)
                self.resumed[id_] = now

    def had_licence(self, id_: TransactionId) -> bool:
        """Whether this process has had the licence to resume it, as far as that is remembered."""
        resumed_at = self.resumed.get(id_)
        if resumed_at is not None and resumed_at + self._retention > self._clock():
            return True
        copy = self.records.get(id_)
        return (
            copy is not None
            and copy.state is State.SETTLED
            and copy.deadline + self._retention > self._clock()
        )

    def knows(self, id_: TransactionId) -> bool:
        """Whether this process knows of a claim, its own or another's, that is not long over."""
        copy, left_at = self.records.get(id_), self.left.get(id_)
        if copy is None and left_at is None:
            return self.had_licence(id_)
        past = self._clock() - self._retention
        open_ = copy is not None and copy.deadline > past
        return open_ or (left_at is not None and left_at > past) or self.had_licence(id_)

    def compare(self, record: Transaction, theirs: Transaction | None) -> bool:
        """Go by what the far store has of a record which it has not taken: whether that is another's."""
        if theirs is None or theirs.owner != self._replica:
            self.leave(record.id)
            return True
        if theirs.state is State.SETTLED and record.state is State.CLAIMED:
            self.owe(theirs)
        return False

    def owe(self, record: Transaction) -> None:
        """The far store has settled it for this replica, and its answer was lost."""
        self.keep(record, near=True)
        self.owed.setdefault(record.id.node, []).append(record)

    def go_near(self) -> None:
        """Make a store of the copies."""
        late = self._clock() - OVERDUE
        for id_ in [
            copy.id for copy in self.records.values() if copy.state is State.CLAIMED and copy.deadline <= late
        ]:
            self._remove(id_)
        self.near = EmbeddedInFlight(self._replica, retention=self._retention, clock=self._clock)
        self.near.load(self.records.values(), [*self.resumed.items(), *self.left.items()])

    def resumed_since(self, when: float) -> Iterator[TransactionId]:
        """Resumed ids, the last one first."""
        return takewhile(lambda id_: self.resumed[id_] >= when, reversed(self.resumed))

    def purge(self) -> None:
        """Forget what every store has dropped by now."""
        now = self._clock()
        if now < self._purged_at + PURGE_INTERVAL:
            return
        self._purged_at = now
        past = now - self._retention
        for id_ in [copy.id for copy in self.records.values() if copy.deadline <= past]:
            self._drop(id_)
        _forget(self.resumed, past)
        _forget(self.left, past)


def _forget(ids: dict[TransactionId, float], past: float) -> None:
    """Those of an earlier time, and the oldest ones beyond ``MOST_REMEMBERED``."""
    gone = set(islice(ids, max(len(ids) - MOST_REMEMBERED, 0)))
    gone.update(takewhile(lambda id_: ids[id_] <= past, ids))
    for id_ in gone:
        del ids[id_]
