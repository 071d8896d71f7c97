"""Calls that several services decide, or one with a ladder below it: asks, waits, goes on, ends.

What follows from the answers that came stands in ``relay.course``; here it is carried out. The store keeps
the answers, so that a replica which adopts a call goes on where it stood. All travels in batches, as in
``relay.trip``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog

from adapter.errors import CodecError
from adapter.model.ladder import Status
from adapter.model.transaction import Outcome, Progress, Settlement
from adapter.ports.broker import Published
from adapter.relay import asks, course
from adapter.relay.beside import Beside
from adapter.relay.breaker import Breakers
from adapter.relay.course import Answer
from adapter.relay.course_calls import Asked, Call, Calls, Note
from adapter.relay.course_replies import CourseReplies
from adapter.relay.endings import Endings

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
        self._beside = Beside(self._endings.shadows, observer, metrics, ids, clock)
        self._replies = CourseReplies(
            *(inflight, broker, policy, observer, metrics, ids, clock),
            *(self._calls, self._breakers, self._endings.shadows, self._noted),
        )

    def __repr__(self) -> str:
        return f"<Courses {len(self._calls)} calls, {len(self._endings.shadows)} with shadows>"

    def __contains__(self, id_: object) -> bool:
        return id_ in self._replies

    @property
    def endings(self) -> Endings:
        """How these calls end."""
        return self._endings

    # Out

    async def ask(self, records: Sequence[Transaction], again: bool = False) -> None:
        """Ask whoever of these calls' services is next and has not answered.

        Args:
            records: calls that are claimed.
            again: whether the broker has not taken some of their requests before; only these are asked then.
        """
        calls, others = [], []
        for record in records:
            new = record.id not in self._calls
            if new and again:
                continue  # it has ended meanwhile
            call = self._calls.open(record)
            if not again:
                call.waiting.clear()
            calls.append(call)
            if new and not record.again:
                others += self._beside.requests(call)
        cached = [call for call in calls if call.plan.cache is not None]
        if cached and (hits := await self._endings.find(cached)):
            await self._settle([Settlement(id_, Outcome.DECIDED, each) for id_, each in hits.items()])
        if cached:
            calls = [call for call in calls if call.done is None and self._is_open(call)]
        await self._go_on(calls, others, again)

    def added(self, record: Transaction) -> None:
        """Another replica has added answers to a call that waits here. Never waits."""
        call = self._calls.get(record.id)
        if call is not None:
            call.follow(record)
            self._spawn(self._go_on([call]))

    def _is_open(self, call: Call) -> bool:
        return self._calls.get(call.record.id) is call

    async def _go_on(
        self,
        calls: Iterable[Call],
        others: Sequence[Publication] = (),
        again: bool = False,
        notes: Iterable[Note] = (),
    ) -> None:
        """Do what is next for these calls: ask, or end them. Waits for the store, and not for the broker."""
        ends, wanted, notes, now = [], [], list(notes), self._clock()
        for call in calls:
            step = course.next_step(call.plan, call.answers)
            if step.done is not None:
                call.done = step.done
                ends.append(Settlement(call.record.id, step.done.outcome, step.done.decision))
            for service in step.ask:
                name, deadline = service.name, call.record.deadline
                if name in call.waiting or name in call.telling:
                    continue
                due = asks.due(call.plan, service, now, deadline)
                if not self._breakers.allows(service, now, deadline if due is None else due):
                    notes.append(self._noted(call, service, Status.UNAVAILABLE, "its breaker is open"))
                    continue
                asked = call.waiting[name] = Asked(service, now, due)
                wanted.append((call, asked))
                if due is not None:
                    self._calls.wake(due, call.record.id)
        if wanted or others:
            self._spawn(self._publish(wanted, others, again))
        if ends:
            await self._settle(ends)
        if notes:
            await self._note(notes)

    async def _publish(
        self, wanted: Sequence[tuple[Call, Asked]], others: Sequence[Publication], again: bool
    ) -> None:
        now, notes, asked_of, publications = self._clock(), [], [], []
        for call, asked in wanted:
            service, record = asked.service, call.record
            if call.waiting.get(service.name) is not asked or not self._is_open(call):
                continue  # what it was to be asked for is over
            due = record.deadline if asked.due is None else min(asked.due, record.deadline)
            trace = self._observer.traceparent(record, service.queue)
            taken_by = asks.taken_by(call.plan, now, due)
            try:
                found = asks.request(record, call.plan, service, call.answers, self._ids, trace, taken_by)
            except CodecError as exc:
                notes.append(self._noted(call, service, Status.FAILED, str(exc)))
            else:
                publications.append(found)
                asked_of.append((call, asked))
        results = await self._broker.publish([*publications, *others])
        taken: dict[TransactionId, Transaction] = {}
        put_off: dict[TransactionId, Transaction] = {}
        for (call, asked), result in zip(asked_of, results, strict=False):
            service, record = asked.service, call.record
            if result is Published.CONFIRMED:
                taken[record.id] = record
            elif call.waiting.get(service.name) is not asked:
                continue  # its reply was faster, or it is being asked again
            elif result is Published.UNROUTABLE:
                notes.append(self._noted(call, service, Status.UNROUTABLE, "it has no queue"))
            elif result is Published.REFUSED or again:
                notes.append(self._noted(call, service, Status.UNAVAILABLE, "RabbitMQ did not take it"))
            else:
                del call.waiting[service.name]
                put_off[record.id] = record
        for record in put_off.values():
            self._put_off(record, now)
        if taken:
            self._observer.published(now, list(taken.values()))
        if notes:
            await self._note(notes)

    # Back

    async def on_replies(self, pairs: Sequence[tuple[Reply, Settlement]]) -> None:
        """Take in replies to these calls. What raises lets them be delivered again."""
        pairs = await self._replies.known(pairs)
        calls = [self._calls.get(settlement.id) for _, settlement in pairs]
        stuck = [call for call in calls if call is not None and call.is_stuck]
        notes: list[Note] = []
        for reply, settlement in pairs:
            notes += self._replies.taken(reply, settlement)
        if notes:
            await self._note(notes)
        if stuck:
            await self._go_on(stuck)

    def _noted(self, call: Call, service: Service, status: Status, text: bytes | str) -> Note:
        """Wait no longer for a service: this is what it did. To be given to ``_note``."""
        now, record, name = self._clock(), call.record, service.name
        asked = call.telling[name] = call.waiting.pop(name, None)
        since = now if asked is None else asked.at
        self._observer.stepped(record.id, record.event, name, status.value, now - since)
        return Note(call, Answer(name, status, course.why(text) if isinstance(text, str) else text))

    async def _note(self, notes: Sequence[Note]) -> None:
        """Have the store keep answers, and go on with the calls that still wait."""
        parts = [course.line(each.answer) for each in notes]
        steps = [
            Progress(each.call.record.id, part, each.deadline)
            for each, part in zip(notes, parts, strict=True)
        ]
        nodes = {each.id.node for each in steps}
        behind = all(self._roles.of(node).writes_behind for node in nodes)
        records: Sequence[Transaction | None] | None = None
        try:
            records = await self._inflight.progress(steps, behind)
        finally:
            for note in notes:
                self._told(note, heard=records is not None)
        calls: dict[TransactionId, Call] = {}
        silent: list[Service] = []
        for note, part, record in zip(notes, parts, records, strict=True):
            if record is not None:  # else it has ended meanwhile
                call, answer = note.call, note.answer
                self._extended(note)
                call.follow(record, part, answer)
                calls[record.id] = call
                if answer.status in course.SILENT:
                    silent += self._was_silent(call, answer.service)
        if calls:
            more = [note for service in silent for note in self._silence(service)]
            await self._go_on(calls.values(), notes=more)

    def _told(self, note: Note, heard: bool) -> None:
        """The store was told of a note; or it was not, and what it is about goes on as before."""
        if note.answer.status is Status.EXTENDED:
            note.call.extending = False
        else:
            note.call.told(note.answer.service, heard)

    def _extended(self, note: Note) -> None:
        """A service has more time of its own, too, if its deadline was moved."""
        call, name = note.call, note.answer.service
        asked = call.waiting.get(name)
        if note.deadline is not None and asked is not None and asked.due is not None:
            asked.due += max(note.deadline - call.record.deadline, 0.0)
            self._calls.wake(asked.due, call.record.id)

    def _was_silent(self, call: Call, name: str) -> list[Service]:
        """The service, unless its reply came to another replica."""
        ended = course.ends(call.answers, call.plan.retry).get(name)
        if ended is not None and ended.status not in course.SILENT:
            return []
        return [each for each in (*call.plan.asked, *call.plan.backup) if each.name == name]

    # By the clock

    def tick(self, now: float) -> None:
        """Wait no longer for services whose time is over."""
        self._endings.shadows.purge(now)
        self._breakers.purge(now)
        if early := self._replies.early(now):
            self._spawn(self.on_replies(early))
        notes = [
            self._noted(call, asked.service, Status.TIMEOUT, "no reply in time")
            for call in self._calls.due(now)
            if now < call.record.deadline  # past it the store ends it
            for asked in [each for each in call.waiting.values() if each.due is not None and each.due <= now]
        ]
        if notes:
            self._spawn(self._note(notes))

    def expired(self, records: Iterable[Transaction]) -> None:
        """The deadline of these calls has passed: whom they waited for was silent."""
        silent: list[Service] = []
        for record in records:
            call = self._calls.get(record.id)
            if call is not None:
                ended = course.ends(call.answers_of(record), call.plan.retry)
                left = [each for each in call.waiting.values() if each.service.name not in ended]
                call.waiting.clear()
                for asked in left:
                    since = self._clock() - asked.at
                    step = record.event, asked.service.name, Status.TIMEOUT.value, since
                    self._observer.stepped(record.id, *step)
                    silent.append(asked.service)
        notes = [note for service in silent for note in self._silence(service)]
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
