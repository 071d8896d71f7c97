"""The middle: an event becomes a request, a reply becomes a resume.

Out:  `on_events` -> claim -> publish
Back: reply, deadline, failure, operator or adoption -> settle -> `resume`, the one exit

Every replica reads every event. The active one claims it at once; the others keep the frame for
a moment, in case nobody does (see ``cluster.role``). Whoever wins ``settle`` (or claims with an outcome
known at once) holds the licence to resume, and nobody else writes a decision. Everything travels
in batches: one socket read, one batch of deliveries, one tick.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import structlog

from adapter.model.correlation import Ids
from adapter.model.transaction import Outcome, Settlement, State, Transaction, TransactionId
from adapter.ports.broker import Broker, Publication, Published, Reply
from adapter.ports.store import Claim, Store
from adapter.relay import translate
from adapter.relay.courses import Courses
from adapter.relay.early_replies import EarlyReplies
from adapter.relay.malformed import MalformedFrames
from adapter.relay.notices import Notices
from adapter.relay.reply_reader import ReplyReader
from adapter.relay.republish import RepublishQueue
from adapter.relay.resumes import Resumes
from adapter.relay.standby_buffer import HeldFrame
from adapter.relay.unclaimed import Unclaimed
from adapter.wire import event as wire

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence

    from adapter.cluster.membership import Membership
    from adapter.cluster.roles import Roles
    from adapter.observe.course_metrics import CourseMetrics
    from adapter.observe.observer import Observer
    from adapter.observe.trip_metrics import TripMetrics
    from adapter.ports.cache import Decisions
    from adapter.ports.links import Links
    from adapter.relay.policy import LivePolicy

log = structlog.get_logger()


class Trip:
    """See above.

    Args:
        inflight: gives the licences to ask and to answer.
        broker: takes requests, notices and dead letters.
        links: the way to Kamailio.
        policy: deadlines, fallbacks and limits.
        metrics: counts what is no step of a call.
        observer: is told of each step.
        membership: who else is there.
        roles: what this replica does for each node.
        clock: gives epoch seconds, by which the membership goes, too.
        ids: writes and reads correlation ids; without a tag by default.
        services: counts what is no step of a call that several services decide.
        cache: keeps decisions of calls for equal ones.
    """

    def __init__(
        self,
        inflight: Store,
        broker: Broker,
        links: Links,
        policy: LivePolicy,
        metrics: TripMetrics,
        observer: Observer,
        membership: Membership,
        roles: Roles,
        clock: Callable[[], float] = time.time,
        ids: Ids | None = None,
        *,
        services: CourseMetrics,
        cache: Decisions,
    ) -> None:
        self._inflight = inflight
        self._ids = Ids() if ids is None else ids
        self._broker = broker
        self._links = links
        self._policy = policy
        self._metrics = metrics
        self._observer = observer
        self._membership = membership
        self._clock = clock
        self._loop = asyncio.get_running_loop()  # to ask for it costs a system call (Python 3.11)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._roles = roles
        self._republish = RepublishQueue(roles, membership.lease)
        self._courses = Courses(
            inflight,
            broker,
            policy,
            observer,
            metrics,
            services,
            roles,
            cache,
            self._ids,
            clock,
            self.settle,
            self._republish.add,
            self._spawn,
        )
        endings = self._courses.endings
        self._resumes = Resumes(
            links, policy, metrics, observer, membership, clock, self._ids, self._spawn, endings, inflight
        )
        self._unclaimed = Unclaimed(inflight, links, metrics, membership, roles, self._resumes.doubts)
        self._standby = self._unclaimed.standby
        self._reply_reader = ReplyReader(
            broker, links, policy, metrics, membership, clock, self._ids, self._courses
        )
        self._early_replies = EarlyReplies[TransactionId, Settlement](lambda each: each.id)
        self._malformed = MalformedFrames(broker, roles, clock)
        self._notices = Notices(broker, policy, metrics, self._malformed)

    def __repr__(self) -> str:
        claiming = "claiming" if self._roles.drain.claims else "draining"
        work = f"{len(self._tasks)} batches under way, {len(self._standby)} frames held"
        return f"<Trip {self._membership.replica} {claiming}, {work}>"

    @property
    def held(self) -> int:
        """How many events are left to another replica for now."""
        return len(self._standby)

    @property
    def without_ids(self) -> Mapping[str, str]:
        """Events without ids that look like questions -> the member that looks like an id."""
        return self._notices.unanswerable.told

    # Out: from Kamailio to the broker

    def on_events(self, node: str, events: Sequence[wire.Handed]) -> None:
        """Take what one read of a node's link held. Never waits."""
        now = self._clock()
        self._roles.refresh(now)
        role = self._roles.of(node)
        suspended: list[wire.Suspended | wire.Malformed | wire.LazySuspended] = []
        notices: list[wire.Notice] = []
        self._metrics.count_events(node, events)
        for found in events:
            if isinstance(found, wire.Notice):
                notices.append(found)
            elif isinstance(found, wire.Suspended | wire.LazySuspended):
                suspended.append(found)
            else:
                self._malformed.keep(node, found)
                if found.ids is not None:
                    suspended.append(found)
        if notices and role.publishes_notices:
            self._spawn(self._notices.publish(node, notices))
        if not suspended:
            return
        claimer = self._claimer(node)
        frames = [HeldFrame(now, claimer, each) for each in suspended]
        if role.wait <= 0:
            self._spawn(self._ask(self._to_claim(node, frames, role.accepts_new), role.writes_behind))
        else:
            for frame in frames:
                self._standby.put(node, frame)

    def tick(self) -> None:
        """Look after frames that are held, requests that the broker did not take, and early replies."""
        now = self._clock()
        self._roles.refresh(now)
        for node in self._standby:
            role = self._roles.of(node)
            left = self._unclaimed.answerable(node, self._standby.take(node, now - role.wait))
            if left and role.wait <= 0:  # its own by now: a store that is away knows of no other's claims
                self._spawn(self._ask(self._to_claim(node, left, role.accepts_new, again=True)))
            elif left:
                self._spawn(self._claim_left(node, left))
        if self._republish:
            again, refused = self._republish.sort(now, self._broker.ready)
            if again:
                self._spawn(self._publish(again, again=True))
            if refused:
                self._spawn(self.settle(refused))
        if self._early_replies.waiting and (early := self._early_replies.due(now)):
            self._spawn(self._settle_replies(early))
        if self._policy.courses:
            self._courses.tick(now)
        self._note_read()
        self._observer.tick()

    async def _claim_left(self, node: str, left: Sequence[HeldFrame]) -> None:
        """Claim those of the frames that nobody has claimed."""
        frames = await self._unclaimed.find(node, left)
        if frames:
            self._metrics.standby_claims.labels(node).inc(len(frames))
            accepts_new = self._roles.of(node).accepts_new
            await self._ask(self._to_claim(node, frames, accepts_new, again=True))

    def _claimer(self, node: str) -> translate.Claimer:
        return translate.Claimer(self._membership.replica, node, self._links.incarnation(node))

    def _to_claim(
        self, node: str, frames: Iterable[HeldFrame], accepts_new: bool, again: bool = False
    ) -> list[Transaction]:
        """Make the claims for some frames.

        Args:
            node: from which they came.
            frames: what asks for an answer.
            accepts_new: whether they are published, rather than answered ``unavailable``.
            again: whether they were left to another replica, which may have answered them and died.
        """
        found: list[Transaction] = []
        for frame in frames:
            transaction, malformed = translate.claim(frame.found, frame.claimer, self._policy, frame.arrived)
            if malformed is not None:
                self._malformed.keep(node, malformed)
            if not accepts_new and transaction.state is not State.SETTLED:
                gone = Outcome.UNAVAILABLE
                transaction = replace(transaction, request=b"", state=State.SETTLED, outcome=gone)
            found.append(replace(transaction, again=True) if again else transaction)
        return found

    async def _ask(self, transactions: Sequence[Transaction], write_behind: bool = False) -> None:
        """Claim, then publish what was won. Each admission class has a limit of its own. Several services
        are asked once the store has the claim: another replica would ask all of them again."""
        if write_behind and self._policy.courses:
            write_behind = not any(self._policy.plan_of(each).courses for each in transactions)
        classes = self._policy.admission_classes(transactions)
        asked = self._clock()
        claims_of = [self._inflight.claim(admitted, limit, write_behind) for limit, admitted in classes]
        claimed = await asyncio.gather(*claims_of) if claims_of[1:] else [await claims_of[0]]
        won: list[Transaction] = []
        for (_, admitted), claims in zip(classes, claimed, strict=True):
            for transaction, claim in zip(admitted, claims, strict=True):
                if claim is Claim.LOST:
                    self._metrics.duplicates.labels(transaction.id.node).inc()
                elif claim is Claim.FULL:
                    over = replace(transaction, state=State.SETTLED, outcome=Outcome.OVERLOAD, decision=None)
                    self.resume(over)
                elif transaction.state is State.SETTLED:
                    self.resume(transaction)
                else:
                    won.append(transaction)
        if won:
            self._observer.claimed(asked, won)
            await self._publish(won)

    async def _publish(self, transactions: Sequence[Transaction], again: bool = False) -> None:
        """Publish. What the broker refuses is answered at once; while it is away, kept for one more tick."""
        plan_of = self._policy.plan_of
        if self._policy.courses:
            courses = [each for each in transactions if plan_of(each).courses]
            if courses:
                self._spawn(self._courses.ask(courses, again))
                transactions = [each for each in transactions if not plan_of(each).courses]
                if not transactions:
                    return
        asked, traceparent, text = self._clock(), self._observer.traceparent, self._ids.text
        publications = []
        for t in transactions:
            plan = plan_of(t)
            to = traceparent(t, plan.queue), plan.queue, None, plan.batch
            publications.append(Publication(t.event, t.id.node, t.request, text(t.id), t.deadline, *to))
        results = await self._broker.publish(publications)
        if results.count(Published.CONFIRMED) == len(results):
            self._observer.published(asked, transactions)
            return
        taken = [t for t, result in zip(transactions, results, strict=True) if result is Published.CONFIRMED]
        self._observer.published(asked, taken)
        self._metrics.failed("publish", len(transactions) - len(taken))
        if refused := self._republish.keep(transactions, results, again, self._clock()):
            await self.settle(refused)

    # Back: from wherever an answer comes to Kamailio

    async def on_replies(self, replies: Sequence[Reply]) -> None:
        """Settle and resume a batch. What raises lets it be delivered again."""
        found = self._reply_reader.read(replies)
        if not found:
            return
        said = [(each.id, reply) for reply, each in found if reply.rejected != translate.UNTAKEN]
        self._observer.replied(said)
        if self._policy.courses:
            found = await self._take_parts(found)
        await self._settle_replies([settlement for _, settlement in found])

    async def _take_parts(self, found: Sequence[tuple[Reply, Settlement]]) -> list[tuple[Reply, Settlement]]:
        """Hand on what is one of several answers of which a decision is made; return the others."""
        parts, whole = list[tuple[Reply, Settlement]](), list[tuple[Reply, Settlement]]()
        for each in found:
            is_part = each[1].part is not None or each[1].id in self._courses
            (parts if is_part and each[1].outcome is not Outcome.OPERATOR else whole).append(each)
        if parts:
            await self._courses.on_replies(parts)
        return whole

    async def _settle_replies(self, settlements: Sequence[Settlement]) -> None:
        """Settle. Of what is refused, that is late which has had its answer; the rest is before its claim."""
        refused = await self.settle(settlements)
        if not refused and not self._early_replies.waiting:
            return
        late = await self._inflight.answered(refused) if refused else []
        open_ = set(refused).difference(late)
        self._early_replies.drop([settlement for settlement in settlements if settlement.id not in open_])
        early = [settlement for settlement in settlements if settlement.id in open_]
        for id_ in [*late, *(each.id for each in self._early_replies.add(early, self._clock()))]:
            self._metrics.late_replies.labels(id_.node).inc()

    async def settle(self, settlements: Sequence[Settlement]) -> list[TransactionId]:
        """Ask for the licences and resume where they are granted. Gives the ids for which not."""
        lost: list[TransactionId] = []
        nodes, asked = {settlement.id.node for settlement in settlements}, self._clock()
        records = await self._inflight.settle(
            settlements, all(self._roles.of(node).writes_behind for node in nodes)
        )
        self._metrics.hop("settle", self._clock() - asked)
        for settlement, transaction in zip(settlements, records, strict=True):
            if transaction is not None:
                if transaction.again:  # claimed by another replica: it has read the event
                    self._links.missed(transaction.id.node, self._clock() - transaction.claimed_at)
                self.resume(transaction)
            else:
                lost.append(settlement.id)
        return lost

    def due(self, node: str) -> bool:
        """Whether anything may be past its deadline, and it is this replica that answers it."""
        return self._inflight.due(node) and self._roles.of(node).sweeps

    async def expire(self, node: str) -> bool:
        """Answer what is past its deadline. True if there was anything."""
        expired = await self._inflight.expire(node, write_behind=self._roles.of(node).writes_behind)
        if self._policy.courses:
            self._courses.expired(expired)
        for transaction in expired:
            self.resume(transaction)
        return bool(expired)

    def publish_again(self, transactions: Sequence[Transaction]) -> None:
        """Publish what is claimed already. Never waits: deadlines are kept meanwhile."""
        self._spawn(self._publish(transactions))

    def under_way(self, node: str) -> set[TransactionId]:
        """Resumes that Kamailio will read, or that it has read and of which the store was not told yet."""
        return self._resumes.under_way(node)

    def stale(self, transaction: Transaction) -> bool:
        """Whether it was suspended by an earlier incarnation of its Kamailio, which it died with."""
        return self._resumes.is_stale(transaction)

    def resume(self, transaction: Transaction, again: bool = False, adopted: bool = False) -> None:
        """The one exit: write the answer to Kamailio, if it may still be written.

        Args:
            transaction: what is settled.
            again: whether the answer may have been written before.
            adopted: whether another replica had settled it, and may have written it.
        """
        self._resumes.resume(transaction, again, adopted)

    def on_added(self, record: Transaction) -> None:
        """Another replica has added what services answered to a record that waits here."""
        self._courses.added(record)

    def on_read(self, ids: Sequence[TransactionId]) -> None:
        """Kamailio has read these resumes: only their ids need be remembered, from the next tick on."""
        self._resumes.add_read(ids)
        self._observer.read(ids)

    def _note_read(self) -> None:
        if read := self._resumes.take_read():
            self._spawn(self._inflight.resumed(read))

    async def idle(self) -> None:
        """Return once no batch is under way."""
        self._note_read()
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _spawn(self, work: Coroutine[Any, Any, object]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (exc := task.exception()) is not None:
            log.error("relay: a batch failed; its deadlines answer it", exc_info=exc)
