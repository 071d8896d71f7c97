"""What ``python -m consumers --http`` tells of its services, for Prometheus. Times in seconds."""

from __future__ import annotations

import re
import time
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

from prometheus_client import (
    CollectorRegistry,
    Gauge,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)

from adapter import outlet
from adapter.contract import HEADER_TIME_LEFT, HEADER_TRACEPARENT
from adapter.runtime.collectors import Spread, Tally
from consumers.messages import Result

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from adapter.contract import Request
    from adapter.runtime.collectors import Series
    from consumers.handlers import Bound
    from consumers.service import Service

SECONDS: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_TRACED: Final = re.compile("[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f][13579bdf]")
"""A ``traceparent`` that says that its trace is kept."""


class ConsumerMetrics:
    """The metrics of a process, in a registry of their own.

    Args:
        services: measured from now on.
        ready: for each service by its name whether it takes requests.
        clock: epoch seconds, as the services go by.
    """

    def __init__(
        self,
        services: Iterable[Service],
        ready: Mapping[str, Callable[[], bool]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # twice the series for what nobody looks at
        self.registry = registry = CollectorRegistry()
        gauge, tally = partial(Gauge, registry=registry), partial(Tally, registry=registry)
        self._requests = tally("evapi_consumer_requests_total", "Requests and notices taken.", ["service"])
        self._outcomes = tally(
            "evapi_consumer_outcomes_total", "What became of them.", ["service", "outcome"]
        )
        self._asked = tally(
            "evapi_consumer_asked_total", "What handlers asked of others.", ["service", "whom", "outcome"]
        )
        self._running = gauge("evapi_consumer_running", "Handlers at work.", ["service"])
        self._ready = gauge("evapi_consumer_ready", "Whether it takes requests.", ["service"])
        self._work = Spread(
            "evapi_consumer_work_seconds", "What its handlers took.", ["service", "event"], SECONDS, registry
        )
        self._queue = Spread(
            "evapi_consumer_queue_seconds",
            "From a request's publication to its handler's beginning, less what the clocks differ by.",
            ["service", "event"],
            SECONDS,
            registry,
        )
        self._log_lost = tally(
            "evapi_log_lost_total", "Lines of the log that its disk or reader did not take.", []
        )
        gauge("evapi_build_info", "Always 1.", ["version"]).labels(version("evapi-adapter")).set(1)
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=registry)
        self._services = {service: _Measured(service, self._work, self._queue, clock) for service in services}
        self._is_ready = ready

    def measure(self) -> None:
        """Bring up to date what is kept elsewhere, before a scrape."""
        self._log_lost.set(outlet.lost())
        for service, measured in self._services.items():
            name = service.name
            self._requests.set(sum(service.counts.values()) + measured.running, name)
            for result in Result:
                self._outcomes.set(service.counts[result], name, result.value)
            for asked, number in service.asked.items():
                self._asked.set(number, name, *asked)
            self._running.labels(name).set(measured.running)
            self._ready.labels(name).set(self._is_ready[name]())


class _Measured:
    """Times the handlers of a service. ``running``: those at work."""

    def __init__(self, service: Service, work: Spread, queue: Spread, clock: Callable[[], float]) -> None:
        self.running = 0
        self._name, self._work, self._queue, self._clock = service.name, work, queue, clock
        service.wrap(self._around)

    def _around(self, event: str, is_async: bool, call: Bound) -> Bound:
        work, queue = (spread.labels(self._name, event) for spread in (self._work, self._queue))

        async def later(request: Request) -> Any:
            began = self._begin(request, queue)
            try:
                return await call(request)
            finally:
                self._end(request, began, work)

        def at_once(request: Request) -> Any:
            began = self._begin(request, queue)
            try:
                return call(request)
            finally:
                self._end(request, began, work)

        return later if is_async else at_once

    def _begin(self, request: Request, queue: Series) -> float:
        self.running += 1
        told = request.headers.get(HEADER_TIME_LEFT)
        if request.deadline is not None and type(told) is int:
            now = self._clock()
            waited = max(0.0, told / 1000 - (request.deadline - now))
            queue.observe(waited)
            if trace := _trace(request):
                queue.exemplify(waited, now, trace)
        return time.monotonic()

    def _end(self, request: Request, began: float, work: Series) -> None:
        self.running -= 1
        took = time.monotonic() - began
        work.observe(took)
        if trace := _trace(request):
            work.exemplify(took, self._clock(), trace)


def _trace(request: Request) -> str:
    """The trace that the request is of, if it is sampled; else ""."""
    told = request.headers.get(HEADER_TRACEPARENT)
    found = _TRACED.fullmatch(told) if type(told) is str else None
    return found[1] if found else ""
