"""A trace of a real call: Kamailio, the adapter, RabbitMQ, a consumer, and the next hop."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from adapter.model.correlation import parts
from tests.harness.bridge import PATIENT, Bridge, Consumer
from tests.harness.collector import Collector, Span
from tests.harness.kamailio import KamailioServer
from tests.harness.process import wait_until
from tests.harness.sip import Caller, Gateway

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.harness.rabbitmq import RabbitServer
    from tests.harness.redis import RedisServer

SERVICE = """
import asyncio
from opentelemetry import trace
from consumers import Service, allow

service = Service("{name}")

@service.on("screening_request")
def screen(request):
    return allow()

@service.on("invite_request")
async def decide(request):
    await asyncio.sleep(0)
    with trace.get_tracer("mine").start_as_current_span("look up"):
        return allow()
"""


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as made:
        yield made


async def placed_call(kamailio: KamailioServer) -> tuple[str, str]:
    """One call to its end; gives its Call-ID and the traceparent at the next hop."""
    async with (
        await Gateway.open(port=kamailio.gateway_port) as gateway,
        await Caller.open(kamailio.sip_port) as caller,
    ):
        call = caller.call("4420")
        assert (await call.final()).code == 200
        assert (await call.bye()).code == 200
        return call.call_id, gateway.of("INVITE")[0].get("traceparent")


def check(
    collector: Collector, call_id: str, traceparent: str, node: str, service: str, *, redis: bool
) -> None:
    """One trace: two questions, each published, decided and resumed."""
    wait_until(lambda: len(collector.spans) >= 9, "nine spans")
    spans = collector.spans
    assert len(spans) == 9
    assert len({span.trace for span in spans}) == 1
    assert not any(span.failed for span in spans)
    wholes: list[Span] = []
    for number, event in enumerate(("screening_request", "invite_request"), 1):
        (whole,) = collector.named(f"evapi {event}")
        wholes.append(whole)
        assert whole.parent == ""
        told = whole.attributes
        assert (told["sip.call_id"], told["evapi.node"], told["evapi.outcome"]) == (call_id, node, "decided")
        id_, _ = parts(told["evapi.correlation_id"])
        assert (id_.node, id_.seq) == (node, number)
        assert told["evapi.service"] == service
        (publish,) = (span for span in collector.named("publish") if span.parent == whole.id)
        (decide,) = collector.named(f"decide {event}")
        (resume,) = (span for span in collector.named("resume") if span.parent == whole.id)
        assert decide.parent == publish.id
        assert decide.attributes["evapi.service"] == service
        for span, operation in ((publish, "publish"), (decide, "process")):
            said = span.attributes
            assert said["messaging.operation.name"] == operation
            assert said["messaging.system"] == ("rabbitmq" if redis else "embedded")
            assert said.get("server.address") == ("127.0.0.1" if redis else None)
        assert whole.start <= publish.start <= resume.end <= whole.end
        assert decide.start <= decide.end
        # Through Redis the adapter's clock is Redis', as exact as the way there: of two processes no order.
        assert redis or publish.start <= decide.start <= decide.end <= resume.end
        assert whole.process["service.name"] == "evapi-adapter"
    (inner,) = collector.named("look up")
    assert inner.parent == collector.named("decide invite_request")[0].id
    assert traceparent == f"00-{wholes[1].trace}-{wholes[1].id}-01"


async def test_a_call_through_rabbitmq_is_one_trace_to_the_next_hop(
    tmp_path: Path, rabbitmq: RabbitServer, redis_server: RedisServer, collector: Collector
) -> None:
    node, name = f"sbc-{uuid4().hex[:8]}", f"traced-{uuid4().hex[:8]}"
    (tmp_path / "traced_service.py").write_text(SERVICE.format(name=name))
    options = {"amqp_url": rabbitmq.url, "redis_url": redis_server.url}
    env = {**collector.environment, "EVAPI_TRACES": "1", "PYTHONPATH": str(tmp_path)}
    with (
        Consumer("consumer", tmp_path, ["traced_service:service"], rabbitmq.url, env) as consumer,
        KamailioServer(tmp_path, "kamailio.cfg", {"WITH_SCREENING": None}) as kamailio,
        Bridge("adapter", tmp_path, {node: kamailio.evapi_port}, options, env | PATIENT) as bridge,
    ):
        consumer.wait_until(lambda: "consuming" in consumer.tail(), "the consumer")
        bridge.wait_for_gate()
        call_id, traceparent = await placed_call(kamailio)
        check(collector, call_id, traceparent, node, name, redis=True)
    assert {span.process["service.name"] for span in collector.spans} == {"evapi-adapter", name}


async def test_a_call_in_one_process_is_one_trace_too(tmp_path: Path, collector: Collector) -> None:
    (tmp_path / "traced_service.py").write_text(SERVICE.format(name="routes"))
    env = {**collector.environment, "EVAPI_TRACES": "1", "PYTHONPATH": str(tmp_path)}
    with (
        KamailioServer(tmp_path, "kamailio.cfg", {"WITH_SCREENING": None}) as kamailio,
        Bridge(
            "adapter", tmp_path, {"sbc1": kamailio.evapi_port}, {"consumer": "traced_service:service"}, env
        ) as bridge,
    ):
        bridge.wait_for_gate()
        call_id, traceparent = await placed_call(kamailio)
        check(collector, call_id, traceparent, "sbc1", "routes", redis=False)
        assert bridge.stop() == 0


async def test_a_collector_that_is_away_harms_no_call(tmp_path: Path) -> None:
    (tmp_path / "traced_service.py").write_text(SERVICE.format(name="routes"))
    with Collector() as gone:
        pass  # nobody listens there any more
    env = {**gone.environment, "EVAPI_TRACES": "1", "PYTHONPATH": str(tmp_path)}
    with (
        KamailioServer(tmp_path, "kamailio.cfg", {"WITH_SCREENING": None}) as kamailio,
        Bridge(
            "adapter", tmp_path, {"sbc1": kamailio.evapi_port}, {"consumer": "traced_service:service"}, env
        ) as bridge,
    ):
        bridge.wait_for_gate()
        assert (await placed_call(kamailio))[1].startswith("00-")
        bridge.process.wait_until(lambda: "exporting spans" in bridge.process.tail(), "a word about it")
        assert bridge.stop() == 0
        told = [line for line in bridge.process.log.read_text().splitlines() if "spans" in line]
        assert len(told) == 1
