"""Frames that cannot be understood: told, and kept as dead letters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

from adapter.ports.broker import Broker, DeadLetter

if TYPE_CHECKING:
    from collections.abc import Callable

    from adapter.cluster.roles import Roles
    from adapter.wire.event import Malformed

log = structlog.get_logger()

COMPLAIN_EACH: Final = 0.1
"""Seconds between two log lines about frames not understood; the metric counts each."""


class MalformedFrames:
    """Keeps them. What waits behind one is answered by the trip.

    Args:
        broker: takes dead letters.
        roles: whether this replica is the one that keeps them.
        clock: gives epoch seconds.
    """

    def __init__(self, broker: Broker, roles: Roles, clock: Callable[[], float]) -> None:
        self._broker = broker
        self._roles = roles
        self._clock = clock
        self._complained = float("-inf")

    def keep(self, node: str, found: Malformed) -> None:
        """Make it a dead letter, if this replica is active: every replica has read it."""
        now = self._clock()
        if now >= self._complained + COMPLAIN_EACH:  # there may be 100,000 in one read
            self._complained = now
            log.warning("malformed frame", node=node, reason=found.reason, detail=found.detail, ids=found.ids)
        if self._roles.of(node).is_active:
            self._broker.dead_letter(DeadLetter(found.reason, found.detail, found.frame, node))
