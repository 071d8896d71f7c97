"""Pauses between attempts that fail. Pure."""

from __future__ import annotations

import random


class Backoff:
    """Pauses that grow from ``first`` twofold to ``longest`` seconds.

    ``spread``: each is shortened at random, to half of it at most, so that not all who lost one server come
    back to it at once.
    """

    def __init__(self, first: float, longest: float, spread: bool = True) -> None:
        self._first = first
        self._longest = longest
        self._spread = spread
        self._next = first

    def reset(self) -> None:
        """Begin anew: an attempt succeeded."""
        self._next = self._first

    def pause(self) -> float:
        """Return the seconds to wait now; the next pause is twice as long."""
        found, self._next = self._next, min(2 * self._next, self._longest)
        return found * random.uniform(0.5, 1) if self._spread else found
