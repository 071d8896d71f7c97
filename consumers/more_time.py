"""More time for a decision: what a handler asks for that cannot decide before its deadline."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from consumers.messages import Extension

if TYPE_CHECKING:
    from adapter.contract import Request
    from consumers.deadline import Deadline
    from consumers.messages import Incoming

Send = Callable[[Any, Extension], None]
"""Sends a reply to a message before its answer, at once."""


class MoreTime:
    """Asks for more time, once for a request. An ``async def`` gets it by a parameter of this type.

    ::

        @service.on("invite_request")
        async def decide(request: Request, more: MoreTime) -> Decision:
            if slow(request):
                more.ask(1.5)
            return route(await gateway_of(request))
    """

    __slots__ = ("_asked", "_deadline", "_message", "_request", "_send", "_service")

    def __init__(
        self, service: str, message: Incoming, request: Request, deadline: Deadline, send: Send | None
    ) -> None:
        self._service = service
        self._message = message
        self._request = request
        self._deadline = deadline
        self._send = send
        self._asked = False

    def ask(self, seconds: float) -> bool:
        """Ask for more time. It is sent at once; the request's deadline and that of its handler move.

        The adapter moves its own once for a call, as far as ``max_deadline`` of the event's policy, and says
        nothing of it: a decision that comes too late all the same comes to nothing.

        Args:
            seconds: from the deadline that there is.

        Returns:
            False if it was not asked for: it was before, the deadline is over, or nobody waits for a decision
            (a notice, what an observer gets).

        Raises:
            ValueError: these are no seconds: a number above 0.
        """
        if not (seconds > 0 and math.isfinite(seconds)):
            raise ValueError(f"more time: {seconds!r} is no number of seconds above 0")
        id_, before = self._message.correlation_id, self._request.deadline
        if self._asked or id_ is None or before is None or not self._deadline.extend(seconds):
            return False
        self._asked = True
        self._request.deadline = before + seconds  # type: ignore[misc]  # for ``time_left``
        if self._send is not None:
            self._send(self._message, Extension(id_, self._service, seconds))
        return True


_current: ContextVar[MoreTime] = ContextVar("evapi_more_time")
"""That of the request whose handler begins. So handlers that ask for nothing cost nothing more."""


def call(more: MoreTime, handler: Callable[[Request], Any], request: Request) -> Any:
    """Call a handler that may ask for more time by ``more``."""
    _current.set(more)
    return handler(request)


def current(_: Request) -> MoreTime:
    """Return that of the request whose handler is called in this task."""
    return _current.get()
