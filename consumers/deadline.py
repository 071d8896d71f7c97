"""How long a request may take: its time left, whatever clock is wrong; and a handler's time limit."""

from __future__ import annotations

import asyncio
import time
import types
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Generator

DRIFT: Final = 0.01
"""Seconds by which the adapter's clock may move against this process's in a second, at most."""
SHORT: Final = 0.05
"""Seconds of waiting that need no explanation: ``unread`` is asked about longer ones only."""

_DAY: Final = 86_400.0
"""Seconds that a handler has at most."""


class TimeLeft:
    """Tells how long a request may still take, by this process's monotonic clock alone.

    The request says how much time was left when it was published, and by the adapter's clock when that was.
    It has waited for as much longer than the fastest request so far as it was longer on the way; so the
    clocks of the two machines may differ by anything.

    Args:
        unread: gives the seconds for which what has just been read may have lain in this process's socket,
            at most.
    """

    def __init__(
        self, monotonic: Callable[[], float] = time.monotonic, unread: Callable[[], float] = lambda: 0.0
    ) -> None:
        self._monotonic = monotonic
        self._least, self._at = float("inf"), 0.0  # the way of the fastest, and when that was looked at
        self.unread = unread

    def of(self, deadline: float, left: float, lasts: float | None = None) -> float:
        """Return the seconds that a request has which has just come; none left: 0 or less.

        Args:
            deadline: its deadline, in epoch seconds by the adapter's clock.
            left: seconds that were left when it was published.
            lasts: seconds after which RabbitMQ hands its message out no more; None: as many. In a message of
                several one may expire before that.
        """
        lasts = left if lasts is None else max(left, lasts)
        now = self._monotonic()
        way = now - (deadline - left)  # and what the two clocks differ by, always the same
        waited = way - self._least
        # RabbitMQ hands out nothing that is past its expiry: what is, and cannot have lain unread since,
        # tells that the adapter's clock was set. A process that cannot keep up must not take its own
        # backlog for that, nor for a clock that drifts.
        if waited <= SHORT or self.unread() < (waited - lasts if waited >= lasts else waited):
            waited -= DRIFT * (now - self._at)
            if waited < 0 or waited >= lasts:
                waited = 0.0
            self._least = way - waited
        self._at = now
        return left - waited


class Deadline:
    """At ``when`` of the loop's clock, or never; ``passed`` once it has cut a handler short."""

    __slots__ = ("_limit", "_over", "passed", "when")

    def __init__(self, when: float | None) -> None:
        self.when = when
        self._limit: asyncio.Timeout | None = None
        self._over = False
        self.passed = False

    @classmethod
    def after(cls, left: float | None) -> Deadline:
        """Make one that comes in so many seconds; ``None``: never."""
        return cls(None if left is None else asyncio.get_running_loop().time() + min(left, _DAY))

    def extend(self, seconds: float) -> bool:
        """Move it by so many seconds. Returns False if it is over, what it bounds is, or there is none."""
        if self._over or self.when is None or asyncio.get_running_loop().time() >= self.when:
            return False
        self.when += seconds
        if self._limit is not None:
            self._limit.reschedule(self.when)
        return True

    async def bound(self, decision: Awaitable[Any]) -> Any:
        """Await it, until the deadline: it is cancelled then. In a task.

        Raises TimeoutError where that ended it; what it makes of its cancellation is otherwise its
        own result, and ``passed`` is set all the same.
        """
        rest: Awaitable[Any] = decision
        if isinstance(decision, types.CoroutineType):
            # Its first step is taken here, in the very task that takes the others. Where it is the
            # only one, no timer is needed: nothing else could have run meanwhile.
            try:
                waits_for = decision.send(None)
            except StopIteration as done:
                self._over = True
                return done.value
            rest = _rest(decision, waits_for)
        limit = asyncio.timeout_at(self.when)
        try:
            async with limit:
                self._limit = limit
                return await rest
        finally:
            self._over = True
            self.passed = limit.expired()


@types.coroutine
def _rest(begun: Coroutine[Any, Any, Any], waits_for: Any) -> Generator[Any, Any, Any]:
    """What is left of a coroutine that ``waits_for`` something: what ``await`` would do from there."""
    try:
        while True:
            try:
                sent = yield waits_for
            except BaseException as exc:  # of any kind: it belongs to the coroutine
                waits_for = begun.throw(exc)
            else:
                waits_for = begun.send(sent)
    except StopIteration as done:
        return done.value
