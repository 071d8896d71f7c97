"""Traces of decisions (extra ``otel``): a span for each request that names a trace.

It is the current span while the handler runs, so what the handler asks by HTTP or of a database
goes on in the same trace. Nothing of OpenTelemetry is loaded here unless somebody wants traces: in
a process where nobody has loaded it no span would go anywhere.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, Final

from adapter.amqp.urls import EMBEDDED, messaging
from adapter.contract import APP_ID, EVENTS_EXCHANGE, routing_key, service_queue

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from adapter.contract import Request
    from consumers.exporting import Export
    from consumers.messages import Answer, Incoming

TRACES_VARIABLE: Final = "EVAPI_TRACES"
"""Share of the calls that the adapter traces, from 0 to 1. A consumer follows the adapter: here it
says, where it is above 0, that spans are exported."""
_LOADED: Final = "opentelemetry.trace"
_FAILURES: Final = frozenset(("failed", "late", "rejected"))

_servers: dict[str, Mapping[str, str | int]] = {}
"""The RabbitMQ that each service of this process is connected to. Of the process, as OpenTelemetry's own
provider is, so that neither a service nor a request has to know of traces."""


class TracesError(Exception):
    """Traces were asked for and cannot be made; the text says what to do."""


def wanted(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the environment asks for traces. Raises TracesError for what is no share."""
    text = environment.get(TRACES_VARIABLE, "").strip()
    try:
        share = float(text or 0)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise TracesError(f"{text!r} is not a share of the calls, from 0 to 1")
    return share > 0


def export(name: str, **attributes: str) -> Export:
    """Export spans from now on, as OpenTelemetry's own variables say (``OTEL_EXPORTER_OTLP_ENDPOINT``
    and the like); ``name``: of the service where ``OTEL_SERVICE_NAME`` gives none. Raises TracesError.
    """
    try:
        from consumers.exporting import Export
    except ImportError as exc:
        raise TracesError(f"traces need OpenTelemetry ({exc}): pip install evapi-adapter[otel]") from exc
    try:
        return Export(name, attributes)
    except ValueError as exc:
        raise TracesError(f"OpenTelemetry's variables (OTEL_...): {exc}") from exc


def connected(service: str, url: str) -> None:
    """Let the spans of a service say which RabbitMQ its requests come from."""
    _servers[service] = messaging(url)


def of(traceparent: Any, service: str, message: Incoming, request: Request) -> Traced | None:
    """The span of a request that has this header; ``None`` where nobody would see it.

    The destination is named ``exchange:key:queue``, without what there is none of.
    """
    if _LOADED not in sys.modules or not isinstance(traceparent, str):
        return None
    queue, key = service_queue(service), routing_key(request.event, request.node)
    correlation_id = message.correlation_id
    attributes: dict[str, str | int] = {
        **_servers.get(service, EMBEDDED),
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": queue if message.direct else f"{EVENTS_EXCHANGE}:{key}:{queue}",
        "messaging.rabbitmq.destination.routing_key": queue if message.direct else key,
        "evapi.service": service,
        "evapi.event": request.event,
        "evapi.node": request.node,
    }
    if correlation_id is not None:
        attributes["evapi.correlation_id"] = correlation_id
        attributes["messaging.message.conversation_id"] = correlation_id
    return Traced(traceparent, f"decide {request.event}", attributes)


def passed_on(traceparent: str) -> str:
    """The header for whomever a handler asks: its own span's, or the one that came where it has none."""
    if _LOADED not in sys.modules:
        return traceparent
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get("traceparent", traceparent)


class Traced:
    """A span from ``with`` to its end, and the current one within."""

    def __init__(self, traceparent: str, name: str, attributes: Mapping[str, str | int]) -> None:
        self._traceparent = traceparent
        self._name = name
        self._attributes = attributes

    def __enter__(self) -> Traced:
        from opentelemetry import context, trace
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        parent = TraceContextTextMapPropagator().extract({"traceparent": self._traceparent})
        self._span = trace.get_tracer(APP_ID).start_span(
            self._name, parent, trace.SpanKind.CONSUMER, self._attributes
        )
        self._token = context.attach(trace.set_span_in_context(self._span, parent))
        return self

    def told(self, answer: Answer) -> Answer:
        """Note what became of it. Of an error the type alone: its text may be about other people's
        calls."""
        from opentelemetry.trace import StatusCode

        self._span.set_attribute("evapi.outcome", answer.result.value)
        if answer.result.value in _FAILURES:
            why = type(answer.error).__name__ if answer.error is not None else answer.result.value
            self._span.set_attribute("error.type", why)
            self._span.set_status(StatusCode.ERROR, why)
        return answer

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        from opentelemetry import context
        from opentelemetry.trace import StatusCode

        context.detach(self._token)
        if kind is not None:
            self._span.set_attribute("error.type", kind.__name__)
            self._span.set_status(StatusCode.ERROR, kind.__name__)
        self._span.end()
