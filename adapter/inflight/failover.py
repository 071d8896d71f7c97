"""In flight in Redis as long as it is there, in this process' memory while it is not.

The local store always holds what this replica owns. While Redis is there it is asked, and the local store
follows. When Redis fails, every verb but ``beat`` goes on with the local store. When it answers a beat again,
it first gets what was done without it (``inflight.resync``). Other replicas do the same with what they own:
what nobody here owns is left alone meanwhile.

What others added to a transaction of this replica (``progress``) comes back with what is added here, and with
the resync; ``on_added`` tells of what nobody here had asked for.

This process gives the licence to resume once, whichever store grants it. Verbs that were on their way when
Redis was given up may still be answered: they count for what was not done locally since.

What is claimed, added or settled with ``write_behind`` is done locally, and nobody waits for Redis, which
gets all of it together a little later (``inflight.write_behind``), or before it is asked for anything else.
Should this process die meanwhile, others know of a call only by its event, or only that it waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Final, TypeVar

import structlog

from adapter.errors import StoreUnavailable
from adapter.inflight.expiry import OVERDUE, PATIENCE, Expiry
from adapter.inflight.local import LocalStore
from adapter.inflight.resync import NO_LIMIT, Resync
from adapter.inflight.words import logged
from adapter.inflight.write_behind import Owed, WriteBehind
from adapter.model.transaction import State
from adapter.ports.store import Claim

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from adapter.model.beat import Beat, Snapshot
    from adapter.model.transaction import Progress, Settlement, Transaction, TransactionId
    from adapter.ports.store import Store

log = structlog.get_logger()
T = TypeVar("T")
A = TypeVar("A", "Settlement", "Progress")

MOST_REMEMBERED: Final = 20_000
"""Resumed ids to be remembered here; Redis remembers every one."""


class FailoverStore:
    """See ``ports.store.Store``. Only ``beat`` raises StoreUnavailable."""

    def __init__(
        self,
        remote: Store,
        *,
        still: float = 1.0,
        clock: Callable[[], float] = time.time,
        on_away: Callable[[], None] = lambda: None,
        on_added: Callable[[Transaction], None] = lambda _: None,
        quiet: bool = False,
        patience: float = PATIENCE,
    ) -> None:
        """Take the remote store for there.

        Args:
            remote: the store that other replicas share.
            still: seconds after a return in which others give back what they claimed: nothing is unclaimed.
            clock: gives epoch seconds, as the claims' deadlines have them.
            on_away: called at each outage, before anything is answered from this process' memory.
            on_added: called with a record that waits here, to which another replica has added unasked.
            quiet: outages are told by another store of the same Redis.
            patience: seconds after which what is past its deadline is settled here, see ``Expiry``.
        """
        self.replica, self.retention = remote.replica, remote.retention
        self.away = False
        """Whether the remote store has been given up, until it answers a beat again."""
        self._remote = remote
        # Redis keeps whole milliseconds: an id must not be free there and still be taken here.
        shorter = self.retention - 0.001
        self._local = LocalStore(
            self.replica, retention=shorter, clock=clock, most_remembered=MOST_REMEMBERED
        )
        self._resync = Resync(remote, self._local, clock, on_added)
        self._clock, self._still, self._on_away, self._quiet = clock, still, on_away, quiet
        self._outages = self._given_back = 0
        self._gone_at, self._returned_at, self._returning = 0.0, float("-inf"), asyncio.Lock()
        self._listed: bool | None = None  # whether the remote store should list it; None: it never answered
        self._memory = ""  # what it told of its memory then
        self._behind = WriteBehind(self._local, self._push)
        self._expiry = Expiry(self._expire, self._waiting, self._local, self._behind, clock, patience)

    def __repr__(self) -> str:
        state = f"away, {len(self._local.records())} records here, " if self.away else ""
        return f"<FailoverStore {self.replica}, {state}remote: {self._remote!r}>"

    async def claim(
        self, transactions: Sequence[Transaction], limit: int, write_behind: bool = False
    ) -> list[Claim]:
        """See ``ports.store.Store``."""
        if not (write_behind or self.away):
            with contextlib.suppress(StoreUnavailable):
                results = await self._ask("claim", lambda store: store.claim(transactions, limit), tell=False)
                return list(map(self._follow_claim, transactions, results))
        results = await self._local.claim(transactions, limit)
        if not self.away:
            pairs = zip(transactions, results, strict=True)
            self._behind.owe(each.id for each, result in pairs if result is not Claim.LOST)
        return results

    def _follow_claim(self, transaction: Transaction, result: Claim) -> Claim:
        """Claim here what was claimed there: LOST, where it was claimed here since it was asked."""
        if result is Claim.LOST:
            return result
        return self._local.claim_one(transaction, 0 if result is Claim.FULL else NO_LIMIT)

    async def settle(
        self, settlements: Sequence[Settlement], write_behind: bool = False
    ) -> list[Transaction | None]:
        """See ``ports.store.Store``. While away, of what this replica owns."""
        if self.away:
            return await self._local.settle(settlements)
        found = [self._behind.settle(each) if write_behind else None for each in settlements]
        return await self._complete(found, settlements, self._settle_remote)

    async def _complete(
        self,
        found: list[Transaction | None],
        asked: Sequence[A],
        ask_remote: Callable[[Sequence[A]], Awaitable[list[Transaction | None]]],
    ) -> list[Transaction | None]:
        """Ask the remote store for what this process has not found, unless it had the licence before."""
        unsure = () if all(found) else enumerate(asked)
        places = [place for place, each in unsure if not (found[place] or self._local.was_granted(each.id))]
        if places:
            records = await ask_remote([asked[place] for place in places])
            for place, record in zip(places, records, strict=True):
                found[place] = record
        return found

    async def _settle_remote(self, settlements: Sequence[Settlement]) -> list[Transaction | None]:
        try:
            nodes = (each.id.node for each in settlements)
            records = await self._ask("settle", lambda store: store.settle(settlements), nodes)
        except StoreUnavailable:
            return await self._local.settle(settlements)
        granted = [None if record is None else self._resync.grant(record) for record in records]
        for place in await self._forgotten(settlements, records):
            granted[place] = self._own(self._local.settle_one(settlements[place]))
        return granted

    async def _forgotten(
        self, asked: Sequence[Settlement | Progress], records: Sequence[Transaction | None]
    ) -> list[int]:
        """Return the places of those that this replica has claimed and the remote store has forgotten."""
        unknown = [place for place, record in enumerate(records) if record is None]
        refused = [place for place in unknown if self._local.peek(asked[place].id) is not None]
        if not refused or self.away:
            return []
        forgotten = await self._not_claimed([asked[place].id for place in refused])
        return [place for place in refused if asked[place].id in forgotten]

    def _own(self, record: Transaction | None) -> Transaction | None:
        """Tell the remote store of a record that it has forgotten, as it is now."""
        if record is not None:
            self._behind.owe([record.id])
        return record

    async def progress(
        self, steps: Sequence[Progress], write_behind: bool = False
    ) -> list[Transaction | None]:
        """See ``ports.store.Store``. While away, to what this replica owns."""
        if self.away:
            return await self._local.progress(steps)
        found = [self._behind.progress(each) if write_behind else None for each in steps]
        return await self._complete(found, steps, self._add_remote)

    async def _add_remote(self, steps: Sequence[Progress]) -> list[Transaction | None]:
        try:
            records = await self._ask("progress", lambda store: store.progress(steps))
        except StoreUnavailable:
            return await self._local.progress(steps)
        found = [None if record is None else self._resync.follow(record) for record in records]
        for place in await self._forgotten(steps, records):
            found[place] = self._own(self._local.progress_one(steps[place]))
        return found

    async def resumed(self, ids: Sequence[TransactionId]) -> None:
        """See ``ports.store.Store``."""
        asked = self._clock()
        with contextlib.suppress(StoreUnavailable):
            await self._ask("resumed", lambda store: store.resumed(ids))
        self._local.note_resumed(ids, self._clock() if self.away else asked)

    async def release(self, ids: Sequence[TransactionId]) -> None:
        """See ``ports.store.Store``. A remote store that does not answer may do this at any time."""
        await self.flushed()
        if not self.away:
            self._local.hand_over(ids)
            with contextlib.suppress(StoreUnavailable):
                await self._ask("release", lambda store: store.release(ids))

    def due(self, node: str) -> bool:
        """See ``ports.store.Store``. What this replica does not own is looked for from time to time."""
        here = self._due_here(node) or node in self._resync.undelivered
        return here or (not self.away and self._expiry.due_there(node))

    def _due_here(self, node: str) -> bool:
        return self._expiry.due_here(node, self.retention if self.away else OVERDUE)

    async def expire(self, node: str, limit: int = 500, write_behind: bool = False) -> list[Transaction]:
        """See ``ports.store.Store``. While away, of what this replica owns."""
        self._due_here(node)  # which forgets
        expired = await self._expiry.expire(node, limit, write_behind)
        return [*self._resync.undelivered.pop(node, ()), *expired]

    async def _expire(self, node: str, limit: int) -> list[Transaction]:
        try:
            records = await self._ask("expire", lambda store: store.expire(node, limit), [node])
        except StoreUnavailable:
            return await self._local.expire(node, limit)
        return [record for record in map(self._resync.grant, records) if record is not None]

    async def _waiting(self, ids: Sequence[TransactionId]) -> list[TransactionId]:
        """See ``Resync.waiting``. Raises StoreUnavailable."""
        return await self._ask("get", lambda _: self._resync.waiting(ids))

    async def unclaimed(self, ids: Sequence[TransactionId]) -> list[TransactionId]:
        """See ``ports.store.Store``. None while away, and for ``still`` after: others may have claimed."""
        if self._clock() < self._returned_at + self._still:
            return []
        return await self._not_claimed(ids)

    async def _not_claimed(self, ids: Sequence[TransactionId]) -> list[TransactionId]:
        outages, found = self._outages, []
        with contextlib.suppress(StoreUnavailable):
            found = await self._ask("unclaimed", lambda store: store.unclaimed(ids))
        return found if outages == self._outages else []  # others may have claimed by themselves since

    async def answered(self, ids: Sequence[TransactionId]) -> list[TransactionId]:
        """See ``ports.store.Store``. While away, of what this replica owns."""
        over = set(await self._ask_either("answered", lambda store: store.answered(ids)))
        return [id_ for id_ in ids if id_ in over or self._local.was_granted(id_)]

    async def adopt(
        self, node: str, owners: Sequence[str], state: State, limit: int = 500
    ) -> list[Transaction]:
        """See ``ports.store.Store``. While away, nothing of others: that is to be had after the return."""
        outages = self._outages
        try:
            adopted = await self._ask("adopt", lambda store: store.adopt(node, owners, state, limit), [node])
        except StoreUnavailable:
            return []
        if outages != self._outages:  # what is known here may have been answered here since
            adopted = [record for record in adopted if self._local.peek(record.id) is None]
        for record in adopted:
            if state is State.SETTLED or not self._local.was_granted(record.id):
                self._local.put(record)
        return adopted

    async def beat(self, beat: Beat) -> Snapshot:
        """See ``ports.store.Store``. If the remote store was away, it gets first what was done without it.

        Raises:
            StoreUnavailable: the remote store does not answer, or could not be given all.
        """
        if not self.away and self._given_back != self._outages:  # who is told of this beat counts on that
            await self.flushed()
            self._given_back = self._outages
        for node in self._local.nodes:
            self._due_here(node)  # which forgets
        try:
            snapshot = await self._remote.beat(beat)
            other = snapshot.memory != self._memory and bool(snapshot.memory and self._memory)
            if self._listed and (other or not snapshot.known):
                self._go_away("it has lost its memory, or may have")
            self._listed, self._memory = True, snapshot.memory or self._memory
            if self.away:
                snapshot = await self._return(beat, snapshot)
        except StoreUnavailable as exc:
            self._go_away(f"beat: {exc}")
            raise
        return snapshot

    async def note(self, entry: bytes, seconds: float) -> None:
        """See ``ports.store.Store``. While away, lost."""
        await self._if_there(lambda store: store.note(entry, seconds))

    async def remember(self, key: str, value: bytes, seconds: float) -> None:
        """See ``ports.store.Store``. While away, lost."""
        await self._if_there(lambda store: store.remember(key, value, seconds))

    async def recall(self, key: str) -> bytes | None:
        """See ``ports.store.Store``. While away, nothing."""
        return await self._if_there(lambda store: store.recall(key))

    async def leave(self) -> None:
        """See ``ports.store.Store``. While away, the lease ends by itself."""
        self._listed = False
        await self._ask_either("leave", lambda store: store.leave())

    async def count(self, node: str) -> int:
        """See ``ports.store.Store``. While away, of what this replica owns."""
        return await self._ask_either("count", lambda store: store.count(node))

    async def get(self, id: TransactionId) -> Transaction | None:  # noqa: A002
        """See ``ports.store.Store``. While away, of what this replica owns."""
        return self._resync.known(await self._ask_either("get", lambda store: store.get(id)))

    async def scan(self, node: str) -> list[Transaction]:
        """See ``ports.store.Store``. While away, of what this replica owns."""
        found = await self._ask_either("scan", lambda store: store.scan(node))
        return [each for each in found if each.owner != self.replica or not self._local.has_released(each.id)]

    async def close(self) -> None:
        """See ``ports.store.Store``."""
        await self._expiry.close()
        await self.flushed()
        await self._remote.close()

    # The remote store: asking it, telling it, giving it up, taking it back

    async def _if_there(self, ask: Callable[[Store], Awaitable[T]]) -> T | None:
        if not self.away:
            with contextlib.suppress(StoreUnavailable):  # the next beat tells that it is away
                return await ask(self._remote)
        return None

    async def _ask_either(self, verb: str, ask: Callable[[Store], Awaitable[T]]) -> T:
        """Ask the remote store, or while it is away the local one."""
        try:
            return await self._ask(verb, ask)
        except StoreUnavailable:
            return await ask(self._local)

    async def _ask(
        self, verb: str, ask: Callable[[Store], Awaitable[T]], nodes: Iterable[str] = (), tell: bool = True
    ) -> T:
        """Ask the remote store. Give it up where it fails.

        Args:
            verb: the name of what is asked, for the log.
            ask: asks it of the store that it is given.
            nodes: of which it may settle or adopt something, unheard where no answer comes.
            tell: it gets first what was done before. That is of no matter to new claims.

        Raises:
            StoreUnavailable: it is away. Nobody else has a turn before the caller goes on.
        """
        if tell and not (self.away or self._behind.is_idle):
            await self._behind.flushed()
        if self.away:
            raise StoreUnavailable("away")
        try:
            return await ask(self._remote)
        except StoreUnavailable as exc:
            self._resync.in_doubt.update(nodes)
            self._go_away(f"{verb}: {exc}")
            raise

    async def _push(self, owed: Owed) -> None:
        # The local store holds all of it, and goes on alone until a beat has brought it to the remote one.
        try:
            await self._resync.flush(owed)
        except Exception as exc:  # whatever it is, no claim is lost for the remote store
            if not isinstance(exc, StoreUnavailable):
                log.exception("in-flight store: not flushed")
            self._go_away(f"flush: {type(exc).__name__}: {exc}")

    async def flushed(self) -> None:
        """Return once the remote store has all that was done here until now, or was given up."""
        await self._behind.flushed()

    def _go_away(self, why: str) -> None:
        """Give up the remote store, once for each outage."""
        if self.away:
            return
        for node in self._local.nodes:
            self._due_here(node)
        self.away = True
        self._outages += 1
        self._behind.forget()
        self._gone_at = self._clock()
        say = log.debug if self._quiet else log.error
        say(**logged(why, self._listed is not None, len(self._local.records())))
        self._on_away()  # before what was asked is answered from here

    async def _return(self, beat: Beat, snapshot: Snapshot) -> Snapshot:
        async with self._returning:  # beats may overlap: the first one does it
            if not self.away:
                return snapshot
            snapshot = await self._resync.run(beat, snapshot, self._gone_at)
            self.away, self._returned_at = False, self._clock()
            self._behind.owe([record.id for record in self._resync.left.records], self._resync.left.ended)
            seconds = round(self._returned_at - self._gone_at, 3)
            done = {"pushed": self._resync.pushed, "dropped": self._resync.dropped, "seconds": seconds}
            (log.debug if self._quiet else log.info)("in-flight store: back", **done)
            return snapshot
