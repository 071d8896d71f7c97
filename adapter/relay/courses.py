"""Calls that several services decide, or one with a ladder below it: asks, waits, goes on, ends.

What follows from the answers that came stands in ``relay.course``; here it is carried out. The store keeps
the answers, so that a replica which adopts a call goes on where it stood. All travels in batches, as in
``relay.trip``.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import structlog

from adapter.contract import STATUS_NONE
from adapter.errors import CodecError
from adapter.model.ladder import Status
from adapter.model.transaction import Outcome, Progress, Settlement, State
from adapter.ports.broker import Published
from adapter.relay import asks, course, translate
from adapter.relay.breaker import Breakers
from adapter.relay.course import Answer
from adapter.relay.course_calls import KEPT, Asked, Call, Calls, Note
from adapter.relay.endings import Endings
from adapter.relay.plan import in_share

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence

    from adapter.cluster.roles import Roles
    from adapter.model.correlation import Ids
    from adapter.model.transaction import Transaction, TransactionId
    from adapter.observe.course_metrics import CourseMetrics
    from adapter.observe.observer import Observer
    from adapter.observe.trip_metrics import TripMetrics
    from adapter.ports.broker import Broker, Publication, Reply
    from adapter.ports.cache import Decisions
    from adapter.ports.store import Store
    from adapter.relay.plan import Service
    from adapter.relay.policy import LivePolicy

log = structlog.get_logger()

NOT_ACCEPTED: Final = "not-accepted"
"""Why a reply is kept whose decision its service may not make."""
REFUSALS: Final = 1000
"""Services and events of which a refusal of more time is told."""
_STATUSES: Final = {
    Outcome.DECIDED: Status.DECIDED,
    Outcome.MALFORMED: Status.MALFORMED,
    Outcome.OVERSIZED: Status.OVERSIZED,
}


class Courses:
    """See above.

    Args:
        inflight: keeps the answers.
        broker: takes the requests.
        policy: the plans.
        observer: is told of each step.
        metrics: of the trip.
        services: the metrics of services.
        roles: whether this replica alone writes a node's records.
        cache: what was decided of equal calls.
        ids: writes correlation ids.
        clock: gives epoch seconds.
        settle: ends calls.
        put_off: keeps a call whose requests the broker did not take, since that time (epoch seconds).
        spawn: does work in the background.
    """

    def __init__(
        self,
        inflight: Store,
        broker: Broker,
        policy: LivePolicy,
        observer: Observer,
        metrics: TripMetrics,
        services: CourseMetrics,
        roles: Roles,
        cache: Decisions,
        ids: Ids,
        clock: Callable[[], float],
        settle: Callable[[Sequence[Settlement]], Awaitable[object]],
        put_off: Callable[[Transaction, float], None],
        spawn: Callable[[Coroutine[Any, Any, object]], None],
    ) -> None:
        self._inflight = inflight
        self._broker = broker
        self._policy = policy
        self._observer = observer
        self._metrics = metrics
        self._services = services
        self._roles = roles
        self._ids = ids
        self._clock = clock
        self._settle = settle
        self._put_off = put_off
        self._spawn = spawn
        self._calls = Calls(policy.plan_of)
        self._breakers = Breakers(self._on_breaker)
        self._endings = Endings(self._calls, policy, cache, observer, services, ids, clock)
        self._refused: set[tuple[str, str]] = set()

    def __repr__(self) -> str:
        return f"<Courses {len(self._calls)} calls, {len(self._endings.shadows)} with shadows>"

    def __contains__(self, id_: object) -> bool:
        return id_ in self._calls or id_ in self._endings.shadows

    @property
    def endings(self) -> Endings:
        """How these calls end."""
        return self._endings

    # Out

    async def ask(self, records: Sequence[Transaction], again: bool = False) -> None:
        """Ask whoever of these calls' services is next and has not answered.

        Args:
            records: calls that are claimed.
            again: whether the broker has not taken their requests before.
        """
        calls, others = [], []
        for record in records:
            first = record.id not in self._calls and not record.again
            call = self._calls.open(record)
            call.waiting.clear()
            calls.append(call)
            if first:
                others += self._others(call)
        cached = [call for call in calls if call.plan.cache is not None]
        if cached and (hits := await self._endings.find(cached)):
            calls = [call for call in calls if call.record.id not in hits]
            await self._settle([Settlement(id_, Outcome.DECIDED, each) for id_, each in hits.items()])
        await self._go_on(calls, others, again)

    def _others(self, call: Call) -> list[Publication]:
        """The requests of those who are not waited for: observers, and shadows."""
        record, plan = call.record, call.plan
        if not (plan.observers or plan.shadows):
            return []
        trace = self._observer.traceparent
        found = [asks.copy(record, plan, each, trace(record, each.queue)) for each in plan.observers]
        text = record.call_id or str(record.id)
        shadows = (
            []
            if self._endings.shadows.full
            else [each.service for each in plan.shadows if in_share(each, text)]
        )
        if shadows:
            self._endings.shadows.asked(record.id, [each.name for each in shadows], record.deadline)
            found += [
                asks.request(record, plan, each, (), self._ids, trace(record, each.queue)) for each in shadows
            ]
        return found

    async def _go_on(
        self, calls: Iterable[Call], others: Sequence[Publication] = (), again: bool = False
    ) -> None:
        """Do what is next for these calls: ask, or end them. Waits for the store, and not for the broker."""
        ends, wanted, notes, now = [], [], [], self._clock()
        for call in calls:
            step = course.next_step(call.plan, call.answers)
            if step.done is not None:
                call.done = step.done
                ends.append(Settlement(call.record.id, step.done.outcome, step.done.decision))
            for service in step.ask:
                if service.name in call.waiting:
                    continue
                if not self._breakers.allows(service, now):
                    notes.append(self._noted(call, service, Status.UNAVAILABLE, "its breaker is open"))
                    continue
                wanted.append((call, service))
                due = call.record.deadline if service.within is None else now + service.within
                call.waiting[service.name] = Asked(service, now, due)
                if due < call.record.deadline:
                    self._calls.wake(due, call.record.id)
        if wanted or others:
            self._spawn(self._publish(wanted, others, again))
        if ends:
            await self._settle(ends)
        if notes:
            await self._note(notes)

    async def _publish(
        self, wanted: Sequence[tuple[Call, Service]], others: Sequence[Publication], again: bool
    ) -> None:
        now, notes, asked, publications = self._clock(), [], [], []
        for call, service in wanted:
            due = min(call.waiting[service.name].due, call.record.deadline)
            trace = self._observer.traceparent(call.record, service.queue)
            taken_by = asks.taken_by(call.plan, now, due)
            try:
                found = asks.request(
                    call.record, call.plan, service, call.answers, self._ids, trace, taken_by
                )
            except CodecError as exc:
                notes.append(self._noted(call, service, Status.FAILED, str(exc)))
            else:
                publications.append(found)
                asked.append((call, service))
        results = await self._broker.publish([*publications, *others])
        taken: dict[TransactionId, Transaction] = {}
        for (call, service), result in zip(asked, results, strict=False):
            if result is Published.CONFIRMED:
                taken[call.record.id] = call.record
            elif result is Published.UNROUTABLE:
                notes.append(self._noted(call, service, Status.UNROUTABLE, "it has no queue"))
            elif result is Published.REFUSED or again:
                notes.append(self._noted(call, service, Status.UNAVAILABLE, "RabbitMQ did not take it"))
            elif call.waiting.pop(service.name, None) is not None:
                self._put_off(call.record, now)
        if taken:
            self._observer.published(now, list(taken.values()))
        if notes:
            await self._note(notes)

    # Back

    async def on_replies(self, pairs: Sequence[tuple[Reply, Settlement]]) -> None:
        """Take in replies to these calls. What raises lets them be delivered again."""
        ids = {settlement.id for _, settlement in pairs}
        if unknown := [id_ for id_ in ids if id_ not in self]:
            await asyncio.gather(*(self._learn(id_) for id_ in unknown))
        notes: list[Note] = []
        for reply, settlement in pairs:
            notes += self._taken(reply, settlement)
        if notes:
            await self._note(notes)

    def added(self, record: Transaction) -> None:
        """Another replica has added answers to a call that waits here. Never waits."""
        call = self._calls.get(record.id)
        if call is not None:
            call.take(record)
            self._spawn(self._go_on([call]))

    async def _learn(self, id_: TransactionId) -> None:
        """Take up a call that another replica has asked for, and whose replies come here by now."""
        record = await self._inflight.get(id_)
        if record is None or record.state is not State.CLAIMED or not self._policy.plan_of(record).courses:
            return
        call, now = self._calls.open(record), self._clock()
        for service in course.next_step(call.plan, call.answers).ask:
            call.waiting.setdefault(service.name, Asked(service, now, record.deadline))

    def _taken(self, reply: Reply, settlement: Settlement) -> list[Note]:
        """What a reply adds to its call."""
        id_, part = (
            settlement.id,
            settlement.part or translate.part(reply, translate.sender(reply, self._ids)),
        )
        call, name = self._calls.get(id_), part.service
        answer = _answer(reply, settlement, name, part.untaken)
        if self._endings.shadows.takes(id_, answer):
            return []
        asked = None if call is None else call.waiting.get(name) or call.waiting.get("")
        if call is None or asked is None:
            self._metrics.late_replies.labels(id_.node).inc()
            return []
        service = asked.service
        if part.extend:
            return self._more_time(call, asked, part.extend)
        notes = []
        if part.untaken:
            notes += self._silence(service)
        else:
            self._breakers.answered(service.name)
        if answer.status is Status.DECIDED and service.accepts is not None:
            action = course.action(answer.text)
            if action not in service.accepts:
                detail = f"{service.name} may not decide {action!r}"
                self._broker.dead_letter(translate.letter(reply, NOT_ACCEPTED, detail, id_.node))
                answer = answer._replace(status=Status.FAILED, text=course.why(detail))
        if part.cache > 0:
            call.caches[service.name] = part.cache
        notes.append(self._noted(call, service, answer.status, answer.text))
        return notes

    def _more_time(self, call: Call, asked: Asked, seconds: float) -> list[Note]:
        """Move the deadline, once."""
        record, longest, name = call.record, call.plan.max_deadline, asked.service.name
        self._breakers.answered(name)
        if longest is None or course.extended(call.answers):
            why = "it has had more" if longest else "the policy names no max_deadline for the event"
            self._refuse_more(name, record, why)
            return []
        deadline = min(record.deadline + seconds, record.claimed_at + longest)
        if deadline <= record.deadline:
            return []
        call.move(deadline)
        if asked.due < record.deadline:
            due = min(asked.due + seconds, deadline)
            call.waiting[name] = asked._replace(due=due)
            self._calls.wake(due, record.id)
        self._calls.wake(deadline + KEPT, record.id)
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

    def _noted(self, call: Call, service: Service, status: Status, text: bytes | str) -> Note:
        """Wait no longer for a service: this is what it did."""
        now, record = self._clock(), call.record
        asked = call.waiting.pop(service.name, None)
        since = now if asked is None else asked.at
        self._observer.stepped(record.id, record.event, service.name, status.value, now - since)
        return Note(call, Answer(service.name, status, course.why(text) if isinstance(text, str) else text))

    async def _note(self, notes: Sequence[Note]) -> None:
        """Have the store keep answers, and go on with the calls that still wait."""
        parts = [course.line(each.answer) for each in notes]
        steps = [
            Progress(each.call.record.id, part, each.deadline)
            for each, part in zip(notes, parts, strict=True)
        ]
        nodes = {each.id.node for each in steps}
        behind = all(self._roles.of(node).writes_behind for node in nodes)
        records = await self._inflight.progress(steps, behind)
        calls: dict[TransactionId, Call] = {}
        for note, part, record in zip(notes, parts, records, strict=True):
            if record is not None:  # else it has ended meanwhile
                note.call.follow(record, note.answer, len(part))
                calls[record.id] = note.call
        if calls:
            await self._go_on(calls.values())

    # By the clock

    def tick(self, now: float) -> None:
        """Wait no longer for services whose time is over."""
        self._endings.shadows.purge(now)
        notes: list[Note] = []
        for call in self._calls.due(now):
            if now < call.record.deadline:  # past it the store ends it
                for asked in [each for each in call.waiting.values() if each.due <= now]:
                    notes.append(self._noted(call, asked.service, Status.TIMEOUT, "no reply in time"))
                    notes += self._silence(asked.service)
        if notes:
            self._spawn(self._note(notes))

    def expired(self, records: Iterable[Transaction]) -> None:
        """The deadline of these calls has passed: whom they waited for was silent."""
        notes: list[Note] = []
        for record in records:
            call = self._calls.get(record.id)
            if call is not None:
                for asked in list(call.waiting.values()):
                    self._observer.stepped(
                        record.id,
                        record.event,
                        asked.service.name,
                        Status.TIMEOUT.value,
                        self._clock() - asked.at,
                    )
                    notes += self._silence(asked.service)
                call.waiting.clear()
        if notes:
            self._spawn(self._note(notes))

    def _silence(self, service: Service) -> list[Note]:
        """A service has let a request pass. If its breaker opens by that nobody waits for it any more."""
        if not self._breakers.silent(service, self._clock()):
            return []
        return [
            self._noted(call, service, Status.UNAVAILABLE, "its breaker has opened")
            for call in self._calls.waiting_for(service.name)
        ]

    def _on_breaker(self, service: str, is_open: bool) -> None:
        self._services.breaker(service, is_open)
        if is_open:
            log.warning("breaker opened: the service is silent, and not asked for now", service=service)
        else:
            log.info("breaker closed: the service answers again", service=service)


def _answer(reply: Reply, settlement: Settlement, service: str, untaken: bool) -> Answer:
    if untaken:
        return Answer(service, Status.UNTAKEN, b"nobody took it from its queue")
    if reply.status == STATUS_NONE and settlement.outcome is Outcome.FAILED:
        return Answer(service, Status.NONE, b"it has no say in the call")
    status = _STATUSES.get(settlement.outcome, Status.FAILED)
    if status is Status.DECIDED and settlement.decision is not None:
        return Answer(service, status, settlement.decision)
    return Answer(service, status, course.why(reply.rejected or reply.detail or status.value))
