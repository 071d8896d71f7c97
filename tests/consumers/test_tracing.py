"""The span of a decision: whose child it is, what it tells, and what is within it."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from adapter.contract import Request, encode_request
from consumers import Answer, Message, Result, Service, route, tracing
from consumers.exporting import COMPLAIN_EACH, Export, _Seldom
from tests.harness.collector import Collector

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.sdk.trace import ReadableSpan

NOW = 1_000.0
TRACE = 0x4BF92F3577B34DA6A3CE929D0E0E4736
PARENT = 0x00F067AA0BA902B7
TRACEPARENT = f"00-{TRACE:032x}-{PARENT:016x}-01"
DECISION = route("sip:1@gw")


def asked(deadline: float | None = NOW + 2, **headers: Any) -> Message:
    request = Request("invite_request", "sbc1", {"user": "1"}, 37, 7, 1, deadline)
    return Message(encode_request(request), "sbc1:37:7:1", headers={"traceparent": TRACEPARENT, **headers})


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> Callable[[], tuple[ReadableSpan, ...]]:
    """What this process has exported."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    return exporter.get_finished_spans


@pytest.fixture
def service() -> Service:
    return Service("routes", clock=lambda: NOW)


async def test_what_a_handler_passes_on_is_its_own_span(
    service: Service, exported: Callable[[], tuple[ReadableSpan, ...]]
) -> None:
    passed: list[str] = []

    @service.on("invite_request")
    def decide(request: Request) -> dict[str, Any]:
        passed.append(tracing.passed_on(TRACEPARENT))
        return DECISION

    await service.answer(asked())
    (span,) = exported()
    assert passed == [f"00-{TRACE:032x}-{span.context.span_id:016x}-01"]
    assert tracing.passed_on(TRACEPARENT) == TRACEPARENT, "outside of any span, as it came"


@pytest.mark.parametrize("waits", [False, True])
async def test_a_decision_is_a_span_and_what_it_asks_is_within(
    service: Service, exported: Callable[[], tuple[ReadableSpan, ...]], waits: bool
) -> None:
    def look_up() -> None:
        with trace.get_tracer("mine").start_as_current_span("look up"):
            pass

    def at_once(request: Request) -> Any:
        look_up()
        return DECISION

    async def later(request: Request) -> Any:
        await asyncio.sleep(0)
        look_up()
        return DECISION

    service.on("invite_request")(later if waits else at_once)
    answer = await service.answer(asked())
    inner, outer = exported()
    assert answer.result is Result.DECIDED
    assert inner.parent is not None
    assert outer.parent is not None
    assert outer.context is not None
    assert (inner.name, inner.parent.span_id) == ("look up", outer.context.span_id)
    assert (outer.name, outer.parent.span_id) == ("decide invite_request", PARENT)
    assert {outer.context.trace_id, outer.parent.trace_id} == {TRACE}
    assert outer.kind is trace.SpanKind.CONSUMER
    assert outer.status.is_unset
    assert outer.attributes == {
        "messaging.system": "embedded",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "evapi.events:invite_request.sbc1:evapi.decide.routes",
        "messaging.rabbitmq.destination.routing_key": "invite_request.sbc1",
        "messaging.message.conversation_id": "sbc1:37:7:1",
        "evapi.service": "routes",
        "evapi.event": "invite_request",
        "evapi.node": "sbc1",
        "evapi.correlation_id": "sbc1:37:7:1",
        "evapi.outcome": "decided",
    }
    assert not trace.get_current_span().get_span_context().is_valid


async def test_a_request_that_came_straight_to_the_queue_says_so(
    service: Service, exported: Callable[[], tuple[ReadableSpan, ...]]
) -> None:
    service.on("invite_request")(lambda request: DECISION)
    await service.answer(replace(asked(), direct=True))
    (span,) = exported()
    assert span.attributes is not None
    names = ("messaging.destination.name", "messaging.rabbitmq.destination.routing_key")
    assert [span.attributes[name] for name in names] == ["evapi.decide.routes"] * 2


