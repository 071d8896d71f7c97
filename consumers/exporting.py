"""Where spans go: in batches, by a thread of its own, to an OpenTelemetry collector (OTLP over HTTP).

Nobody waits for it. Where the collector is away spans are dropped, the oldest first, once the queue
is full (``OTEL_BSP_MAX_QUEUE_SIZE``).
"""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import TYPE_CHECKING, Final

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from adapter.contract import APP_ID

if TYPE_CHECKING:
    from collections.abc import Mapping

FLUSH: Final = 2.0
"""Seconds that the last spans have to be sent."""
COMPLAIN_EACH: Final = 30.0
"""Seconds between two log lines about a collector that is away."""
_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)
_FAILED: Final = StatusCode.ERROR
_KINDS: Final = {"server": SpanKind.SERVER, "producer": SpanKind.PRODUCER, "client": SpanKind.CLIENT}
_SCOPE: Final = InstrumentationScope(APP_ID)


class _Seldom(logging.Filter):
    """One line in a while: the exporter writes several for each batch that it cannot send."""

    def __init__(self) -> None:
        super().__init__()
        self._next = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + COMPLAIN_EACH
        return True


class Export:
    """``name``: of the service where the environment gives none. ``attributes``: of this process.

    It serves whatever asks OpenTelemetry for a tracer here, too, unless somebody else does already.
    Without ``OTEL_TRACES_SAMPLER`` only what belongs to a traced call is exported. Raises
    ValueError where a variable of OpenTelemetry's is wrong.
    """

    def __init__(self, name: str, attributes: Mapping[str, str]) -> None:
        given = OTELResourceDetector().detect().attributes
        self._resource = Resource.create({"service.name": name, **attributes, **given})
        self._processor = BatchSpanProcessor(OTLPSpanExporter())
        sampler = None if os.environ.get("OTEL_TRACES_SAMPLER") else ParentBased(ALWAYS_OFF)
        self._provider = TracerProvider(sampler, self._resource, shutdown_on_exit=False)
        self._provider.add_span_processor(self._processor)
        if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
            trace.set_tracer_provider(self._provider)
        logging.getLogger(OTLPSpanExporter.__module__).addFilter(_Seldom())

    def span(
        self,
        trace_id: int,
        span_id: int,
        parent: int | None,
        name: str,
        start: float,
        end: float,
        attributes: Mapping[str, str | int] | None = None,
        kind: str = "internal",
        error: str | None = None,
    ) -> None:
        """Export a span that is over; times in epoch seconds.

        It is made as a whole: a tracer would give it an id of its own, and takes five times as long.
        """
        self._processor.on_end(
            ReadableSpan(
                name,
                SpanContext(trace_id, span_id, is_remote=False, trace_flags=_SAMPLED),
                None if parent is None else SpanContext(trace_id, parent, False, _SAMPLED),
                self._resource,
                attributes or {},
                kind=_KINDS.get(kind, SpanKind.INTERNAL),
                status=Status() if error is None else Status(_FAILED, error),
                start_time=_nanoseconds(start),
                end_time=_nanoseconds(max(start, end)),
                instrumentation_scope=_SCOPE,
            )
        )

    def close(self) -> None:
        """Send what is left, within ``FLUSH`` seconds; blocks for as long."""
        closing = threading.Thread(target=self._provider.shutdown, name="last spans", daemon=True)
        closing.start()
        closing.join(FLUSH)


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e6) * 1000
