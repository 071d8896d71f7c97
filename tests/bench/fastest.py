"""The most calls a second of which 99 of 100 wait no longer than a bound; the machine runs all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from adapter.bench.load import Load
from tests.bench.rows import kept_up

if TYPE_CHECKING:
    from collections.abc import Callable

    from adapter.bench.load import Result

BOUND: Final = 50_000
"""Microseconds that are added to a call's own time at most, for 99 of 100."""
FIRST: Final = 1_000.0
"""Calls a second of the first load."""
STEP: Final = 1.15
LAST: Final = 20_000.0
"""More than two cores carry: the search ends."""


def fastest(measure: Callable[[Load], Result], seconds: float) -> float:
    """Return the highest rate, of rates that rise by ``STEP``, before the first that is not carried.

    Args:
        measure: puts a load on, and tells what came of it. Raises BenchError.
        seconds: of each load.

    Returns:
        Calls a second; 0 if the first rate is not carried.
    """
    found, rate = 0.0, FIRST
    while rate < LAST and carried(measure(Load(rate, seconds))):
        found, rate = rate, rate * STEP
    return found


def carried(result: Result) -> bool:
    """Return True if all calls were decided, at the rate, and in time."""
    return kept_up([result]) and result.added.p99 < BOUND
