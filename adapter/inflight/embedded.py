"""In flight in this process: dict and heap. With it the bridge needs no Redis, and is alone."""

from __future__ import annotations

import heapq
import time
from collections import deque
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Final

from adapter.model.beat import Beat, Snapshot
from adapter.model.transaction import Outcome, Settlement, State, Transaction, TransactionId
from adapter.ports.store import Claim

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

REPLICAS_KEPT: Final = 600.0
"""Seconds for which a silent replica is listed."""


class _Node:
    """What is in flight of one node."""

    __slots__ = ("claimed", "forget", "records", "remembered", "timers")

    def __init__(self) -> None:
        self.records: dict[TransactionId, Transaction] = {}
        self.claimed = 0  # how many of the records are not settled
        # When to look at which record again; the number keeps ids from being compared. Entries
        # stay until their time: what one names may have moved on by then, or be gone.
        self.timers: list[tuple[float, int, TransactionId]] = []
        # Resumed ids and until when, and the same in the order of time.
        self.remembered: dict[TransactionId, float] = {}
        self.forget: deque[tuple[float, TransactionId]] = deque()


class _Store:
    """What the replicas of one process share."""

    def __init__(self, retention: float, clock: Callable[[], float]) -> None:
        self.retention = retention
        self.clock = clock
        self.nodes: dict[str, _Node] = {}
        self.beats: dict[str, tuple[float, Beat]] = {}  # when, and what was said
        self.numbers = count()

    def node(self, name: str) -> _Node:
        found = self.nodes.get(name)
        if found is None:
            found = self.nodes[name] = _Node()
        return found


