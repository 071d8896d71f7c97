"""The service that decides in test_scaling, and says which process did."""

from __future__ import annotations

import asyncio
import os

from consumers import Request, Service, reject

EVENT = "scaling"
service = Service("scaling", prefetch=5)


@service.on(EVENT)
async def decide(request: Request) -> dict[str, object]:
    """Refuse the call in its time, as somebody who asks a database does."""
    await asyncio.sleep(request.data["takes"])
    return {**reject(486, "Busy Here"), "by": os.getpid()}
