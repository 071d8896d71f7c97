"""The one exit: what is settled is written to Kamailio, once. Whether it may be stands in ``answers``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog

from adapter.cluster.identities import is_linked
from adapter.cluster.view import NEVER
from adapter.model.transaction import BY_SOMEBODY, RESEND_FOR, Outcome, Transaction, TransactionId
from adapter.relay.answers import Answer, Verdict, verdict
from adapter.relay.doubts import Doubts
from adapter.relay.unwritten import GRACE, SHARE, Unwritten
from adapter.wire import to_kamailio

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from adapter.cluster.membership import Membership
    from adapter.model.correlation import Ids
    from adapter.observe.observer import Observer
    from adapter.observe.trip_metrics import TripMetrics
    from adapter.ports.links import Links
    from adapter.ports.store import Store
    from adapter.relay.endings import Endings
    from adapter.relay.policy import LivePolicy

log = structlog.get_logger()


class Resumes:
    """Writes what is settled, and keeps what is still on its way.

    Args:
        links: the way to Kamailio.
        policy: gives the fallbacks.
        metrics: of the trip.
        observer: is told of each resume.
        membership: who else may have answered.
        clock: gives epoch seconds.
        ids: writes correlation ids.
        spawn: does work in the background.
        endings: how calls end that several services decide.
        inflight: tells what may have been written, and is told of what this replica cannot write.
    """

    def __init__(
        self,
        links: Links,
        policy: LivePolicy,
        metrics: TripMetrics,
        observer: Observer,
        membership: Membership,
        clock: Callable[[], float],
        ids: Ids,
        spawn: Callable[[Coroutine[Any, Any, object]], None],
        endings: Endings,
        inflight: Store,
    ) -> None:
        self.doubts = Doubts(inflight, membership, clock)
        self._endings = endings
        self._links = links
        self._policy = policy
        self._metrics = metrics
        self._observer = observer
        self._membership = membership
        self._clock = clock
        self._ids = ids
        self._spawn = spawn
        self._doubtful: set[TransactionId] = set()  # to be written once the store has told that nobody has
        self._read: list[TransactionId] = []
        self._unwritten = Unwritten(metrics, ids.text, inflight.release, spawn)

    def under_way(self, node: str) -> set[TransactionId]:
        """Return the resumes that Kamailio will read, or has read and of which the store was not told yet."""
        return self._links.unread(node).union(self._read, self._doubtful, self._unwritten.leaving)

    def add_read(self, ids: Sequence[TransactionId]) -> None:
        """Kamailio has read these resumes: only their ids need be remembered."""
        self._read += ids

    def take_read(self) -> list[TransactionId]:
        """Return, once, those of which nothing but their ids need be remembered."""
        read, self._read = self._read, []
        return read

    def is_stale(self, transaction: Transaction) -> bool:
        """Return True if it was suspended by an earlier incarnation of its Kamailio, which it died with."""
        if not transaction.incarnation:
            return False
        incarnation = self._links.incarnation(transaction.id.node)
        return bool(incarnation and incarnation != transaction.incarnation)

    def resume(self, transaction: Transaction, again: bool = False, adopted: bool = False) -> None:
        """Write an answer to Kamailio, if it may still be written.

        Args:
            transaction: what is settled.
            again: whether the answer may have been written before.
            adopted: whether another replica had settled it, and may have written it.
        """
        node, stale = transaction.id.node, self.is_stale(transaction)
        again = again or adopted or transaction.again
        if self._membership.away and not again:
            again = transaction.claimed_at <= self._membership.gave_way.get(node, NEVER)
        if not (stale or again):
            self._write(transaction, again=False)
            return
        answer = Answer(
            stale,
            stale and is_linked(transaction.incarnation, node, self._membership.others.values()),
            again,
            again and self._links.drops_repeats(node),
            adopted,
        )
        self._carry_out(transaction, answer)

    def _carry_out(self, transaction: Transaction, answer: Answer) -> None:
        id_, found = transaction.id, verdict(answer)
        if found is Verdict.WRITE:
            self._write(transaction, again=False)
        elif found is Verdict.REPEAT:
            self._write(transaction, again=True)
        elif found is Verdict.ASK:
            if id_ not in self._doubtful:
                self._doubtful.add(id_)
                self._spawn(self._ask_store(transaction, answer))
        elif found is Verdict.LEAVE:
            self._membership.left.add(id_.node)
        elif found is Verdict.FORGET:
            self._metrics.stale.labels(id_.node).inc()
            self._read.append(id_)
        else:
            self._unwritten.withheld(id_, self._clock(), found.value)
            self._read.append(id_)

    async def _ask_store(self, transaction: Transaction, answer: Answer) -> None:
        try:
            remembered, untraced = await self.doubts.of_settled(transaction.id, transaction.claimed_at)
        finally:
            self._doubtful.discard(transaction.id)
        self._carry_out(transaction, answer._replace(remembered=remembered, untraced=untraced))

    def _write(self, transaction: Transaction, again: bool) -> None:
        id_, outcome = transaction.id, transaction.outcome
        assert outcome is not None, "only what is settled is resumed"
        decision, payload = self._payload(transaction, outcome)
        if len(payload) > self._links.max_payload(id_.node):
            outcome = Outcome.OVERSIZED
            decision, payload = self._payload(transaction, outcome)
        now = self._clock()
        left = max(transaction.deadline - now, 0.0)
        soon = left * SHARE if outcome in BY_SOMEBODY else left + GRACE
        if not self._links.in_time(id_.node, len(payload), soon):
            if outcome in BY_SOMEBODY:
                outcome = Outcome.OVERLOAD
                decision, payload = self._payload(transaction, outcome)
            silent = not self._links.in_time(id_.node, len(payload), left + GRACE)
            self._unwritten.shed(id_, now, silent)
            if silent:
                self._read.append(id_)
                return
        if not self._links.send(id_.node, payload, left + RESEND_FOR, id_, again):
            said = "no link: resumed once there is one, or by another replica"
            log.info(said, correlation_id=self._ids.text(id_))
            if not self._links.drops_repeats(id_.node) and id_.node not in self._membership.splits:
                self._unwritten.leave(id_)
            return
        if self._policy.courses and self._has_course(transaction):
            self._endings.ended(transaction, outcome)  # first: who is told of the resume knows what decided
        self._observer.resumed(now, transaction, outcome, decision)

    def _payload(self, transaction: Transaction, outcome: Outcome) -> tuple[bytes, bytes]:
        """The decision, and what is written: somebody's decision, if the outcome says that it is one."""
        more = b""
        if self._policy.courses and self._has_course(transaction):
            decision, more = self._endings.end(transaction, outcome)
        elif outcome in BY_SOMEBODY and transaction.decision is not None:
            decision = transaction.decision
        else:
            decision = self._policy.plan_of(transaction).fallback_of(outcome)
        trace, tag = self._observer.traceparent(transaction), self._ids.suffix(transaction.id)
        event = transaction.event
        return decision, to_kamailio.resume(transaction.id, event, outcome, decision, trace, tag, more)

    def _has_course(self, transaction: Transaction) -> bool:
        return self._policy.plan_of(transaction).courses
