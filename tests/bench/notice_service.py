"""A service that decides, and is told of calls as they live, for the measurement of notices."""

from __future__ import annotations

from adapter.bench.names import CALL, LIFE
from consumers import Request, Service
from tests.bench.fan_services import decide

service = Service("bench_one", prefetch=20_000)
service.on(CALL)(decide)


@service.on(*LIFE)
def told(_: Request) -> None:
    """Take a notice."""
