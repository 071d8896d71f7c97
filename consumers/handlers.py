"""The handlers of a service: what a request of each event calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from adapter.contract import Request
from consumers.lifespan import Lifespans
from consumers.parameters import Call, SignatureError, is_async

if TYPE_CHECKING:
    from collections.abc import Iterator

Bound = Callable[[Request], Any]
Around = Callable[[str, bool, Bound], Bound]
"""Given an event, whether its handler is a coroutine, and the handler: gives what is called in its place."""


class Handlers:
    """Those of one service, and what they get from its lifespans.

    ``bound``: for each event whether its handler is a coroutine, what to call with the request, and whether
    it may ask for more time.
    """

    def __init__(self) -> None:
        self.bound: dict[str, tuple[bool, Bound, bool]] = {}
        self.lifespans = Lifespans()
        self._calls: dict[str, Call] = {}
        self._troubles: dict[str, str] = {}
        self._around: list[Around] = []

    def __iter__(self) -> Iterator[str]:
        """The events."""
        return iter(self._calls)

    def add(self, event: str, handler: Callable[..., Any]) -> None:
        """Register the handler of an event that has none."""
        name = getattr(handler, "__name__", type(handler).__name__)
        self._calls[event] = Call(handler, f"{name} of {event!r}", self.lifespans.made)
        self._bind(event)

    def add_lifespan(self, function: Callable[[], Any]) -> None:
        """Register a lifespan. Raises SignatureError."""
        self.lifespans.add(function)
        self._bind(*self._calls)

    def wrap(self, around: Around) -> None:
        """Put something around every handler."""
        self._around.append(around)
        self._bind(*self._calls)

    def check(self) -> None:
        """Raises SignatureError if a handler's parameters ask for what nothing gives."""
        troubles = sorted({trouble for trouble in self._troubles.values() if trouble})
        if troubles:
            raise SignatureError("; ".join(troubles))

    def _bind(self, *events: str) -> None:
        for event in events:
            call = self._calls[event]
            waits = is_async(call.handler)
            bound, self._troubles[event] = call.bound(self.lifespans.kinds)
            for around in self._around:
                bound = around(event, waits, bound)
            self.bound[event] = (waits, bound, waits and call.may_ask_for_time)