@pytest.mark.parametrize("waits", [False, True])
async def test_a_failure_tells_its_type_alone(
    service: Service, exported: Callable[[], tuple[ReadableSpan, ...]], waits: bool
) -> None:
    def at_once(request: Request) -> Any:
        raise KeyError("+4420")

    async def later(request: Request) -> Any:
        raise KeyError("+4420")

    service.on("invite_request")(later if waits else at_once)
    assert (await service.answer(asked())).result is Result.FAILED
    (span,) = exported()
    assert (span.status.status_code, span.status.description) == (trace.StatusCode.ERROR, "KeyError")
    assert span.attributes is not None
    assert span.attributes["evapi.outcome"] == "failed"
    assert span.attributes["error.type"] == "KeyError"
    assert not span.events


async def test_one_that_is_late_is_told(
    service: Service, exported: Callable[[], tuple[ReadableSpan, ...]]
) -> None:
    @service.on("invite_request")
    async def decide(request: Request) -> Any:
        await asyncio.Event().wait()

    assert (await service.answer(asked(NOW + 0.001))).result is Result.LATE
    (span,) = exported()
    assert (span.status.status_code, span.status.description) == (trace.StatusCode.ERROR, "late")


async def test_one_that_is_cancelled_ends(
    service: Service, exported: Callable[[], tuple[ReadableSpan, ...]]
) -> None:
    begun = asyncio.Event()

    @service.on("invite_request")
    async def decide(request: Request) -> Any:
        begun.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(service.answer(asked()))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (span,) = exported()
    assert span.status.description == "CancelledError"


async def test_calls_at_the_same_time_have_each_their_own(
    service: Service, exported: Callable[[], tuple[ReadableSpan, ...]]
) -> None:
    @service.on("invite_request")
    async def decide(request: Request) -> Any:
        for _ in range(3):
            await asyncio.sleep(0)
        return route(f"sip:{trace.get_current_span().get_span_context().trace_id:x}@gw")

    traces = [TRACE + number for number in range(3)]
    answers = await asyncio.gather(
        *(service.answer(asked(traceparent=f"00-{each:032x}-{PARENT:016x}-01")) for each in traces)
    )
    for number, answer in zip(traces, answers, strict=True):
        assert f"sip:{number:x}@gw".encode() in (answer.body or b"")


def decided(service: Service, message: Message) -> Answer:
    service.on("invite_request")(lambda request: DECISION)
    answer = service.begin(message)
    assert isinstance(answer, Answer)
    return answer


def test_without_the_header_there_is_no_span(
    service: Service, exported: Callable[[], tuple[ReadableSpan, ...]]
) -> None:
    message = Message(asked().body, "sbc1:37:7:1")
    assert decided(service, message).result is Result.DECIDED
    assert exported() == ()


@pytest.mark.parametrize("value", [7, b"x", "", "x" * 60, TRACEPARENT[:-3], f"00-{0:032x}-{0:016x}-01"])
def test_a_header_that_names_no_trace_does_no_harm(
    service: Service, exported: Callable[[], tuple[ReadableSpan, ...]], value: Any
) -> None:
    assert decided(service, asked(traceparent=value)).result is Result.DECIDED
    assert all(span.parent is None for span in exported())


def test_what_is_not_sampled_is_not_exported(
    service: Service, exported: Callable[[], tuple[ReadableSpan, ...]]
) -> None:
    assert decided(service, asked(traceparent=f"{TRACEPARENT[:-1]}0")).result is Result.DECIDED
    assert exported() == ()


