"""Handlers that are ``async``: each is awaited until its request's deadline, so many at a time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from adapter.contract import Request
    from consumers.answers import Answers
    from consumers.deadline import Deadline
    from consumers.messages import Answer, Incoming
    from consumers.tracing import Traced


class Awaiting:
    """The answers of handlers that are awaited.

    Args:
        answers: what becomes of a request, by how its handler ended.
        concurrency: how many handlers run at a time; None: all.
    """

    def __init__(self, answers: Answers, concurrency: int | None) -> None:
        self._answers = answers
        self._turns = None if concurrency is None else asyncio.Semaphore(concurrency)

    def at_most(self, most: int) -> None:
        """Run so many at a time from now on, if there was no bound."""
        if self._turns is None:
            self._turns = asyncio.Semaphore(most)

    def answer(
        self, message: Incoming, request: Request, handler: Callable[[Request], Any], deadline: Deadline
    ) -> Coroutine[Any, Any, Answer]:
        """Await a handler; raises CancelledError alone, where it is given up itself."""
        if self._turns is None:
            return self._await(message, request, handler, deadline)
        return self._await_turn(self._turns, message, request, handler, deadline)

    async def traced(
        self,
        traced: Traced,
        message: Incoming,
        request: Request,
        handler: Callable[[Request], Any],
        deadline: Deadline,
    ) -> Answer:
        """As ``answer``, within a span."""
        with traced:
            return traced.told(await self.answer(message, request, handler, deadline))

    async def _await_turn(
        self,
        turns: asyncio.Semaphore,
        message: Incoming,
        request: Request,
        handler: Callable[[Request], Any],
        deadline: Deadline,
    ) -> Answer:
        if turns.locked():
            try:
                async with asyncio.timeout_at(deadline.when):
                    await turns.acquire()
            except TimeoutError:
                return self._answers.expired(message, 0.0)
        else:
            await turns.acquire()  # which does not wait: a timer costs more than all the rest
        try:
            return await self._await(message, request, handler, deadline)
        finally:
            turns.release()

    async def _await(
        self, message: Incoming, request: Request, handler: Callable[[Request], Any], deadline: Deadline
    ) -> Answer:
        try:
            found = await deadline.bound(handler(request))
        except asyncio.CancelledError as exc:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            return self._answers.failed(message, request, exc)  # by something of the handler's own
        except Exception as exc:
            if not deadline.passed:
                return self._answers.failed(message, request, exc)
        if deadline.passed:
            return self._answers.late(message, request)
        return self._answers.decided(message, request, found)
