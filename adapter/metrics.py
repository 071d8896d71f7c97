"""What is counted and measured, for ``/metrics``. Times in seconds."""

from __future__ import annotations

from importlib.metadata import version
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
)

_BUCKETS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
"""Up to SIP's timers: T1 is 0.5 s, Kamailio's fr_timer 30 s by default."""


class Metrics:
    """One set of metrics, in a registry of its own."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # twice the series for what nobody looks at
        self.registry = registry = CollectorRegistry()
        self.events = Counter(
            "evapi_events_total",
            "Frames read from Kamailio, by what they are.",
            ["node", "kind"],
            registry=registry,
        )
        self.duplicates = Counter(
            "evapi_duplicate_events_total",
            "Suspensions that another copy had claimed.",
            ["node"],
            registry=registry,
        )
        self.outcomes = Counter(
            "evapi_outcomes_total", "Resumes by outcome.", ["node", "event", "outcome"], registry=registry
        )
        self.late_replies = Counter(
            "evapi_late_replies_total",
            "Replies to nothing that waits (any more).",
            ["node"],
            registry=registry,
        )
        self.decision_seconds = Histogram(
            "evapi_decision_seconds",
            "From the claim of a suspension to its resume.",
            ["outcome"],
            buckets=_BUCKETS,
            registry=registry,
        )
        self.notices = Counter(
            "evapi_notices_total", "Notices by what the broker did.", ["published"], registry=registry
        )
        self.commands = Counter(
            "evapi_commands_total", "Frames pushed to Kamailio.", ["node"], registry=registry
        )
        self.adopted = Counter(
            "evapi_adopted_total",
            "Suspensions taken over from a dead replica.",
            ["node", "state"],
            registry=registry,
        )
        self.store_errors = Counter(
            "evapi_store_errors_total",
            "Calls of the in-flight store that failed.",
            ["verb"],
            registry=registry,
        )
        self.in_flight = Gauge(
            "evapi_in_flight", "Suspensions waiting for a decision.", ["node"], registry=registry
        )
        self.link_up = Gauge(
            "evapi_link_up", "Whether the EVAPI connection stands.", ["node"], registry=registry
        )
        self.link_receipts = Gauge(
            "evapi_link_receipts",
            "Whether the node gives receipts (0: resumes are paced).",
            ["node"],
            registry=registry,
        )
        self.gate_open = Gauge(
            "evapi_gate_open",
            "Whether the node knows that this replica is ready.",
            ["node"],
            registry=registry,
        )
        self.link_connects = Gauge(
            "evapi_link_connects", "Connections made since the start.", ["node"], registry=registry
        )
        self.receipts_missed = Gauge(
            "evapi_receipts_missed", "Receipts that were late since the start.", ["node"], registry=registry
        )
        self.frames_resent = Gauge(
            "evapi_frames_resent", "Frames written again since the start.", ["node"], registry=registry
        )
        self.frames_expired = Gauge(
            "evapi_frames_expired",
            "Frames not written since nobody waited any more.",
            ["node"],
            registry=registry,
        )
        self.frames_unread = Gauge(
            "evapi_frames_unread", "Frames not known to be read yet.", ["node"], registry=registry
        )
        self.broker_ready = Gauge(
            "evapi_broker_ready", "Whether the broker takes requests.", registry=registry
        )
        self.broker_counts = Gauge(
            "evapi_broker_count", "What the broker counted since the start.", ["what"], registry=registry
        )
        self.store_ready = Gauge(
            "evapi_store_ready", "Whether the in-flight store answered its last beat.", registry=registry
        )
        build = Gauge("evapi_build_info", "Always 1.", ["version"], registry=registry)
        build.labels(version("evapi-adapter")).set(1)
