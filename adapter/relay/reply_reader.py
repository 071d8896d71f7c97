"""What replies ask for. Those that are not understood, or are nobody's answer, go to the dead letters."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import structlog

from adapter.bodies import Habit
from adapter.contract import STATUS_EXTEND, STATUS_NONE
from adapter.model.transaction import Outcome, Settlement
from adapter.observe.journal import MALFORMED, MAX_DETAIL
from adapter.observe.sparse import Sparse
from adapter.relay import translate

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Sequence

    from adapter.cluster.membership import Membership
    from adapter.model.correlation import Ids
    from adapter.model.transaction import TransactionId
    from adapter.observe.trip_metrics import TripMetrics
    from adapter.ports.broker import Broker, DeadLetter, Reply
    from adapter.ports.links import Links
    from adapter.relay.policy import LivePolicy

log = structlog.get_logger()

REFUSALS: Final = 2
"""Log lines a second about replies that nobody was asked for."""
SERVICES: Final = 1000
"""Services that are told what they should change. Their names come from peers."""
FAILURES: Final = 20
"""Log lines a second about replies that were not understood or say that the request failed."""


class ReplyReader:
    """Reads replies.

    Args:
        broker: keeps the dead letters.
        links: which nodes are here.
        policy: whether any call may have more time.
        metrics: of the trip.
        membership: whether replies to a replica of the former build may come.
        clock: gives epoch seconds.
        ids: reads correlation ids.
        courses: calls that several services decide.
    """

    def __init__(
        self,
        broker: Broker,
        links: Links,
        policy: LivePolicy,
        metrics: TripMetrics,
        membership: Membership,
        clock: Callable[[], float],
        ids: Ids,
        courses: Container[TransactionId],
    ) -> None:
        self._broker = broker
        self._links = links
        self._policy = policy
        self._metrics = metrics
        self._membership = membership
        self._clock = clock
        self._ids = ids
        self._courses = courses
        self._refusals, self._failures = Sparse(REFUSALS), Sparse(FAILURES)
        self._told: set[tuple[str | None, Habit]] = set()

    def read(self, replies: Sequence[Reply]) -> list[tuple[Reply, Settlement]]:
        """Return what each reply that is understood asks for."""
        untagged = self._clock() < self._membership.untagged_until
        here: dict[str, bool] = {}  # by node
        found: list[tuple[Reply, Settlement]] = []
        for reply in replies:
            settlement, dead, habit = translate.settlement(reply, self._ids, untagged)
            if settlement is not None and settlement.part is not None and not self._policy.courses:
                settlement, habit = None, Habit.MORE_TIME
            if habit is not None and not (habit is Habit.NO_ACTION and self._is_part(settlement)):
                self._tell(reply, habit)
            if settlement is not None:
                node = settlement.id.node
                if node not in here:
                    here[node] = self._links.max_payload(node) > 0
                if not here[node]:  # whoever has a link to that node must settle it
                    detail = "the correlation id is of a node that is not here"
                    settlement, dead = None, translate.letter(reply, "another-node", detail, node)
                else:
                    said = reply if dead is None else replace(reply, status=MALFORMED, detail=dead.detail)
                    found.append((said, settlement))
            if dead is not None:
                self._refuse(reply, dead)
            elif settlement is not None and settlement.outcome is Outcome.FAILED:
                self._tell_failed(reply)
        return found

    def _tell_failed(self, reply: Reply) -> None:
        """Say why a service did not decide, if it failed: it did not if it wants more time or has no say."""
        if reply.status in (STATUS_EXTEND, STATUS_NONE):
            return
        hidden = self._failures.take(self._clock())
        if hidden is not None:
            said: dict[str, object] = {"reason": reply.rejected or "x-status", "service": reply.service}
            if reply.detail:
                said["detail"] = reply.detail[:MAX_DETAIL]
            if hidden:
                said["not_shown"] = hidden
            log.info("request failed", correlation_id=reply.correlation_id, **said)

    def _is_part(self, settlement: Settlement | None) -> bool:
        """Whether a decision is one of several, of which one action is enough."""
        return settlement is not None and (settlement.part is not None or settlement.id in self._courses)

    def _tell(self, reply: Reply, habit: Habit) -> None:
        """Say once of each service what it should change."""
        if habit is Habit.EMPTY:
            self._metrics.replies_empty.inc()
        which = reply.service, habit
        if which not in self._told and len(self._told) < SERVICES:
            self._told.add(which)
            said = {"service": reply.service, "correlation_id": reply.correlation_id}
            log.warning("odd reply, told once for each service", **said, problem=habit.value)

    def _refuse(self, reply: Reply, dead: DeadLetter) -> None:
        """Keep a reply that was not understood, or that is nobody's answer."""
        self._broker.dead_letter(dead)
        refused = dead.reason == translate.WRONG_TAG
        if refused:
            self._metrics.replies_refused.inc()
        hidden = (self._refusals if refused else self._failures).take(self._clock())
        if hidden is not None:  # there may be as many as somebody likes, or as a queue kept
            said = {"reason": dead.reason, "detail": dead.detail, "service": reply.service}
            event = "reply refused" if refused else "malformed reply"
            log.warning(event, correlation_id=reply.correlation_id, not_shown=hidden or None, **said)
