"""What a service tells Prometheus of itself."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families

from adapter.contract import Request, encode_request
from consumers import Message, Service, allow
from consumers.deadline import TimeLeft
from consumers.metrics import ConsumerMetrics
from tests.harness.until import until

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = 1_000.0


def values(metrics: ConsumerMetrics) -> Callable[..., float]:
    """A sample's value by its name and labels; as in a scrape."""
    metrics.measure()
    text = generate_latest(metrics.registry).decode()
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]

    def of(name: str, **labels: str) -> float:
        (found,) = [each.value for each in samples if each.name == name and each.labels == labels]
        return found

    return of


def asked(event: str, left: float = 1.5) -> Message:
    body = encode_request(Request(event, "n", {}, 1, 2, 3, NOW + left))
    return Message(body, "n:1:2:3", headers={"x-time-left": 2000})


@pytest.fixture
def service() -> Service:
    made = Service("screening", clock=lambda: NOW)
    made._time_left = TimeLeft(lambda: 0.0, lambda: made.unread())  # no time passes, busy or not
    return made


def measured(service: Service, ready: bool = True) -> ConsumerMetrics:
    return ConsumerMetrics([service], {service.name: lambda: ready}, clock=lambda: NOW)


async def test_requests_outcomes_work_and_queue_time(service: Service) -> None:
    @service.on("later")
    async def later(request: Request) -> dict[str, Any]:
        await asyncio.sleep(0.02)
        return allow()

    @service.on("fails")
    def fails(request: Request) -> dict[str, Any]:
        raise ValueError

    metrics = measured(service)
    for event, left in (("fails", 2.0), ("later", 1.5), ("later", 1.5), ("unknown", 2.0)):
        await service.answer(asked(event, left))
    of = values(metrics)
    assert of("evapi_consumer_requests_total", service="screening") == 4
    for outcome, number in {"decided": 2, "failed": 1, "unhandled": 1, "late": 0}.items():
        assert of("evapi_consumer_outcomes_total", service="screening", outcome=outcome) == number
    assert of("evapi_consumer_work_seconds_count", service="screening", event="later") == 2
    assert of("evapi_consumer_work_seconds_sum", service="screening", event="later") >= 0.039
    assert of("evapi_consumer_work_seconds_count", service="screening", event="fails") == 1
    assert of("evapi_consumer_queue_seconds_count", service="screening", event="fails") == 1
    queued = of("evapi_consumer_queue_seconds_sum", service="screening", event="later")
    assert queued == pytest.approx(1.0)  # 2 s were left, and then 1.5; twice
    assert of("evapi_consumer_ready", service="screening") == 1


async def test_a_traced_request_is_named_beside_the_buckets_that_it_is_in(service: Service) -> None:
    for event in ("traced", "not kept", "no trace"):
        service.on(event)(lambda request: allow())
    metrics = measured(service)
    for event, told in (
        ("traced", f"00-{'a' * 32}-{'b' * 16}-01"),
        ("not kept", f"00-{'a' * 32}-{'b' * 16}-00"),
    ):
        message = asked(event)
        await service.answer(replace(message, headers={**message.headers, "traceparent": told}))
    for odd in ("", 7, None, b"00", "00-x-y-01"):
        await service.answer(replace(asked("no trace"), headers={"traceparent": odd, "x-time-left": 2000}))
    families = openmetrics_families(generate_openmetrics(metrics.registry).decode())
    named = {
        (each.name, each.labels["event"]): each.exemplar.labels["trace_id"]
        for family in families
        for each in family.samples
        if each.exemplar
    }
    assert named == {
        ("evapi_consumer_work_seconds_bucket", "traced"): "a" * 32,
        ("evapi_consumer_queue_seconds_bucket", "traced"): "a" * 32,
    }


async def test_what_is_at_work(service: Service) -> None:
    go_on = asyncio.Event()

    @service.on("e")
    async def wait(request: Request) -> dict[str, Any]:
        await go_on.wait()
        return allow()

    metrics = measured(service, ready=False)
    asking = [asyncio.ensure_future(service.answer(asked("e"))) for _ in range(3)]
    await until(lambda: values(metrics)("evapi_consumer_running", service="screening") == 3)
    assert values(metrics)("evapi_consumer_requests_total", service="screening") == 3
    assert values(metrics)("evapi_consumer_ready", service="screening") == 0
    go_on.set()
    await asyncio.gather(*asking)
    of = values(metrics)
    assert of("evapi_consumer_running", service="screening") == 0
    assert of("evapi_consumer_requests_total", service="screening") == 3


async def test_a_series_begins_at_nought(service: Service) -> None:
    service.on("e")(lambda request: allow())
    of = values(measured(service))
    assert of("evapi_consumer_requests_total", service="screening") == 0
    assert of("evapi_consumer_work_seconds_count", service="screening", event="e") == 0
    assert of("evapi_consumer_outcomes_total", service="screening", outcome="failed") == 0
