"""Who may not send what came: told of now and then."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from adapter.broker.rabbitmq.replies import WRONG_EXCHANGE

if TYPE_CHECKING:
    from adapter.broker.rabbitmq.limits import Counters

log = structlog.get_logger()

_TELL_EACH: Final = 1.0


class Refusals:
    """Tells of what somebody sent who may not; there may be as many as somebody likes."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._told = float("-inf")

    def note(self, node: str, detail: str) -> None:
        """Count one, and tell of one in a second."""
        self._counters.refused += 1
        now = asyncio.get_running_loop().time()
        if now >= self._told + _TELL_EACH:
            self._told = now
            log.warning("refused", node=node, reason=WRONG_EXCHANGE, detail=detail)
