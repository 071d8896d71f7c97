"""The decision that every way asks for, and the service that gives it to the adapter."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Final

from consumers import Request, Service, reject

if TYPE_CHECKING:
    from adapter.contract import Decision

TAKES: Final = "BENCH_DECISION_MS"
"""The environment variable that says how many ms a decision takes; 0 where it is not set."""

service = Service("bench", prefetch=5_000)  # never what holds a call up


async def decide() -> Decision:
    """Refuse the call with 486, after the time that a decision takes."""
    takes = int(os.environ.get(TAKES, "0")) / 1000
    if takes:
        await asyncio.sleep(takes)
    return reject(486, "Busy Here")


@service.on("invite_request")
async def on_invite(_request: Request) -> Decision:
    return await decide()
