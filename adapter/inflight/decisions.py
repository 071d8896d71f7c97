"""Decisions kept for equal calls: the newest in this process, all of them in the store that replicas share.

What is kept here and still fresh is taken from here. Else the store is asked, as another replica may have a
fresher one, but nobody waits long for it: a call whose decision is not found is asked about as any other.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

import msgpack
import structlog

from adapter.errors import StoreUnavailable
from adapter.ports.cache import Kept

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from adapter.ports.store import Store

log = structlog.get_logger()

MOST: Final = 10_000
"""Decisions that are kept here, as many as calls of a node are in flight at most by default; of more, the one
that was used the longest ago goes."""
MOST_BYTES: Final = 16 << 20
"""Of their keys and texts: 1.6 KB for each of so many. A decision has a few hundred bytes, but may have
thousands, and what services answer must not fill the memory."""
PATIENCE: Final = 0.05
"""Seconds for which a call waits for the store, which answers within 1 ms: little of any deadline."""
LONGEST: Final = 10 * 365 * 86_400.0
"""Seconds for which the store keeps anything. It refuses times without end."""


class DecisionCache:
    """The port ``Decisions``."""

    def __init__(self, store: Store, clock: Callable[[], float]) -> None:
        """Keep nothing yet.

        Args:
            store: where other replicas find what is kept, if they share it.
            clock: gives epoch seconds, the same for all replicas.
        """
        self._store = store
        self._clock = clock
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._bytes = 0
        self._telling: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"<DecisionCache {len(self._kept)} decisions, {self._bytes} bytes>"

    def near(self, key: str) -> Kept | None:
        """See ``ports.cache.Decisions``."""
        kept = self._kept.get(key)
        if kept is None:
            return None
        if kept.stale_until <= self._clock():
            self._drop(key)
            return None
        self._kept.move_to_end(key)
        return kept

    async def find(self, key: str) -> Kept | None:
        """See ``ports.cache.Decisions``. One that is not fresh is given if the store has no fresher one."""
        here = self.near(key)
        if here is not None and here.fresh_until > self._clock():
            return here
        theirs = await self._far(key)
        here = self.near(key)  # something may have been kept meanwhile
        if theirs is None or (here is not None and here.fresh_until >= theirs.fresh_until):
            return here
        self._put(key, theirs)
        return theirs

    def keep(self, key: str, kept: Kept) -> None:
        """See ``ports.cache.Decisions``."""
        left = kept.stale_until - self._clock()
        if not left > 0:
            return
        self._put(key, kept)
        self._tell(self._store.remember(key, msgpack.packb(tuple(kept)), min(left, LONGEST)))

    async def close(self) -> None:
        """See ``ports.cache.Decisions``. The store has been told of all by then, or is away."""
        if self._telling:
            await asyncio.wait(self._telling)

    async def _far(self, key: str) -> Kept | None:
        """Return what the store has, if it says so soon."""
        try:
            async with asyncio.timeout(PATIENCE):
                found = await self._store.recall(key)
        except (StoreUnavailable, TimeoutError):
            return None
        kept = None if found is None else _unpacked(found)
        return kept if kept is not None and kept.stale_until > self._clock() else None

    def _tell(self, telling: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(_told(telling))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    def _put(self, key: str, kept: Kept) -> None:
        self._drop(key)
        self._kept[key] = kept
        self._bytes += _size(key, kept)
        while len(self._kept) > MOST or self._bytes > MOST_BYTES:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: str) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            self._bytes -= _size(key, kept)


async def _told(telling: Coroutine[Any, Any, None]) -> None:
    try:
        await telling
    except StoreUnavailable as exc:
        log.debug("a decision is kept here alone", error=str(exc))


def _size(key: str, kept: Kept) -> int:
    return len(key) + len(kept.decision)


def _unpacked(found: bytes) -> Kept | None:
    """Read what the store has. What is not understood was written by another version, or by hand."""
    try:
        decision, fresh_until, stale_until, *_ = msgpack.unpackb(found)
    except (ValueError, TypeError):  # msgpack's own errors are ValueErrors
        return None
    if isinstance(decision, bytes) and isinstance(fresh_until, float) and isinstance(stale_until, float):
        return Kept(decision, fresh_until, stale_until)
    return None
