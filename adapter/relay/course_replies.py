"""Replies to calls that several services decide: whose they are, and what they add to their calls."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from adapter import contract
from adapter.model.ladder import Status
from adapter.model.transaction import Outcome, State
from adapter.relay import course, translate
from adapter.relay.course import Answer
from adapter.relay.course_calls import Asked, Call, Calls, Note
from adapter.relay.early_replies import EarlyReplies

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from adapter.model.correlation import Ids
    from adapter.model.transaction import Part, Settlement, Transaction, TransactionId
    from adapter.observe.observer import Observer
    from adapter.observe.trip_metrics import TripMetrics
    from adapter.ports.broker import Broker, Reply
    from adapter.ports.store import Store
    from adapter.relay.breaker import Breakers
    from adapter.relay.plan import Service
    from adapter.relay.policy import LivePolicy
    from adapter.relay.shadows import Shadows

    Pair = tuple[Reply, Settlement]

log = structlog.get_logger()

NOT_ACCEPTED: Final = "not-accepted"
"""Why a reply is kept whose decision its service may not make."""
BY_SERVICE: Final = "rejected"
"""Why RabbitMQ gives up a request that its service refused: whoever refuses is not silent."""
REFUSALS: Final = 1000
"""Services and events of which a refusal of more time is told."""
_STATUSES: Final = {
    Outcome.DECIDED: Status.DECIDED,
    Outcome.MALFORMED: Status.MALFORMED,
    Outcome.OVERSIZED: Status.OVERSIZED,
}


class CourseReplies:
    """See above.

    Args:
        inflight: knows of calls that other replicas have asked for.
        broker: keeps decisions that are not accepted.
        policy: the plans.
        observer: is told of each step.
        metrics: of the trip.
        ids: writes correlation ids.
        clock: gives epoch seconds.
        calls: those under way.
        breakers: of the services.
        shadows: whose replies add nothing.
        noted: notes what a service did.
    """

    def __init__(
        self,
        inflight: Store,
        broker: Broker,
        policy: LivePolicy,
        observer: Observer,
        metrics: TripMetrics,
        ids: Ids,
        clock: Callable[[], float],
        calls: Calls,
        breakers: Breakers,
        shadows: Shadows,
        noted: Callable[[Call, Service, Status, bytes], Note],
    ) -> None:
        self._inflight = inflight
        self._broker = broker
        self._policy = policy
        self._observer = observer
        self._metrics = metrics
        self._ids = ids
        self._clock = clock
        self._calls = calls
        self._breakers = breakers
        self._shadows = shadows
        self._noted = noted
        self._early: EarlyReplies[tuple[TransactionId, str], Pair] = EarlyReplies(self._key_of)
        self._refused: set[tuple[str, str]] = set()

    def __contains__(self, id_: object) -> bool:
        return id_ in self._calls or id_ in self._shadows

    def early(self, now: float) -> list[Pair]:
        """Return the replies to be looked at again now: more may be known of their calls by now."""
        return self._early.due(now) if self._early.waiting else []

    async def known(self, pairs: Sequence[Pair]) -> Sequence[Pair]:
        """Take up what other replicas have done for calls whose replies come here by now. Return the replies
        without those that come before their claim, or before the answer that led to their request: these are
        looked at again."""
        unknown: dict[TransactionId, set[str]] = {}
        for pair in pairs:
            if pair[1].id not in self or self._is_ahead(pair):
                id_, name = self._key_of(pair)
                unknown.setdefault(id_, set()).add(name)
        found = await asyncio.gather(*map(self._learn, unknown, unknown.values())) if unknown else ()
        states = dict(zip(unknown, found, strict=True))
        missing = [id_ for id_, state in states.items() if state is None]
        ahead = [pair for pair in pairs if states.get(pair[1].id) is State.CLAIMED and self._is_ahead(pair)]
        if not (missing or ahead or self._early.waiting):
            return pairs
        open_ = set(missing).difference(await self._inflight.answered(missing) if missing else ())
        early = [*ahead, *(pair for pair in pairs if pair[1].id in open_)]
        keys = set(map(self._key_of, early))
        known = [pair for pair in pairs if self._key_of(pair) not in keys]
        self._early.drop(known)
        for _, settlement in self._early.add(early, self._clock()):
            self._metrics.late_replies.labels(settlement.id.node).inc()
        return known

    async def _learn(self, id_: TransactionId, names: set[str]) -> State | None:
        """Take up a call, or what was added to it, unless it has ended, and wait for these services if they
        are next. Return its state; None if nobody has claimed it, or it is over."""
        record = await self._inflight.get(id_)
        if record is None or record.state is not State.CLAIMED or not self._policy.plan_of(record).courses:
            return None if record is None else State.SETTLED
        is_new = self._calls.get(id_) is None
        call, now = self._calls.open(record), self._clock()
        for service in course.next_step(call.plan, call.answers).ask:
            if (is_new or service.name in names) and service.name not in call.telling:
                call.waiting.setdefault(service.name, Asked(service, now))
        return record.state

    def _is_ahead(self, pair: Pair) -> bool:
        """Whether a reply is of a service that is not asked yet, as far as is known here: another replica has
        had the answers that led there, or RabbitMQ has taken a request without saying so."""
        id_, name = self._key_of(pair)
        call = self._calls.get(id_)
        if call is None or call.done is not None or name in call.waiting or name in call.telling:
            return False
        plan = call.plan
        return name in (*plan.services, *plan.backup_names) and name not in course.ends(
            call.answers, plan.retry
        )

    def _key_of(self, pair: Pair) -> tuple[TransactionId, str]:
        reply, settlement = pair
        return settlement.id, self._part(reply, settlement).service

    def _part(self, reply: Reply, settlement: Settlement) -> Part:
        return settlement.part or translate.part(reply, translate.sender(reply, self._ids))

    def taken(self, reply: Reply, settlement: Settlement) -> list[Note]:
        """What a reply adds to its call."""
        id_, part = settlement.id, self._part(reply, settlement)
        call, name = self._calls.get(id_), part.service
        answer = _answer(reply, settlement, name, part.untaken)
        is_said = reply.rejected is None or reply.rejected == BY_SERVICE
        if self._shadows.takes(id_, answer):
            return []
        asked = None if call is None else self._asked(call, name)
        if call is None or asked is None:
            if is_said and self._calls.late(id_, name, self._clock()):
                self._breakers.answered(name)
            self._metrics.late_replies.labels(id_.node).inc()
            return []
        service = asked.service
        if answer.status is Status.EXTENDED:
            return self._more_time(call, asked, part.extend)
        if is_said:
            self._breakers.answered(service.name)
        if answer.status is Status.DECIDED:
            if not service.may_decide(action := course.action(answer.text)):
                detail = f"{service.name} may not decide {action!r}"
                self._broker.dead_letter(translate.letter(reply, NOT_ACCEPTED, detail, id_.node))
                answer = answer._replace(status=Status.FAILED, text=course.why(detail))
            elif part.cache > 0:
                call.caches[service.name] = part.cache
        return [self._noted(call, service, answer.status, answer.text)]

    def _asked(self, call: Call, name: str) -> Asked | None:
        """Who is waited for and gave this reply."""
        found = call.waiting.get(name)
        if found is None and not self._ids.tagged and name not in call.plan.names:
            return call.waiting.get("")  # whoever is bound to the event, by its own name
        return found

    def _more_time(self, call: Call, asked: Asked, seconds: float) -> list[Note]:
        """Move the deadline, once."""
        record, longest, name = call.record, call.plan.max_deadline, asked.service.name
        self._breakers.answered(name)
        if longest is None or call.extending or course.extended(call.answers):
            why = "it has had more" if longest else "the policy names no max_deadline for the event"
            self._refuse_more(name, record, why)
            return []
        deadline = min(record.deadline + seconds, record.claimed_at + longest)
        if deadline <= record.deadline:
            return []
        call.extending = True
        self._observer.stepped(record.id, record.event, name, Status.EXTENDED.value, self._clock() - asked.at)
        return [Note(call, Answer(name, Status.EXTENDED), deadline)]

    def _refuse_more(self, service: str, record: Transaction, why: str) -> None:
        if (service, record.event) not in self._refused and len(self._refused) < REFUSALS:
            self._refused.add((service, record.event))
            said = {
                "service": service,
                "event_name": record.event,
                "correlation_id": self._ids.text(record.id),
            }
            log.warning("more time refused, told once for each service and event", **said, reason=why)


def _answer(reply: Reply, settlement: Settlement, service: str, untaken: bool) -> Answer:
    if reply.status == contract.STATUS_EXTEND and reply.rejected is None:
        return Answer(service, Status.EXTENDED)
    if untaken:
        return Answer(service, Status.UNTAKEN, b"nobody took it from its queue")
    if reply.status == contract.STATUS_NONE and settlement.outcome is Outcome.FAILED:
        return Answer(service, Status.NONE, b"it has no say in the call")
    status = _STATUSES.get(settlement.outcome, Status.FAILED)
    if status is Status.DECIDED and settlement.decision is not None:
        return Answer(service, status, settlement.decision)
    return Answer(service, status, course.why(reply.rejected or reply.detail or status.value))
