"""Places to write to that take nothing."""

from __future__ import annotations

import os

from tests.harness.process import fill


class Output:
    """Where a process writes: ``full`` disk, a pipe whose reader is ``gone``, or one ``unread``."""

    def __init__(self, broken: str) -> None:
        self.reads, self.writes = os.pipe()
        if broken == "full":
            os.dup2(os.open("/dev/full", os.O_WRONLY), self.writes)
        if broken == "unread":
            fill(self.writes)
        if broken == "gone":
            self.leave()

    def leave(self) -> None:
        """End its reader."""
        os.dup2(os.open(os.devnull, os.O_RDONLY), self.reads)

    def close(self) -> None:
        """Close both ends."""
        os.close(self.reads)
        os.close(self.writes)
