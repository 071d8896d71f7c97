"""What was decided of calls, kept for equal ones. Implemented by ``inflight.decisions``."""

from __future__ import annotations

from typing import NamedTuple, Protocol


class Kept(NamedTuple):
    """A decision that is kept.

    ``decision``: JSON text. In epoch seconds: until when it holds, and is of use if nobody decides.
    """

    decision: bytes
    fresh_until: float
    stale_until: float


class Decisions(Protocol):
    """The port."""

    def near(self, key: str) -> Kept | None:
        """Return what this process keeps. Never waits."""
        ...

    async def find(self, key: str) -> Kept | None:
        """Return what is kept here or by other replicas; None also if nobody can tell soon. Never raises."""
        ...

    def keep(self, key: str, kept: Kept) -> None:
        """Keep a decision. Never waits."""
        ...

    async def close(self) -> None:
        """Stop keeping."""
        ...
