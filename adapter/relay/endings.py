"""How calls end that several services decide: with whose decision, and what the resume tells of it.

What is kept of former calls is looked for here, and what shadows would have decided is compared.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog

from adapter import contract
from adapter.model.ladder import Rung, Status
from adapter.model.transaction import BY_SOMEBODY, Outcome
from adapter.observe.sparse import Sparse
from adapter.ports.cache import Kept
from adapter.relay import course
from adapter.relay.shadows import Result, Shadows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from adapter.model.correlation import Ids
    from adapter.model.transaction import Transaction, TransactionId
    from adapter.observe.course_metrics import CourseMetrics
    from adapter.observe.observer import Observer
    from adapter.ports.cache import Decisions
    from adapter.relay.course import Answer
    from adapter.relay.course_calls import Call, Calls
    from adapter.relay.plan import Plan
    from adapter.relay.policy import LivePolicy

log = structlog.get_logger()

DIFFERENCES: Final = 5
"""Log lines a second about shadows that would decide otherwise."""
SHOWN: Final = 200
"""Bytes of a decision that are shown in the log."""


class _Ending(NamedTuple):
    decision: bytes
    rung: Rung
    plan: Plan
    answers: list[Answer]


class Endings:
    """See above.

    Args:
        calls: those under way.
        policy: the plans.
        cache: what was decided of equal calls.
        observer: is told of the end.
        metrics: of services.
        ids: writes correlation ids.
        clock: gives epoch seconds.
    """

    def __init__(
        self,
        calls: Calls,
        policy: LivePolicy,
        cache: Decisions,
        observer: Observer,
        metrics: CourseMetrics,
        ids: Ids,
        clock: Callable[[], float],
    ) -> None:
        self._calls = calls
        self._policy = policy
        self._cache = cache
        self._observer = observer
        self._metrics = metrics
        self._ids = ids
        self._clock = clock
        self._differences = Sparse(DIFFERENCES)
        self.shadows = Shadows(self._on_shadow)

    async def find(self, calls: Sequence[Call]) -> dict[TransactionId, bytes]:
        """Look for what was decided of equal calls. Return the decisions that still hold, by call."""
        keyed = []
        for call in calls:
            if call.plan.cache is not None:
                data = contract.decode_request(call.record.request).data
                call.key = course.cache_key(call.record.event, call.plan.cache.key, data)
                if call.key is not None:
                    keyed.append((call, call.key))
        found = await asyncio.gather(*(self._cache.find(key) for _, key in keyed))
        now, holding = self._clock(), {}
        for (call, _), kept in zip(keyed, found, strict=True):
            call.kept = kept
            if kept is not None and now < kept.fresh_until:
                holding[call.record.id] = kept.decision
        return holding

    def end(self, record: Transaction, outcome: Outcome) -> tuple[bytes, bytes]:
        """Return the decision that a call ends with, and what its resume tells of it (members in JSON)."""
        decision, rung, plan, answers = self._ending(record, outcome)
        return decision, course.told(course.statuses(plan, answers, outcome), rung)

    def ended(self, record: Transaction, outcome: Outcome) -> None:
        """A call's resume was handed on."""
        decision, rung, plan, answers = self._ending(record, outcome)
        call, now = self._calls.close(record.id), self._clock()
        self._observer.stepped(record.id, record.event, "", rung.value, now - record.claimed_at)
        self.shadows.ended(record.id, record.decision)
        if call is None or call.key is None or plan.cache is None or outcome is not Outcome.DECIDED:
            return
        decided = {each.service for each in answers if each.status is Status.DECIDED}
        seconds = min((call.caches.get(name, 0.0) for name in decided), default=0.0)
        if seconds > 0:
            self._cache.keep(call.key, Kept(decision, now + seconds, now + seconds + plan.cache.stale))

    def _ending(self, record: Transaction, outcome: Outcome) -> _Ending:
        plan, call = self._policy.plan_of(record), self._calls.get(record.id)
        answers = course.lines(record.course)
        rung = course.rung(plan, answers, outcome)
        if outcome in BY_SOMEBODY and record.decision is not None:
            return _Ending(record.decision, rung, plan, answers)
        kept = None if call is None else call.kept
        if kept is not None and self._clock() < kept.stale_until:
            return _Ending(kept.decision, Rung.STALE, plan, answers)
        return _Ending(plan.fallback_of(outcome), rung, plan, answers)

    def _on_shadow(
        self, id_: TransactionId, service: str, result: Result, decided: bytes | None, would: bytes
    ) -> None:
        self._metrics.shadow(service, result.value)
        if result is not Result.DIFFERENT:
            return
        hidden = self._differences.take(self._clock())
        if hidden is not None:
            said = {"decided": _shown(decided), "would_decide": _shown(would), "not_shown": hidden or None}
            log.info("shadow differs", service=service, correlation_id=self._ids.text(id_), **said)


def _shown(decision: bytes | None) -> str | None:
    return None if decision is None else decision[:SHOWN].decode(errors="replace")
