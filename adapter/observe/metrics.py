"""What is counted and measured, for ``/metrics``. Times in seconds, sizes in bytes.

What only grows is a counter, ``_total``, and begins at 0 as soon as its labels are known: Prometheus
sees no increase in a series that begins at 1. Labels are bounded: nodes and outcomes by configuration,
events by ``MAX_EVENTS``, services by ``MAX_SERVICES``.
"""

from __future__ import annotations

from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from prometheus_client import (
    CollectorRegistry,
    Gauge,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)

from adapter.observe.command_metrics import CommandMetrics
from adapter.observe.course_metrics import CourseMetrics
from adapter.observe.trip_metrics import SECONDS, TripMetrics
from adapter.runtime.collectors import Spread, Tally

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_BROKER: Final = {
    "connects": "Connections made to RabbitMQ for requests.",
    "reply_connects": "Connections made to RabbitMQ for replies and for commands.",
    "published": "Messages that RabbitMQ has confirmed, dead letters included.",
    "batches": "Messages that held several requests for one service.",
    "batched": "Requests that went in such messages.",
    "returned": "Messages for which no queue was bound.",
    "nacked": "Messages that a queue refused, each attempt counted.",
    "renewed": "Channels opened in place of one on which messages were refused.",
    "unconfirmed": "Messages of which RabbitMQ said nothing within EVAPI_CONFIRM_TIMEOUT.",
    "redelivered": "Replies that were delivered again.",
    "requeued": "Batches of replies that were given back since they could not be taken in.",
    "ignored": "Dead requests of no interest (expired ones, other nodes'), looks whether a queue is there.",
    "dead_letters": "Frames and replies that were not understood, kept for an operator.",
    "dead_letters_dropped": "The same, lost since RabbitMQ was away or slow, or they were too many.",
    "refused": "Commands and answers by hand that did not come by the exchange for them.",
    "undecodable": "Connections that were closed over a message, which was taken off its queue then.",
    "expired": "Requests that the embedded broker dropped at their deadline.",
}


class Metrics:
    """All metrics, by subject, in a registry of their own.

    Args:
        events: names of events that have series of their own in any case.
    """

    def __init__(self, events: Iterable[str] = ()) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # twice the series for what nobody looks at
        self.registry = CollectorRegistry()
        self.trip = TripMetrics(self.registry, events)
        self.courses = CourseMetrics(self.registry, self.trip.named)
        self.commands = CommandMetrics(self.registry)
        self.cluster = ClusterMetrics(self.registry)
        self.links = LinkMetrics(self.registry)
        self.process = ProcessMetrics(self.registry)
        self._nodes: set[str] = set()
        # By these a trace is named beside what was counted (``traces.Exemplars``).
        self.exemplify, self.exemplify_hop = self.trip.exemplify, self.trip.exemplify_hop
        self.exemplify_service = self.courses.exemplify

    def measure(self, nodes: Iterable[str], now: float) -> None:
        """Bring up to date what is kept here, for each node, before a scrape (epoch seconds)."""
        oldest = self.trip.oldest_of(now)
        for node in nodes:
            if node not in self._nodes:
                self._nodes.add(node)
                self.trip.begin(node)
                self.commands.begin(node)
            self.trip.oldest.labels(node).set(oldest.get(node, 0.0))

    def forget(self, node: str) -> None:
        """Tell no more of a node that this replica has no link to: what does not change is no news, and
        a link that is meant to be away is not down."""
        self._nodes.discard(node)
        self.trip.forget(node)
        by_node = (*self.trip.by_node, *self.cluster.by_node, *self.links.by_node, self.commands.commands)
        for metric in by_node:
            metric.remove_by_labels({"node": node})


class ClusterMetrics:
    """This replica among the others."""

    def __init__(self, registry: CollectorRegistry) -> None:
        gauge = partial(Gauge, registry=registry)
        self.in_flight = gauge(
            "evapi_in_flight", "Suspensions of a node that wait for a decision, at any replica.", ["node"]
        )
        self.active = gauge("evapi_active", "Whether this replica is the active one.", ["node"])
        self.replicas = gauge("evapi_replicas", "Replicas that beat, this one among them.")
        self.name_clashes = gauge("evapi_name_clashes", "Names that stand for two, or of which one has two.")
        self.paused = gauge("evapi_paused", "Whether an operator has paused the node.", ["node"])
        self.frames_held = gauge("evapi_frames_held", "Events left to another replica for now.")
        self.drained = gauge("evapi_drained", "Whether an operator has drained this replica.")
        self.by_node = (self.in_flight, self.active, self.paused)
        """What has a series for each node."""


class LinkMetrics:
    """The connections to Kamailio."""

    def __init__(self, registry: CollectorRegistry) -> None:
        gauge, tally = partial(Gauge, registry=registry), partial(Tally, registry=registry)
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
        self.by_node: tuple[Gauge | Tally, ...] = (
            *(self.link_sound, self.link_up, self.link_receipts, self.gate_open, self.frames_unread),
            *(self.link_connects, self.link_frames, self.link_bytes),
            *(self.receipts_missed, self.frames_resent, self.frames_expired),
        )
        """What has a series for each node."""


class ProcessMetrics:
    """The servers that this process uses, and the process itself."""

    def __init__(self, registry: CollectorRegistry) -> None:
        gauge, tally = partial(Gauge, registry=registry), partial(Tally, registry=registry)
        self.log_lost = tally(
            "evapi_log_lost_total", "Lines of the log that its disk or reader did not take.", []
        )
        self.http_dropped = tally(
            "evapi_http_dropped_total", "HTTP connections closed as silent, or for one too many.", []
        )
        self.journal_dropped = tally(
            "evapi_journal_dropped_total", "Steps of calls that the journal has no room for.", []
        )

        self.broker_ready = gauge("evapi_broker_ready", "Whether the broker takes requests.")
        self._broker = {
            what: tally(f"evapi_broker_{what}_total", help_, []) for what, help_ in _BROKER.items()
        }
        self.store_ready = gauge("evapi_store_ready", "Whether the store answered its last beat.")
        self.loop_lag = Spread(
            "evapi_loop_lag_seconds",
            "By how much a timer of the event loop was late: for so long everything waited.",
            [],
            SECONDS,
            registry,
        ).labels()
        gauge("evapi_build_info", "Always 1.", ["version"]).labels(version("evapi-adapter")).set(1)
        self._policy = gauge(
            "evapi_policy_info", "Always 1: the revision of the policy that counts.", ["revision"]
        )
        self._policy_wrong = gauge(
            "evapi_policy_wrong", "1 while the policy's file is wrong, and the policy before it counts."
        )
        self.replica_info = gauge(
            "evapi_replica_info",
            "Always 1: this replica's name, and what it uses (embedded, rabbitmq; embedded, redis).",
            ["replica", "broker", "store"],
        )
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)

    def policy(self, revision: str, wrong: bool) -> None:
        """Tell which policy counts, and whether its file is wrong by now."""
        self._policy.clear()
        self._policy.labels(revision).set(1)
        self._policy_wrong.set(wrong)

    def broker_counted(self, counts: Mapping[str, int]) -> None:
        """Take in what a broker has counted since the start (``Broker.counts``)."""
        for what, number in counts.items():
            self._broker[what].set(number)
