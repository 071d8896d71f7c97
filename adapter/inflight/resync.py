"""Give Redis what this replica has done without it.

Redis may have lost nothing, its last second, or everything; another replica may have gone on with what this
one owned. So each local record is claimed for what it is here, and a claim that is lost is compared with the
record in Redis: that one counts, but for an answer given here where Redis still waits for one.

What services answered so far (``Transaction.course``, in lines) is one sum of what all replicas were told:
each side gets the lines that it lacks, wherever the record then goes. Two equal lines are two answers.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

import structlog

from adapter.errors import StoreUnavailable
from adapter.model.transaction import Outcome, Progress, Settlement, State, Transaction
from adapter.ports.store import Claim

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from adapter.inflight.local import LocalStore
    from adapter.inflight.write_behind import Owed
    from adapter.model.beat import Beat, Snapshot
    from adapter.model.transaction import TransactionId
    from adapter.ports.store import Store

log = structlog.get_logger()
T = TypeVar("T")

NO_LIMIT: Final = 2**31
STEP: Final = 500
"""Records in one step, between which other work has its turn."""
BEAT_AGAIN: Final = 0.2
"""Seconds after which a resync beats again, lest this replica be taken for dead meanwhile."""
TURNS: Final = 3
"""Times that all is pushed that has changed since the last time. With a slow Redis and many calls something
has always changed: what is left then is told with what is done next, as if Redis had been there."""
LOSABLE: Final = 2.0
"""Seconds before the outage from which Redis may have lost what it confirmed: a failover loses what the new
master had not got yet, and until an outage is noticed a timeout passes."""


class Pushed(NamedTuple):
    """What came of a push: how many records are another's, and the ids that Redis had and then forgot, as it
    does if it loses its memory at that moment."""

    dropped: int = 0
    forgotten: frozenset[TransactionId] = frozenset()


class Changed(NamedTuple):
    """What Redis has not got: records, and ids that were resumed."""

    records: list[Transaction]
    ended: list[TransactionId]


class Resync:
    """Pushes from the ``local`` store to the ``remote`` one. ``clock`` gives epoch seconds; ``on_added`` is
    told of each record that waits here and to which others have added.
    """

    def __init__(
        self,
        remote: Store,
        local: LocalStore,
        clock: Callable[[], float],
        on_added: Callable[[Transaction], None],
    ) -> None:
        self._remote = remote
        self._local = local
        self._clock = clock
        self._on_added = on_added
        self.in_doubt: set[str] = set()
        """Nodes of which Redis may have settled or adopted something for this replica, unheard."""
        self.undelivered: dict[str, list[Transaction]] = {}
        """By node, grants that this replica has in Redis, and that nobody has resumed yet."""
        self.left = Changed([], [])
        """What the last ``run`` has not pushed."""
        self._pushed: dict[TransactionId, Transaction] = {}
        self._ended: set[TransactionId] = set()
        self.dropped = 0

    @property
    def pushed(self) -> int:
        """How many records and resumed ids the last ``run`` gave back."""
        return len(self._pushed) + len(self._ended) - self.dropped

    async def run(self, beat: Beat, snapshot: Snapshot, since: float) -> Snapshot:
        """Push until Redis has all that was done since the outage began.

        Nothing is awaited between the last look for more and the return. What has changed while the last was
        pushed, of many calls, is in ``left`` then.

        Args:
            beat: what to say of this replica where that takes long.
            snapshot: what the last beat gave.
            since: when the outage began, in epoch seconds.

        Returns:
            What the last beat gave by then.

        Raises:
            StoreUnavailable: Redis is away again, or something else has failed. What it has not got is
                pushed by the next run.
        """
        try:
            return await self._run(beat, snapshot, since)
        except StoreUnavailable:
            raise
        except Exception as exc:  # this replica goes on alone, and the next beat tries again
            log.exception("in-flight store: not resynced")
            raise StoreUnavailable(f"not resynced: {type(exc).__name__}: {exc}") from exc

    async def _run(self, beat: Beat, snapshot: Snapshot, since: float) -> Snapshot:
        self._pushed, self._ended, self.dropped = {}, set(), 0
        beaten = self._clock()
        for turn in itertools.count():
            self.left = self._changed(since - LOSABLE)
            if turn >= TURNS and not self.in_doubt:
                break
            steps = self._steps(self.left)
            if not steps:
                break
            for step in steps:
                await step()
                if self._clock() >= beaten + BEAT_AGAIN:
                    beaten = self._clock()
                    # Others tell by it what time it is here: those who start now would follow an old one.
                    snapshot = await self._remote.beat(replace(beat, at=beaten) if beat.at else beat)
        return snapshot

    def _changed(self, since: float) -> Changed:
        """What Redis has not got as things are now."""
        # A record that is the one pushed already: nothing has become of it since.
        records = [each for each in self._local.records() if self._pushed.get(each.id) is not each]
        return Changed(records, [id_ for id_ in self._local.resumed_since(since) if id_ not in self._ended])

    def _steps(self, changed: Changed) -> list[Callable[[], Awaitable[None]]]:
        """What is to be done about it."""
        return [
            *(partial(self._push_again, part) for part in _parts(changed.records)),
            *(partial(self.end, part) for part in _parts(changed.ended)),
            *(partial(self._look, node) for node in self.in_doubt),
        ]

    async def _push_again(self, records: Sequence[Transaction]) -> None:
        pushed = await self.push(records)
        self.dropped += pushed.dropped
        self._pushed.update((record.id, record) for record in records if record.id not in pushed.forgotten)

    async def push(self, records: Sequence[Transaction]) -> Pushed:
        """Claim what is claimed here, as settled what is settled.

        Returns:
            How many are another's by now, and which Redis had and forgot meanwhile.

        Raises:
            StoreUnavailable: Redis may have got some of it.
        """
        if not records:
            return Pushed()
        results = await self._remote.claim(records, NO_LIMIT)
        lost = [each for each, result in zip(records, results, strict=True) if result is Claim.LOST]
        if not lost:
            return Pushed()
        if courses := [record for record in lost if record.course]:
            await self._add_lacking(courses)
        answers = [_answer(record) for record in lost if record.state is State.SETTLED]
        taken = {record.id for record in await self._remote.settle(answers) if record is not None}
        open_ = [record for record in lost if record.id not in taken]
        found = await asyncio.gather(*(self._remote.get(record.id) for record in open_))
        gone = [record.id for record, theirs in zip(open_, found, strict=True) if theirs is None]
        over = await self._remote.answered(gone) if gone else []
        forgotten = frozenset(gone).difference(over)
        compared = [
            self._compare(record, theirs)
            for record, theirs in zip(open_, found, strict=True)
            if record.id not in forgotten
        ]
        return Pushed(sum(compared), forgotten)

    async def flush(self, owed: Owed) -> None:
        """Tell what was done here while Redis was there.

        Raises:
            StoreUnavailable: Redis may have got some of it.
        """
        added = [self.add(owed.steps)] if owed.steps else []
        added += [self.end(owed.ends)] if owed.ends else []
        await asyncio.gather(self.push(owed.claims), *added, self._remote.settle(owed.answers))

    async def _add_lacking(self, records: Sequence[Transaction]) -> None:
        """Add to the records in Redis what is known here and not there."""
        found = await asyncio.gather(*(self._remote.get(record.id) for record in records))
        steps = [
            Progress(record.id, lacking, record.deadline)
            for record, theirs in zip(records, found, strict=True)
            if theirs is not None and (lacking := lines_beyond(theirs.course, record.course))
        ]
        if steps:
            await self._remote.progress(steps)

    async def add(self, steps: Sequence[Progress]) -> None:
        """Add to records that Redis has, and follow what it says of them. A record that waits here and not
        there is pushed.

        Raises:
            StoreUnavailable: Redis may have got some of it.
        """
        refused: list[Transaction] = []
        for step, theirs in zip(steps, await self._remote.progress(steps), strict=True):
            here = self._local.peek(step.id)
            if theirs is not None:
                self._hear(theirs)
            elif here is not None and here.state is State.CLAIMED:
                refused.append(here)
        await self.push(refused)

    def _hear(self, theirs: Transaction) -> None:
        """Follow a record that nobody here has asked for, and tell of what is new in it."""
        before = self._local.peek(theirs.id)
        record = self.follow(theirs)
        if before is not None and record is not None and lines_beyond(before.course, record.course):
            self._on_added(record)

    def known(self, theirs: Transaction | None) -> Transaction | None:
        """Return a record that Redis was asked for; one that waits there and here is followed."""
        here = None if theirs is None else self._local.peek(theirs.id)
        if theirs is None or here is None or not theirs.state is here.state is State.CLAIMED:
            return theirs
        return self.follow(theirs)

    async def waiting(self, ids: Sequence[TransactionId]) -> list[TransactionId]:
        """Return those of this replica's that wait in Redis. Raises StoreUnavailable."""
        found = await asyncio.gather(*map(self._remote.get, ids))
        known = [record for theirs in found if (record := self.known(theirs)) is not None]
        ours = self._local.replica
        return [each.id for each in known if each.state is State.CLAIMED and each.owner == ours]

    def follow(self, theirs: Transaction) -> Transaction | None:
        """Take over what others have added to a record that waits in Redis.

        Returns:
            The record with all that is known of it there and here, in this order; None if it has been
            answered here.
        """
        if self._local.was_granted(theirs.id):
            return None
        here = self._local.peek(theirs.id)
        if here is None:
            return theirs
        if here.owner != theirs.owner:  # adopted meanwhile: what is held here would never hear of more
            self._local.disown(theirs.id)
            return theirs
        course = theirs.course + lines_beyond(theirs.course, here.course)
        if course == here.course and theirs.deadline < here.deadline + 0.001:  # Redis keeps whole ms
            return here
        record = replace(here, course=course, deadline=max(here.deadline, theirs.deadline))
        self._local.put(record)
        return record

    def grant(self, theirs: Transaction) -> Transaction | None:
        """Take over a record that Redis has settled for this replica.

        Returns:
            The record with all that is known of it there and here; None if this process has had the licence
            for it before.
        """
        if self._local.was_granted(theirs.id):
            return None
        here = self._local.peek(theirs.id)
        record = replace(theirs, again=here is None or here.again)
        if here is not None and here.course != record.course:
            record = replace(record, course=record.course + lines_beyond(record.course, here.course))
        self._local.put(record)
        return record

    def _compare(self, record: Transaction, theirs: Transaction | None) -> bool:
        """Go by the record in Redis, which has not taken this one. True if it is another replica's."""
        here = self._local.peek(record.id)
        if here is None or here.state is not record.state:
            return False  # it has changed meanwhile: it is looked at again
        if theirs is None or theirs.owner != self._local.replica:
            self._local.disown(record.id)
            return True
        if theirs.state is State.SETTLED and record.state is State.CLAIMED:
            self._deliver(theirs)
        elif record.state is State.CLAIMED:
            self._hear(theirs)
        return False

    async def end(self, ids: Sequence[TransactionId]) -> None:
        """Have Redis remember them as resumed, whatever it knows of them."""
        now = self._clock()
        ends = [
            Transaction(id_, "", now, now, b"", self._local.replica, State.SETTLED, Outcome.TIMEOUT)
            for id_ in ids
        ]
        results = await self._remote.claim(ends, 0)
        lost = [_answer(end) for end, result in zip(ends, results, strict=True) if result is Claim.LOST]
        await self._remote.settle(lost)
        await self._remote.resumed(ids)
        self._ended.update(ids)

    async def _look(self, node: str) -> None:
        """Find what Redis has settled for this replica, unheard."""
        self.in_doubt.discard(node)
        try:
            found = await self._remote.scan(node)
        except StoreUnavailable:
            self.in_doubt.add(node)
            raise
        for record in found:
            ours = record.owner == self._local.replica and record.state is State.SETTLED
            known = self._local.was_granted(record.id) or self._local.has_released(record.id)
            if ours and not known:
                self._deliver(record)

    def _deliver(self, record: Transaction) -> None:
        """Keep a grant whose answer was lost for the next ``expire``."""
        self._local.put(record)
        self.undelivered.setdefault(record.id.node, []).append(record)


def lines_beyond(known: bytes, course: bytes) -> bytes:
    """Return the lines of ``course`` that ``known`` lacks. One that comes more often than there is lacking as
    often as that."""
    if known == course:
        return b""
    left = Counter(known.splitlines(keepends=True))
    lacking: list[bytes] = []
    for line in course.splitlines(keepends=True):
        if left[line]:
            left[line] -= 1
        else:
            lacking.append(line)
    return b"".join(lacking)


def _answer(record: Transaction) -> Settlement:
    assert record.outcome is not None, "settled means with an outcome"
    return Settlement(record.id, record.outcome, record.decision)


def _parts(whole: Sequence[T]) -> Iterator[Sequence[T]]:
    return (whole[at : at + STEP] for at in range(0, len(whole), STEP))
