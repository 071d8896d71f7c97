"""How calls end that several services decide: with whose decision, and what the resume tells of it.

What is kept of former calls is looked for here, and what shadows would have decided is compared.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from adapter import contract
from adapter.model.ladder import Rung, Status
from adapter.model.transaction import BY_SOMEBODY, Outcome
from adapter.observe.sparse import Sparse
from adapter.ports.cache import Kept
from adapter.relay import course
from adapter.relay.course import Done
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
        """Look for what was decided of equal calls. Return the decisions that still hold, by call, but for
        calls of which somebody has answered already."""
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
            if kept is None or not course.is_decision(kept.decision):  # it may be of another build
                continue
            call.kept = kept
            if now < kept.fresh_until and not call.answers:
                call.done = Done(Outcome.DECIDED, kept.decision, Rung.CACHE)
                holding[call.record.id] = kept.decision
        return holding

    def end(self, record: Transaction, outcome: Outcome) -> tuple[bytes, bytes]:
        """Return the decision that a call ends with, and what its resume tells of it (members in JSON)."""
        call, plan = self._calls.get(record.id), self._policy.plan_of(record)
        answers = _answers(record, call)
        decision, rung = self._decision(record, outcome, call, plan, answers)
        if call is not None:
            call.ending = rung
        return decision, course.told(course.statuses(plan, answers, outcome), rung)

    def ended(self, record: Transaction, outcome: Outcome) -> None:
        """A call's resume was handed on."""
        call, plan, now = self._calls.close(record.id), self._policy.plan_of(record), self._clock()
        if call is None or call.ending is None:
            rung = self._decision(record, outcome, call, plan, _answers(record, call))[1]
        else:
            rung = call.ending
        self._observer.stepped(record.id, record.event, "", rung.value, now - record.claimed_at)
        self.shadows.ended(record.id, record.decision)
        if call is not None and call.key is not None and outcome is Outcome.DECIDED and record.decision:
            self._keep(call, call.key, record, record.decision, now)

    def _keep(self, call: Call, key: str, record: Transaction, decision: bytes, now: float) -> None:
        """Keep a decision for as long as all say who have made it."""
        decided = {each.service for each in call.answers_of(record) if each.status is Status.DECIDED}
        seconds = min((call.caches.get(name, 0.0) for name in decided), default=0.0)
        if seconds > 0:
            stale = 0.0 if call.plan.cache is None else call.plan.cache.stale
            self._cache.keep(key, Kept(decision, now + seconds, now + seconds + stale))

    def _decision(
        self, record: Transaction, outcome: Outcome, call: Call | None, plan: Plan, answers: list[Answer]
    ) -> tuple[bytes, Rung]:
        if outcome in BY_SOMEBODY and record.decision is not None:
            done = None if call is None or outcome is Outcome.OPERATOR else call.done
            known = done is not None and done.decision == record.decision
            return record.decision, done.rung if done and known else course.rung(plan, answers, outcome)
        unsent = outcome is Outcome.OVERSIZED and record.decision is not None  # so the one kept may be, too
        kept = None if call is None or unsent else call.kept
        if kept is not None and self._clock() < kept.stale_until:
            return kept.decision, Rung.STALE
        return plan.fallback_of(outcome), course.rung(plan, answers, outcome)

    def _on_shadow(
        self, id_: TransactionId, service: str, result: Result, decided: bytes | None, would: bytes
    ) -> None:
        self._metrics.shadow(service, result.value)
        if result is not Result.DIFFERENT:
            return
        hidden = self._differences.take(self._clock())
        if hidden is not None:
            said: dict[str, object] = {"decided": _shown(decided), "would_decide": _shown(would)}
            if hidden:
                said["not_shown"] = hidden
            log.info("shadow differs", service=service, correlation_id=self._ids.text(id_), **said)


def _answers(record: Transaction, call: Call | None) -> list[Answer]:
    return course.lines(record.course) if call is None else call.answers_of(record)


def _shown(decision: bytes | None) -> str | None:
    return None if decision is None else decision[:SHOWN].decode(errors="replace")
