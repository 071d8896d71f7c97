"""What is counted and measured of services that decide calls together, and of the ladder. Times in seconds.

Services are named by the policy. The first ``MAX_SERVICES`` have series of their own.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from prometheus_client import Gauge

from adapter.model.ladder import Rung, Status
from adapter.observe.sink import Sink
from adapter.runtime.collectors import Series, Spread, Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from prometheus_client import CollectorRegistry

    from adapter.model.transaction import TransactionId

MAX_SERVICES: Final = 100
"""Services that have series of their own: the rest share ``OTHER``."""
OTHER: Final = "other"
ANYBODY: Final = "anybody"
"""Stands for whoever is bound to the event, which has no name."""
SECONDS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
SHADOW_RESULTS: Final = ("same", "different", "failed", "late")
"""What comes of comparing a shadow's reply with the decision of the call."""

_RUNGS: Final = frozenset(Rung)
_WAITED_FOR: Final = frozenset(
    {Status.DECIDED, Status.FAILED, Status.NONE, Status.MALFORMED, Status.OVERSIZED, Status.TIMEOUT}
)
"""What says how long a service takes: a silence took as long as it was waited for."""


class Asked(Protocol):
    """A service; ``relay.plan.Service`` is one."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def breaker(self) -> object | None:
        """Whether it has a breaker: None if not."""
        ...


class Shadowing(Protocol):
    """A shadow; ``relay.plan.Shadow`` is one."""

    @property
    def service(self) -> Asked:
        """Who it is."""
        ...


class Planned(Protocol):
    """How an event is handled; ``relay.plan.Plan`` is one."""

    @property
    def courses(self) -> bool:
        """Whether several requests and replies decide a call."""
        ...

    @property
    def asked(self) -> Sequence[Asked]:
        """Who is asked."""
        ...

    @property
    def backup(self) -> Sequence[Asked]:
        """Who is asked if those do not decide."""
        ...

    @property
    def shadows(self) -> Sequence[Shadowing]:
        """Whose replies are only compared."""
        ...


class CourseMetrics(Sink):
    """The sink that counts courses. A call that one request and one reply decide is not among them.

    Args:
        registry: where the series are told.
        named: says whether an event has series of its own.
    """

    def __init__(self, registry: CollectorRegistry, named: Callable[[str], bool]) -> None:
        tally = partial(Tally, registry=registry)
        self.answers = tally(
            "evapi_service_answers_total",
            "What became of asking a service that a policy names, one of several that decide a call.",
            ["service", "status"],
        )
        self.seconds = Spread(
            "evapi_service_seconds",
            "From asking a service to its answer, or for as long as it was waited for in vain.",
            ["service"],
            SECONDS,
            registry,
        )
        self.steps = tally(
            "evapi_steps_total",
            "Calls that several services decide, by the step of the ladder that gave their answer.",
            ["event", "step"],
        )
        self.shadow_replies = tally(
            "evapi_shadow_replies_total",
            "Replies of shadows, compared with the decision of the call: same, different, failed or late.",
            ["service", "result"],
        )
        self.breaker_open = Gauge(
            "evapi_breaker_open",
            "Whether this replica does not ask a service for a while, since it was silent.",
            ["service"],
            registry=registry,
        )
        self.breaker_opened = tally(
            "evapi_breaker_opened_total", "Times that a service's breaker was opened.", ["service"]
        )
        self._named = named
        self._services: dict[str, str] = {}
        self._series: dict[str, Series] = {}
        self._events: set[str] = set()
        self._shadows: set[str] = set()
        self._open: dict[str, bool] = {}
        self._with_breaker: set[str] = set()

    def begin(self, default: Planned, events: Mapping[str, Planned]) -> None:
        """Let the series of a policy begin at 0. To be called before each scrape.

        A service whose breaker is gone with its policy is told of no more.

        Args:
            default: the plan of events that have none of their own.
            events: the others', by name.
        """
        plans = [plan for plan in (default, *events.values()) if plan.courses]
        asked = [each for plan in plans for each in (*plan.asked, *plan.backup)]
        for service in asked:
            if service.name not in self._series:
                self._begin(service.name)
        for plan in plans:
            for shadow in plan.shadows:
                self._begin_shadow(shadow.service.name)
        for event, plan in events.items():
            if plan.courses:
                self._begin_event(event)
        self._keep_breakers({service.name for service in asked if service.breaker is not None})

    def stepped(
        self, at: float, id_: TransactionId, event: str, service: str, status: str, seconds: float
    ) -> None:
        """Count what became of a service, or what decided the call."""
        if not service and status in _RUNGS:
            self._step(event, status)
            return
        series = self._series.get(service)
        if series is None:
            series = self._begin(service)
        self.answers.add((self._services[service], status))
        if status in _WAITED_FOR:
            series.observe(seconds)

    def exemplify(self, service: str, status: str, seconds: float, now: float, trace: str) -> None:
        """Name a call's trace beside the bucket that ``stepped`` counted the service's time in."""
        if status in _WAITED_FOR:
            series = self._series.get(service) or self._begin(service)
            series.exemplify(seconds, now, trace)

    def breaker(self, service: str, is_open: bool) -> None:
        """Tell whether a service's breaker is open.

        To be called when that changes; what has been told already is not counted again.
        """
        opened = is_open and not self._open.get(service, False)
        self._open[service] = is_open
        self._with_breaker.add(service)
        self.breaker_opened.add((self._label(service),), int(opened))
        self._tell_breaker(self._label(service))

    def shadow(self, service: str, result: str) -> None:
        """Count a shadow's reply, by one of ``SHADOW_RESULTS``."""
        self.shadow_replies.add((self._begin_shadow(service), result))

    def _begin_shadow(self, service: str) -> str:
        label = self._label(service)
        if label not in self._shadows:
            self._shadows.add(label)
            for each in SHADOW_RESULTS:
                self.shadow_replies.add((label, each), 0)
        return label

    def _keep_breakers(self, services: set[str]) -> None:
        """Tell of these alone: one that was open is so still, if a later policy has it again."""
        gone, self._with_breaker = self._with_breaker - services, services
        for service in gone:
            self._tell_breaker(self._label(service))
        for service in services:
            self.breaker(service, self._open.get(service, False))

    def _tell_breaker(self, label: str) -> None:
        """Services that share a series are open while any of them is."""
        found = [self._open[name] for name in self._with_breaker if self._label(name) == label]
        if found:
            self.breaker_open.labels(label).set(any(found))
        else:
            self.breaker_open.remove(label)

    def _begin(self, service: str) -> Series:
        label = self._label(service)
        for each in Status:
            self.answers.add((label, each.value), 0)
        found = self._series[service] = self.seconds.labels(label)
        return found

    def _label(self, service: str) -> str:
        found = self._services.get(service)
        if found is None:
            found = (service or ANYBODY) if len(self._services) < MAX_SERVICES else OTHER
            self._services[service] = found
        return found

    def _step(self, event: str, step: str) -> None:
        self.steps.add((event if event in self._events else self._begin_event(event), step))

    def _begin_event(self, event: str) -> str:
        label = event if self._named(event) else OTHER
        if label not in self._events:
            self._events.add(label)
            for each in Rung:
                self.steps.add((label, each.value), 0)
        return label
