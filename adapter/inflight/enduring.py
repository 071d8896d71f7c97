"""In flight through outages: the far store while it is there, this process' memory while it is not.

This process keeps a copy of what it owns. When the far store fails, every verb but ``beat`` goes on
near, on the copies. When it answers a beat again, what was done near is handed back to it first
(``inflight.handback``). Other replicas do the same with what they own: what nobody here owns is
left alone meanwhile.

The licence to resume is given once in this process, near or far. Verbs that were on their way when
the far store was given up may still be answered: they count for what has not been done near since.

What is claimed or settled ``at_once`` is done on the copies, too, and nobody waits for the far store,
which is told ``TELL_DELAY`` later, of all of it together; before it is asked for anything else it is
told first. Should this process die meanwhile, others know of a call only by its event, or that it waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import structlog

from adapter.errors import StoreUnavailable
from adapter.inflight.copies import Copies
from adapter.inflight.handback import HandBack, hand
from adapter.model.transaction import State
from adapter.ports.store import Claim

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from adapter.model.beat import Beat, Snapshot
    from adapter.model.transaction import Settlement, Transaction, TransactionId
    from adapter.ports.store import InFlight

log = structlog.get_logger()

FAR_LOOK: Final = 0.1
"""Seconds between two questions what is due of others' records: the dead ones', until they are adopted."""
TELL_DELAY: Final = 0.01
"""Seconds. A round trip costs 100 us of CPU, whether it tells of one transaction or of ten."""


class EnduringInFlight:
    """See ``base.InFlight``. Only ``beat`` raises StoreUnavailable.

    ``still``: seconds after a return for which nothing counts as unclaimed, so that every replica
    has the time to hand back what it claimed in its own memory. ``clock`` gives epoch seconds, as
    the claims' deadlines have them. ``on_away`` is called at each outage, before anything is answered
    from this process' memory.
    """

    def __init__(
        self,
        far: InFlight,
        *,
        still: float = 1.0,
        clock: Callable[[], float] = time.time,
        on_away: Callable[[], None] = lambda: None,
    ) -> None:
        self.replica = far.replica
        self.retention = far.retention
        self._far = far
        self._clock = clock
        self._still = still
        self._on_away = on_away
        self._copies = Copies(self.replica, self.retention, clock)
        self._outages = 0
        self._gone_at = 0.0
        self._returned_at = float("-inf")
        self._returning = asyncio.Lock()
        self._listed = False  # whether the far store should have this replica on its list
        self._in_doubt: set[str] = set()  # nodes of which far may have settled something for us
        self._looked_at: dict[str, float] = {}  # by node, when far was last asked what is due
        self._new: dict[TransactionId, None] = {}  # claims of which far is to be told
        self._answers: list[Settlement] = []  # the same, to claims of which it was told before
        self._timer: asyncio.TimerHandle | None = None
        self._telling: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        state = f"away, {len(self._copies.records)} records here, " if self.away else ""
        return f"<EnduringInFlight {self.replica}, {state}far: {self._far!r}>"

    @property
    def away(self) -> bool:
        """Whether the far store has been given up, until it answers a beat again."""
        return self._copies.near is not None

    async def claim(
        self, transactions: Sequence[Transaction], limit: int, at_once: bool = False
    ) -> list[Claim]:
        """See ``base.InFlight``."""
        if at_once and not self.away:
            return self._claim_at_once(transactions, limit)
        results: list[Claim]
        results, late = await self._ask("claim", transactions, limit)
        copies = self._copies
        for place, transaction in enumerate(transactions):
            if results[place] is Claim.LOST:
                continue
            if copies.knows(transaction.id):
                results[place] = Claim.LOST  # claimed here since
            else:
                copies.keep_claim(transaction, results[place], near=late)
        return results

    def _claim_at_once(self, transactions: Sequence[Transaction], limit: int) -> list[Claim]:
        results = [self._copies.claim(transaction, limit) for transaction in transactions]
        taken = (
            each.id for each, result in zip(transactions, results, strict=True) if result is not Claim.LOST
        )
        self._new.update(dict.fromkeys(taken))
        self._tell_soon()
        return results

    async def settle(
        self, settlements: Sequence[Settlement], at_once: bool = False
    ) -> list[Transaction | None]:
        """See ``base.InFlight``. While away, of what this replica owns."""
        if not at_once or self.away:
            return await self._settle_far(settlements)
        found = [self._settle_at_once(settlement) for settlement in settlements]
        places = [
            place
            for place, each in enumerate(settlements)
            if found[place] is None and not self._copies.had_licence(each.id)
        ]
        if places:  # what this replica does not know
            records = await self._settle_far([settlements[place] for place in places])
            for place, record in zip(places, records, strict=True):
                found[place] = record
        return found

    def _settle_at_once(self, settlement: Settlement) -> Transaction | None:
        record = self._copies.settle(settlement)
        if record is not None and record.id not in self._new:
            self._answers.append(settlement)
            self._tell_soon()
        return record

    def _tell_soon(self) -> None:
        if self._timer is None and (self._new or self._answers):
            self._timer = asyncio.get_running_loop().call_later(TELL_DELAY, self._tell)

    def _tell(self) -> None:
        """Tell the far store what was done at once, as it is now: of many a claim and its answer in one."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        copies = self._copies.records
        records = [copies[id_] for id_ in self._new if id_ in copies]
        answers, self._answers = self._answers, []
        self._new.clear()
        task = asyncio.create_task(self._told_or_away(records, answers))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def _told_or_away(self, records: Sequence[Transaction], answers: Sequence[Settlement]) -> None:
        try:
            await asyncio.gather(hand(self._far, self._copies, records), self._far.settle(answers))
        # The copies are the store now: they hold what was not told, and the next beat hands it back.
        except StoreUnavailable as exc:
            self._go_away(f"telling: {exc}")
        except Exception as exc:  # whatever it is, what was claimed is not lost for the far store
            log.exception("in-flight store: it could not be told")
            self._go_away(f"telling: {type(exc).__name__}: {exc}")

    async def told(self) -> None:
        """Return once the far store knows of everything that was done at once until now, or was given up.

        What is done meanwhile is not waited for: with a store slower than ``TELL_DELAY`` that never ends.
        """
        if self._new or self._answers:
            self._tell()
        if self._telling:
            await asyncio.wait(set(self._telling))

    async def _settle_far(self, settlements: Sequence[Settlement]) -> list[Transaction | None]:
        records, late = await self._ask("settle", settlements)
        granted = [None if record is None else self._licence(record, late) for record in records]
        refused = [
            place
            for place, each in enumerate(settlements)
            if records[place] is None and self._copies.is_claimed(each.id)
        ]
        if refused and not self.away:
            await self._settle_forgotten(settlements, refused, granted)
        return granted

    async def _settle_forgotten(
        self, settlements: Sequence[Settlement], places: Sequence[int], granted: list[Transaction | None]
    ) -> None:
        """What this replica has claimed and the far store knows nothing of any more, is still its own."""
        forgotten, late = await self._ask("unclaimed", [settlements[place].id for place in places])
        if late or self.away:
            return
        for place in places:
            if settlements[place].id in forgotten:
                granted[place] = self._copies.settle(settlements[place])
                if granted[place] is not None:
                    self._new[settlements[place].id] = None
        self._tell_soon()

    async def resumed(self, ids: Sequence[TransactionId]) -> None:
        """See ``base.InFlight``."""
        _, late = await self._ask("resumed", ids)
        if late and self._copies.near is not None:
            await self._copies.near.resumed(ids)
        self._copies.note_resumed(ids)

    def due(self, node: str) -> bool:
        """See ``base.InFlight``. What this replica does not own is looked for each ``FAR_LOOK``."""
        copies = self._copies
        if copies.near is not None:
            return copies.near.due(node)
        looked_at = self._looked_at.get(node, float("-inf"))
        return copies.due(node) or node in copies.owed or self._clock() >= looked_at + FAR_LOOK

    async def expire(self, node: str, limit: int = 500) -> list[Transaction]:
        """See ``base.InFlight``. While away, of what this replica owns."""
        self._looked_at[node] = self._clock()
        records, late = await self._ask("expire", node, limit)
        granted = [self._licence(record, late) for record in records]
        return [*self._copies.owed.pop(node, ()), *(record for record in granted if record is not None)]

    def _licence(self, record: Transaction, late: bool) -> Transaction | None:
        """The record settled by this replica, unless this process has had the licence for it before."""
        copies = self._copies
        if copies.had_licence(record.id):
            return None
        copy = copies.records.get(record.id)
        record = replace(record, again=copy is None or copy.again)
        copies.keep(record, near=late)
        return record

    async def unclaimed(self, ids: Sequence[TransactionId]) -> list[TransactionId]:
        """See ``base.InFlight``. None while away, and for a while after: who has claimed is not known."""
        if not self.away and self._clock() >= self._returned_at + self._still:
            found: list[TransactionId]
            found, late = await self._ask("unclaimed", ids)
            if not late and not self.away:
                return found
        return []

    async def answered(self, ids: Sequence[TransactionId]) -> list[TransactionId]:
        """See ``base.InFlight``. While away, of what this replica owns."""
        found, _ = await self._ask("answered", ids)
        over = set(found)
        return [id_ for id_ in ids if id_ in over or self._copies.had_licence(id_)]

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

    async def beat(self, beat: Beat) -> Snapshot:
        """See ``base.InFlight``. Always asks the far store, and raises StoreUnavailable where it does
        not answer. Where it does again, this returns once all is handed back.
        """
        self._copies.purge()
        try:
            snapshot = await self._far.beat(beat)
            if self._listed and not snapshot.known:
                self._go_away("it has lost its memory")
            self._listed = True
            if self.away:
                snapshot = await self._return(beat, snapshot)
        except StoreUnavailable as exc:
            self._go_away(f"beat: {exc}")
            raise
        return snapshot

    async def note(self, entry: bytes, seconds: float) -> None:
        """See ``base.InFlight``. While away, lost."""
        if not self.away:
            with contextlib.suppress(StoreUnavailable):  # the next beat tells that it is away
                await self._far.note(entry, seconds)

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
        await self.told()
        await self._far.close()

    async def _ask(self, verb: str, *args: Any) -> tuple[Any, bool]:
        """The answer, and whether it is late: the far store's, after that has been given up."""
        if self._new or self._answers or self._telling:
            await self.told()
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
            self._new.clear()
            self._answers.clear()
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            self._gone_at = self._clock()
            self._copies.go_near()
            log.error("in-flight store: away", error=why, records=len(self._copies.records))
            self._on_away()  # before what was asked is answered from here

    async def _return(self, beat: Beat, snapshot: Snapshot) -> Snapshot:
        async with self._returning:  # beats may overlap: the first one does it
            if self.away:
                handing = HandBack(self._far, self._copies, self._gone_at, self._in_doubt, self._clock)
                try:
                    snapshot = await handing.run(beat, snapshot)
                except StoreUnavailable:
                    raise
                except Exception as exc:  # it stays away: this replica goes on alone, and tries again
                    log.exception("in-flight store: not handed back")
                    raise StoreUnavailable(f"not handed back: {type(exc).__name__}: {exc}") from exc
                self._copies.near = None
                self._returned_at = self._clock()
                seconds = round(self._returned_at - self._gone_at, 3)
                log.info(
                    "in-flight store: back", handed=handing.handed, dropped=handing.dropped, seconds=seconds
                )
        return snapshot


def _nodes_in_doubt(verb: str, args: Sequence[Any]) -> set[str]:
    """Where the far store may have settled or adopted what has no copy here, and was not answered."""
    if verb == "settle":
        return {settlement.id.node for settlement in args[0]}
    return {args[0]} if verb in ("expire", "adopt") else set()
