"""How long a request may take: its time left, whatever clock is wrong; and a handler's time limit."""

from __future__ import annotations

import asyncio
import time
import types
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Generator

WINDOW: Final = 10.0
"""Seconds after which the fastest request counts no more, twice as many at most: the two clocks drift."""
_NEVER: Final = float("inf")


class TimeLeft:
    """Tells how long a request may still take, by this process's monotonic clock alone.

    The request says how much time was left when it was published, and by the adapter's clock when that was.
    It has waited for as much longer than the fastest request of late as it was longer on the way; so the
    clocks of the two machines may differ by anything.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._least = self._before = _NEVER
        self._until = 0.0

    def of(self, deadline: float, left: float) -> float:
        """Return the seconds that a request has which has just come.

        Args:
            deadline: its deadline, in epoch seconds by the adapter's clock.
            left: seconds that were left when it was published.
        """
        now = self._monotonic()
        way = now - (deadline - left)  # and what the two clocks differ by, always the same
        if now >= self._until:
            self._before = self._least if now < self._until + WINDOW else _NEVER
            self._least, self._until = _NEVER, now + WINDOW
        if way < self._least:
            self._least = way
        waited = way - (self._least if self._least < self._before else self._before)
        if waited >= left:
            # RabbitMQ hands out nothing that is past its expiry: the adapter's clock was set meanwhile.
            self._least, self._before, waited = way, _NEVER, 0.0
        return left - waited


class Deadline:
    """At ``when`` of the loop's clock, or never; ``passed`` once it has cut a handler short."""

    __slots__ = ("_when", "passed")

    def __init__(self, when: float | None) -> None:
        self._when = when
        self.passed = False

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
                return done.value
            rest = _rest(decision, waits_for)
        limit = asyncio.timeout_at(self._when)
        try:
            async with limit:
                return await rest
        finally:
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
