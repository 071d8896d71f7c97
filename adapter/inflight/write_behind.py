"""What was done here and the remote store is not told of yet: it gets all of it together, a little later.

Of a claim that is not on its way yet, the remote store gets the record as it is by then, so nothing else that
is done with it meanwhile need be told.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from adapter.model.transaction import Progress, Settlement

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from adapter.inflight.local import LocalStore
    from adapter.model.transaction import Transaction, TransactionId

FLUSH_DELAY: Final = 0.01
"""Seconds. A round trip costs 100 us of CPU, whether it tells of one transaction or of ten."""


class Owed(NamedTuple):
    """What one flush tells, in this order: claims, then what was added to others, then answers to others, and
    beside them ids that were resumed while the remote store was away."""

    claims: list[Transaction]
    steps: list[Progress]
    answers: list[Settlement]
    ends: list[TransactionId]


class WriteBehind:
    """Gathers what is to be told."""

    def __init__(
        self,
        local: LocalStore,
        push: Callable[[Owed], Coroutine[Any, Any, None]],
    ) -> None:
        """Tell nothing yet.

        Args:
            local: the store in which it is done.
            push: tells the remote store, and raises nothing.
        """
        self._local = local
        self._push = push
        self._claims: dict[TransactionId, None] = {}
        self._steps: dict[TransactionId, Progress] = {}
        self._answers: list[Settlement] = []
        self._ends: list[TransactionId] = []
        self._timer: asyncio.TimerHandle | None = None
        self._flushes: set[asyncio.Task[None]] = set()

    def __contains__(self, id_: TransactionId) -> bool:
        """Return True if the claim is not on its way yet."""
        return id_ in self._claims

    @property
    def is_idle(self) -> bool:
        """Whether the remote store has all of it, or has been given up."""
        return not (self._owes or self._flushes)

    def owe(self, ids: Iterable[TransactionId], ends: Iterable[TransactionId] = ()) -> None:
        """Tell of claims that were made here, or that the remote store has forgotten.

        Args:
            ids: of the claims.
            ends: ids that were resumed while the remote store was away.
        """
        self._claims.update(dict.fromkeys(ids))
        self._ends += ends
        self._flush_soon()

    def settle(self, settlement: Settlement) -> Transaction | None:
        """Settle in the local store: see ``ports.store.Store.settle``."""
        record = self._local.settle_one(settlement)
        if record is not None and settlement.id not in self._claims:
            self._answers.append(settlement)
            self._flush_soon()
        return record

    def progress(self, step: Progress) -> Transaction | None:
        """Add in the local store: see ``ports.store.Store.progress``. Several steps of one go together."""
        record = self._local.progress_one(step)
        if record is None or step.id in self._claims:
            return record
        before = self._steps.get(step.id)
        if before is not None:
            later = max(before.deadline or 0.0, step.deadline or 0.0) or None
            step = Progress(step.id, before.course + step.course, later)
        self._steps[step.id] = step
        self._flush_soon()
        return record

    def forget(self) -> None:
        """Tell nothing of it: the remote store has been given up."""
        self._stop_timer()
        self._claims.clear()
        self._steps.clear()
        self._answers.clear()
        self._ends.clear()

    async def flushed(self) -> None:
        """Return once the remote store has all that was done here until now, or was given up.

        What is done meanwhile is not waited for: with a store slower than ``FLUSH_DELAY`` that never ends.
        """
        if self._owes:
            self._flush()
        if self._flushes:
            await asyncio.wait(set(self._flushes))

    def _flush_soon(self) -> None:
        if self._timer is None and self._owes:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_DELAY, self._flush)

    @property
    def _owes(self) -> bool:
        return bool(self._claims or self._answers or self._steps or self._ends)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _flush(self) -> None:
        self._stop_timer()
        claims = [record for record in map(self._local.peek, self._claims) if record is not None]
        owed = Owed(claims, list(self._steps.values()), self._answers, self._ends)
        self._claims.clear()
        self._steps.clear()
        self._answers, self._ends = [], []
        task = asyncio.create_task(self._push(owed))
        self._flushes.add(task)
        task.add_done_callback(self._flushes.discard)
