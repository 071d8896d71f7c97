"""How far a replica has come in taking no more calls: one state, whatever the cause. Pure.

A replica drains in two steps. First it tells the other replicas, and still claims until one of them serves
its nodes (for a while), and until Kamailio, which it tells then, has read it. Then it claims nothing more,
and finishes what it has. An operator's order can be taken back; the end of the process cannot.
"""

from __future__ import annotations

import enum
from typing import Final


class Drain(enum.Enum):
    """The states."""

    SERVING = "serving"
    ANNOUNCED = "announced"
    """By an order: others are to take over, and Kamailio may not know it yet."""
    DRAINED = "drained"
    """By an order: Kamailio knows, so that nothing more is claimed."""
    ENDING = "ending"
    """As ``ANNOUNCED``, since the process ends."""
    ENDED = "ended"
    """As ``DRAINED``, since the process ends."""

    @property
    def accepts(self) -> bool:
        """Return True if the others and Kamailio may count on this replica."""
        return self is Drain.SERVING

    @property
    def claims(self) -> bool:
        """Return True if this replica still claims what Kamailio suspends."""
        return self not in (Drain.DRAINED, Drain.ENDED)

    @property
    def ends(self) -> bool:
        """Return True if the process ends, so that no order changes anything."""
        return self in (Drain.ENDING, Drain.ENDED)

    def after(self, event: DrainEvent) -> Drain:
        """Return the state after an event: the same if the table has no such row."""
        return TRANSITIONS.get((self, event), self)


class DrainEvent(enum.Enum):
    """What moves it on."""

    ORDERED = "an operator orders it"
    COUNTERMANDED = "an operator takes the order back"
    STOPPED = "the process is told to end"
    KNOWN = "every Kamailio has read it"


TRANSITIONS: Final = {
    (Drain.SERVING, DrainEvent.ORDERED): Drain.ANNOUNCED,
    (Drain.SERVING, DrainEvent.STOPPED): Drain.ENDING,
    (Drain.ANNOUNCED, DrainEvent.COUNTERMANDED): Drain.SERVING,
    (Drain.ANNOUNCED, DrainEvent.STOPPED): Drain.ENDING,
    (Drain.ANNOUNCED, DrainEvent.KNOWN): Drain.DRAINED,
    (Drain.DRAINED, DrainEvent.COUNTERMANDED): Drain.SERVING,
    (Drain.DRAINED, DrainEvent.STOPPED): Drain.ENDED,
    (Drain.ENDING, DrainEvent.KNOWN): Drain.ENDED,
}
