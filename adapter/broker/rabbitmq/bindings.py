"""Bindings, made where it harms nobody.

A cluster of RabbitMQ 4.3 without majority declares again at once what is there, goes on to publish
and to deliver, and takes 30 s for a binding that is there already, to close the whole connection then
(541). So bindings are made on a connection of their own, which is there only while some are to be
made, and with a growing pause.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from adapter.amqp.connection import Connection
from adapter.amqp.tasks import end, happens, outcome
from adapter.amqp.words import EXPECTED, reason
from adapter.errors import BrokerUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    import aiormq
    from yarl import URL

    from adapter.broker.rabbitmq.limits import Limits
    from adapter.broker.rabbitmq.supervisor import Supervisor

    Step = Callable[[aiormq.Channel], Awaitable[None]]


class _Wanted:
    """What is to be made. ``tried`` is set after the first attempt, and where there will be none."""

    def __init__(self, step: Step) -> None:
        self.step = step
        self.tried = asyncio.Event()


class Bindings:
    """Makes what it is given, again until it is done. Each part is made by one step on a channel.

    ``declared`` is set while the exchanges are there.
    """

    def __init__(
        self, urls: Sequence[URL], limits: Limits, supervisor: Supervisor, declared: asyncio.Event
    ) -> None:
        self._urls = list(urls)
        self._limits = limits
        self._supervisor = supervisor
        self._declared = declared
        self._wanted: dict[str, _Wanted] = {}
        self._made: set[str] = set()  # in this life: they are likely to be there still
        self._task: asyncio.Task[None] | None = None
        self._pause = 0.0
        self._more = asyncio.Event()
        self._stopped = False

    def __repr__(self) -> str:
        return f"<Bindings {len(self._wanted)} to make, {len(self._made)} made>"

    async def make(self, part: str, step: Step, within: float) -> None:
        """Begin to make a part, and wait for its first attempt for so many seconds.

        One that was made before is made again, since somebody may have deleted it; nobody waits for
        that.
        """
        if self._stopped:
            return
        self._let_go(part)
        wanted = self._wanted[part] = _Wanted(step)
        self._more.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="broker: bindings")
        if part in self._made:
            return
        if not await happens(wanted.tried, within) and self._wanted.get(part) is wanted:
            self._supervisor.waits(part, "no answer in time")

    def forget(self, part: str) -> None:
        """It is not wanted any more."""
        self._let_go(part)
        self._made.discard(part)
        self._supervisor.problems.pop(part, None)

    async def stop(self) -> None:
        """Make no more."""
        self._stopped = True
        if self._task is not None:
            await end(self._task)
        for part in list(self._wanted):
            self._let_go(part)

    def _let_go(self, part: str) -> None:
        """Nobody waits any longer for what is not going to be made."""
        if (wanted := self._wanted.pop(part, None)) is not None:
            wanted.tried.set()

    async def _run(self) -> None:
        while self._wanted:
            await self._declared.wait()
            self._more.clear()
            try:
                connection = await Connection.open_any(self._urls, self._limits)
            except BrokerUnavailable:
                pass  # the other connections tell of it
            else:
                try:
                    await self._make_all(connection)
                finally:
                    self._supervisor.aside(connection.close(self._limits.close_timeout))
            if self._wanted:
                await self._wait()

    async def _make_all(self, connection: Connection) -> None:
        """Each that is wanted, and what comes meanwhile; one that fails costs the others nothing."""
        self._pause = self._pause or self._limits.bind_first
        failed: set[str] = set()
        while (
            connection.alive
            and not connection.aborted
            and (left := [part for part in self._wanted if part not in failed])
        ):
            part = left[0]
            wanted = self._wanted[part]
            why = await self._try(connection, wanted.step)
            wanted.tried.set()
            if self._wanted.get(part) is not wanted:
                continue
            if why is None:
                del self._wanted[part]
                self._made.add(part)
                self._supervisor.waits(part, None)
            else:
                failed.add(part)
                self._wanted[part] = self._wanted.pop(part)  # the others come first the next time
                self._supervisor.waits(part, why)
        if not failed:
            self._pause = 0.0

    async def _try(self, connection: Connection, step: Step) -> str | None:
        """What hinders a step, ``None`` where it is done."""

        async def make() -> None:
            async with asyncio.timeout(self._limits.answer_timeout):
                channel = await connection.channel()
                await step(channel)
                await channel.close()

        exc = await outcome(make())
        if isinstance(exc, TimeoutError):
            connection.abort("a binding got no answer")  # the server would close it later
        if exc is not None and not isinstance(exc, EXPECTED):
            raise exc
        return None if exc is None else reason(exc)

    async def _wait(self) -> None:
        """The pause grows; something new cuts it short."""
        pause, self._pause = self._pause, min(self._pause * 2, self._limits.bind_longest)
        await happens(self._more, pause or self._limits.backoff_first)
