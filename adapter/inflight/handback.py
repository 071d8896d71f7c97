"""Give back to the far store what has been done in memory while it was away.

It may have lost nothing, its last second, or everything; another replica may have gone on with
what this one owned. So each record is claimed for what it is here, and a claim that is lost is
compared with what the far store has: its record counts, but for an answer given here where it
still waits for one.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from adapter.errors import StoreUnavailable
from adapter.model.transaction import Outcome, Settlement, State, Transaction
from adapter.ports.store import Claim

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from adapter.inflight.copies import Copies
    from adapter.model.beat import Beat, Snapshot
    from adapter.model.transaction import TransactionId
    from adapter.ports.store import InFlight

T = TypeVar("T")

NO_LIMIT: Final = 2**31
AT_ONCE: Final = 500
"""Records in one step, between which other work has its turn."""
BEAT_AGAIN: Final = 0.2
"""Seconds after which a hand-back beats again, lest this replica be taken for dead meanwhile."""
LOSABLE: Final = 2.0
"""Seconds before the outage from which a far store may have lost what it confirmed: a failover loses
what the new master had not got yet, and until an outage is noticed a timeout passes."""


class HandBack:
    """One try. ``since``: when the outage began; ``in_doubt``: nodes of which the far store may have
    settled something for this replica without its knowing."""

    def __init__(
        self, far: InFlight, copies: Copies, since: float, in_doubt: set[str], clock: Callable[[], float]
    ) -> None:
        self._far = far
        self._copies = copies
        self._since = since - LOSABLE
        self._in_doubt = in_doubt
        self._clock = clock
        self._handed: dict[TransactionId, Transaction] = {}
        self._ended: set[TransactionId] = set()
        self.dropped = 0

    @property
    def handed(self) -> int:
        """How many records and resumed ids went back."""
        return len(self._handed) + len(self._ended) - self.dropped

    async def run(self, beat: Beat, snapshot: Snapshot) -> Snapshot:
        """Hand back until nothing is left that was done since. The last roll seen.

        Nothing is awaited between the last look and the return. Raises StoreUnavailable.
        """
        beaten = self._clock()
        while steps := self._steps():
            for step in steps:
                await step()
                if self._clock() >= beaten + BEAT_AGAIN:
                    beaten = self._clock()
                    # Others tell by it what time it is here: those who start now would follow an old one.
                    snapshot = await self._far.beat(replace(beat, at=beaten) if beat.at else beat)
        return snapshot

    def _steps(self) -> list[Callable[[], Awaitable[None]]]:
        """What is to be done as things are now."""
        records = [
            record
            for record in self._copies.records.values()
            if self._handed.get(record.id) is not record  # else nothing has become of it since
        ]
        ended = [id_ for id_ in self._copies.resumed_since(self._since) if id_ not in self._ended]
        return [
            *(partial(self._hand, part) for part in _parts(records)),
            *(partial(self._end, part) for part in _parts(ended)),
            *(partial(self._look, node) for node in self._in_doubt),
        ]

    async def _hand(self, records: Sequence[Transaction]) -> None:
        self.dropped += await hand(self._far, self._copies, records)
        self._handed.update((record.id, record) for record in records)

    async def _end(self, ids: Sequence[TransactionId]) -> None:
        """Have the far store remember them as resumed, whatever it knows of them."""
        now = self._clock()
        ends = [
            Transaction(id_, "", now, now, b"", self._far.replica, State.SETTLED, Outcome.TIMEOUT)
            for id_ in ids
        ]
        results = await self._far.claim(ends, 0)
        lost = [_answer(end) for end, result in zip(ends, results, strict=True) if result is Claim.LOST]
        await self._far.settle(lost)
        await self._far.resumed(ids)
        self._ended.update(ids)

    async def _look(self, node: str) -> None:
        """Find what the far store has settled for this replica without its knowing."""
        self._in_doubt.discard(node)
        try:
            found = await self._far.scan(node)
        except StoreUnavailable:
            self._in_doubt.add(node)
            raise
        for record in found:
            ours = record.owner == self._far.replica and record.state is State.SETTLED
            if ours and not self._copies.had_licence(record.id):
                self._copies.owe(record)


async def hand(far: InFlight, copies: Copies, records: Sequence[Transaction]) -> int:
    """Claim what is claimed here, as settled what is settled. Gives how many are another's.

    Raises StoreUnavailable.
    """
    if not records:
        return 0
    results = await far.claim(records, NO_LIMIT)
    lost = [each for each, result in zip(records, results, strict=True) if result is Claim.LOST]
    if not lost:
        return 0
    answers = [_answer(record) for record in lost if record.state is State.SETTLED]
    taken = {record.id for record in await far.settle(answers) if record is not None}
    open_ = [record for record in lost if record.id not in taken]
    found = await asyncio.gather(*(far.get(record.id) for record in open_))
    dropped = 0
    for record, theirs in zip(open_, found, strict=True):
        if copies.records.get(record.id) is record:  # else it is looked at again
            dropped += copies.compare(record, theirs)
    return dropped


def _answer(record: Transaction) -> Settlement:
    assert record.outcome is not None, "settled means with an outcome"
    return Settlement(record.id, record.outcome, record.decision)


def _parts(whole: Sequence[T]) -> Iterator[Sequence[T]]:
    return (whole[at : at + AT_ONCE] for at in range(0, len(whole), AT_ONCE))
