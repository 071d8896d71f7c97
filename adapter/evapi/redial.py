"""When to connect again, and what to say of a connection that could not be kept. Pure."""

from __future__ import annotations

from typing import Final, NamedTuple

AT_ONCE: Final = 0.2
"""A connection that ends within these seconds with nothing read was not wanted."""
TELL_AGAIN: Final = 60.0
"""Seconds between two lines that say the same."""
WHY_AT_ONCE: Final = (
    "either evapi's max_clients (8 by default) is reached: count the connections to its port "
    "(`ss -tn` on Kamailio's host); or what is between closes it: a firewall, NetworkPolicy, tunnel or "
    "proxy that does not allow this address"
)


class Told(NamedTuple):
    """What is to be said, and how many ``times`` it happened since it was said last, where more than once."""

    reason: str
    times: int | None


class Redial:
    """Of one link. Seconds of a clock that does not go back."""

    def __init__(self, pause: float, longest: float) -> None:
        self._shortest = pause
        self._longest = longest
        self._pause = pause
        self._reason = ""
        self._told_at = float("-inf")
        self._untold = 0
        self.refused = False
        """Whether the last connection ended at once."""

    @property
    def pause(self) -> float:
        """Seconds to wait before the next try."""
        return self._pause

    def failed(self, reason: str, now: float) -> Told | None:
        """There was no connection. What to say of it, if anything."""
        self.refused = False
        self._ask_more_rarely()
        return self._tell(reason, now)

    def ended(self, reason: str, seconds: float, read: bool, now: float) -> Told | None:
        """A connection has ended; ``read``: something came from it. What to say of it, if anything."""
        self.refused = seconds <= AT_ONCE and not read
        if not self.refused:
            self._pause, self._reason = self._shortest, ""
        else:  # by max_clients, or by a proxy whose Kamailio restarts
            self._ask_more_rarely()
        return self._tell(reason, now)

    def _ask_more_rarely(self) -> None:
        self._pause = min(self._pause * 2, self._longest)

    def _tell(self, reason: str, now: float) -> Told | None:
        self._untold += 1
        if reason == self._reason and now < self._told_at + TELL_AGAIN:
            return None
        times = self._untold if reason == self._reason and self._untold > 1 else None
        self._reason, self._told_at, self._untold = reason, now, 0
        return Told(reason, times)
