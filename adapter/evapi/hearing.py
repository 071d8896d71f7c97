"""Whether a connection still brings what Kamailio sends. Pure.

A network may swallow what is sent either way and end no connection: a proxy that acknowledges, for one. Who
then goes on to write answers loses each. A configuration with receipts shows it within their time; without,
what another replica claims does: every replica reads every event.
"""

from __future__ import annotations

from typing import Final

SILENT: Final = 0.15
"""Seconds in which nothing was read, at least: Kamailio's reader and ours may be late for a moment."""
CLOCKS: Final = 0.05
"""Seconds by which a connection must have been silent before what it should have brought, at least: all
replicas go by one clock, give or take a few ms."""
SURE_AFTER: Final = 0.05
"""Seconds after which it is certain: this process itself may have stood still, and not read yet."""


class Hearing:
    """Of one node's connections, one after the other. Times are seconds by the loop's clock.

    ``deaf``: the last one brought nothing, and since then none has brought an event.
    """

    __slots__ = ("_heard_at", "_missed_at", "deaf")

    def __init__(self) -> None:
        self._heard_at = 0.0
        self._missed_at: float | None = None
        self.deaf = False

    def connected(self, now: float) -> None:
        """Take in that there is a new connection."""
        self._heard_at, self._missed_at = now, None

    def heard(self, now: float) -> None:
        """Take in that something was read."""
        self._heard_at, self._missed_at = now, None

    def missed(self, ago: float, now: float) -> bool:
        """Take in that another replica read an event.

        Args:
            ago: seconds since it was read there.
            now: this moment.

        Returns:
            True if the connection has not brought it, though it stood by then, and nothing since: whoever
            asks again after ``SURE_AFTER`` (``lasts``) knows.
        """
        silent = now - self._heard_at
        if self._missed_at is not None or silent < SILENT or silent < ago + CLOCKS:
            return False
        self._missed_at = now
        return True

    def lasts(self) -> bool:
        """Whether nothing was read since ``missed`` said so; then it is ``deaf``."""
        self.deaf = self.deaf or self._missed_at is not None
        return self._missed_at is not None
