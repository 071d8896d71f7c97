"""This process's clock, and what Redis' clock says of it. Pure.

Three clocks could say what time it is: this machine's, the other replicas', Redis'. Any of them may be wrong,
or jump. So a replica looks at its machine's once, when it starts; from then on its seconds are the
monotonic clock's, and no step of any other clock moves a deadline. With each beat Redis tells its time
(``Timekeeping``), by which all replicas follow one clock: a replica that has just started, and reads no node
yet, steps to it; later it is followed by at most ``SLEW``.

So all times that cross machines (records in Redis, deadlines to consumers, the journal) are by this shared
clock. Where Redis' clock jumps alone, the replicas keep their time, all of them alike, and follow it slowly.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

SLEW: Final = 0.01
"""Seconds by which the clock is moved in a second, at most: the deadline of a call that waits 2 s moves by
20 ms. Clocks of machines drift by 0.00005."""
LONGEST: Final = 1.0
"""Seconds between two looks that count for the slew, at most: who stood still moves nothing at once."""
WRONG: Final = 1.0
"""Seconds by which a clock is off so that calls are harmed: another replica's deadlines are its own, too."""


class Clock:
    """Called, it gives epoch seconds that pass as the monotonic clock's do.

    Args:
        monotonic: the clock by which its seconds pass.
        wall: this machine's epoch seconds, looked at once.
    """

    def __init__(
        self, monotonic: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time
    ) -> None:
        self._monotonic = monotonic
        self._base = wall() - monotonic()

    def __repr__(self) -> str:
        return f"<Clock {self():.3f}>"

    def __call__(self) -> float:
        """Epoch seconds."""
        return self._monotonic() + self._base

    def move(self, by: float) -> None:
        """Set the clock forward by so many seconds, or back."""
        self._base += by


class Timekeeping:
    """Keeps a ``clock`` with Redis', within bounds. Times are epoch seconds by that clock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._learned: float | None = None
        self.off = 0.0
        """Seconds by which the clock is ahead of Redis', as far as that is beyond doubt; negative: behind."""
        self.corrected = 0.0
        """Seconds by which this machine's clock was ahead when it was set by Redis'; negative: behind."""

    def __repr__(self) -> str:
        return f"<Timekeeping {self.off:+.3f} s off Redis'>"

    def learn(
        self, theirs: float, asked: float, answered: float, others: Iterable[float], may_step: bool
    ) -> float:
        """Take in what Redis' clock said between two moments, and correct the clock.

        Args:
            theirs: epoch seconds by Redis' clock.
            asked: when Redis was asked.
            answered: when its answer was there.
            others: seconds by which the clocks of the replicas that live are ahead of Redis'.
            may_step: nothing goes by the clock yet, so that it may be set. Only the first time.

        Returns:
            Seconds by which the clock was set, 0.0 where it was not, or only slewed.
        """
        before, self._learned = self._learned, answered
        ahead, doubt = (asked + answered) / 2 - theirs, (answered - asked) / 2
        if before is None and may_step:
            self.corrected = ahead - agreed(others)  # they have kept their time while Redis' clock jumped
            self._clock.move(-self.corrected)
            self._learned = answered - self.corrected
            self.off = agreed(others)
            return -self.corrected
        self.off = math.copysign(max(abs(ahead) - doubt, 0.0), ahead)
        if before is not None:
            most = SLEW * min(max(answered - before, 0.0), LONGEST)
            self._clock.move(-min(max(self.off, -most), most))
        return 0.0

    def is_wrong(self, others: Iterable[float]) -> bool:
        """Return True if calls are harmed by how far this clock is off, and less so by another's.

        Args:
            others: seconds by which the clocks of the replicas are ahead of Redis' that can serve instead.
        """
        return any(abs(self.off) > abs(other) + WRONG for other in others)


def agreed(others: Iterable[float]) -> float:
    """Seconds by which the other replicas are ahead of Redis' clock; 0.0 where any of them goes by it."""
    nearest = min(others, key=abs, default=0.0)
    return nearest if abs(nearest) > WRONG else 0.0
