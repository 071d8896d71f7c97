"""``python -m tests.bench.fanout``: what a call costs that three services decide, over one that one decides.

Both are measured on the same build in turn, and who goes first changes from round to round. One service is
named by the policy and asked on its queue; three are asked in parallel and merged (mode all). Of the ratios
of the rounds the middle one counts.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from adapter.bench.load import Load
from tests.bench.fan_services import NAMES
from tests.bench.ratio import cost_under, parser, tell

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.bench.stage import Stage

MODULE: Final = "tests.bench.fanout"
MOST: Final = 2.0
"""What three services may cost the adapter, over one."""
RATE: Final = 1_000.0
"""Calls a second: with three services each of them is three requests and three replies."""
SERVICES: Final = (sys.executable, "-m", "consumers", "--hello", "0")
MOST_BATCHED: Final = 1.3
"""What three services may cost whose requests are batched, over one whose are not."""


def policy(number: int, batch: int = 1) -> str:
    """Name so many services. ``batch``: requests of each in one message at most."""
    names = ", ".join(f'"{name}"' for name in NAMES[:number])
    mode = 'mode = "all"\n' if number > 1 else ""
    # A reject of one that is needed would end the call: the merged decision is what is measured.
    more = "optional = true\n" if number > 1 else ""
    more += f"batch = {batch}\n" if batch > 1 else ""
    tables = "".join(f"[services.{name}]\n{more}" for name in NAMES[:number]) if more else ""
    return f"[default]\nservices = [{names}]\n{mode}{tables}"


def measured(stage: Stage, number: int, load: Load, batch: int = 1) -> float:
    """Return the adapter's CPU per call in microseconds, decided by so many services. Raises BenchError."""
    services = [f"tests.bench.fan_services:{each}" for each in ("one", "two", "three")[:number]]
    with stage.ground(policy=policy(number, batch), consumer=(*SERVICES, *services)) as ground:
        return cost_under(stage, ground, load, f"{number} of {len(NAMES)} services")


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare; 1 if three services cost more than they may, or it could not be measured."""
    made = parser(MODULE, __doc__, RATE)
    made.add_argument("--batch", type=int, default=1, help="of each of three services (default 1: none)")
    chosen = made.parse_args(arguments)
    load, most = Load(chosen.rate, chosen.seconds), MOST_BATCHED if chosen.batch > 1 else MOST

    def cost_of(stage: Stage, three: bool) -> float:
        return measured(stage, len(NAMES), load, chosen.batch) if three else measured(stage, 1, load)

    return tell(MODULE, "three services over one", chosen.rounds, cost_of, most)


if __name__ == "__main__":
    sys.exit(main())
