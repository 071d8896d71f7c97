"""Those who get a call and are not waited for: observers, and shadows, whose replies are compared. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

from adapter.errors import CodecError
from adapter.observe.sparse import Sparse
from adapter.relay import asks
from adapter.relay.plan import in_share

if TYPE_CHECKING:
    from collections.abc import Callable

    from adapter.model.correlation import Ids
    from adapter.observe.observer import Observer
    from adapter.observe.trip_metrics import TripMetrics
    from adapter.ports.broker import Publication
    from adapter.relay.course_calls import Call
    from adapter.relay.plan import Service
    from adapter.relay.shadows import Shadows

log = structlog.get_logger()

COMPLAINTS: Final = 2
"""Log lines a second about requests that could not be made."""


class Beside:
    """See above.

    Args:
        shadows: compares replies.
        observer: names traces.
        metrics: of the trip.
        ids: writes correlation ids.
        clock: gives epoch seconds.
    """

    def __init__(
        self,
        shadows: Shadows,
        observer: Observer,
        metrics: TripMetrics,
        ids: Ids,
        clock: Callable[[], float],
    ) -> None:
        self._shadows = shadows
        self._observer = observer
        self._metrics = metrics
        self._ids = ids
        self._clock = clock
        self._complaints = Sparse(COMPLAINTS)

    def requests(self, call: Call) -> list[Publication]:
        """Return what they get of a call. One whose request cannot be made gets nothing."""
        plan, record = call.plan, call.record
        if not (plan.observers or plan.shadows):
            return []
        trace, ids = self._observer.traceparent, self._ids

        def copy(service: Service) -> Publication:
            return asks.copy(record, plan, service, trace(record, service.queue))

        def request(service: Service) -> Publication:
            return asks.request(record, plan, service, (), ids, trace(record, service.queue))

        found = [self._made(call, each, copy) for each in plan.observers]
        text = record.call_id or str(record.id)
        if not self._shadows.full:
            chosen = [each.service for each in plan.shadows if in_share(each, text)]
            asked = [(each.name, self._made(call, each, request)) for each in chosen]
            names = [name for name, made in asked if made is not None]
            if names:
                self._shadows.asked(record.id, names, record.claimed_at + plan.longest)
            found += [made for _, made in asked]
        return [each for each in found if each is not None]

    def _made(
        self, call: Call, service: Service, make: Callable[[Service], Publication]
    ) -> Publication | None:
        try:
            return make(service)
        except CodecError as exc:
            self._metrics.failed("publish", 1)
            hidden = self._complaints.take(self._clock())
            if hidden is not None:
                said = {"service": service.name, "event_name": call.record.event, "not_shown": hidden or None}
                log.warning("no request for a service beside the call", **said, reason=str(exc))
            return None