def test_where_nobody_has_loaded_opentelemetry_nothing_is(service: Service) -> None:
    code = (
        "import sys\n"
        "from adapter.contract import Request, encode_request\n"
        "from consumers import Message, Service\n"
        "service = Service('routes')\n"
        "service.on('e')(lambda request: {})\n"
        "body = encode_request(Request('e', 'sbc1', {}, 37, 7, 1))\n"
        f"print(service.begin(Message(body, 'x', headers={{'traceparent': {TRACEPARENT!r}}})).result)\n"
        "print(*sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    result, loaded = done.stdout.splitlines()
    assert result == "decided"
    assert "opentelemetry" not in loaded


@pytest.mark.parametrize(
    "text, found", [("", False), ("0", False), ("0.0", False), ("0.01", True), ("1", True)]
)
def test_who_wants_traces(text: str, found: bool) -> None:
    assert tracing.wanted({"EVAPI_TRACES": text}) is found


@pytest.mark.parametrize("text", ["yes", "-1", "1.5", "nan"])
def test_what_is_no_share(text: str) -> None:
    with pytest.raises(tracing.TracesError, match="is not a share of the calls, from 0 to 1"):
        tracing.wanted({"EVAPI_TRACES": text})


def test_the_command_says_what_is_wrong(tmp_path: Any) -> None:
    for share, told in (("7", "'7' is not a share"), ("0.5", "OpenTelemetry's variables (OTEL_...): ")):
        done = subprocess.run(
            [sys.executable, "-m", "consumers", "consumers.screening:service", "--amqp-url", "amqp://h/"],
            env={"EVAPI_TRACES": share, "OTEL_BSP_MAX_QUEUE_SIZE": "-1"},
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert done.returncode == 2
        assert done.stderr.startswith(f"python -m consumers: EVAPI_TRACES: {told}")


def test_the_environment_names_the_service_and_where_spans_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", TracerProvider(shutdown_on_exit=False))
    with Collector() as collector:
        for name, value in collector.environment.items():
            monkeypatch.setenv(name, value)
        first = Export("default", {"service.instance.id": "r1"})
        first.span(TRACE, 7, PARENT, "late clock", NOW, NOW - 1, {"a": "b"}, "server", "why")
        first.close()
        monkeypatch.setenv("OTEL_SERVICE_NAME", "mine")
        second = Export("default", {})
        second.span(TRACE, 8, None, "root", NOW, NOW + 1)
        second.close()
    one, two = collector.spans
    assert one.process["service.name"] == "default"
    assert one.process["service.instance.id"] == "r1"
    assert (one.trace, one.parent, one.failed) == (f"{TRACE:032x}", f"{PARENT:016x}", True)
    assert (one.start, one.end, one.attributes) == (10**12, 10**12, {"a": "b"})
    assert two.process["service.name"] == "mine"
    assert (two.parent, two.failed, two.end - two.start) == ("", False, 10**9)


def test_only_what_belongs_to_a_traced_call_is_exported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER_SET_ONCE", type(trace._TRACER_PROVIDER_SET_ONCE)())
    service = Service("routes", clock=lambda: NOW)
    with Collector() as collector:
        for name, value in collector.environment.items():
            monkeypatch.setenv(name, value)
        export = Export("routes", {})
        with trace.get_tracer("mine").start_as_current_span("of no call"):
            pass
        decided(service, asked())
        export.close()
    assert [span.name for span in collector.spans] == ["decide invite_request"]


@pytest.mark.parametrize("kind", ["internal", "server", "client", "producer"])
def test_every_kind_of_span_is_exported_as_such(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", TracerProvider(shutdown_on_exit=False))
    with Collector() as collector:
        for name, value in collector.environment.items():
            monkeypatch.setenv(name, value)
        export = Export("routes", {})
        export.span(TRACE, 7, PARENT, "one", NOW, NOW + 1, kind=kind)
        export.close()
    assert [span.kind for span in collector.spans] == [kind]


def test_of_a_collector_that_is_away_little_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    seldom, now = _Seldom(), [100.0]
    monkeypatch.setattr("consumers.exporting.time.monotonic", lambda: now[0])
    record = logging.LogRecord("x", logging.WARNING, "", 1, "away", (), None)
    assert [seldom.filter(record) for _ in range(3)] == [True, False, False]
    now[0] += COMPLAIN_EACH
    assert seldom.filter(record)
