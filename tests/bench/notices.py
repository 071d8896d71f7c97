"""``python -m tests.bench.notices``: what a call costs that is told of as it lives, over one that is not.

Both are measured on the same build in turn, and who goes first changes from round to round: a call that a
consumer decides, alone and with three notices (start, answer, end) that go to the same consumer. Of the
ratios of the rounds the middle one counts. It is told, and holds nothing to a bound.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from adapter.bench.load import Load
from adapter.bench.names import LIFE
from tests.bench.fanout import SERVICES
from tests.bench.ratio import cost_under, parser, tell

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.bench.stage import Stage

MODULE: Final = "tests.bench.notices"
RATE: Final = 500.0
"""Calls a second."""


def measured(stage: Stage, load: Load) -> float:
    """Return the adapter's CPU per call in microseconds. Raises BenchError."""
    with stage.ground(consumer=(*SERVICES, "tests.bench.notice_service:service")) as ground:
        return cost_under(stage, ground, load, f"{load.notices} notices of each call")


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare; 1 if it could not be measured."""
    chosen = parser(MODULE, __doc__, RATE).parse_args(arguments)
    without, told = (Load(chosen.rate, chosen.seconds, notices=notices) for notices in (0, len(LIFE)))
    what = f"a call with {len(LIFE)} notices over one without"
    return tell(
        MODULE, what, chosen.rounds, lambda stage, noticed: measured(stage, told if noticed else without)
    )


if __name__ == "__main__":
    sys.exit(main())
