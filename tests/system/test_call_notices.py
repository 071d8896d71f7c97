"""Calls as they live, socket to socket: a consumer gets what Kamailio tells of each, in order."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from tests.harness.bridge import PATIENT, Bridge
from tests.harness.kamailio import KamailioServer
from tests.harness.pika_service import PikaService
from tests.harness.process import wait_until
from tests.harness.sipp import SippGateway, run_sipp

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness.rabbitmq import RabbitServer
    from tests.harness.redis import RedisServer

CALLS = 200
LIFE = ["call_started", "call_answered", "call_ended"]


def test_a_consumer_gets_what_is_told_of_each_call_in_order(
    tmp_path: Path, rabbitmq: RabbitServer, redis_server: RedisServer
) -> None:
    node = f"sbc-{uuid4().hex[:8]}"
    options = {"amqp_url": rabbitmq.url, "redis_url": redis_server.url}
    told: dict[str, list[dict[str, Any]]] = defaultdict(list)

    def decide(request: dict[str, Any]) -> dict[str, Any] | None:
        if request["event"] == "invite_request":
            return {"action": "allow"}
        told[request["data"]["call_id"]].append(request)
        return None

    with (
        PikaService(rabbitmq.url, f"calls-{node}", ["invite_request", *LIFE], decide) as service,
        SippGateway(tmp_path) as gateway,
        KamailioServer(
            tmp_path, "kamailio.cfg", {"ADAPTER_CALLS": None}, gateway_port=gateway.port, workers=4
        ) as kamailio,
        Bridge("adapter", tmp_path, {node: kamailio.evapi_port}, options, PATIENT) as bridge,
    ):
        bridge.wait_for_gate()
        result = run_sipp(tmp_path, kamailio.sip_port, calls=CALLS, rate=100)
        assert result.codes == {200: CALLS}
        wait_until(lambda: service.counts["call_ended"] == CALLS, "the end of each call")
        told_of = {"published": "confirmed"}  # which RabbitMQ may say after it has delivered
        wait_until(lambda: bridge.metric("evapi_notices_total", **told_of) == 3 * CALLS, "the confirms")
    assert len(told) == CALLS
    for notices in told.values():
        assert [notice["event"] for notice in notices] == LIFE
        times = [notice["data"]["at"] for notice in notices]
        assert times == sorted(times)
        end = notices[-1]["data"]
        assert (end["code"], end["ended_by"]) == (200, "caller")
        assert 0 <= end["pdd_ms"] <= end["answer_ms"]
