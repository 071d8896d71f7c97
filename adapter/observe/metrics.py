"""What is counted and measured, for ``/metrics``. Times in seconds, sizes in bytes.

What only grows is a counter, ``_total``, and begins at 0 as soon as its labels are known: Prometheus
sees no increase in a series that begins at 1. Labels are bounded: nodes and outcomes by configuration,
events by ``MAX_EVENTS``.
"""

from __future__ import annotations

from bisect import bisect_left
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar

from adapter.model.transaction import Outcome
from adapter.observe.latency import ConsumerLatency

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from prometheus_client.metrics_core import Metric

    from adapter.model.transaction import Transaction, TransactionId

SECONDS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
"""Up to SIP's timers: T1 is 0.5 s, Kamailio's fr_timer 30 s by default."""
SHARES: Final = (0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
HOPS: Final = ("claim", "publish", "consumer", "settle", "receipt")
FAILING: Final = ("publish", "consumer")
"""Hops that fail for single calls. A claim or settlement that the store does not take is made in this
process; of what Kamailio does not read ``evapi_receipts_missed_total`` tells."""
MAX_EVENTS: Final = 100
"""Event names that have a series of their own. They come from a peer: the rest share ``other``."""

_WAITED: Final = frozenset({Outcome.DECIDED, Outcome.TIMEOUT, Outcome.FAILED, Outcome.OPERATOR})
"""Outcomes of calls that somebody was asked about."""
_NOT_IN_TIME: Final = frozenset({Outcome.TIMEOUT, Outcome.FAILED})
_BROKER: Final = {
    "connects": "Connections made to RabbitMQ for requests.",
    "reply_connects": "Connections made to RabbitMQ for replies and for commands.",
    "published": "Messages that RabbitMQ has confirmed, dead letters included.",
    "returned": "Messages for which no queue was bound.",
    "nacked": "Messages that a queue refused, each attempt counted.",
    "renewed": "Channels opened in place of one on which messages were refused.",
    "unconfirmed": "Messages of which RabbitMQ said nothing within EVAPI_CONFIRM_TIMEOUT.",
    "redelivered": "Replies that were delivered again.",
    "requeued": "Batches of replies that were given back since they could not be taken in.",
    "ignored": "Dead requests of no interest: expired ones, and other nodes'.",
    "dead_letters": "Frames and replies that were not understood, kept for an operator.",
    "dead_letters_dropped": "The same, lost since RabbitMQ was away or slow, or they were too many.",
    "refused": "Commands and answers by hand that did not come by the exchange for them.",
    "undecodable": "Connections that were closed over a message, which was taken off its queue then.",
    "expired": "Requests that the embedded broker dropped at their deadline.",
}


class Metrics:
    """One set of metrics, in a registry of its own: the trip, the links, the servers, this process.

    ``events``: names that have series of their own in any case.
    """

    def __init__(self, events: Iterable[str] = ()) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # twice the series for what nobody looks at
        self.registry = CollectorRegistry()
        counter = partial(Counter, registry=self.registry)
        gauge = partial(Gauge, registry=self.registry)
        tally = partial(Tally, registry=self.registry)
        spread = partial(Spread, registry=self.registry)

        # The trip
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
            self.registry,
        )
        self.late_replies = counter("evapi_late_replies_total", "Replies nobody waited for.", ["node"])
        self.replies_refused = counter(
            "evapi_replies_refused_total",
            "Replies and dead requests whose correlation id has no good tag: of no request of ours.",
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
            "of a call, from the confirm to the reply; receipt, from asking Kamailio how far it has read to "
            "its answer.",
            ["hop"],
            SECONDS,
        )
        self.hop_errors = counter(
            "evapi_hop_errors_total",
            "Calls that a hop failed: publish, not confirmed; consumer, rejected or no reply in time.",
            ["hop"],
        )
        self.in_flight = gauge(
            "evapi_in_flight", "Suspensions of a node that wait for a decision, at any replica.", ["node"]
        )
        self.oldest = gauge(
            "evapi_in_flight_oldest_seconds", "Age of the oldest that this replica has asked for.", ["node"]
        )
        self.notices = counter("evapi_notices_total", "Notices by what the broker did.", ["published"])
        self.commands = counter("evapi_commands_total", "Frames pushed to Kamailio.", ["node"])
        self.log_lost = tally(
            "evapi_log_lost_total", "Lines of the log that its disk or reader did not take.", []
        )
        self.http_dropped = tally(
            "evapi_http_dropped_total", "HTTP connections closed as silent, or for one too many.", []
        )
        self.journal_dropped = tally(
            "evapi_journal_dropped_total", "Steps of calls that the journal has no room for.", []
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

        # Replicas
        self.adopted = counter(
            "evapi_adopted_total", "Suspensions taken over from other replicas.", ["node", "state"]
        )
        self.standby_claims = counter("evapi_standby_claims_total", "Claims nobody else made.", ["node"])
        self.left_unanswered = counter(
            "evapi_left_unanswered_total",
            "Suspensions of a plain configuration that a replica which was lost may have answered.",
            ["node"],
        )
        self.stale = counter("evapi_bygone_total", "Resumes for an earlier life of Kamailio.", ["node"])
        self.active = gauge("evapi_active", "Whether this replica is the active one.", ["node"])
        self.replicas = gauge("evapi_replicas", "Replicas that beat, this one among them.")
        self.name_clashes = gauge("evapi_name_clashes", "Names that stand for two, or of which one has two.")
        self.paused = gauge("evapi_paused", "Whether an operator has paused the node.", ["node"])
        self.frames_held = gauge("evapi_frames_held", "Events left to another replica for now.")
        self.drained = gauge("evapi_drained", "Whether an operator has drained this replica.")

        # Links
        self.link_sound = gauge("evapi_link_sound", "Whether Kamailio reads what is written.", ["node"])
        self.link_up = gauge("evapi_link_up", "Whether the EVAPI connection stands.", ["node"])
        self.link_receipts = gauge("evapi_link_receipts", "Whether there are receipts (0: paced).", ["node"])
        self.gate_open = gauge("evapi_gate_open", "Whether the node knows that we are ready.", ["node"])
        self.link_connects = tally("evapi_link_connects_total", "Connections made to Kamailio.", ["node"])
        self.link_frames = tally("evapi_link_read_frames_total", "Frames read, of any kind.", ["node"])
        self.link_bytes = tally("evapi_link_read_bytes_total", "Bytes read.", ["node"])
        self.receipts_missed = tally(
            "evapi_receipts_missed_total", "Receipts not there within EVAPI_RECEIPT_TIMEOUT.", ["node"]
        )
        self.frames_resent = tally(
            "evapi_frames_resent_total", "Frames written again, since Kamailio may have lost them.", ["node"]
        )
        self.frames_expired = tally(
            "evapi_frames_expired_total", "Frames not written, since nobody waited any more.", ["node"]
        )
        self.frames_unread = gauge("evapi_frames_unread", "Frames not known to be read yet.", ["node"])

        # Servers and this process
        self.broker_ready = gauge("evapi_broker_ready", "Whether the broker takes requests.")
        self._broker = {
            what: tally(f"evapi_broker_{what}_total", help_, []) for what, help_ in _BROKER.items()
        }
        self.store_ready = gauge("evapi_store_ready", "Whether the store answered its last beat.")
        self.loop_lag = spread(
            "evapi_loop_lag_seconds",
            "By how much a timer of the event loop was late: for so long everything waited.",
            [],
            SECONDS,
        ).labels()
        gauge("evapi_build_info", "Always 1.", ["version"]).labels(version("evapi-adapter")).set(1)
        self.replica_info = gauge(
            "evapi_replica_info",
            "Always 1: this replica's name, and what it uses (embedded, rabbitmq; embedded, redis).",
            ["replica", "broker", "store"],
        )
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)

        self._by_node: list[Counter | Gauge | Tally] = [
            *(self.events, self.duplicates, self.outcomes, self.late_replies, self.in_flight, self.oldest),
            *(
                self.commands,
                self.adopted,
                self.standby_claims,
                self.stale,
                self.left_unanswered,
                self.active,
                self.paused,
            ),
            *(self.link_sound, self.link_up, self.link_receipts, self.gate_open, self.frames_unread),
            *(self.link_connects, self.link_frames, self.link_bytes, self.shed, self.withheld),
            *(self.receipts_missed, self.frames_resent, self.frames_expired),
        ]
        self._waiting = ConsumerLatency()
        self._nodes: set[str] = set()
        self._events = set(events)
        self._of_kind: dict[tuple[str, str], Counter] = {}
        self._of_outcome: dict[tuple[str, str, Outcome], tuple[str, ...]] = {}
        self._of_event: dict[str, Series] = {}
        self._hops = {each: self.hop_seconds.labels(each) for each in HOPS}
        for each in FAILING:
            self.hop_errors.labels(each)
        self._seconds = {each: self.decision_seconds.labels(each.value) for each in Outcome}
        self._late = self.late_seconds.labels()

    def read(self, node: str, kind: str, number: int) -> None:
        """Count events that were read. (Finding a series by its labels costs 3 us: it is kept.)"""
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

    def claimed(self, transactions: Iterable[Transaction]) -> None:
        """This replica is to have these decided."""
        self._waiting.add(transactions)

    def published(self, now: float, ids: Iterable[TransactionId]) -> None:
        """These are the consumers' now (epoch seconds)."""
        self._waiting.asked(now, ids)

    def replied(self, now: float, ids: Iterable[TransactionId]) -> None:
        """Consumers have replied to these (epoch seconds)."""
        observe = self._hops["consumer"].observe
        for seconds in self._waiting.answered(now, ids):
            observe(seconds)

    def resumed(self, transaction: Transaction, outcome: Outcome, now: float, seconds: float) -> None:
        """Count a resume, and for how long its caller has waited (``now`` in epoch seconds)."""
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
        if now > transaction.deadline:
            self._late.observe(now - transaction.deadline)

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

    def tick(self, now: float) -> None:
        """Forget what other replicas must have answered by now. To be called often."""
        self._waiting.purge(now)

    def measure(self, nodes: Iterable[str], now: float) -> None:
        """Bring up to date what is kept here, for each node, before a scrape (epoch seconds)."""
        oldest = self._waiting.oldest(now)
        for node in nodes:
            if node not in self._nodes:
                self._begin(node)
            self.oldest.labels(node).set(oldest.get(node, 0.0))

    def forget(self, node: str) -> None:
        """Tell no more of a node that this replica has no link to: what does not change is no news, and
        a link that is meant to be away is not down."""
        self._nodes.discard(node)
        self._of_kind = {key: each for key, each in self._of_kind.items() if key[0] != node}
        self._of_outcome = {key: each for key, each in self._of_outcome.items() if key[0] != node}
        for metric in self._by_node:
            metric.remove_by_labels({"node": node})

    def broker_counted(self, counts: Mapping[str, int]) -> None:
        """Take in what a broker has counted since the start (``Broker.counts``)."""
        for what, number in counts.items():
            self._broker[what].set(number)

    def _begin(self, node: str) -> None:
        """A node's counters begin at 0."""
        self._nodes.add(node)
        for kind in ("suspended", "notice", "malformed"):
            self.read(node, kind, 0)
        for state in ("claimed", "settled"):
            self.adopted.labels(node, state)
        for counter in (
            self.duplicates,
            self.late_replies,
            self.commands,
            self.standby_claims,
            self.stale,
            self.left_unanswered,
        ):
            counter.labels(node)
        self.withheld.labels(node)
        for got in ("fallback", "silence"):
            self.shed.labels(node, got)
        for published in ("confirmed", "unroutable", "unavailable", "refused"):
            self.notices.labels(published)

    def _named(self, event: str) -> bool:
        """Whether the event has series of its own; the first so many do."""
        if event not in self._events and len(self._events) < MAX_EVENTS:
            self._events.add(event)
        return event in self._events

    def _outcome(self, node: str, event: str, outcome: Outcome) -> tuple[str, ...]:
        """The labels."""
        if not self._named(event):
            return node, "other", outcome.value  # of any number: not kept
        for each in Outcome:
            labels = self._of_outcome[node, event, each] = node, event, each.value
            self.outcomes.add(labels, 0)
        return self._of_outcome[node, event, outcome]

    def _used(self, event: str) -> Series:
        if not self._named(event):
            return self.deadline_used.labels("other")
        found = self._of_event[event] = self.deadline_used.labels(event)
        return found


