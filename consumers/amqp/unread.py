"""For how long what is read may have lain in this process's socket."""

from __future__ import annotations

import asyncio
from typing import Final

LOOK_EACH: Final = 0.05
"""Seconds between two looks whether the socket is empty."""
LOOKS: Final = 1_200
"""After ``seconds`` was asked for."""


class Unread:
    """Looks whether a connection's socket is read empty, once somebody wants to know, for a minute.

    To be told of each ``batch``. That looks cost something, and only a request that seems to be past its
    deadline needs them.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._batches = 0
        self._empty_at = float("-inf")
        self._looks = 0
        self._timer: asyncio.TimerHandle | None = None

    def batch(self) -> None:
        """Take in that something was read."""
        self._batches += 1

    def seconds(self) -> float:
        """Return the seconds since the socket was seen empty last; infinity if it never was."""
        self._looks = LOOKS
        if self._timer is None:
            self._look()
        return self._loop.time() - self._empty_at

    def close(self) -> None:
        """Look no more."""
        self._looks = 0
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        self._looks -= 1
        self._timer = self._loop.call_later(LOOK_EACH, self._look) if self._looks > 0 else None
        # The second call comes after the loop has asked once more what can be read.
        self._loop.call_soon(self._loop.call_soon, self._seen, self._batches, self._loop.time())

    def _seen(self, batches: int, at: float) -> None:
        if batches == self._batches:
            self._empty_at = at
