"""Whether a connection is half open: it stands, and brings nothing of what Kamailio sends. Pure.

A network may swallow what is sent either way and end no connection; a proxy that acknowledges does, for one.
A replica that goes on to write answers there loses each. With receipts their lateness shows it. Without, the
claims of another replica do: every replica reads every event.
"""

from __future__ import annotations

from typing import Final

SILENT: Final = 0.15
"""Seconds in which nothing was read, at least: Kamailio's reader and ours may be late for a moment."""
CLOCKS: Final = 0.05
"""Seconds by which the silence must be longer than the event is old: all replicas go by one clock, give or
take a few ms."""
SURE_AFTER: Final = 0.05
"""Seconds after which a suspicion is looked at again: this process may have stood still, and not read yet."""


class HalfOpen:
    """Watches one node's connections, one after the other. Times are seconds by the loop's clock.

    Attributes:
        read_at: when something was read last, or when the connection began. The link sets it with each read.
        proven: a connection was half open, and none has brought an event since.
    """

    __slots__ = ("_suspected", "proven", "read_at")

    def __init__(self, read_at: float = 0.0) -> None:
        self.read_at = read_at
        self.proven = False
        self._suspected: float | None = None  # what ``read_at`` was then

    def suspect(self, ago: float, now: float) -> bool:
        """Note that another replica read an event.

        Args:
            ago: seconds since the other replica read it.
            now: this moment.

        Returns:
            True if the connection should have brought it and has brought nothing since: to be confirmed
            after ``SURE_AFTER``. False if not, or if it is suspected already.
        """
        silent = now - self.read_at
        if self._suspected == self.read_at or silent < SILENT or silent < ago + CLOCKS:
            return False
        self._suspected = self.read_at
        return True

    def confirm(self) -> bool:
        """Return True, and hold it proven, if nothing was read since it was suspected."""
        suspected = self._suspected == self.read_at
        self.proven = self.proven or suspected
        return suspected
