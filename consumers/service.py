"""A service and its core: a request's message in, the answer's message out; no transport.

RabbitMQ (``consumers.amqp``), the adapter's embedded broker and the test helper
(``consumers.testing``) all go through ``Service.begin``, so each meets the same codec,
deadlines and failures.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

from adapter.contract import (
    HEADER_TIME_LEFT,
    HEADER_TRACEPARENT,
    Decision,
    Request,
    decode_request,
    request_of,
    word,
)
from consumers import more_time, tracing
from consumers.alone import Alone
from consumers.answers import Answers
from consumers.awaiting import Awaiting
from consumers.deadline import Deadline, TimeLeft
from consumers.decisions import NoAnswer
from consumers.handlers import Handlers
from consumers.messages import Answer, Result, version_of
from consumers.more_time import MoreTime

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from adapter.command_contract import CommandReply
    from consumers.handlers import Around
    from consumers.kamailio import Way
    from consumers.messages import Incoming
    from consumers.more_time import Send

_log = logging.getLogger("consumers")

Handler = Callable[..., Decision | NoAnswer | None] | Callable[..., Awaitable[Decision | NoAnswer | None]]
_H = TypeVar("_H", bound=Handler)
Lifespan = Callable[[], AsyncIterator[Any]] | Callable[[], "AbstractAsyncContextManager[Any]"]
_L = TypeVar("_L", bound=Lifespan)

_CLOCKS_DIFFER: Final = 0.05
"""Seconds by which clocks may differ before a request's deadline is told by this machine's."""
_LEARNS: Final = 0.125
"""The share of what one request has taken in what the next is expected to take."""
_FORGETS: Final = 0.9
"""What is left of that after a request that was given up for it."""
_TRIP: Final = 0.03
"""Seconds for which an answer is on its way back, behind one that computes, at most."""


def time_left(request: Request) -> float | None:
    """Seconds until the deadline, negative once it has passed; ``None`` for a notice."""
    return None if request.deadline is None else request.deadline - time.time()


class Service:
    """Handlers of events under one name. Its instances, in any number of processes, compete.

    name: names its queue, ``evapi.decide.<name>``; letters, digits, ``_`` and ``-``.
    prefetch: how many requests one process holds at a time, those that wait for ``concurrency`` among
    them, which no other instance can take meanwhile; by default 100, or twice ``concurrency``. Where the
    policy says ``batch``, how many messages.
    concurrency: how many ``async`` handlers run at a time in one process; by default ``prefetch``. A
    plain ``def`` runs alone in any case. A request whose turn does not come is dropped at its deadline.
    queue_type, max_length, delivery_limit: of its queue, fixed when that is first declared.
    ``max_length``: what waits at most (the oldest gives way); ``delivery_limit``, of a quorum
    queue only: how often a request is tried whose consumer died over it.
    version: its own, as ``evapi-adapter services`` shows it.
    """

    def __init__(
        self,
        name: str,
        *,
        prefetch: int | None = None,
        concurrency: int | None = None,
        queue_type: Literal["classic", "quorum"] = "classic",
        max_length: int = 100_000,
        delivery_limit: int = 3,
        version: str = "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        if not name or word(name) != name or len(name) > 100:
            raise ValueError(f"service name {name!r}: 1 to 100 letters, digits, _ and -")
        if queue_type not in ("classic", "quorum"):
            raise ValueError(f"queue_type {queue_type!r} is neither 'classic' nor 'quorum'")
        if concurrency is not None and not 0 < concurrency < 65_536:
            raise ValueError(f"concurrency {concurrency} is not from 1 to 65535")
        if prefetch is None:
            prefetch = 100 if concurrency is None else min(2 * concurrency, 65_535)
        if not 0 < prefetch < 65_536:
            raise ValueError(f"prefetch {prefetch} is not from 1 to 65535")
        if concurrency is not None and prefetch < concurrency:
            raise ValueError(f"prefetch {prefetch} is below concurrency {concurrency}: so many never run")
        self.name = name
        self.prefetch = prefetch
        self.concurrency = concurrency
        self.queue_type = queue_type
        self.max_length = max_length
        self.delivery_limit = delivery_limit
        self.version = version
        self._answers = Answers(name, clock)
        self.counts = self._answers.counts
        self.asked: Counter[tuple[str, str]] = Counter()
        """What handlers asked of others, by whom and outcome, as far as they count it: for the metrics."""
        self.spent = 0.0
        """Seconds from a request's arrival to its reply, of all that got one."""
        self._awaiting = Awaiting(self._answers, concurrency)
        self._clock = clock
        self._way: Way | None = None  # to Kamailio
        self._alone = Alone(name)
        self._handlers = Handlers()
        self._find = self._handlers.bound.get
        self._at_start: list[Callable[[], object]] = []
        self.unread: Callable[[], float] = lambda: 0.0
        """Gives the seconds for which a message may have lain unread in this process, at most."""
        self._time_left = TimeLeft(unread=lambda: self.unread())
        self._takes: dict[str, float] = {}  # seconds of late, by event, of handlers on the event loop

    def __repr__(self) -> str:
        counts = " ".join(f"{result}={self.counts[result]}" for result in Result)
        return f"<Service {self.name} on {','.join(self.events) or 'nothing'} {counts}>"

    @property
    def last_failure(self) -> tuple[float, str] | None:
        """When a request failed last, by the monotonic clock, and why: the type, unless it is foreseen."""
        return self._answers.last_failure

    @property
    def events(self) -> tuple[str, ...]:
        """The events it has handlers for."""
        return tuple(self._handlers)

    def on(self, *events: str) -> Callable[[_H], _H]:
        """Register a handler of ``events``: ``async def decide(request: Request) -> Decision``.

        Its parameters get what their annotations ask for: ``Request``, the event's data in a type of the
        handler's own, what a lifespan made (see ``consumers.parameters``). The answer to a notice is
        ignored. A handler still at work at its request's deadline is cancelled. A plain ``def`` runs on the
        event loop, so it must compute, not wait; what blocks belongs into
        ``await asyncio.to_thread(...)``. Inside the adapter (the embedded broker) what blocks for 3 s ends
        the process.

        Raises:
            ValueError: no event is named, one has a handler already, or the handler is no function. What is
                wrong with its parameters is told by ``check``.
        """
        if not events or not all(isinstance(event, str) and event for event in events):
            raise ValueError('name the event: @service.on("invite_request")')

        def register(handler: _H) -> _H:
            if not callable(handler):
                raise ValueError(f"{handler!r} is no function")
            for event in events:
                if event in self._handlers:
                    raise ValueError(f"{self.name} has a handler of {event!r} already")
                self._handlers.add(event, handler)
            return handler

        return register

    def lifespan(self, function: _L) -> _L:
        """Register what is opened before the first request, and closed after the last handler has ended.

        ``function`` is an async generator that yields once, or gives an async context manager. Handlers get
        what it yields by the type that its annotation tells: ``-> AsyncIterator[Pool]``.

        Raises:
            ValueError: the annotation does not say what it yields, or another one yields the same type.
        """
        self._handlers.add_lifespan(function)
        return function

    def wrap(self, around: Around) -> None:
        """Put something around every handler: a measurement, a context for its log."""
        self._handlers.wrap(around)

    def check(self) -> None:
        """Raises SignatureError if a handler's parameters ask for what nothing gives."""
        self._handlers.check()

    async def open(self, instead: Mapping[Any, Any] = MappingProxyType({})) -> None:
        """Open what ``lifespan`` registered.

        Args:
            instead: values by type, in place of what lifespans would yield.

        Raises:
            SignatureError: see ``check``.
            LifespanError: a lifespan failed.
        """
        self.check()
        self._awaiting = Awaiting(self._answers, self.concurrency)  # of this event loop
        await self._handlers.lifespans.open(instead)

    async def close(self) -> None:
        """Close what ``open`` opened; nothing if it is not open."""
        await self._handlers.lifespans.close()

    @property
    def is_open(self) -> bool:
        """Whether what the lifespans make is there."""
        return self._handlers.lifespans.are_open

    def at_start(self, check: Callable[[], object]) -> Callable[[], object]:
        """Register what must succeed before the service begins, such as reading its files."""
        self._at_start.append(check)
        return check

    def prepare(self) -> None:
        """Run what ``at_start`` registered, and ``check``; raises what these raise."""
        for check in self._at_start:
            check()
        self.check()

    async def ask_kamailio(
        self,
        node: str,
        command: str,
        /,
        *,
        within: float = 5.0,
        id: str | None = None,  # noqa: A002
        **args: Any,
    ) -> CommandReply:
        """Have a Kamailio carry a command out; returns what became of it, whatever that is.

        Args:
            node: its name; ``all``: whichever has the call. Of several replies the first ``done`` counts.
            command: ``hangup``, ``limit``, ``transfer``, ``request``, ``cancel``, ``calls``, ``rpc``, or one
                of the configuration's own ``route[COMMAND]``.
            within: seconds after which it is of no use.
            id: the same again within 60 s does nothing, and gets the former outcome. By default a new one.
            args: of the command, such as ``call_id``.

        Raises:
            CodecError: ``args`` cannot be written as JSON.
            ValueError: ``within`` is not from 0 to 60.
        """
        from consumers.kamailio import ask  # here, so that who asks nothing loads nothing for it

        return await ask(self._way, node, command, args, within=within, id_=id)

    async def ask_every_kamailio(
        self,
        command: str,
        /,
        *,
        within: float = 5.0,
        id: str | None = None,  # noqa: A002
        **args: Any,
    ) -> list[CommandReply]:
        """Have each Kamailio carry a command out; returns one reply of each that gave one.

        Args and errors: see ``ask_kamailio``.
        """
        from consumers.kamailio import ask_every

        return await ask_every(self._way, command, args, within=within, id_=id)

    def reach_kamailio(self, way: Way | None) -> None:
        """Ask Kamailio by this way; None: by none. Whoever runs the service says so."""
        self._way = way

    def bound(self, most: int) -> None:
        """Let no more ``async`` handlers run at a time, if there is no ``concurrency``: more may come."""
        self._awaiting.at_most(most)

    async def answer(self, message: Incoming) -> Answer:
        """The answer to a message. Raises nothing: whatever goes wrong is in the answer."""
        found = self.begin(message)
        return found if isinstance(found, Answer) else await found

    def begin(self, message: Incoming, send: Send | None = None) -> Answer | Coroutine[Any, Any, Answer]:
        """As ``answer``, but at once where the handler is a plain ``def``: that needs no task.

        ``send``: sends what goes out before the answer; without it nothing does.
        """
        try:
            headers = message.headers
            request = decode_request(message.body, version_of(headers))
        except Exception as exc:  # bytes from anywhere: none of them may end the service
            return self._answers.rejected(message, exc)
        return self._begin(message, request, headers, send)

    def begin_decoded(
        self, message: Incoming, decoded: Mapping[str, Any], send: Send | None = None, lasts: Any = None
    ) -> Answer | Coroutine[Any, Any, Answer]:
        """As ``begin``, of a request that came with others in one message: the map that its body was.

        ``lasts``: milliseconds that this message had when it was published, if it says so.
        """
        try:
            request, headers = request_of(decoded), message.headers
        except Exception as exc:  # likewise
            return self._answers.rejected(message, exc)
        return self._begin(message, request, headers, send, lasts / 1000 if type(lasts) is int else None)

    def _begin(
        self,
        message: Incoming,
        request: Request,
        headers: Mapping[str, Any],
        send: Send | None,
        lasts: float | None = None,
    ) -> Answer | Coroutine[Any, Any, Answer]:
        request.correlation_id = message.correlation_id  # type: ignore[misc]  # a copy costs 0.6 us
        request.raw_headers = headers  # type: ignore[misc]
        left = None
        if request.deadline is not None:
            now = self._clock()
            left = request.deadline - now
            at_first = headers.get(HEADER_TIME_LEFT)
            if type(at_first) is int:
                by_clock, left = left, self._time_left.of(request.deadline, at_first / 1000, lasts)
                if abs(by_clock - left) > _CLOCKS_DIFFER:
                    request = replace(request, deadline=now + left)
            if not left > 0:  # so that NaN counts as passed
                return self._answers.expired(message, left)
        found = self._find(request.event)
        if found is None:
            return self._answers.unhandled(message, request.event)
        is_async, handler, asks = found
        if left is not None and not is_async:
            takes = self._takes.get(request.event, 0.0)
            if left < takes + min(2 * takes, _TRIP):
                self._takes[request.event] = takes * _FORGETS  # lest one that was slow once be the last
                return self._answers.expired(message, left, takes)
        traceparent, traced = headers.get(HEADER_TRACEPARENT), None
        if traceparent is not None:
            traced = tracing.of(traceparent, self.name, message, request)
        if is_async:
            deadline = Deadline.after(left)
            if asks:
                more = MoreTime(self.name, message, request, deadline, send)
                handler = partial(more_time.call, more, handler)
            if traced is None:
                return self._awaiting.answer(message, request, handler, deadline)
            return self._awaiting.traced(traced, message, request, handler, deadline)
        if traced is None:
            return self._ask(message, request, handler)
        with traced:
            return traced.told(self._ask(message, request, handler))

    def alone(self, answer: Answer) -> Answer:
        """Return what to send where ``answer`` has no body, and nobody but this service got the request."""
        found = self._alone.answer(answer)
        if found.result is Result.UNHANDLED:
            self._answers.last_failure = time.monotonic(), self._alone.why
        return found

    def refuse(self, message: Incoming, user: str | None) -> Answer:
        """The answer to a message of somebody whose requests are not taken: ``user`` of RabbitMQ."""
        return self._answers.refused(message, user)

    def _ask(self, message: Incoming, request: Request, handler: Callable[[Request], Any]) -> Answer:
        began = time.monotonic()
        try:
            found = handler(request)
        except (Exception, asyncio.CancelledError) as exc:  # the result of a cancelled future, for one
            return self._answers.failed(message, request, exc)
        takes = self._takes.get(request.event, 0.0)
        self._takes[request.event] = takes + (time.monotonic() - began - takes) * _LEARNS
        return self._answers.decided(message, request, found)