class Tally(Collector):
    """A counter that somebody else keeps, ``set`` before each scrape to what it stands at; or one that
    is counted at every call, since the library's takes a lock each time: 1 us instead of 0.2.
    """

    def __init__(self, name: str, help_: str, labels: Sequence[str], registry: CollectorRegistry) -> None:
        self._name, self._help, self._labels = name, help_, labels
        self._values: dict[tuple[str, ...], float] = {} if labels else {(): 0.0}
        registry.register(self)

    def set(self, value: float, *labels: str) -> None:
        """What it stands at."""
        self._values[labels] = value

    def add(self, labels: tuple[str, ...], number: float = 1.0) -> None:
        """Count one, or so many. In the loop's thread only."""
        self._values[labels] = self._values.get(labels, 0.0) + number

    def remove_by_labels(self, labels: Mapping[str, str]) -> None:
        """Tell no more of what has these labels."""
        wanted = [(self._labels.index(name), value) for name, value in labels.items()]
        self._values = {
            key: value
            for key, value in self._values.items()
            if any(key[place] != each for place, each in wanted)
        }

    def collect(self) -> Iterable[Metric]:
        """For the registry."""
        family = CounterMetricFamily(self._name, self._help, labels=self._labels)
        for labels, value in self._values.items():
            family.add_metric(labels, value)
        return [family]

    def describe(self) -> Iterable[Metric]:
        """For the registry: which names are taken."""
        return [CounterMetricFamily(self._name, self._help, labels=self._labels)]


