"""What is past its deadline: the remote store is asked, and where that takes long this process goes on alone.

Else a fallback is late by what the store takes. Measured with Redis on two cores that have more to do than
they can, as 400 replies come at once: 74 ms, in three round trips.

Alone it answers only what waited in the remote store shortly before the deadline. Another replica may have
answered the others, or moved their deadline, without a word to this one: RabbitMQ hands it replies while this
one's connection is full.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from adapter.errors import StoreUnavailable
from adapter.model.transaction import Outcome, Settlement, State

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from typing import Any

    from adapter.inflight.local import LocalStore
    from adapter.inflight.write_behind import WriteBehind
    from adapter.model.transaction import Transaction, TransactionId

PATIENCE: Final = 0.005
"""Seconds for which the remote store is waited for: on an idle machine it takes 1 to 3 ms."""
LATE: Final = 0.01
"""Seconds past its deadline after which nothing waits for the remote store, where one after the other is due:
a process that looks each 5 ms, and comes so late, has not its share of the CPU."""
OFTEN: Final = 0.1
"""Seconds after one was settled for which that is so."""
REMOTE_LOOK: Final = 0.1
"""Seconds between two questions what is due of others' records: the dead ones', until they are adopted."""
AHEAD: Final = 2 * REMOTE_LOOK
"""Seconds before its deadline from which on a record may be looked at. It is before half of them are over."""
OVERDUE: Final = 5.0
"""Seconds past its deadline after which a record that is claimed here is out of date: while Redis was there,
some replica has settled it."""
NEVER: Final = float("-inf")


class Expiry:
    """Looks for what of a node is past its deadline.

    ``ask`` asks the remote store, is given a node and a limit, and raises nothing. ``look`` asks it, too, is
    given ids, gives those of this replica's that wait there, and may raise StoreUnavailable. ``patience`` in
    seconds.
    """

    def __init__(
        self,
        ask: Callable[[str, int], Coroutine[Any, Any, list[Transaction]]],
        look: Callable[[Sequence[TransactionId]], Coroutine[Any, Any, list[TransactionId]]],
        local: LocalStore,
        behind: WriteBehind,
        clock: Callable[[], float],
        patience: float,
    ) -> None:
        self._ask, self._look, self._local, self._behind = ask, look, local, behind
        self._clock, self._patience = clock, patience
        self._unheard: dict[str, asyncio.Task[list[Transaction]]] = {}  # by node: answers not waited for
        self._asked_at: dict[str, float] = {}  # by node, when the last question was asked
        self._settled_at: dict[str, float] = {}  # by node, when anything was past its deadline last
        self._looking: dict[str, asyncio.Task[None]] = {}  # by node
        self._looked_at: dict[str, float] = {}
        self._sure: dict[str, set[TransactionId]] = {}  # by node, what may be answered alone once it is due

    def due_here(self, node: str, forget_after: float) -> bool:
        """Return True if a record is past its deadline. Forgets those that must be settled elsewhere."""
        while (record := self._local.first_due(node)) is not None:
            if self._clock() < record.deadline + forget_after or record.id in self._behind:
                return True
            self._local.disown(record.id)
        return False

    def due_there(self, node: str) -> bool:
        """Return True if it is time to look for what this replica does not own, or to take in an answer."""
        unheard = self._unheard.get(node)
        if unheard is not None:
            return unheard.done()
        return self._clock() >= self._asked_at.get(node, NEVER) + REMOTE_LOOK

    async def expire(self, node: str, limit: int, write_behind: bool) -> list[Transaction]:
        """Return what was settled as timeout.

        With ``write_behind``, which one at a time may ask, by this process alone if the remote store takes
        longer than ``patience``, has done so at the look before, or if this look is late. What the remote
        store has settled then is returned at the next look.
        """
        unheard = self._unheard.pop(node, None)
        asked = unheard if unheard is not None else self._question(node, limit)
        alone = write_behind and (unheard is not None or self._is_late(node))  # nobody waits any longer
        if write_behind:
            self._look_ahead(node)
        if not alone:
            await _wait_for(asked, self._patience if write_behind else None)
        settled = self._heard(node, asked) if asked.done() else []
        if not asked.done():
            self._unheard[node], alone = asked, True
        if alone:
            settled += self._alone(node, limit)
        if settled:
            self._settled_at[node] = self._clock()
        return settled

    def _question(self, node: str, limit: int) -> asyncio.Task[list[Transaction]]:
        self._asked_at[node] = self._clock()
        return asyncio.create_task(self._ask(node, limit))

    def _is_late(self, node: str) -> bool:
        """Whether so many are due that each look should find the next ones, and this look came late."""
        now, first = self._clock(), self._local.first_due(node)
        often = now < self._settled_at.get(node, NEVER) + OFTEN
        return often and first is not None and first.deadline < now - LATE

    def _heard(self, node: str, asked: asyncio.Task[list[Transaction]]) -> list[Transaction]:
        """Take in an answer. What was due when it was asked is settled, there or by somebody else."""
        if sure := self._sure.get(node):
            sure.difference_update(self._due_by(node, self._asked_at[node]))
        return list(asked.result())

    def _alone(self, node: str, limit: int) -> list[Transaction]:
        """Settle what is due and was seen to wait in the remote store."""
        sure = self._sure.get(node, set())
        due = [id_ for id_ in self._due_by(node, self._clock()) if id_ in sure][:limit]
        settled = [self._behind.settle(Settlement(id_, Outcome.TIMEOUT)) for id_ in due]
        return [record for record in settled if record is not None]

    def _due_by(self, node: str, when: float) -> list[TransactionId]:
        """Return what is claimed here and due by then, in no order; more of it costs more."""
        timers, places = self._local.timers(node), [0]
        found: dict[TransactionId, None] = {}
        while places:
            place = places.pop()
            if place < len(timers) and timers[place][0] <= when:  # else none of those below it is, in a heap
                record = self._local.peek(timers[place][2])
                if record is not None and record.state is State.CLAIMED and record.deadline <= when:
                    found[record.id] = None
                places += (2 * place + 1, 2 * place + 2)
        return list(found)

    def _look_ahead(self, node: str) -> None:
        """See from time to time whether what is due soon waits in the remote store."""
        now = self._clock()
        if node in self._looking or now < self._looked_at.get(node, NEVER) + REMOTE_LOOK:
            return
        self._looked_at[node] = now
        soon = self._due_by(node, now + AHEAD)
        sure = self._sure[node] = self._sure.get(node, set()).intersection(soon)
        if unsure := [id_ for id_ in soon if id_ not in sure]:
            self._looking[node] = asyncio.create_task(self._be_sure(node, unsure))

    async def _be_sure(self, node: str, ids: Sequence[TransactionId]) -> None:
        try:
            with contextlib.suppress(StoreUnavailable):
                self._sure[node].update(await self._look(ids))
        finally:
            del self._looking[node]

    async def close(self) -> None:
        """Wait for no answer any more."""
        tasks = [*self._unheard.values(), *self._looking.values()]
        for asked in tasks:
            asked.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _wait_for(asked: asyncio.Task[list[Transaction]], seconds: float | None) -> None:
    """Return once it is answered, or the time is over."""
    try:
        await asyncio.wait([asked], timeout=seconds)
    except asyncio.CancelledError:
        asked.cancel()
        raise
