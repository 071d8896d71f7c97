"""The transactions of a simulated Kamailio: suspended, resumed, cancelled, timed out."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from enum import Enum
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from adapter.simulator.counters import Counters

MAX_SUSPENSIONS: Final = 12
"""Branches that tm allows a transaction; each suspension takes one."""
TABLE_SIZE: Final = 1 << 16
"""Slots of tm's hash table: the range of the index."""


class State(Enum):
    """Where a transaction stands."""

    SUSPENDED = "suspended"
    RESUMED = "resumed"
    CANCELLED = "cancelled"  # the caller hung up: answered 487
    UNANSWERED = "unanswered"  # fr_timer passed
    LOCAL = "local"  # never asked: no adapter was ready


class NotResumed(Exception):
    """The transaction ended without an answer; ``state`` tells how."""

    def __init__(self, transaction: SimTransaction) -> None:
        super().__init__(transaction)
        self.state = transaction.state

    def __str__(self) -> str:
        return f"not resumed: {self.args[0]!r}"


class TooManySuspensions(Exception):
    """tm has no branch left for the thirteenth; the caller gets a 500."""


class SimTransaction:
    """One SIP transaction. Times are ``time.monotonic`` (seconds).

    ``seq`` counts its suspensions. ``due_at`` is when it should have been suspended,
    ``suspended_at`` when it was, ``ended_at`` when it was resumed, cancelled or timed out.
    ``answer`` is the resume frame. Suspended again, all of them are those of the new question.
    """

    __slots__ = (
        "_tm",
        "_waiter",
        "answer",
        "due_at",
        "ended_at",
        "event",
        "index",
        "label",
        "seq",
        "state",
        "suspended_at",
    )

    def __init__(self, tm: Tm, index: int, label: int, event: str) -> None:
        self._tm = tm
        self._waiter: asyncio.Future[None] | None = None
        self.index = index
        self.label = label
        self.event = event
        self.seq = 0
        self.state = State.LOCAL
        self.due_at = self.suspended_at = self.ended_at = 0.0
        self.answer: dict[str, Any] | None = None

    def __repr__(self) -> str:
        return f"<SimTransaction {self.event} {self.index}:{self.label}:{self.seq} {self.state.value}>"

    @property
    def latency(self) -> float:
        """Seconds from the suspension to its end."""
        return self.ended_at - self.suspended_at

    async def resumed(self, timeout: float = 5.0) -> dict[str, Any]:  # noqa: ASYNC109
        """The resume frame, once it has come.

        Raises NotResumed where the transaction ends otherwise, TimeoutError after ``timeout`` seconds.
        """
        while self.state is State.SUSPENDED:
            if self._waiter is None:
                self._waiter = asyncio.get_running_loop().create_future()
            async with asyncio.timeout(timeout):
                await asyncio.shield(self._waiter)
        if self.answer is None:
            raise NotResumed(self)
        return self.answer

    def cancel(self) -> None:
        """The caller hangs up: Kamailio answers 487 by itself. Does nothing once it is over."""
        self._tm.cancel(self)

    def _ended(self, state: State, now: float) -> None:
        self.state, self.ended_at = state, now
        if self._waiter is not None:
            self._waiter.set_result(None)
            self._waiter = None


