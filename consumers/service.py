"""A service and its core: a request's message in, the answer's message out; no transport.

RabbitMQ (``consumers.amqp``), the adapter's embedded broker and the test helper
(``consumers.testing``) all go through ``Service.begin``, so each meets the same codec,
deadlines and failures.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final, Literal, Protocol, TypeVar

from adapter.contract import (
    HEADER_SERVICE,
    HEADER_STATUS,
    HEADER_TIME_LEFT,
    HEADER_TRACEPARENT,
    HEADER_VERSION,
    MSGPACK,
    STATUS_FAILED,
    VERSION,
    Decision,
    Request,
    decode_request,
    encode_reply,
    word,
)
from adapter.records import record
from consumers import tracing
from consumers.deadline import Deadline, TimeLeft
from consumers.decisions import DecisionError

_log = logging.getLogger("consumers")

Handler = Callable[[Request], Decision | None] | Callable[[Request], Awaitable[Decision | None]]
_H = TypeVar("_H", bound=Handler)

_DAY: Final = 86_400.0
_CLOCKS_DIFFER: Final = 0.05
"""Seconds by which clocks may differ before a request's deadline is told by this machine's."""
_CLOCKS_HINT_EVERY: Final = 5.0
_REFUSED_EACH: Final = 1.0
_LEARNS: Final = 0.125
"""The share of what one request has taken in what the next is expected to take."""
_FORGETS: Final = 0.9
"""What is left of that after a request that was given up for it."""
_TRIP: Final = 0.03
"""Seconds for which an answer is on its way back, behind one that computes, at most."""


class Result(StrEnum):
    """What became of a message."""

    DECIDED = "decided"  # the handler decided; the answer has a body
    FAILED = "failed"  # the handler raised or gave no decision; the answer says so
    NOTED = "noted"  # a notice: nobody waits for an answer
    EXPIRED = "expired"  # not handled: its deadline had passed, or would have by the time of the answer
    LATE = "late"  # its deadline passed while the handler was at it: cancelled
    REJECTED = "rejected"  # not a request: to the dead letters
    UNHANDLED = "unhandled"  # no handler of its event: this service has no say in it
    REFUSED = "refused"  # from somebody who may not ask this service: to the dead letters


class UnknownEvent(LookupError):
    """No handler is registered for the event of a request."""

    def __init__(self, service: str, event: str) -> None:
        super().__init__(f"{service} has no handler of {event!r}")
        self.event = event


class Incoming(Protocol):
    """What the core reads of a message."""

    @property
    def body(self) -> bytes:
        """The encoded request."""
        ...

    @property
    def correlation_id(self) -> str | None:
        """The id of the answer; ``None`` where nobody waits for one."""
        ...

    @property
    def headers(self) -> Mapping[str, Any]:
        """The message's headers."""
        ...


@dataclass(frozen=True, slots=True)
class Message:
    """A request as it came from a transport."""

    body: bytes
    correlation_id: str | None = None
    content_type: str | None = MSGPACK
    headers: Mapping[str, Any] = field(default_factory=dict)


@record
class Answer:
    """What to do with a message: send ``body``, where there is one, then acknowledge or reject.

    ``error`` is why it failed or was rejected. It stays in this process.
    """

    result: Result
    correlation_id: str | None = None
    body: bytes | None = None
    content_type: str | None = MSGPACK
    headers: Mapping[str, str] = field(default_factory=dict)
    error: BaseException | None = None

    @property
    def rejected(self) -> bool:
        """Whether the message belongs to the dead letters."""
        return self.result in (Result.REJECTED, Result.REFUSED)


def time_left(request: Request) -> float | None:
    """Seconds until the deadline, negative once it has passed; ``None`` for a notice."""
    return None if request.deadline is None else request.deadline - time.time()


