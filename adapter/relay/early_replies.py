"""Replies to calls that nobody has claimed yet, as far as the store knows. Pure.

A replica publishes its claims and tells the store of them side by side. Where the replies come to another
replica, at a hand-over, one may be there first: it waits for its claim, or would be lost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adapter.model.transaction import Settlement, TransactionId

LOOKS: Final = (0.03, 0.09, 0.21, 0.45, 0.93)
"""Seconds after which a reply is settled again: a claim is told within 10 ms by a replica that does not
stand still. One that stands still for longer than its lease has lost what it claimed."""


MOST: Final = 2_000
"""Replies that wait at a time: at a hand-over these are few. Many at once are stale, such as those of a
queue that nobody has consumed for long, and to look at each six times would hold up all others."""


class EarlyReplies:
    """Times are seconds of any one clock.

    Attributes:
        waiting: what waits, by id: the settlement, since when, and how many looks it has had. It is empty but
            at a hand-over, and whoever has nothing to do with it looks at that alone.
    """

    def __init__(self) -> None:
        self.waiting: dict[TransactionId, tuple[Settlement, float, int]] = {}

    def add(self, settlements: Sequence[Settlement], now: float) -> list[Settlement]:
        """Keep these until their next look. Gives those that have had their last: nobody has asked."""
        given_up = []
        for settlement in settlements:
            first, since, looks = self.waiting.get(settlement.id, (settlement, now, 0))
            if settlement.id not in self.waiting and len(self.waiting) >= MOST:
                given_up.append(settlement)
            elif looks < len(LOOKS):
                self.waiting[settlement.id] = first, since, looks
            else:
                del self.waiting[settlement.id]
                given_up.append(settlement)
        return given_up

    def due(self, now: float) -> list[Settlement]:
        """Those to be settled again now: each is to be ``add``\\ ed or ``drop``\\ ped then."""
        found = []
        for id_, (settlement, since, looks) in self.waiting.items():
            if looks < len(LOOKS) and now >= since + LOOKS[looks]:
                found.append(settlement)
                self.waiting[id_] = settlement, since, looks + 1
        return found

    def drop(self, settlements: Sequence[Settlement]) -> None:
        """Forget these: they are settled."""
        for settlement in settlements:
            self.waiting.pop(settlement.id, None)
