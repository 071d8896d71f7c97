"""What the consumers of replies and of commands share."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import structlog

from adapter.broker.rabbitmq.replies import WRONG_EXCHANGE
from adapter.broker.rabbitmq.supervisor import end

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from aiormq.abc import DeliveredMessage

    from adapter.broker.rabbitmq.limits import Counters

log = structlog.get_logger()

_TELL_EACH: Final = 1.0


async def ask(request: Coroutine[Any, Any, Any]) -> None:
    """Ask the server. A request that is given up makes the library close the channel.

    Nothing must be written on it any more by then, so that is settled first. Raises CancelledError then.
    """
    asking = asyncio.ensure_future(request)
    try:
        await asyncio.wait({asking})
    except asyncio.CancelledError:
        await end(asking)
        raise
    asking.result()


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


async def untapped(_: DeliveredMessage) -> None:
    """For the library, which asks for somebody: the tap takes what is delivered, unless it is broken."""
