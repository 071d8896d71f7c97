"""What decided a call, as everybody sees it: the next hop, `trace`, `tail` and metrics."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from tests.cli.command import evapi_adapter
from tests.harness.bridge import PATIENT, Bridge
from tests.harness.kamailio import KamailioServer
from tests.harness.pika_service import PikaService
from tests.harness.process import wait_until
from tests.harness.sip import Caller, Gateway
from tests.harness.until import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness.rabbitmq import RabbitServer
    from tests.harness.redis import RedisServer

POLICY = """
[events.invite_request]
deadline = 1.5
services = ["{screening}"]
backup = ["{spare}"]
fallback = {{ action = "allow" }}

[services.{screening}]
within = 0.3
"""
HEADER = {"ADAPTER_STEP_HEADER": '"X-Decided-By"'}
ALLOW = {"action": "allow"}


def deciding(*users: str) -> Any:
    """Decides calls to these users, and is silent about every other."""
    return lambda request: ALLOW if request["data"]["user"] in users else None


async def placed(kamailio: KamailioServer, *users: str) -> tuple[list[str], list[str]]:
    """A call to each, one after the other; gives their Call-IDs, and what the next hop was told of them."""
    async with (
        await Gateway.open(488, port=kamailio.gateway_port) as gateway,
        await Caller.open(kamailio.sip_port) as caller,
    ):
        calls = []
        for user in users:
            call = caller.call(user, headers="X-Decided-By: decided;step=service\r\n")
            assert (await call.final()).code == 488
            calls.append(call.call_id)
        return calls, [header for invite in gateway.of("INVITE") for header in invite.all("x-decided-by")]


async def test_who_decided_is_seen_by_all(
    tmp_path: Path, rabbitmq: RabbitServer, redis_server: RedisServer
) -> None:
    own = uuid4().hex[:8]
    node, screening, spare = f"sbc-{own}", f"screening-{own}", f"spare-{own}"
    (tmp_path / "policy.toml").write_text(POLICY.format(screening=screening, spare=spare))
    options = {
        "amqp_url": rabbitmq.url,
        "redis_url": redis_server.url,
        "policy": str(tmp_path / "policy.toml"),
    }
    variables = {"EVAPI_REDIS_URL": redis_server.url, "EVAPI_REDIS_PREFIX": node}
    with (
        PikaService(rabbitmq.url, screening, [], deciding("1")),
        PikaService(rabbitmq.url, spare, [], deciding("1", "2")),
        KamailioServer(tmp_path, "kamailio.cfg", HEADER) as kamailio,
        Bridge("adapter", tmp_path, {node: kamailio.evapi_port}, options, PATIENT | variables) as bridge,
    ):
        bridge.wait_for_gate()
        calls, told = await placed(kamailio, "1", "2", "3")
        assert told == ["decided;step=service", "decided;step=backup", "timeout;step=fallback"]
        for step in ("service", "backup", "fallback"):
            assert bridge.metric("evapi_steps_total", event="invite_request", step=step) == 1
        found = {
            (service, status): bridge.metric("evapi_service_answers_total", service=service, status=status)
            for service in (screening, spare)
            for status in ("decided", "timeout")
        }
        assert list(found.values()) == [1, 2, 1, 1], found

        def read() -> bool:
            return bridge.metric("evapi_frames_unread") == 0

        await asyncio.to_thread(wait_until, read, "the last receipt")
        words = ("tail", "--since", "60s", "--for", "1ms", "-o", "jsonl", "--only", "resume")
        followed: list[Any] = []

        async def journalled() -> bool:  # it is written twice a second
            done = await asyncio.to_thread(lambda: evapi_adapter(*words, **variables))
            followed[:] = map(json.loads, done.out.splitlines())
            return len(followed) == len(calls)

        await until(journalled)
        heads = []
        for call_id in calls:
            done = await asyncio.to_thread(evapi_adapter, "trace", call_id, **variables)
            assert (done.code, done.err) == (0, "")
            heads.append(done.out.splitlines()[0].partition(call_id)[2])
        assert [head.partition(", ")[2] for head in heads] == [
            "",
            "decided by backup",
            "answered by the fallback",
        ]
        assert f"{screening} did not answer in time" in done.out
    assert [(row["services"], row["step"]) for row in followed] == [
        ({screening: "decided"}, "service"),
        ({screening: "timeout", spare: "decided"}, "backup"),
        ({screening: "timeout", spare: "timeout"}, "fallback"),
    ]
