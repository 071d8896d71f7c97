"""In flight in this process: dicts and a heap.

Alone it is all the store that a bridge without Redis needs. With Redis it holds what this replica owns
(``inflight.failover``).
"""

from __future__ import annotations

import copy
import math
import time
from collections import defaultdict, deque
from dataclasses import replace
from heapq import heappop, heappush
from itertools import count, takewhile
from typing import TYPE_CHECKING

from adapter.inflight.kept_journal import KeptJournal
from adapter.model.beat import Beat, Snapshot
from adapter.model.transaction import NOBODY, Outcome, Settlement, State, Transaction, TransactionId
from adapter.ports.store import REPLICAS_KEPT, Claim

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from adapter.model.transaction import Progress


class _Node:
    """What is in flight of one node."""

    __slots__ = ("claimed", "records", "timers")

    def __init__(self) -> None:
        self.records: dict[TransactionId, Transaction] = {}
        self.claimed = 0  # how many of the records are not settled
        # A heap of when to look at which record again; the number keeps ids from being compared.
        # Entries stay until their time: what one names may have moved on by then, or be gone.
        self.timers: list[tuple[float, int, TransactionId]] = []


class LocalStore:
    """See ``ports.store.Store``. No verb suspends: between two of them nobody else has a turn."""

    def __init__(
        self,
        replica: str,
        *,
        retention: float = 60.0,
        clock: Callable[[], float] = time.time,
        most_remembered: float = math.inf,
    ) -> None:
        """Hold nothing yet.

        Args:
            replica: the name under which this process owns what it claims.
            retention: seconds, see ``ports.store.Store``.
            clock: gives epoch seconds, as the claims' deadlines have them.
            most_remembered: resumed ids that are remembered; beyond, the oldest are forgotten.
        """
        self.replica = replica
        self.retention = retention
        self._clock = clock
        self._most_remembered = most_remembered
        self._nodes: defaultdict[str, _Node] = defaultdict(_Node)
        self._remembered: dict[TransactionId, float] = {}  # ids that are over, and until when to know of them
        self._ends: deque[tuple[float, TransactionId]] = deque()  # the same in the order of time
        self._disowned: set[TransactionId] = set()  # those of them that became another replica's
        self._released: set[TransactionId] = set()  # those of them that were released
        self._beats: dict[str, tuple[float, Beat]] = {}  # when, and what was said
        self._numbers = count()
        self.journal = KeptJournal()

    def beside(self, replica: str) -> LocalStore:
        """Another replica on the same records: a process that plays several."""
        other = copy.copy(self)
        other.replica = replica
        return other

    def __repr__(self) -> str:
        claimed = sum(node.claimed for node in self._nodes.values())
        return f"<LocalStore {self.replica}, {claimed} claimed>"

    # The verbs of the port

    async def claim(
        self, transactions: Sequence[Transaction], limit: int, write_behind: bool = False
    ) -> list[Claim]:
        """See ``ports.store.Store``."""
        return [self.claim_one(transaction, limit) for transaction in transactions]

    def claim_one(self, transaction: Transaction, limit: int) -> Claim:
        """Claim a single transaction: see ``ports.store.Store.claim``."""
        id_ = transaction.id
        node = self._nodes[id_.node]
        if id_ in node.records or (id_ in self._remembered and self._remembers(id_)):
            return Claim.LOST
        result = Claim.WON
        if transaction.state is State.SETTLED:
            assert transaction.outcome is not None, "settled means with an outcome"
            transaction = settled(transaction, transaction.owner, transaction.outcome, transaction.decision)
        elif node.claimed < limit:
            node.claimed += 1
        else:
            transaction = settled(transaction, transaction.owner, Outcome.OVERLOAD, None)
            result = Claim.FULL
        node.records[id_] = transaction
        heappush(node.timers, (transaction.deadline, next(self._numbers), id_))
        return result

    async def settle(
        self, settlements: Sequence[Settlement], write_behind: bool = False
    ) -> list[Transaction | None]:
        """See ``ports.store.Store``."""
        return [self.settle_one(each) for each in settlements]

    def settle_one(self, settlement: Settlement) -> Transaction | None:
        """Settle a single transaction: see ``ports.store.Store.settle``."""
        node = self._nodes.get(settlement.id.node)
        found = None if node is None else node.records.get(settlement.id)
        if node is None or found is None or found.state is not State.CLAIMED:
            return None
        record = settled(found, self.replica, settlement.outcome, settlement.decision)
        if found.owner != self.replica:
            record = replace(record, again=True)
        node.records[settlement.id] = record
        node.claimed -= 1
        return record

    async def progress(
        self, steps: Sequence[Progress], write_behind: bool = False
    ) -> list[Transaction | None]:
        """See ``ports.store.Store``."""
        return [self.progress_one(each) for each in steps]

    def progress_one(self, step: Progress) -> Transaction | None:
        """Add to a single transaction: see ``ports.store.Store.progress``."""
        found = self.peek(step.id)
        if found is None or found.state is not State.CLAIMED:
            return None
        deadline = found.deadline
        if step.deadline is not None and step.deadline > deadline:
            deadline = step.deadline
            self._wake(self._nodes[step.id.node], deadline, step.id)  # the timer that it has is dropped
        record = added(found, found.course + step.course, deadline)
        self._nodes[step.id.node].records[step.id] = record
        return record

    async def resumed(self, ids: Sequence[TransactionId]) -> None:
        """See ``ports.store.Store``."""
        self.note_resumed(ids, self._clock())

    def note_resumed(self, ids: Sequence[TransactionId], when: float) -> None:
        """Remember what is settled as resumed then, in epoch seconds.

        A disowned id, too: its answer was given here before it became another's.
        """
        until = when + self.retention
        for id_ in ids:
            records = self._nodes[id_.node].records
            record = records.get(id_)
            if record is not None and record.state is State.SETTLED:
                del records[id_]
            elif record is None and id_ in self._disowned:
                self._disowned.discard(id_)
            else:
                continue
            self._remembered[id_] = until
            self._ends.append((until, id_))
        self._forget(when)

    async def release(self, ids: Sequence[TransactionId]) -> None:
        """See ``ports.store.Store``."""
        for record in filter(None, map(self.peek, ids)):
            if record.state is State.SETTLED and record.owner == self.replica:
                self._nodes[record.id.node].records[record.id] = replace(record, owner=NOBODY)

    def due(self, node: str) -> bool:
        """See ``ports.store.Store``."""
        return self.first_due(node) is not None

    def first_due(self, node: str) -> Transaction | None:
        """Return the claimed record whose deadline passed first. Forgets what is past its retention."""
        now, found = self._clock(), self._nodes.get(node)
        self._forget(now)
        if found is None:
            return None
        timers, records = found.timers, found.records
        while timers and timers[0][0] <= now:
            id_ = timers[0][2]
            record = records.get(id_)
            if record is None:
                heappop(timers)
            elif record.state is State.SETTLED:
                heappop(timers)
                if (end := record.deadline + self.retention) > now:
                    self._wake(found, end, id_)
                else:
                    del records[id_]
            elif record.deadline <= now:
                return record
            else:  # this timer is of an earlier life of the id, or its deadline was moved
                heappop(timers)
        return None

    async def expire(self, node: str, limit: int = 500, write_behind: bool = False) -> list[Transaction]:
        """See ``ports.store.Store``."""
        expired: list[Transaction] = []
        while len(expired) < limit and (record := self.first_due(node)) is not None:
            heappop(self._nodes[node].timers)
            timed_out = self.settle_one(Settlement(record.id, Outcome.TIMEOUT))
            assert timed_out is not None, "nobody came between"
            expired.append(timed_out)
        for record in expired:  # after the loop: what is settled now is not dropped at once
            self._wake(self._nodes[node], record.deadline + self.retention, record.id)
        return expired

    def timers(self, node: str) -> Sequence[tuple[float, int, TransactionId]]:
        """Return the heap of ``_Node``."""
        return self._nodes[node].timers

    async def unclaimed(self, ids: Sequence[TransactionId]) -> list[TransactionId]:
        """See ``ports.store.Store``."""
        return [id_ for id_ in ids if self.peek(id_) is None and not self._remembers(id_)]

    async def answered(self, ids: Sequence[TransactionId]) -> list[TransactionId]:
        """See ``ports.store.Store``."""
        return [id_ for id_ in ids if self._is_answered(id_)]

    async def adopt(
        self, node: str, owners: Sequence[str], state: State, limit: int = 500
    ) -> list[Transaction]:
        """See ``ports.store.Store``."""
        records = await self.scan(node)
        owned = [each for each in records if each.owner in owners and each.state is state]
        adopted = [replace(record, owner=self.replica, again=True) for record in owned[:limit]]
        self._nodes[node].records.update((record.id, record) for record in adopted)
        return adopted

    async def beat(self, beat: Beat) -> Snapshot:
        """See ``ports.store.Store``. Who has been silent for ``REPLICAS_KEPT`` is forgotten."""
        now, beats = self._clock(), self._beats
        known = self.replica in beats
        beats[self.replica] = now, beat
        for silent in [replica for replica, (last, _) in beats.items() if last <= now - REPLICAS_KEPT]:
            del beats[silent]
        return Snapshot({name: replace(said, age=now - last) for name, (last, said) in beats.items()}, known)

    async def note(self, entry: bytes, seconds: float) -> None:
        """See ``ports.store.Store``. It is kept in memory, for whoever asks this process."""
        self.journal.add(entry, self._clock(), seconds)

    async def remember(self, key: str, value: bytes, seconds: float) -> None:
        """See ``ports.store.Store``. Nobody else could ask for it: it is dropped."""

    async def recall(self, key: str) -> bytes | None:
        """See ``ports.store.Store``."""
        return None

    async def leave(self) -> None:
        """See ``ports.store.Store``."""
        self._beats.pop(self.replica, None)

    async def count(self, node: str) -> int:
        """See ``ports.store.Store``."""
        found = self._nodes.get(node)
        return 0 if found is None else found.claimed

    async def get(self, id: TransactionId) -> Transaction | None:  # noqa: A002
        """See ``ports.store.Store``."""
        return self.peek(id)

    async def scan(self, node: str) -> list[Transaction]:
        """See ``ports.store.Store``."""
        found = self._nodes.get(node)
        return [] if found is None else list(found.records.values())

    async def close(self) -> None:
        """See ``ports.store.Store``. Nothing to let go of."""

    # What ``inflight.failover`` needs besides

    @property
    def nodes(self) -> list[str]:
        """The nodes of which anything was ever in flight."""
        return list(self._nodes)

    def records(self) -> list[Transaction]:
        """Every record of every node."""
        return [record for node in self._nodes.values() for record in node.records.values()]

    def resumed_since(self, when: float) -> Iterable[TransactionId]:
        """Yield the ids that this replica's answers resumed at or after ``when`` (epoch seconds)."""
        until = when + self.retention
        for end, id_ in takewhile(lambda each: each[0] >= until, reversed(self._ends)):
            if self._remembered.get(id_) == end and id_ not in self._disowned:
                yield id_

    def peek(self, id_: TransactionId) -> Transaction | None:
        """Return the record, where it is claimed or settled."""
        node = self._nodes.get(id_.node)
        return None if node is None else node.records.get(id_)

    def was_granted(self, id_: TransactionId) -> bool:
        """Return True if this replica has had the licence to resume it, as far as that is remembered."""
        return self._is_answered(id_) and id_ not in self._disowned

    def put(self, record: Transaction) -> None:
        """Hold this record as it is, whatever was known of it."""
        node, id_ = self._nodes[record.id.node], record.id
        before = node.records.get(id_)
        if id_ in self._disowned:  # it is this replica's again, and has not been resumed by it
            self._disowned.discard(id_)
            self._released.discard(id_)
            self._remembered.pop(id_, None)
        node.records[id_] = record
        was_claimed = before is not None and before.state is State.CLAIMED
        node.claimed += (record.state is State.CLAIMED) - was_claimed
        if before is None or record.state is State.CLAIMED:  # else a timer will find it
            self._wake(node, record.deadline, id_)

    def disown(self, id_: TransactionId) -> None:
        """Leave the record to the replica that has it, or had it resumed: it is not claimed here again."""
        node = self._nodes[id_.node]
        found = node.records.pop(id_, None)
        node.claimed -= found is not None and found.state is State.CLAIMED
        self._disowned.add(id_)
        self._remembered[id_] = until = self._clock() + self.retention
        self._ends.append((until, id_))

    def hand_over(self, ids: Sequence[TransactionId]) -> None:
        """Leave what is released to whoever adopts it: it is this replica's again only by ``put``."""
        for id_ in ids:
            self.disown(id_)
            self._released.add(id_)

    def has_released(self, id_: TransactionId) -> bool:
        """Return True if this replica has released it, and not adopted it since."""
        return id_ in self._released

    def _wake(self, node: _Node, when: float, id_: TransactionId) -> None:
        heappush(node.timers, (when, next(self._numbers), id_))

    def _is_answered(self, id_: TransactionId) -> bool:
        record = self.peek(id_)
        return self._remembers(id_) if record is None else record.state is State.SETTLED

    def _remembers(self, id_: TransactionId) -> bool:
        until = self._remembered.get(id_)
        return until is not None and until > self._clock()

    def _forget(self, now: float) -> None:
        """Forget the ids whose time is over, and the oldest of too many."""
        ends = self._ends
        while ends and (ends[0][0] <= now or len(ends) > self._most_remembered):
            until, id_ = ends.popleft()
            if self._remembered.get(id_) == until:  # else it was claimed and resumed again since
                del self._remembered[id_]
        if self._disowned:
            self._disowned &= self._remembered.keys()
            self._released &= self._disowned


def added(record: Transaction, course: bytes, deadline: float) -> Transaction:
    """The record with another course. (``dataclasses.replace`` takes three times as long.)"""
    return Transaction(
        record.id,
        record.event,
        deadline,
        record.claimed_at,
        record.request,
        record.owner,
        record.state,
        record.outcome,
        record.decision,
        record.incarnation,
        record.call_id,
        record.again,
        course,
    )


def settled(record: Transaction, owner: str, outcome: Outcome, decision: bytes | None) -> Transaction:
    """The settled form: a new owner, no request."""
    return Transaction(
        record.id,
        record.event,
        record.deadline,
        record.claimed_at,
        b"",
        owner,
        State.SETTLED,
        outcome,
        decision,
        record.incarnation,
        record.call_id,
        record.again,
        record.course,
    )
