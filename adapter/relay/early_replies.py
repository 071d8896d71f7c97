"""Replies to calls that nobody has claimed yet, or to requests that are not next yet, as far as the store
knows. Pure.

A replica publishes requests and tells the store of what led to them side by side. Where the replies come to
another replica, at a hand-over, one may be there first: it waits for that, or would be lost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LOOKS: Final = (0.03, 0.09, 0.21, 0.45, 0.93)
"""Seconds after which a reply is settled again: a claim is told within 10 ms by a replica that does not
stand still. One that stands still for longer than its lease has lost what it claimed."""


MOST: Final = 2_000
"""Replies that wait at a time: at a hand-over these are few. Many at once are stale, such as those of a
queue that nobody has consumed for long, and to look at each six times would hold up all others."""


K = TypeVar("K")
T = TypeVar("T")


class EarlyReplies(Generic[K, T]):
    """Times are seconds of any one clock.

    Args:
        key_of: tells replies apart: of those with one key, the first waits.

    Attributes:
        waiting: what waits, by key: the reply, since when, and how many looks it has had. It is empty but
            at a hand-over, and whoever has nothing to do with it looks at that alone.
    """

    def __init__(self, key_of: Callable[[T], K]) -> None:
        self._key_of = key_of
        self.waiting: dict[K, tuple[T, float, int]] = {}

    def add(self, replies: Sequence[T], now: float) -> list[T]:
        """Keep these until their next look. Gives those that have had their last: nobody has asked."""
        given_up = []
        for reply in replies:
            key = self._key_of(reply)
            first, since, looks = self.waiting.get(key, (reply, now, 0))
            if key not in self.waiting and len(self.waiting) >= MOST:
                given_up.append(reply)
            elif looks < len(LOOKS):
                self.waiting[key] = first, since, looks
            else:
                del self.waiting[key]
                given_up.append(reply)
        return given_up

    def due(self, now: float) -> list[T]:
        """Those to be settled again now: each is to be ``add``\\ed or ``drop``\\ped then."""
        found = []
        for key, (reply, since, looks) in self.waiting.items():
            if looks < len(LOOKS) and now >= since + LOOKS[looks]:
                found.append(reply)
                self.waiting[key] = reply, since, looks + 1
        return found

    def drop(self, replies: Sequence[T]) -> None:
        """Forget these: they are settled."""
        for reply in replies:
            self.waiting.pop(self._key_of(reply), None)
