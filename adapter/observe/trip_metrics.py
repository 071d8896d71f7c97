"""What is counted and measured of calls and their hops. Times in seconds."""

from __future__ import annotations

import collections
from functools import partial
from typing import TYPE_CHECKING, Final

from prometheus_client import Counter, Gauge

from adapter.model.transaction import Outcome, State
from adapter.observe.sink import Sink
from adapter.runtime.collectors import Series, Spread, Tally
from adapter.wire import event as wire

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from prometheus_client import CollectorRegistry

    from adapter.model.transaction import Transaction, TransactionId
    from adapter.ports.broker import Reply

SECONDS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
"""Up to SIP's timers: T1 is 0.5 s, Kamailio's fr_timer 30 s by default."""
SHARES: Final = (0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
HOPS: Final = ("claim", "publish", "consumer", "queue", "work", "settle", "receipt")
FAILING: Final = ("publish", "consumer")
"""Hops that fail for single calls. A claim or settlement that the store does not take is made in this
process; of what Kamailio does not read ``evapi_receipts_missed_total`` tells."""
MAX_EVENTS: Final = 100
"""Event names that have a series of their own. They come from a peer: the rest share ``other``."""

_KINDS: Final = {
    wire.Suspended: "suspended",
    wire.LazySuspended: "suspended",
    wire.Notice: "notice",
    wire.Malformed: "malformed",
}
_WAITED: Final = frozenset({Outcome.DECIDED, Outcome.TIMEOUT, Outcome.FAILED, Outcome.OPERATOR})
"""Outcomes of calls that somebody was asked about."""
_NOT_IN_TIME: Final = frozenset({Outcome.TIMEOUT, Outcome.FAILED})
OVERDUE: Final = 5.0
"""Seconds past its deadline after which another replica must have answered a call that was asked here."""
_ANSWERED: Final = float("-inf")


class TripMetrics(Sink):
    """The sink that counts.

    Args:
        registry: where the series are told.
        events: names that have series of their own in any case.
    """

    def __init__(self, registry: CollectorRegistry, events: Iterable[str] = ()) -> None:
        counter = partial(Counter, registry=registry)
        gauge = partial(Gauge, registry=registry)
        spread = partial(Spread, registry=registry)
        self.events = counter(
            "evapi_events_total", "Events read: suspended, notice or malformed.", ["node", "kind"]
        )
        self.duplicates = counter(
            "evapi_duplicate_events_total", "Events that another replica had claimed.", ["node"]
        )
        self.outcomes = Tally(
            "evapi_outcomes_total",
            "Resumes handed to a link. One that is written again, since its link or its replica was lost "
            "before the receipt, counts again.",
            ["node", "event", "outcome"],
            registry,
        )
        self.late_replies = counter("evapi_late_replies_total", "Replies nobody waited for.", ["node"])
        self.replies_refused = counter(
            "evapi_replies_refused_total",
            "Replies and dead requests whose correlation id has no good tag: of no request of ours.",
        )
        self.replies_empty = counter(
            "evapi_replies_empty_total", "Replies without a body, which answer nothing: their calls wait on."
        )
        self.decision_seconds = spread(
            "evapi_decision_seconds", "From the claim of a suspension to its resume.", ["outcome"], SECONDS
        )
        self.deadline_used = spread(
            "evapi_deadline_used_ratio",
            "From the claim to the resume, as a share of the event's deadline, where a consumer was asked.",
            ["event"],
            SHARES,
        )
        self.late_seconds = spread(
            "evapi_resume_late_seconds", "How long after its deadline a resume was handed on.", [], SECONDS
        )
        self.hop_seconds = spread(
            "evapi_hop_seconds",
            "What each hop took: claim, publish (to the confirm) and settle, of a batch of calls; consumer, "
            "of a call, from the confirm to the reply; work, the part of it for which the service had the "
            "request, by its clock alone; queue, the rest; receipt, from asking Kamailio how far it has read "
            "to its answer.",
            ["hop"],
            SECONDS,
        )
        self.hop_errors = counter(
            "evapi_hop_errors_total",
            "Calls that a hop failed: publish, not confirmed; consumer, rejected or no reply in time.",
            ["hop"],
        )
        self.oldest = gauge(
            "evapi_in_flight_oldest_seconds", "Age of the oldest that this replica has asked for.", ["node"]
        )
        self.notices = counter("evapi_notices_total", "Notices by what the broker did.", ["published"])
        self.unanswerable = counter(
            "evapi_questions_without_ids_total",
            "Events without ids whose data look like a question.",
            ["node"],
        )
        self.shed = counter(
            "evapi_answers_shed_total",
            "Decisions that a plain configuration could not be written in time, by what the caller got: the "
            "fallback, or silence (Kamailio's own timer).",
            ["node", "got"],
        )
        self.withheld = counter(
            "evapi_answers_withheld_total",
            "Answers that a plain configuration was not given, since it may have had them before.",
            ["node"],
        )
        self.taken_over = counter(
            "evapi_adopted_total", "Suspensions taken over from other replicas.", ["node", "state"]
        )
        self.standby_claims = counter("evapi_standby_claims_total", "Claims nobody else made.", ["node"])
        self.left_unanswered = counter(
            "evapi_left_unanswered_total",
            "Suspensions of a plain configuration that a replica which was lost may have answered.",
            ["node"],
        )
        self.stale = counter("evapi_bygone_total", "Resumes for an earlier life of Kamailio.", ["node"])

        self.by_node: list[Counter | Gauge | Tally] = [
            *(self.events, self.duplicates, self.outcomes, self.late_replies, self.oldest),
            *(
                self.shed,
                self.withheld,
                self.taken_over,
                self.standby_claims,
                self.left_unanswered,
                self.stale,
                self.unanswerable,
            ),
        ]
        """What has a series for each node."""
        self._waiting = ConsumerLatency()
        self._names = set(events)
        self._of_kind: dict[tuple[str, str], Counter] = {}
        self._of_outcome: dict[tuple[str, str, Outcome], tuple[str, ...]] = {}
        self._of_event: dict[str, Series] = {}
        self._hops = {each: self.hop_seconds.labels(each) for each in HOPS}
        for each in FAILING:
            self.hop_errors.labels(each)
        self._seconds = {each: self.decision_seconds.labels(each.value) for each in Outcome}
        self._late = self.late_seconds.labels()

    def count_events(self, node: str, events: Sequence[wire.Handed]) -> None:
        """Count events that were read. (Finding a series by its labels costs 3 us: it is kept.)"""
        for kind, number in collections.Counter(map(type, events)).items():
            self._count(node, _KINDS[kind], number)

    def _count(self, node: str, kind: str, number: int) -> None:
        series = self._of_kind.get((node, kind))
        if series is None:
            series = self._of_kind[node, kind] = self.events.labels(node, kind)
        series.inc(number)

    def hop(self, name: str, seconds: float) -> None:
        """A hop was done."""
        self._hops[name].observe(max(seconds, 0.0))

    def failed(self, name: str, number: int) -> None:
        """A hop failed for so many calls."""
        self.hop_errors.labels(name).inc(number)

    def claimed(self, at: float, transactions: Sequence[Transaction], took: float = 0.0) -> None:
        """These wait for a decision from now on."""
        self.hop("claim", took)
        self._waiting.add(transactions)

    def published(self, at: float, transactions: Sequence[Transaction], took: float = 0.0) -> None:
        """These are the consumers' now."""
        self.hop("publish", took)
        self._waiting.asked(at, [transaction.id for transaction in transactions])

    def replied(self, at: float, replies: Sequence[tuple[TransactionId, Reply]]) -> None:
        """Consumers have replied to these: tell a call's time in queues from the service's work.

        Both of the service's times are by its own clock, so that another clock than ours makes no difference;
        one that was set meanwhile tells nothing, or at most that the work took as long as the call is old.
        """
        tell, tell_work, tell_queue = (self._hops[each].observe for each in ("consumer", "work", "queue"))
        answered = self._waiting.answered
        for id_, reply in replies:
            times = answered(at, id_)
            if times is None:
                continue
            consumer, age = times
            tell(consumer)
            if reply.received is not None and reply.replied is not None:
                work = reply.replied - reply.received
                if work >= 0:
                    tell_work(work if work < age else age)
                    tell_queue(consumer - work if consumer > work else 0.0)

    def adopted(
        self, at: float, node: str, owners: Sequence[str], state: State, transactions: Sequence[Transaction]
    ) -> None:
        """Count them; those that are claimed wait for a decision."""
        self.taken_over.labels(node, state.name.lower()).inc(len(transactions))
        if state is State.CLAIMED:
            self._waiting.add(transactions)

    def resumed(
        self, at: float, transaction: Transaction, outcome: Outcome, seconds: float, decision: bytes = b""
    ) -> None:
        """Count a resume, and for how long its caller has waited."""
        id_, event = transaction.id, transaction.event
        self._waiting.over(id_)
        labels = self._of_outcome.get((id_.node, event, outcome))
        if labels is None:
            labels = self._outcome(id_.node, event, outcome)
        self.outcomes.add(labels)
        self._seconds[outcome].observe(seconds)
        if outcome in _WAITED:
            allowed = transaction.deadline - transaction.claimed_at
            used = self._of_event.get(event) or self._used(event)
            used.observe(seconds / allowed if allowed > 0 else 1.0)
            if outcome in _NOT_IN_TIME:
                self.failed("consumer", 1)
        if at > transaction.deadline:
            self._late.observe(at - transaction.deadline)

    def exemplify(
        self, transaction: Transaction, outcome: Outcome, now: float, seconds: float, trace: str
    ) -> None:
        """Name a call's trace beside the buckets that ``resumed`` counted it in (OpenMetrics' exemplars)."""
        self._seconds[outcome].exemplify(seconds, now, trace)
        if now > transaction.deadline:
            self._late.exemplify(now - transaction.deadline, now, trace)

    def exemplify_hop(self, name: str, seconds: float, now: float, trace: str) -> None:
        """The same for ``hop``: one traced call of the batch."""
        self._hops[name].exemplify(max(seconds, 0.0), now, trace)

    def tick(self, at: float) -> None:
        """Forget what other replicas must have answered by now."""
        self._waiting.purge(at)

    def oldest_of(self, now: float) -> dict[str, float]:
        """Return the age in seconds of the oldest call that waits, by node (``now`` in epoch seconds)."""
        return self._waiting.oldest(now)

    def begin(self, node: str) -> None:
        """Let a node's counters begin at 0."""
        for kind in ("suspended", "notice", "malformed"):
            self._count(node, kind, 0)
        for state in ("claimed", "settled"):
            self.taken_over.labels(node, state)
        for counter in (
            *(self.duplicates, self.late_replies, self.standby_claims, self.stale),
            *(self.left_unanswered, self.withheld, self.unanswerable),
        ):
            counter.labels(node)
        for got in ("fallback", "silence"):
            self.shed.labels(node, got)
        for published in ("confirmed", "unroutable", "unavailable", "refused"):
            self.notices.labels(published)

    def forget(self, node: str) -> None:
        """Tell no more of a node."""
        self._of_kind = {key: each for key, each in self._of_kind.items() if key[0] != node}
        self._of_outcome = {key: each for key, each in self._of_outcome.items() if key[0] != node}

    def named(self, event: str) -> bool:
        """Return whether the event has series of its own; the first so many do."""
        if event not in self._names and len(self._names) < MAX_EVENTS:
            self._names.add(event)
        return event in self._names

    def _outcome(self, node: str, event: str, outcome: Outcome) -> tuple[str, ...]:
        """The labels."""
        if not self.named(event):
            return node, "other", outcome.value  # of any number: not kept
        for each in Outcome:
            labels = self._of_outcome[node, event, each] = node, event, each.value
            self.outcomes.add(labels, 0)
        return self._of_outcome[node, event, outcome]

    def _used(self, event: str) -> Series:
        if not self.named(event):
            return self.deadline_used.labels("other")
        found = self._of_event[event] = self.deadline_used.labels(event)
        return found


class ConsumerLatency:
    """In epoch seconds. A call that another replica answers is forgotten ``OVERDUE`` after its deadline."""

    def __init__(self) -> None:
        self._calls: dict[TransactionId, tuple[float, float]] = {}  # when claimed, and the deadline
        self._asked: dict[TransactionId, float] = {}

    def __len__(self) -> int:
        return len(self._calls)

    def add(self, transactions: Iterable[Transaction]) -> None:
        """These wait from now on."""
        self._calls.update({t.id: (t.claimed_at, t.deadline) for t in transactions})

    def asked(self, now: float, ids: Iterable[TransactionId]) -> None:
        """A consumer was asked. What is answered already, before the broker confirmed it, is left out."""
        calls, asked = self._calls, self._asked
        asked.update({id_: now for id_ in ids if id_ in calls and asked.get(id_) != _ANSWERED})

    def answered(self, now: float, id_: TransactionId) -> tuple[float, float] | None:
        """Take in a reply.

        Returns:
            For how many seconds the call was the consumer's, 0 if its reply was quicker than the broker's
            confirm, and for how many it is claimed. None for a second reply, and for a call not known here.
        """
        since, call = self._asked.get(id_, now), self._calls.get(id_)
        if since == _ANSWERED or call is None:
            return None
        self._asked[id_] = _ANSWERED
        return max(now - since, 0.0), max(now - call[0], 0.0)

    def over(self, id_: TransactionId) -> None:
        """It is answered."""
        if self._calls.pop(id_, None) is not None:
            self._asked.pop(id_, None)

    def oldest(self, now: float) -> dict[str, float]:
        """Seconds since the oldest call was claimed, by node. Looks at each: 1 ms for 10,000."""
        since: dict[str, float] = {}
        for id_, (claimed_at, deadline) in self._calls.items():
            if claimed_at < since.get(id_.node, now) and now <= deadline + OVERDUE:
                since[id_.node] = claimed_at
        return {node: now - when for node, when in since.items()}

    def purge(self, now: float) -> None:
        """Forget what is overdue: in the order of claims, so that a long deadline keeps what follows."""
        while self._calls:
            id_, (_, deadline) = next(iter(self._calls.items()))
            if now <= deadline + OVERDUE:
                return
            self.over(id_)
