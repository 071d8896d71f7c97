"""The journal of a replica that has no Redis: in memory, for as long and as much as is affordable. Pure."""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import Final

MOST_BYTES: Final = 16_000_000
"""Bytes that are kept, some 60,000 calls; of more the oldest go."""


class KeptJournal:
    """Entries with ids as Redis' streams have them: milliseconds, and a number."""

    def __init__(self) -> None:
        self._entries: deque[tuple[int, int, bytes]] = deque()
        self._bytes = 0

    def add(self, entry: bytes, now: float, seconds: float) -> None:
        """Keep an entry for so many seconds; ``now`` in epoch seconds."""
        at, number = int(now * 1000), 0
        if self._entries and self._entries[-1][0] >= at:
            at, number = self._entries[-1][0], self._entries[-1][1] + 1
        self._entries.append((at, number, entry))
        self._bytes += len(entry)
        oldest = at - int(seconds * 1000)
        while self._entries and (self._entries[0][0] < oldest or self._bytes > MOST_BYTES):
            self._bytes -= len(self._entries.popleft()[2])

    def read(self, after: str, most: int) -> list[tuple[str, bytes]]:
        """See ``ports.inspection.Inspection.journal``. Raises ValueError for an id that is none."""
        if after == "$":
            return [(f"{at}-{number}", b"") for at, number, _ in islice(reversed(self._entries), 1)]
        first, _, second = after.partition("-")
        begin = (int(first), int(second or 0))
        later = (each for each in self._entries if after == "0" or each[:2] > begin)
        return [(f"{at}-{number}", entry) for at, number, entry in islice(later, most)]
