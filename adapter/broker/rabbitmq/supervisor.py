"""Keeps the parts of the broker up: each is begun again, for ever, when it breaks.

The parts are levels: the connection, and on it the publishing and the intake of each node. A
level that breaks takes down what stands on it and nothing else.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog

from adapter.amqp.backoff import Backoff
from adapter.amqp.tasks import end, outcome
from adapter.amqp.words import EXPECTED, UndecodableMessage, reason

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from adapter.broker.rabbitmq.limits import Limits

    Up = Callable[..., None]
    Level = Callable[[Up], Coroutine[Any, Any, None]]
    """Sets a part up, calls its argument (with what the log shall say), raises what broke it."""

log = structlog.get_logger()


class Supervisor:
    """``problems`` says, by part, what does not work at present and why."""

    def __init__(self, limits: Limits) -> None:
        self.problems: dict[str, str] = {}
        self._limits = limits
        self._up_since: dict[str, float] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, part: str, level: Level, base: Callable[[], bool] = lambda: True) -> asyncio.Task[None]:
        """Keep a part up until the task is cancelled, its level returns, or its ``base`` is gone."""
        return asyncio.create_task(self._keep(part, level, base), name=f"broker: {part}")

    async def _keep(self, part: str, level: Level, base: Callable[[], bool]) -> None:
        loop = asyncio.get_running_loop()
        backoff = Backoff(self._limits.backoff_first, self._limits.backoff_longest)
        try:
            while True:
                exc = await outcome(level(partial(self._up, part)))
                if exc is None:
                    self.waits(part, None)
                if exc is None or not base():
                    return
                now = loop.time()
                stood = now - self._up_since.pop(part, now)
                self._down(part, exc)
                further = isinstance(exc, UndecodableMessage) and exc.dropped
                if further or stood > self._limits.backoff_longest:
                    backoff.reset()
                else:
                    await asyncio.sleep(backoff.pause())
        finally:
            self.problems.pop(part, None)

    def _up(self, part: str, **details: object) -> None:
        self._up_since[part] = asyncio.get_running_loop().time()
        self.problems.pop(part, None)
        log.info("broker up", part=part, **details)

    def waits(self, part: str, why: str | None) -> None:
        """Say why a part that stands does not work at present; ``None``: it works again."""
        if why is None:
            if self.problems.pop(part, None) is not None:
                log.info("broker up", part=part)
        elif self.problems.get(part) != why:
            self.problems[part] = why
            log.warning("broker down", part=part, reason=why)

    def _down(self, part: str, exc: BaseException) -> None:
        """Say so once for each reason, however often it is tried again."""
        found = reason(exc)
        if self.problems.get(part) != found:
            self.problems[part] = found
            unforeseen = None if isinstance(exc, EXPECTED) else exc
            log.warning("broker down", part=part, reason=found, exc_info=unforeseen)

    def aside(self, work: Awaitable[Any]) -> asyncio.Task[Any]:
        """Do something beside, whose end ``finish`` waits for."""
        task = asyncio.ensure_future(work)
        assert isinstance(task, asyncio.Task)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        exc = None if task.cancelled() else task.exception()
        if exc is not None and not isinstance(exc, EXPECTED):
            log.error("broker: left undone", exc_info=exc)

    async def finish(self, within: float) -> None:
        """Wait for what is done beside, and for what that begins, then end it.

        A goodbye that had just begun was cut short otherwise, and its connection stayed.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + within
        while self._tasks and (left := until - loop.time()) > 0:
            await asyncio.wait(self._tasks, timeout=left)
        await end(*self._tasks)
