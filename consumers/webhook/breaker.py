"""Which URL is let alone for a while. Pure: told the time, never asks for it.

::

    state     asked        goes to
    CLOSED    by all       OPEN after so many failures in a row, or at once when the server asks for a pause
    OPEN      by nobody    HALF_OPEN when the pause is over
    HALF_OPEN by one       CLOSED if that one is answered, OPEN if it fails
"""

from __future__ import annotations

from enum import Enum


class State(Enum):
    """What a URL is thought of."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half open"


class Breaker:
    """One URL's. Each ``allows`` that gave True is followed by one of the three other verbs.

    Args:
        after: Failures in a row that open it; 0: it never opens by itself.
        pause: Seconds for which it then stays open.
    """

    def __init__(self, after: int, pause: float) -> None:
        self._after = after
        self._pause = pause
        self._failures = 0
        self._until = 0.0
        self._probing = False
        self.state = State.CLOSED

    def __repr__(self) -> str:
        return f"<Breaker {self.state.value} failures={self._failures}>"

    def allows(self, now: float) -> bool:
        """Return True if the URL may be asked. In HALF_OPEN one caller gets a True: its probe."""
        if self.state is State.OPEN and now >= self._until:
            self.state, self._probing = State.HALF_OPEN, False
        if self.state is State.HALF_OPEN and not self._probing:
            self._probing = True
            return True
        return self.state is State.CLOSED

    def left(self, now: float) -> float:
        """Return the seconds until the URL may be asked; 0 if that is now."""
        return max(0.0, self._until - now) if self.state is State.OPEN else 0.0

    def answered(self) -> bool:
        """Note that the server answered. Returns True if that closed it."""
        closed = self.state is State.HALF_OPEN
        if self.state is not State.OPEN:
            self.state, self._probing = State.CLOSED, False
        self._failures = 0
        return closed

    def failed(self, now: float, pause: float | None = None) -> bool:
        """Note a failure. Returns True if that opened it.

        Args:
            now: Seconds of the caller's clock.
            pause: Seconds for which the server asked to be let alone, if it did: that opens it at once.
        """
        self._failures += 1
        probe_failed = self.state is State.HALF_OPEN
        tripped = self.state is State.CLOSED and 0 < self._after <= self._failures
        if pause is None and not probe_failed and not tripped:
            return False
        was_open = self.state is State.OPEN
        until = now + (self._pause if pause is None else pause)
        self._until = max(self._until, until) if was_open else until
        self.state, self._probing = State.OPEN, False
        return not was_open

    def abandoned(self) -> None:
        """Note that nothing was learned: the one who asked went away."""
        if self.state is State.HALF_OPEN:
            self._probing = False
