"""The service that decides in a measurement, at once or in the time that the event asks for."""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import TYPE_CHECKING

from adapter.bench.names import CALL, SERVICE, TAKES, TOOK, WAIT
from consumers import Service, reject

if TYPE_CHECKING:
    from adapter.contract import Decision, Request

service = Service(SERVICE, prefetch=20_000)  # never what holds a call up


@service.on(CALL)
def decide(_: Request) -> Decision:
    """Refuse the call at once."""
    return {**reject(486, "Busy Here"), TOOK: 0}


@service.on(WAIT)
async def wait(request: Request) -> Decision:
    """Refuse the call after a while, and say how long that took."""
    begun = perf_counter()
    await asyncio.sleep(request.data[TAKES] / 1_000_000)
    return {**reject(486, "Busy Here"), TOOK: round((perf_counter() - begun) * 1_000_000)}
