"""Decisions kept for equal calls, in this process."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from adapter.ports.cache import Kept

MOST: Final = 10_000
"""Decisions that are kept; of more, the one that was used the longest ago goes."""


class NearDecisions:
    """The port ``Decisions``. ``clock`` gives epoch seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._kept: OrderedDict[str, Kept] = OrderedDict()

    def near(self, key: str) -> Kept | None:
        """See ``ports.cache.Decisions``."""
        kept = self._kept.get(key)
        if kept is None:
            return None
        if kept.stale_until <= self._clock():
            del self._kept[key]
            return None
        self._kept.move_to_end(key)
        return kept

    async def find(self, key: str) -> Kept | None:
        """See ``ports.cache.Decisions``."""
        return self.near(key)

    def keep(self, key: str, kept: Kept) -> None:
        """See ``ports.cache.Decisions``."""
        self._kept[key] = kept
        self._kept.move_to_end(key)
        if len(self._kept) > MOST:
            self._kept.popitem(last=False)

    async def close(self) -> None:
        """See ``ports.cache.Decisions``. Nothing to let go of."""
