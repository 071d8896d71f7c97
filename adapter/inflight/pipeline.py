"""All that one loop tick asks of Redis goes there in one round trip, and each asker gets its own answer.

An ask is one verb for transactions of one node. Asks of a tick that share script, keys and head become one
command, and the commands of a tick one write. While its replies are awaited, asks gather for the next: a
slow server or a busy bridge makes for fewer and larger round trips. Each ask gets its answer, or
``StoreUnavailable``, within the timeout, counted from the ask.

Redis carries out asks about one transaction in their order.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from adapter.errors import StoreUnavailable
from adapter.records import record

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Argument = str | bytes | int

MOST: Final = 250
"""Transactions in one command: so long (1 to 2 ms) one script keeps everybody else waiting."""
STOOD_STILL: Final = 0.2
"""Seconds by which a timer is late where it was not the server that kept us waiting."""


@dataclass(slots=True, eq=False)
class Script:
    """A Lua script: its text, and the SHA-1 under which a server that knows it runs it."""

    name: str
    text: str
    sha: str


@record
class Command:
    """One command. With a script, ``arguments`` are what follows its name: key count, keys, ARGV."""

    script: Script | None
    arguments: tuple[Argument, ...]


@record
class Ask:
    """One verb, asked for some transactions of a node.

    Asks with the same script, keys and ``head`` (the arguments before those of the transactions) may share a
    command. Each of the ``members`` has an answer of its own. An ask without members is about a whole node:
    it has a command of its own, and its answer is the command's. Without a script, ``head`` is that command.
    """

    script: Script | None
    keys: tuple[str, ...]
    head: tuple[Argument, ...]
    members: Sequence[str]
    arguments: Sequence[Argument]
    answer: asyncio.Future[Any]


class Transport(Protocol):
    """A way to the server, which takes one round trip at a time."""

    async def run(self, commands: Sequence[Command]) -> list[Any]:
        """Carry out the commands in one round trip.

        Returns:
            One reply for each command; for one that the server refused a ``StoreUnavailable``.

        Raises:
            StoreUnavailable: the server did not answer at all.
        """
        ...

    async def close(self) -> None:
        """Disconnect."""
        ...


class Pipeline:
    """Sends asks over one transport, a round trip at a time."""

    def __init__(self, transport: Transport, timeout: float, now: Callable[[], int]) -> None:
        """Send nothing yet.

        Args:
            transport: the way to the server.
            timeout: seconds within which every ask has its answer or ``StoreUnavailable``.
            now: gives the time, in ms, that each script is given before all other arguments.
        """
        self._transport = transport
        self._timeout = timeout
        self._now = now
        self._loop = asyncio.get_running_loop()  # to ask for it costs a system call (Python 3.11)
        self._asks: list[Ask] = []
        self._since = 0.0  # when the first of them was asked
        self._work: asyncio.Task[None] | None = None  # busy with the transport
        self._closed = False

    def ask(
        self,
        script: Script | None,
        keys: tuple[str, ...],
        head: tuple[Argument, ...],
        members: Sequence[str] = (),
        arguments: Sequence[Argument] = (),
    ) -> asyncio.Future[Any]:
        """Return the answer to come, see ``Ask``.

        Raises:
            StoreUnavailable: this pipeline is closed.
        """
        if self._closed:
            raise StoreUnavailable("the store is closed")
        answer = self._loop.create_future()
        if not self._asks:
            self._since = self._loop.time()
            if self._work is None:
                self._loop.call_soon(self._flush)
        self._asks.append(Ask(script, keys, head, members, arguments, answer))
        return answer

    async def close(self) -> None:
        """Answer what was asked, then disconnect."""
        self._closed = True
        self._flush()
        if self._work is not None:
            await asyncio.wait([self._work])
        await self._transport.close()

    def _flush(self) -> None:
        if self._asks and self._work is None:
            self._work = self._loop.create_task(self._run_all())

    async def _run_all(self) -> None:
        try:
            while self._asks:
                asks, self._asks = self._asks, []
                await self._run(asks, self._since + self._timeout)
        finally:
            self._work = None

    async def _run(self, asks: Sequence[Ask], until: float) -> None:
        groups = grouped(asks)
        scope = asyncio.timeout(None)
        timer = self._loop.call_at(until, self._time_out, scope, until)
        try:
            async with scope:
                now = self._now()
                replies = await self._transport.run([_command(group, now) for group in groups])
            for group, reply in zip(groups, replies, strict=True):
                _hand_out(group, reply)
        except TimeoutError as exc:
            _fail(asks, f"no answer within {self._timeout:g} s", exc)
        except StoreUnavailable as exc:
            _fail(asks, str(exc), exc)
        except Exception as exc:  # whatever it is, nobody may wait for ever
            _fail(asks, f"{type(exc).__name__}: {exc}", exc)
        finally:
            timer.cancel()
            for ask in asks:  # unanswered where this task was cancelled: the loop ends
                ask.answer.cancel()

    def _time_out(self, scope: asyncio.Timeout, until: float) -> None:
        """Give up; a process that stood still itself first reads what may long be there."""
        now = self._loop.time()
        scope.reschedule(now + self._timeout if now > until + STOOD_STILL else now)


def grouped(asks: Sequence[Ask]) -> list[list[Ask]]:
    """What goes out as one command each, in this order.

    An ask joins the last group of its kind, unless a later group has one of its members.
    """
    groups: list[list[Ask]] = []
    sizes: list[int] = []
    last: dict[Any, int] = {}
    touched: dict[str, int] = {}
    for ask in asks:
        kind = (ask.script, ask.keys, ask.head)
        at = last.get(kind, -1) if ask.members else -1
        full = at >= 0 and sizes[at] + len(ask.members) > MOST
        if at < 0 or full or any(touched.get(member, at) > at for member in ask.members):
            at = len(groups)
            groups.append([])
            sizes.append(0)
            last[kind] = at
        groups[at].append(ask)
        sizes[at] += len(ask.members)
        for member in ask.members:
            touched[member] = at
    return groups


def _command(group: Sequence[Ask], now: int) -> Command:
    first = group[0]
    arguments: list[Argument] = [] if first.script is None else [len(first.keys)]
    arguments += first.keys
    if first.script is not None:
        arguments.append(now)
    arguments += first.head
    for ask in group:
        arguments += ask.arguments
    return Command(first.script, tuple(arguments))


def _hand_out(group: Sequence[Ask], reply: Any) -> None:
    if isinstance(reply, StoreUnavailable):
        _fail(group, str(reply), reply.__cause__ or reply)
        return
    at = 0
    for ask in group:
        size = len(ask.members)
        if not ask.answer.done():  # else its asker has been cancelled
            ask.answer.set_result(reply[at : at + size] if size else reply)
        at += size


def _fail(asks: Sequence[Ask], why: str, cause: BaseException) -> None:
    for ask in asks:
        if not ask.answer.done():
            # One of its own for each asker: a shared one would gather everybody's traceback.
            error = StoreUnavailable(why)
            error.__cause__ = cause
            ask.answer.set_exception(error)
