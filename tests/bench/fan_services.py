"""Three services that decide the same event, for the measurement of fan-out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adapter.bench.names import CALL, TOOK
from consumers import Service, reject

if TYPE_CHECKING:
    from adapter.contract import Decision, Request

NAMES = ("bench_one", "bench_two", "bench_three")
one, two, three = (Service(name, prefetch=20_000) for name in NAMES)


def decide(_: Request) -> Decision:
    """Refuse the call at once."""
    return {**reject(486, "Busy Here"), TOOK: 0}


for service in (one, two, three):
    service.on(CALL)(decide)