class Service:
    """Handlers of events under one name. Its instances, in any number of processes, compete.

    name: names its queue, ``evapi.decide.<name>``; letters, digits, ``_`` and ``-``.
    prefetch: how many requests one process works on at a time.
    queue_type, max_length, delivery_limit: of its queue, fixed when that is first declared.
    ``max_length``: what waits at most (the oldest gives way); ``delivery_limit``, of a quorum
    queue only: how often a request is tried whose consumer died over it.
    """

    def __init__(
        self,
        name: str,
        *,
        prefetch: int = 100,
        queue_type: Literal["classic", "quorum"] = "classic",
        max_length: int = 100_000,
        delivery_limit: int = 3,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if not name or word(name) != name or len(name) > 100:
            raise ValueError(f"service name {name!r}: 1 to 100 letters, digits, _ and -")
        if queue_type not in ("classic", "quorum"):
            raise ValueError(f"queue_type {queue_type!r} is neither 'classic' nor 'quorum'")
        if not 0 < prefetch < 65_536:
            raise ValueError(f"prefetch {prefetch} is not from 1 to 65535")
        self.name = name
        self.prefetch = prefetch
        self.queue_type = queue_type
        self.max_length = max_length
        self.delivery_limit = delivery_limit
        self.counts: Counter[Result] = Counter()
        self._headers: Mapping[str, str] = MappingProxyType({HEADER_SERVICE: name})
        self._clock = clock
        self._handlers: dict[str, tuple[bool, Callable[[Request], Any]]] = {}
        self._at_start: list[Callable[[], object]] = []
        self._hinted = self._refused_at = float("-inf")
        self.unread: Callable[[], float] = lambda: 0.0
        """Gives the seconds for which a message may have lain unread in this process, at most."""
        self._time_left = TimeLeft(unread=lambda: self.unread())
        self._takes: dict[str, float] = {}  # seconds of late, by event, of handlers on the event loop

    def __repr__(self) -> str:
        counts = " ".join(f"{result}={self.counts[result]}" for result in Result)
        return f"<Service {self.name} on {','.join(self.events) or 'nothing'} {counts}>"

    @property
    def events(self) -> tuple[str, ...]:
        """The events it has handlers for."""
        return tuple(self._handlers)

    def on(self, *events: str) -> Callable[[_H], _H]:
        """Register a handler of ``events``: ``async def decide(request: Request) -> Decision``.

        It gets ``None`` for an answer of a notice: that is ignored. A handler still at work at
        its request's deadline is cancelled. A plain ``def`` runs on the event loop, so it must
        compute, not wait; what blocks belongs into ``await asyncio.to_thread(...)``. Inside the adapter
        (the embedded broker) what blocks for 3 s ends the process.
        Raises ValueError where an event has a handler already.
        """
        if not events or not all(isinstance(event, str) and event for event in events):
            raise ValueError('name the event: @service.on("invite_request")')

        def register(handler: _H) -> _H:
            if not callable(handler):
                raise ValueError(f"{handler!r} is no function")
            for event in events:
                if event in self._handlers:
                    raise ValueError(f"{self.name} has a handler of {event!r} already")
                self._handlers[event] = (_is_async(handler), handler)
            return handler

        return register

    def at_start(self, check: Callable[[], object]) -> Callable[[], object]:
        """Register what must succeed before the service begins, such as reading its files."""
        self._at_start.append(check)
        return check

    def prepare(self) -> None:
        """Run what ``at_start`` registered; raises what that raises."""
        for check in self._at_start:
            check()

    async def answer(self, message: Incoming) -> Answer:
        """The answer to a message. Raises nothing: whatever goes wrong is in the answer."""
        found = self.begin(message)
        return found if isinstance(found, Answer) else await found

    def begin(self, message: Incoming) -> Answer | Coroutine[Any, Any, Answer]:
        """As ``answer``, but at once where the handler is a plain ``def``: that needs no task."""
        try:
            headers = message.headers
            request = decode_request(message.body, _version(headers))
        except Exception as exc:  # bytes from anywhere: none of them may end the service
            return self._rejected(message, exc)
        left = None
        if request.deadline is not None:
            now = self._clock()
            left = request.deadline - now
            told = headers.get(HEADER_TIME_LEFT)
            if type(told) is int:
                by_clock, left = left, self._time_left.of(request.deadline, told / 1000)
                if abs(by_clock - left) > _CLOCKS_DIFFER:
                    request = replace(request, deadline=now + left)
            if not left > 0:  # so that NaN counts as passed
                return self._expired(message, left)
        found = self._handlers.get(request.event)
        if found is None:
            return self._unhandled(message, request.event)
        is_async, handler = found
        if left is not None and not is_async:
            takes = self._takes.get(request.event, 0.0)
            if left < takes + min(2 * takes, _TRIP):
                self._takes[request.event] = takes * _FORGETS  # lest one that was slow once be the last
                return self._expired(message, left, takes)
        traceparent, traced = headers.get(HEADER_TRACEPARENT), None
        if traceparent is not None:
            traced = tracing.of(traceparent, self.name, message.correlation_id, request)
        if is_async:
            if traced is None:
                return self._await(message, request, handler, left)
            return self._await_traced(traced, message, request, handler, left)
        if traced is None:
            return self._ask(message, request, handler)
        with traced:
            return traced.told(self._ask(message, request, handler))

    def refuse(self, message: Incoming, user: str | None) -> Answer:
        """The answer to a message of somebody whose requests are not taken: ``user`` of RabbitMQ."""
        now = self._clock()
        if now - self._refused_at >= _REFUSED_EACH:  # there may be as many as somebody likes
            self._refused_at = now
            _log.warning(
                "%s: refused, to the dead letters: a request by %s, whose requests are not taken "
                "(EVAPI_REQUESTS_FROM): %s; %d so far",
                *(self.name, user or "nobody known", _id(message), self.counts[Result.REFUSED] + 1),
            )
        return self._count(Answer(Result.REFUSED, message.correlation_id))

    def _ask(self, message: Incoming, request: Request, handler: Callable[[Request], Any]) -> Answer:
        began = time.monotonic()
        try:
            found = handler(request)
        except (Exception, asyncio.CancelledError) as exc:  # the result of a cancelled future, for one
            return self._failed(message, request, exc)
        takes = self._takes.get(request.event, 0.0)
        self._takes[request.event] = takes + (time.monotonic() - began - takes) * _LEARNS
        return self._decided(message, request, found)

    async def _await_traced(
        self,
        traced: tracing.Traced,
        message: Incoming,
        request: Request,
        handler: Callable[[Request], Any],
        left: float | None,
    ) -> Answer:
        with traced:
            return traced.told(await self._await(message, request, handler, left))

    async def _await(
        self, message: Incoming, request: Request, handler: Callable[[Request], Any], left: float | None
    ) -> Answer:
        until = None if left is None else asyncio.get_running_loop().time() + min(left, _DAY)
        deadline = Deadline(until)
        try:
            found = await deadline.bound(handler(request))
        except asyncio.CancelledError as exc:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            return self._failed(message, request, exc)  # by something of the handler's own
        except Exception as exc:
            if not deadline.passed:
                return self._failed(message, request, exc)
        if deadline.passed:
            _log.warning("%s: %s cancelled at its deadline: %s", self.name, request.event, _id(message))
            return self._count(Answer(Result.LATE, message.correlation_id))
        return self._decided(message, request, found)

    def _decided(self, message: Incoming, request: Request, found: Any) -> Answer:
        if message.correlation_id is None:
            return self._count(Answer(Result.NOTED))
        try:
            if type(found) is not dict and not isinstance(found, Mapping):
                raise DecisionError(f"a decision is a map, not {_described(found)}")
            for key in found:
                if type(key) is not str:
                    raise DecisionError("a decision's keys are strings")
            body = encode_reply(found)
        except Exception as exc:
            return self._failed(message, request, exc)
        return self._count(Answer(Result.DECIDED, message.correlation_id, body, MSGPACK, self._headers))

    def _failed(self, message: Incoming, request: Request, error: BaseException) -> Answer:
        _log.error("%s: %s failed: %s", self.name, request.event, _id(message), exc_info=error)
        if message.correlation_id is None:
            return self._count(Answer(Result.FAILED, error=error))
        # The type only: what the error says may be about other people's calls.
        body = encode_reply({"error": type(error).__name__})
        headers = {**self._headers, HEADER_STATUS: STATUS_FAILED}
        return self._count(Answer(Result.FAILED, message.correlation_id, body, MSGPACK, headers, error))

    def _rejected(self, message: Incoming, error: Exception) -> Answer:
        _log.error("%s: not a request, to the dead letters: %s: %s", self.name, _id(message), error)
        return self._count(Answer(Result.REJECTED, message.correlation_id, error=error))

    def _expired(self, message: Incoming, left: float, takes: float = 0.0) -> Answer:
        now = self._clock()
        if now - self._hinted >= _CLOCKS_HINT_EVERY:  # under overload this is every request
            self._hinted = now
            _log.warning(
                "%s: dropped, with %.3f s left where the handler takes %.3f s (overload, or clocks that "
                "differ?): %s; %d so far",
                *(self.name, left, takes, _id(message), self.counts[Result.EXPIRED] + 1),
            )
        return self._count(Answer(Result.EXPIRED, message.correlation_id))

    def _unhandled(self, message: Incoming, event: str) -> Answer:
        """Have no say: a service whose event has moved must not end the calls that another decides."""
        error = UnknownEvent(self.name, event)
        return self._count(Answer(Result.UNHANDLED, message.correlation_id, error=error))

    def _count(self, answer: Answer) -> Answer:
        self.counts[answer.result] += 1
        return answer


def _is_async(handler: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(type(handler).__call__)


def _version(headers: Mapping[str, Any]) -> int:
    version = headers.get(HEADER_VERSION, VERSION)
    if type(version) is not int:
        raise ValueError(f"{HEADER_VERSION} {version!r:.40} is no number")
    return version


def _id(message: Incoming) -> str:
    return "a notice" if message.correlation_id is None else message.correlation_id


def _described(found: object) -> str:
    if inspect.iscoroutine(found):
        found.close()
        return "a coroutine (is an await missing?)"
    return type(found).__name__
