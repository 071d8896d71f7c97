"""What is counted and measured, for ``/metrics``. Times in seconds."""

from __future__ import annotations

from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

from adapter.transaction import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable

_BUCKETS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
"""Up to SIP's timers: T1 is 0.5 s, Kamailio's fr_timer 30 s by default."""
HOPS: Final = ("claim", "publish", "settle", "receipt")
MAX_EVENTS: Final = 100
"""Event names that have a series of their own. They come from a peer: the rest share ``other``."""


class Metrics:
    """One set of metrics, in a registry of its own: the trip, the links, the servers.

    ``events``: names that have series of their own in any case.
    """

    def __init__(self, events: Iterable[str] = ()) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # twice the series for what nobody looks at
        self.registry = CollectorRegistry()
        counter = partial(Counter, registry=self.registry)
        gauge = partial(Gauge, registry=self.registry)

        self.events = counter("evapi_events_total", "Frames read, by what they are.", ["node", "kind"])
        self.duplicates = counter("evapi_duplicate_events_total", "Events that a copy had claimed.", ["node"])
        self.outcomes = counter("evapi_outcomes_total", "Resumes.", ["node", "event", "outcome"])
        self.late_replies = counter("evapi_late_replies_total", "Replies nobody waited for.", ["node"])
        self.decision_seconds = Histogram(
            "evapi_decision_seconds",
            "From the claim of a suspension to its resume.",
            ["outcome"],
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.hop_seconds = Histogram(
            "evapi_hop_seconds",
            "What each hop of a call took: claim, publish (to the confirm) and settle, of a batch of calls; "
            "receipt, of a resume until Kamailio has read it.",
            ["hop"],
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.hop_errors = counter("evapi_hop_errors_total", "Calls for which a hop failed.", ["hop"])
        self.in_flight = gauge("evapi_in_flight", "Suspensions waiting for a decision.", ["node"])
        self.notices = counter("evapi_notices_total", "Notices by what the broker did.", ["published"])
        self.commands = counter("evapi_commands_total", "Frames pushed to Kamailio.", ["node"])
        self.adopted = counter("evapi_adopted_total", "Taken over from other replicas.", ["node", "state"])
        self.standby_claims = counter("evapi_standby_claims_total", "Claims nobody else made.", ["node"])
        self.bygone = counter("evapi_bygone_total", "Resumes for an earlier life of Kamailio.", ["node"])
        self.active = gauge("evapi_active", "Whether this replica is the active one.", ["node"])
        self.replicas = gauge("evapi_replicas", "Replicas that beat, this one among them.")

        self.link_sound = gauge("evapi_link_sound", "Whether Kamailio reads what is written.", ["node"])
        self.link_up = gauge("evapi_link_up", "Whether the EVAPI connection stands.", ["node"])
        self.link_receipts = gauge("evapi_link_receipts", "Whether there are receipts (0: paced).", ["node"])
        self.gate_open = gauge("evapi_gate_open", "Whether the node knows that we are ready.", ["node"])
        self.link_connects = gauge("evapi_link_connects", "Connections made since the start.", ["node"])
        self.receipts_missed = gauge("evapi_receipts_missed", "Late receipts since the start.", ["node"])
        self.frames_resent = gauge("evapi_frames_resent", "Written again since the start.", ["node"])
        self.frames_expired = gauge("evapi_frames_expired", "Not written, since nobody waited.", ["node"])
        self.frames_unread = gauge("evapi_frames_unread", "Frames not known to be read yet.", ["node"])

        self.loop_lag = Histogram(
            "evapi_loop_lag_seconds",
            "By how much a timer of the event loop was late: for so long everything waited.",
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.paused = gauge("evapi_paused", "Whether an operator has paused the node.", ["node"])
        self.drained = gauge("evapi_drained", "Whether an operator has drained this replica.")
        self.broker_ready = gauge("evapi_broker_ready", "Whether the broker takes requests.")
        self.broker_counts = gauge("evapi_broker_count", "What the broker counted since the start.", ["what"])
        self.store_ready = gauge("evapi_store_ready", "Whether the store answered its last beat.")
        self.store_errors = counter("evapi_store_errors_total", "Calls of the store that failed.", ["verb"])
        gauge("evapi_build_info", "Always 1.", ["version"]).labels(version("evapi-adapter")).set(1)
        self._events = set(events)
        self._of_kind: dict[tuple[str, str], Counter] = {}
        self._of_outcome: dict[tuple[str, str, Outcome], Counter] = {}
        self._hops = {each: self.hop_seconds.labels(each) for each in HOPS}
        for each in HOPS:
            self.hop_errors.labels(each)
        self._seconds = {each: self.decision_seconds.labels(each.value) for each in Outcome}

    def read(self, node: str, kind: str, number: int) -> None:
        """Count frames that were read. (Finding a series by its labels costs 3 us: it is kept.)"""
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

    def resumed(self, node: str, event: str, outcome: Outcome, seconds: float) -> None:
        """Count a resume, and for how long its caller has waited."""
        series = self._of_outcome.get((node, event, outcome))
        if series is None:
            series = self._series(node, event, outcome)
        series.inc()
        self._seconds[outcome].observe(seconds)

    def _series(self, node: str, event: str, outcome: Outcome) -> Counter:
        if event not in self._events:
            if len(self._events) >= MAX_EVENTS:
                return self.outcomes.labels(node, "other", outcome.value)  # of any number: not kept
            self._events.add(event)
        found = self._of_outcome[node, event, outcome] = self.outcomes.labels(node, event, outcome.value)
        return found
