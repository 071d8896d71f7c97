"""Log lines of which at most so many are written within a second. Pure."""

from __future__ import annotations


class Sparse:
    """At most so many lines within a second; the rest is counted. Pure."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._until = float("-inf")
        self._shown = 0
        self._hidden = 0

    def take(self, now: float) -> int | None:
        """None: leave this one out. Else how many were left out before it and not told of."""
        if now >= self._until:
            self._until, self._shown = now + 1.0, 0
        if self._shown >= self._most:
            self._hidden += 1
            return None
        self._shown += 1
        hidden, self._hidden = self._hidden, 0
        return hidden

    def left_out(self, now: float) -> int:
        """How many were left out, where their second is over; told once."""
        if not self._hidden or now < self._until:
            return 0
        hidden, self._hidden = self._hidden, 0
        return hidden
