"""A handler's coroutine and its deadline: a time limit is set only where the handler waits."""

from __future__ import annotations

import asyncio
import types
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Coroutine, Generator


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
