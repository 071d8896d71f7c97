"""Single real calls, socket to socket: each question of a call gets its own answer."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from tests.harness.bridge import PATIENT, Bridge
from tests.harness.kamailio import KamailioServer
from tests.harness.pika_service import PikaService
from tests.harness.sip import Caller, Gateway
from tests.harness.until import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness.rabbitmq import RabbitServer
    from tests.harness.redis import RedisServer


@pytest.fixture
def node() -> str:
    """A node of this test alone, since it shares RabbitMQ and Redis with others."""
    return f"sbc-{uuid4().hex[:8]}"


@pytest.fixture
def scaled(rabbitmq: RabbitServer, redis_server: RedisServer) -> dict[str, str]:
    """The options of an adapter that uses both servers."""
    return {"amqp_url": rabbitmq.url, "redis_url": redis_server.url}


async def test_the_second_question_gets_its_own_answer_though_the_first_comes_late(
    tmp_path: Path, rabbitmq: RabbitServer, scaled: dict[str, str], node: str
) -> None:
    (tmp_path / "policy.toml").write_text(
        '[events.screening_request]\ndeadline = 0.3\nfallback = { action = "allow" }\n'
    )
    options = {**scaled, "policy": str(tmp_path / "policy.toml")}
    events = ["screening_request", "invite_request"]
    service = PikaService(rabbitmq.url, f"late-{node}", events, lambda _: None)
    answers = {
        "screening_request": {"action": "reject", "code": 403, "reason": "Late"},
        "invite_request": {"action": "reject", "code": 486, "reason": "Right"},
    }
    with (
        service,
        KamailioServer(tmp_path, "kamailio.cfg", {"WITH_SCREENING": None}) as kamailio,
        Bridge("adapter", tmp_path, {node: kamailio.evapi_port}, options, PATIENT) as bridge,
    ):
        bridge.wait_for_gate()
        async with await Caller.open(kamailio.sip_port) as caller:
            call = caller.call()
            await until(lambda: service.kept == 2)  # the first is past its deadline, the second is open
            service.release(lambda request: answers[request["event"]])
            final = await call.final()
        assert (final.code, final.reason) == (486, "Right")
        assert bridge.metric("evapi_outcomes_total", event="screening_request", outcome="timeout") == 1
        assert bridge.metric("evapi_outcomes_total", event="invite_request", outcome="decided") == 1
        # Redis is asked first whether the call has had its answer.
        await until(lambda: bridge.metric("evapi_late_replies_total") == 1)


async def test_both_questions_of_a_call_are_decided_in_turn(
    tmp_path: Path, rabbitmq: RabbitServer, scaled: dict[str, str], node: str
) -> None:
    async with await Gateway.open() as gateway:
        uri = f"sip:4420@127.0.0.1:{gateway.port}"
        answers = {
            "screening_request": {"action": "allow"},
            "invite_request": {"action": "route", "uri": uri},
        }
        service = PikaService(rabbitmq.url, f"two-{node}", list(answers), lambda r: answers[r["event"]])
        with (
            service,
            KamailioServer(tmp_path, "kamailio.cfg", {"WITH_SCREENING": None}) as kamailio,
            Bridge("adapter", tmp_path, {node: kamailio.evapi_port}, scaled, PATIENT) as bridge,
        ):
            bridge.wait_for_gate()
            async with await Caller.open(kamailio.sip_port) as caller:
                call = caller.call()
                assert (await call.final()).code == 200
                assert (await call.bye()).code == 200
            assert [request.uri for request in gateway.of("INVITE")] == [uri]
            assert bridge.metric("evapi_outcomes_total", outcome="decided") == 2


async def test_embedded_decides_with_nothing_but_kamailio(tmp_path: Path) -> None:
    async with await Gateway.open() as gateway:
        rates = tmp_path / "rates.csv"
        rates.write_text(f"prefix,gateway,rate\n44,127.0.0.1:{gateway.port},0.01\n")
        env = {"EVAPI_LEAST_COST_RATES": str(rates)}
        options = {"consumer": "consumers.least_cost:service"}
        with (
            KamailioServer(tmp_path) as kamailio,
            Bridge("adapter", tmp_path, {"sbc1": kamailio.evapi_port}, options, env) as bridge,
        ):
            bridge.wait_for_gate()
            async with await Caller.open(kamailio.sip_port) as caller:
                assert (await caller.call("442079460000").final()).code == 200
                assert (await caller.call("999").final()).code == 404
            assert bridge.stop() == 0