class EmbeddedInFlight:
    """See ``base.InFlight``. ``clock`` gives epoch seconds, as the claims' deadlines have them."""

    def __init__(
        self, replica: str, *, retention: float = 60.0, clock: Callable[[], float] = time.time
    ) -> None:
        self.replica = replica
        self.retention = retention
        self._store = _Store(retention, clock)

    def beside(self, replica: str) -> EmbeddedInFlight:
        """Another replica on the same records: a process that plays several."""
        other = EmbeddedInFlight(replica, retention=self.retention)
        other._store = self._store
        return other

    def __repr__(self) -> str:
        claimed = sum(node.claimed for node in self._store.nodes.values())
        return f"<EmbeddedInFlight {self.replica}, {claimed} claimed>"

    async def claim(
        self, transactions: Sequence[Transaction], limit: int, at_once: bool = False
    ) -> list[Claim]:
        """See ``base.InFlight``."""
        now = self._store.clock()
        return [self._claim(transaction, limit, now) for transaction in transactions]

    def _claim(self, transaction: Transaction, limit: int, now: float) -> Claim:
        id_ = transaction.id
        node = self._store.node(id_.node)
        if id_ in node.records or node.remembered.get(id_, now) > now:
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
        heapq.heappush(node.timers, (transaction.deadline, next(self._store.numbers), id_))
        return result

    async def settle(
        self, settlements: Sequence[Settlement], at_once: bool = False
    ) -> list[Transaction | None]:
        """See ``base.InFlight``."""
        return [self._settle(each.id, each.outcome, each.decision) for each in settlements]

    def _settle(self, id_: TransactionId, outcome: Outcome, decision: bytes | None) -> Transaction | None:
        node = self._store.nodes.get(id_.node)
        if node is None or (found := node.records.get(id_)) is None or found.state is not State.CLAIMED:
            return None
        record = settled(found, self.replica, outcome, decision)
        if found.owner != self.replica:
            record = replace(record, again=True)
        node.records[id_] = record
        node.claimed -= 1
        return record

    async def resumed(self, ids: Sequence[TransactionId]) -> None:
        """See ``base.InFlight``."""
        until = self._store.clock() + self.retention
        for id_ in ids:
            node = self._store.nodes.get(id_.node)
            if node is not None and (found := node.records.get(id_)) and found.state is State.SETTLED:
                del node.records[id_]
                self._remember(node, id_, until)

    def due(self, node: str) -> bool:
        """See ``base.InFlight``."""
        found, now = self._store.nodes.get(node), self._store.clock()
        return found is not None and (
            bool(found.timers and found.timers[0][0] <= now)
            or bool(found.forget and found.forget[0][0] <= now)
        )

    async def expire(self, node: str, limit: int = 500) -> list[Transaction]:
        """See ``base.InFlight``."""
        found = self._store.nodes.get(node)
        if found is None:
            return []
        now = self._store.clock()
        _forget(found, now)
        expired: list[Transaction] = []
        again: list[tuple[float, TransactionId]] = []
        while found.timers and found.timers[0][0] <= now and len(expired) < limit:
            _, _, id_ = heapq.heappop(found.timers)
            record = found.records.get(id_)
            if record is None:
                continue
            end = record.deadline + self.retention
            if record.state is State.SETTLED and end <= now:
                del found.records[id_]
            elif record.state is State.SETTLED:
                again.append((end, id_))
            elif record.deadline <= now:
                timed_out = self._settle(id_, Outcome.TIMEOUT, None)
                assert timed_out is not None, "nobody came between"
                expired.append(timed_out)
                again.append((end, id_))
        for when, id_ in again:  # after the loop: what is settled now is not dropped at once
            heapq.heappush(found.timers, (when, next(self._store.numbers), id_))
        return expired

    async def unclaimed(self, ids: Sequence[TransactionId]) -> list[TransactionId]:
        """See ``base.InFlight``."""
        now = self._store.clock()
        return [id_ for id_ in ids if not self._taken(id_, now)]

    def _taken(self, id_: TransactionId, now: float) -> bool:
        node = self._store.nodes.get(id_.node)
        return node is not None and (id_ in node.records or node.remembered.get(id_, now) > now)

    async def answered(self, ids: Sequence[TransactionId]) -> list[TransactionId]:
        """See ``base.InFlight``."""
        now = self._store.clock()
        return [id_ for id_ in ids if self._answered(id_, now)]

    def _answered(self, id_: TransactionId, now: float) -> bool:
        node = self._store.nodes.get(id_.node)
        if node is None:
            return False
        record = node.records.get(id_)
        return node.remembered.get(id_, now) > now if record is None else record.state is State.SETTLED

    async def adopt(
        self, node: str, owners: Sequence[str], state: State, limit: int = 500
    ) -> list[Transaction]:
        """See ``base.InFlight``."""
        found = self._store.nodes.get(node)
        if found is None:
            return []
        owned = [each for each in found.records.values() if each.owner in owners and each.state is state]
        adopted = [replace(record, owner=self.replica, again=True) for record in owned[:limit]]
        found.records.update((record.id, record) for record in adopted)
        return adopted

    async def beat(self, beat: Beat) -> Snapshot:
        """See ``base.InFlight``. Who has been silent for ``REPLICAS_KEPT`` is forgotten."""
        now = self._store.clock()
        beats = self._store.beats
        known = self.replica in beats
        beats[self.replica] = now, beat
        for silent in [replica for replica, (last, _) in beats.items() if last <= now - REPLICAS_KEPT]:
            del beats[silent]
        return Snapshot({name: replace(said, age=now - last) for name, (last, said) in beats.items()}, known)

    async def note(self, entry: bytes, seconds: float) -> None:
        """See ``base.InFlight``. Nobody could read it: it is dropped."""

    async def leave(self) -> None:
        """See ``base.InFlight``."""
        self._store.beats.pop(self.replica, None)

    async def count(self, node: str) -> int:
        """See ``base.InFlight``."""
        found = self._store.nodes.get(node)
        return 0 if found is None else found.claimed

    async def get(self, id: TransactionId) -> Transaction | None:  # noqa: A002
        """See ``base.InFlight``."""
        found = self._store.nodes.get(id.node)
        return None if found is None else found.records.get(id)

    async def scan(self, node: str) -> list[Transaction]:
        """See ``base.InFlight``."""
        found = self._store.nodes.get(node)
        return [] if found is None else list(found.records.values())

    async def close(self) -> None:
        """See ``base.InFlight``. Nothing to let go of."""

    def load(
        self, records: Iterable[Transaction], resumed: Iterable[tuple[TransactionId, float]] = ()
    ) -> None:
        """Hold these records as they are, whatever was known of them; remember these ids as resumed then."""
        for record in records:
            self.drop(record.id)
            node = self._store.node(record.id.node)
            node.records[record.id] = record
            node.claimed += record.state is State.CLAIMED
            heapq.heappush(node.timers, (record.deadline, next(self._store.numbers), record.id))
        for id_, when in resumed:
            self._remember(self._store.node(id_.node), id_, when + self.retention)

    def drop(self, id_: TransactionId) -> None:
        """Know nothing of this record any more."""
        node = self._store.node(id_.node)
        found = node.records.pop(id_, None)
        node.claimed -= found is not None and found.state is State.CLAIMED

    def _remember(self, node: _Node, id_: TransactionId, until: float) -> None:
        node.remembered[id_] = until
        node.forget.append((until, id_))


def _forget(node: _Node, now: float) -> None:
    """Forget the resumed ids whose time is over."""
    while node.forget and node.forget[0][0] <= now:
        until, id_ = node.forget.popleft()
        if node.remembered.get(id_) == until:  # else it was claimed and resumed again since
            del node.remembered[id_]


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
        record.life,
        record.call_id,
        record.again,
    )
