"""In flight through outages: the far store while it is there, this process' memory while it is not.

This process keeps a copy of what it owns. When the far store fails, every verb but ``beat`` goes on
near, on the copies. When it answers a beat again, what was done near is handed back to it first
(``inflight.handback``). Other replicas do the same with what they own: what nobody here owns is
left alone meanwhile.

The licence to resume is given once in this process, near or far. Verbs that were on their way when
the far store was given up may still be answered: they count for what has not been done near since.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import structlog

from adapter.errors import StoreUnavailable
from adapter.inflight.base import Claim
from adapter.inflight.copies import Copies
from adapter.inflight.handback import HandBack
from adapter.transaction import State

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from adapter.inflight.base import Beat, InFlight, Roll
    from adapter.transaction import Settlement, Transaction, TransactionId

log = structlog.get_logger()


class EnduringInFlight:
    """See ``base.InFlight``. Only ``beat`` raises StoreUnavailable.

    ``still``: seconds after a return for which nothing counts as unclaimed, so that every replica
    has the time to hand back what it claimed in its own memory. ``clock`` gives epoch seconds, as
    the claims' deadlines have them.
    """

    def __init__(self, far: InFlight, *, still: float = 1.0, clock: Callable[[], float] = time.time) -> None:
        self.replica = far.replica
        self.retention = far.retention
        self._far = far
        self._clock = clock
        self._still = still
        self._copies = Copies(self.replica, self.retention, clock)
        self._outages = 0
        self._gone_at = 0.0
        self._returned_at = float("-inf")
        self._returning = asyncio.Lock()
        self._listed = False  # whether the far store should have this replica on its list
        self._in_doubt: set[str] = set()  # nodes of which far may have settled something for us

    def __repr__(self) -> str:
        state = f"away, {len(self._copies.records)} records here, " if self.away else ""
        return f"<EnduringInFlight {self.replica}, {state}far: {self._far!r}>"

    @property
    def away(self) -> bool:
        """Whether the far store has been given up, until it answers a beat again."""
        return self._copies.near is not None

    async def claim(self, transactions: Sequence[Transaction], limit: int) -> list[Claim]:
        """See ``base.InFlight``."""
        results: list[Claim]
        results, late = await self._ask("claim", transactions, limit)
        copies = self._copies
        for place, transaction in enumerate(transactions):
            if results[place] is Claim.LOST:
                continue
            if late and (transaction.id in copies.records or transaction.id in copies.resumed):
                results[place] = Claim.LOST  # claimed near since
            else:
                copies.keep_claim(transaction, results[place], near=late)
        return results

    async def settle(self, settlements: Sequence[Settlement]) -> list[Transaction | None]:
        """See ``base.InFlight``. While away, of what this replica owns."""
        records, late = await self._ask("settle", settlements)
        return [None if record is None else self._licence(record, late) for record in records]

    async def resumed(self, ids: Sequence[TransactionId]) -> None:
        """See ``base.InFlight``."""
        _, late = await self._ask("resumed", ids)
        if late and self._copies.near is not None:
            await self._copies.near.resumed(ids)
        self._copies.note_resumed(ids)

    async def expire(self, node: str, limit: int = 500) -> list[Transaction]:
        """See ``base.InFlight``. While away, of what this replica owns."""
        records, late = await self._ask("expire", node, limit)
        granted = [self._licence(record, late) for record in records]
        return [*self._copies.owed.pop(node, ()), *(record for record in granted if record is not None)]

    def _licence(self, record: Transaction, late: bool) -> Transaction | None:
        """The record settled by this replica, unless this process has had the licence for it before."""
        if late and self._copies.had_licence(record.id):
            return None
        self._copies.keep(record, near=late)
        return record

    async def unclaimed(self, ids: Sequence[TransactionId]) -> list[TransactionId]:
        """See ``base.InFlight``. None while away, and for a while after: who has claimed is not known."""
        if not self.away and self._clock() >= self._returned_at + self._still:
            found: list[TransactionId]
            found, late = await self._ask("unclaimed", ids)
            if not late and not self.away:
                return found
        return []

    async def adopt(
        self, node: str, owners: Sequence[str], state: State, limit: int = 500
    ) -> list[Transaction]:
        """See ``base.InFlight``. While away, nothing of others: that is to be had after the return."""
        adopted: list[Transaction]
        adopted, late = await self._ask("adopt", node, owners, state, limit)
        if late:
            adopted = [record for record in adopted if record.id not in self._copies.records]
        for record in adopted:
            if record.state is State.SETTLED or not self._copies.had_licence(record.id):
                self._copies.keep(record, near=late)
        return adopted

    async def beat(self, beat: Beat) -> Roll:
        """See ``base.InFlight``. Always asks the far store, and raises StoreUnavailable where it does
        not answer. Where it does again, this returns once all is handed back.
        """
        self._copies.purge()
        try:
            roll = await self._far.beat(beat)
            if self._listed and not roll.known:
                self._go_away("it has lost its memory")
            self._listed = True
            if self.away:
                roll = await self._return(beat, roll)
        except StoreUnavailable as exc:
            self._go_away(f"beat: {exc}")
            raise
        return roll

    async def leave(self) -> None:
        """See ``base.InFlight``. While away, the lease ends by itself."""
        self._listed = False
        await self._ask("leave")

    async def count(self, node: str) -> int:
        """See ``base.InFlight``. While away, of what this replica owns."""
        found: int = (await self._ask("count", node))[0]
        return found

    async def get(self, id: TransactionId) -> Transaction | None:  # noqa: A002
        """See ``base.InFlight``. While away, of what this replica owns."""
        found: Transaction | None = (await self._ask("get", id))[0]
        return found

    async def scan(self, node: str) -> list[Transaction]:
        """See ``base.InFlight``. While away, of what this replica owns."""
        found: list[Transaction] = (await self._ask("scan", node))[0]
        return found

    async def close(self) -> None:
        """See ``base.InFlight``."""
        await self._far.close()

    async def _ask(self, verb: str, *args: Any) -> tuple[Any, bool]:
        """The answer, and whether it is late: the far store's, after that has been given up."""
        if not self.away:
            outages = self._outages
            try:
                return await getattr(self._far, verb)(*args), outages != self._outages
            except StoreUnavailable as exc:
                self._in_doubt.update(_nodes_in_doubt(verb, args))
                self._go_away(f"{verb}: {exc}")
        # Nobody else has a turn before this answer: it is noted before the next is given.
        return await getattr(self._copies.near, verb)(*args), False

    def _go_away(self, why: str) -> None:
        """Give up the far store, once for each outage."""
        if not self.away:
            self._outages += 1
            self._gone_at = self._clock()
            self._copies.go_near()
            log.error("in-flight store: away", error=why, records=len(self._copies.records))

    async def _return(self, beat: Beat, roll: Roll) -> Roll:
        async with self._returning:  # beats may overlap: the first one does it
            if self.away:
                handing = HandBack(self._far, self._copies, self._gone_at, self._in_doubt, self._clock)
                roll = await handing.run(beat, roll)
                self._copies.near = None
                self._returned_at = self._clock()
                seconds = round(self._returned_at - self._gone_at, 3)
                log.info(
                    "in-flight store: back", handed=handing.handed, dropped=handing.dropped, seconds=seconds
                )
        return roll


def _nodes_in_doubt(verb: str, args: Sequence[Any]) -> set[str]:
    """Where the far store may have settled or adopted what has no copy here, and was not answered."""
    if verb == "settle":
        return {settlement.id.node for settlement in args[0]}
    return {args[0]} if verb in ("expire", "adopt") else set()
