"""The consumer of the chaos tests: decides after a settable time, and tells of stale requests."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, Any, Final

from adapter.contract import HEADER_DEADLINE
from consumers import Request, Service

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping

    from adapter.contract import Decision
    from consumers.messages import Answer, Incoming
    from consumers.more_time import Send

TAKES: Final = "CHAOS_DECISION_MS"
PREFETCH: Final = "CHAOS_PREFETCH"
QUEUE: Final = "CHAOS_QUEUE_TYPE"
PAD: Final = "CHAOS_DECISION_BYTES"
STALE: Final = "chaos: stale request"


class Watched(Service):
    """A service that prints each request whose deadline was over before it was handled, and by how much."""

    def begin(self, message: Incoming, send: Send | None = None) -> Answer | Coroutine[Any, Any, Answer]:
        """As any service does."""
        _look(message)
        return super().begin(message, send)

    def begin_decoded(
        self, message: Incoming, decoded: Mapping[str, Any], send: Send | None = None, lasts: Any = None
    ) -> Answer | Coroutine[Any, Any, Answer]:
        """Likewise, of a request that came with others."""
        _look(message)
        return super().begin_decoded(message, decoded, send, lasts)


def _look(message: Incoming) -> None:
    deadline = message.headers.get(HEADER_DEADLINE)
    if deadline is not None and (over := time.time() - float(deadline) / 1000) > 0:
        print(f"{STALE} {message.correlation_id} {over:.3f}", flush=True)


service = Watched(
    "chaos",
    prefetch=int(os.environ.get(PREFETCH, "500")),
    queue_type="quorum" if os.environ.get(QUEUE) == "quorum" else "classic",
)


@service.on("invite_request")
async def decide(request: Request) -> Decision:
    """Refuse, and say whose call this is."""
    await asyncio.sleep(float(os.environ.get(TAKES, "20")) / 1000)
    decision: dict[str, Any] = {"action": "reject", "code": 486, "call_id": request.data["call_id"]}
    if pad := int(os.environ.get(PAD, "0")):
        decision["pad"] = "x" * pad
    return decision