class Series:
    """One histogram. The library's takes a lock for each number: 0.9 us instead of 0.25."""

    __slots__ = ("bounds", "counts", "exemplars", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0
        self.exemplars: dict[int, Exemplar] = {}

    def observe(self, amount: float) -> None:
        """Count an amount in the bucket that it is in. In the loop's thread only."""
        self.counts[bisect_left(self.bounds, amount)] += 1
        self.total += amount

    def exemplify(self, amount: float, at: float, trace: str) -> None:
        """Name a call's trace beside the bucket that the amount is in; the newest stays (epoch seconds)."""
        self.exemplars[bisect_left(self.bounds, amount)] = Exemplar({"trace_id": trace}, amount, at)


class Spread(Collector):
    """A histogram: a ``Series`` for each set of labels."""

    def __init__(
        self,
        name: str,
        help_: str,
        labels: Sequence[str],
        bounds: Sequence[float],
        registry: CollectorRegistry,
    ) -> None:
        self._name, self._help, self._labels, self._bounds = name, help_, labels, bounds
        self._series: dict[tuple[str, ...], Series] = {}
        if not labels:
            self.labels()
        registry.register(self)

    def labels(self, *labels: str) -> Series:
        """The series of these, which begins here."""
        found = self._series.get(labels)
        if found is None:
            found = self._series[labels] = Series(self._bounds)
        return found

    def collect(self) -> Iterable[Metric]:
        """For the registry."""
        family = HistogramMetricFamily(self._name, self._help, labels=self._labels)
        names = [*map(str, self._bounds), "+Inf"]
        for labels, series in self._series.items():
            upto = 0
            buckets: list[tuple[str, float] | tuple[str, float, Exemplar]] = []
            for place, (name, number) in enumerate(zip(names, series.counts, strict=True)):
                upto += number
                exemplar = series.exemplars.get(place)
                buckets.append((name, float(upto), exemplar) if exemplar else (name, float(upto)))
            family.add_metric(labels, buckets, series.total)
        return [family]

    def describe(self) -> Iterable[Metric]:
        """For the registry: which names are taken."""
        return [HistogramMetricFamily(self._name, self._help, labels=self._labels)]
