"""Rows in which clocks are wrong: of replicas and Redis by 30 s, of consumers by a deadline, 3 s."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.chaos import faults_clocks as clocks
from tests.chaos.report import Bounds
from tests.chaos.row import Row
from tests.chaos.servers import Kind
from tests.chaos.world import DEADLINE, Setup

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.chaos.world import World

FAR: Final = 30.0
BRIEFLY: Final = 3.0
SECONDS: Final = 20.0
"""Of each row: seven deadlines."""
_BOUNDS: Final = Bounds(0.99)
_SETUP: Final = Setup(clocked=True)


def _rows(
    who: str, put: Callable[[World], Callable[[float], None]], far: float, *, briefly: bool
) -> tuple[Row, ...]:
    return tuple(
        Row(
            f"clock of {who} {off:+g} s{'' if for_good else f' for {BRIEFLY:g} s'}",
            clocks.off(put, off, for_good=for_good),
            _BOUNDS,
            _SETUP,
            lasts=BRIEFLY,
            kind=Kind.CLOCKS,
            seconds=SECONDS,
        )
        for for_good in ((True, False) if briefly else (True,))
        for off in (far, -far)
    )


CLOCKS: Final = (
    *_rows("active", clocks.active, FAR, briefly=True),
    *_rows("standby", clocks.standby, FAR, briefly=True),
    *_rows("both replicas", clocks.all_replicas, FAR, briefly=True),
    *_rows("Redis", clocks.redis, FAR, briefly=True),
    *_rows("consumers", clocks.consumers, DEADLINE, briefly=False),
)