class Tm:
    """The table and its timers.

    ``fr_timer``: seconds until a suspension counts as unanswered. ``linger``: seconds for
    which a transaction that is over can still be looked up. ``on_end(transaction)`` is told
    of each end.
    """

    def __init__(
        self,
        counters: Counters,
        on_end: Callable[[SimTransaction], None],
        *,
        fr_timer: float = 30.0,
        linger: float = 5.0,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._counters = counters
        self._on_end = on_end
        self._fr_timer = fr_timer
        self._linger = linger
        self._table: dict[tuple[int, int], SimTransaction] = {}
        # Each of the two times is the same for all, so the entries are in order.
        self._running: deque[tuple[float, SimTransaction, int]] = deque()
        self._over: deque[tuple[float, SimTransaction, int]] = deque()
        self._alarm: asyncio.TimerHandle | None = None
        self.waiting = 0  # transactions that are suspended at present

    def new(self, event: str) -> SimTransaction:
        """A transaction, not suspended yet."""
        self._forget()
        while True:
            index, label = random.randrange(TABLE_SIZE), random.getrandbits(32)
            if (index, label) not in self._table:
                return SimTransaction(self, index, label, event)

    def suspend(self, transaction: SimTransaction, event: str, due_at: float | None = None) -> None:
        """Suspend it, for the first time or again. Raises TooManySuspensions, ValueError."""
        if transaction.state not in (State.LOCAL, State.RESUMED):
            raise ValueError(f"cannot be suspended: {transaction!r}")
        if transaction.seq == MAX_SUSPENSIONS:
            raise TooManySuspensions(repr(transaction))
        now = monotonic()
        self._table[transaction.index, transaction.label] = transaction
        transaction.event, transaction.state, transaction.answer = event, State.SUSPENDED, None
        transaction.seq += 1
        transaction.suspended_at = now
        transaction.due_at = now if due_at is None else due_at
        self._counters.suspended += 1
        self.waiting += 1
        self._running.append((now + self._fr_timer, transaction, transaction.seq))
        if self._alarm is None:
            self._alarm = self._loop.call_later(self._fr_timer, self._expire)

    def find(self, index: int, label: int) -> SimTransaction | None:
        """The transaction, where it is still there."""
        self._forget()
        return self._table.get((index, label))

    def t_continue(self, index: int, label: int, answer: dict[str, Any]) -> None:
        """Resume it, or count why not."""
        found = self.find(index, label)
        if found is not None and found.state is State.SUSPENDED:
            found.answer = answer
            self._counters.resumed += 1
            self._counters.outcomes[str(answer.get("outcome"))] += 1
            self._end(found, State.RESUMED)
        elif found is not None and found.state is State.RESUMED:
            self._counters.refused += 1
        else:
            self._counters.not_found += 1

    def cancel(self, transaction: SimTransaction) -> None:
        """The caller hung up."""
        if transaction.state is State.SUSPENDED:
            self._counters.cancelled += 1
            self._end(transaction, State.CANCELLED)

    def hang_up(self) -> None:
        """Every caller who waits hangs up."""
        for transaction in [each for each in self._table.values() if each.state is State.SUSPENDED]:
            self.cancel(transaction)

    def restart(self) -> None:
        """Forget every transaction: their callers wait for nobody any more."""
        for transaction in self._table.values():
            if transaction.state is State.SUSPENDED:
                transaction._ended(State.UNANSWERED, monotonic())
        self.waiting = 0
        self._table.clear()
        self._running.clear()
        self._over.clear()

    def close(self) -> None:
        """Stop the timer."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _end(self, transaction: SimTransaction, state: State) -> None:
        now = monotonic()
        self.waiting -= 1
        transaction._ended(state, now)
        self._over.append((now + self._linger, transaction, transaction.seq))
        self._on_end(transaction)

    def _expire(self) -> None:
        self._alarm = None
        now = monotonic()
        while self._running:
            deadline, transaction, seq = self._running[0]
            open_ = transaction.state is State.SUSPENDED and transaction.seq == seq
            if open_ and deadline > now:
                self._alarm = self._loop.call_later(deadline - now, self._expire)
                return
            self._running.popleft()
            if open_:
                self._counters.unanswered += 1
                self._end(transaction, State.UNANSWERED)

    def _forget(self) -> None:
        now = monotonic()
        while self._over and self._over[0][0] <= now:
            _, transaction, seq = self._over.popleft()
            if transaction.seq == seq:  # not suspended again
                del self._table[transaction.index, transaction.label]
