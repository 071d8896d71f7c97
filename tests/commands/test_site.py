"""All of it: a service asks by RabbitMQ, two replicas carry out, Redis remembers, real calls end."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from structlog.testing import capture_logs

from consumers.kamailio import CommandOutcome
from tests.cli.ground import in_thread
from tests.commands.ground import answered, asker, bridged, running
from tests.commands.hangups import hang_up
from tests.harness.kamailio import KamailioServer
from tests.harness.sip import Caller, Gateway

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from consumers import Service
    from tests.harness.rabbitmq import RabbitServer
    from tests.harness.redis import RedisServer


@pytest.fixture(scope="module")
def kamailio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KamailioServer]:
    folder = tmp_path_factory.mktemp("kamailio")
    with KamailioServer(folder, defines={"ADAPTER_COMMANDS": None}, workers=1, shared_memory=64) as server:
        yield server
        assert "CRITICAL" not in server.log


@pytest.fixture
async def gateway(kamailio: KamailioServer) -> AsyncIterator[Gateway]:
    async with await Gateway.open(port=kamailio.gateway_port) as made:
        yield made


@pytest.fixture
async def caller(kamailio: KamailioServer, gateway: Gateway) -> AsyncIterator[Caller]:
    async with await Caller.open(kamailio.sip_port) as made:
        yield made


async def test_in_one_process(kamailio: KamailioServer, caller: Caller, gateway: Gateway) -> None:
    options = {"consumer": "tests.commands.ground:service"}
    async with bridged({"sbc1": kamailio}, "one", options):
        from tests.commands.ground import service

        call = await answered(caller)
        assert (await service.ask_kamailio("sbc9", "calls")).outcome is CommandOutcome.UNAVAILABLE
        found = await service.ask_kamailio("all", "calls", call_id=call.call_id)
        assert (found.outcome, found.node) == ("done", "sbc1")
        done = await service.ask_kamailio("sbc1", "hangup", call_id=call.call_id)
        assert done.done, done
        assert [bye.get("call-id") for bye in gateway.of("BYE")] == [call.call_id]
        every = await service.ask_every_kamailio("rpc", method="core.version")
        assert [(reply.node, reply.outcome) for reply in every] == [("sbc1", "done")]


async def play(service: Service, node: str, gone: str, caller: Caller, gateway: Gateway) -> None:
    """Each outcome but ``timeout``, by RabbitMQ."""
    call = await answered(caller)
    assert (await service.ask_kamailio(f"no-{node}", "calls")).outcome is CommandOutcome.UNAVAILABLE
    assert (await service.ask_kamailio(node, "hangup", call_id="nobody")).outcome is CommandOutcome.NOT_FOUND
    assert (await service.ask_kamailio(node, "rpc", method="core.shmmem")).outcome is CommandOutcome.REFUSED
    failed = await service.ask_kamailio(node, "rpc", method="htable.get", params=["nothing"])
    assert (failed.outcome, failed.result["code"]) == ("failed", 500)
    first = await service.ask_kamailio(node, "hangup", id=f"{node}-1", call_id=call.call_id)
    again = await service.ask_kamailio(node, "hangup", id=f"{node}-1", call_id=call.call_id)
    assert (first.outcome, again.outcome) == ("done", "done")
    assert [bye.get("call-id") for bye in gateway.of("BYE")] == [call.call_id]
    async with asyncio.timeout(20):  # until the adapter answers for the node that it has no link to
        while len(both := await service.ask_every_kamailio("calls")) < 2:
            await asyncio.sleep(0.1)
    assert {reply.node: reply.outcome.value for reply in both} == {node: "done", gone: "unavailable"}


async def test_by_rabbitmq(
    kamailio: KamailioServer,
    caller: Caller,
    gateway: Gateway,
    rabbitmq: RabbitServer,
    redis_server: RedisServer,
) -> None:
    vhost = rabbitmq.url
    node, gone = f"sbc-{uuid4().hex[:6]}", f"gone-{uuid4().hex[:6]}"
    options = {"amqp_url": vhost, "redis_url": redis_server.url, "nodes": f"{node}={kamailio.evapi_address}"}
    options["nodes"] += f",{gone}=127.0.0.1:1"
    async with bridged({node: kamailio}, node, options), running(asker(), vhost) as service:
        await play(service, node, gone, caller, gateway)
        with capture_logs():  # else the bridge speaks where the command is listened to
            await by_hand(node, vhost, await answered(caller))


async def by_hand(node: str, url: str, call: Any) -> None:
    """What an operator types."""
    words = {"EVAPI_AMQP_URL": url}
    done = await in_thread("kamailio", "calls", node, "-o", "json", **words)
    assert (done.code, call.call_id in done.out) == (0, True), done
    done = await in_thread("kamailio", "limit", node, call.call_id, "--left", "100", "-o", "json", **words)
    assert (done.code, json.loads(done.out)["result"]) == (0, {"left": 100})
    asked = ("kamailio", "request", node, "INFO", "--call-id", call.call_id, "--side", "callee")
    done = await in_thread(*asked, "-o", "json", **words)
    assert (done.code, json.loads(done.out)["result"]["code"]) == (0, 200), done
    for wrong in (asked[:4], asked[:-2], (*asked, "--next-hop", "sip:a"), (*asked, "sip:a@b")):
        assert (await in_thread(*wrong, **words)).code == 2, wrong
    done = await in_thread("kamailio", "hangup", "all", call.call_id, **words)
    assert (done.code, "done" in done.out) == (0, True), done
    done = await in_thread("kamailio", "hangup", node, call.call_id, "-o", "json", **words)
    assert (done.code, json.loads(done.out)["outcome"]) == (1, "not_found")
    done = await in_thread("kamailio", "rpc", node, "core.version", **words)
    assert done.code == 0, done
    done = await in_thread("kamailio", "limit", node, call.call_id, **words)
    assert done.code == 2, done


async def test_calls_end_though_the_active_replica_is_killed(
    tmp_path: Path, rabbitmq: RabbitServer, redis_server: RedisServer
) -> None:
    """A small share of ``make hangups``."""
    found = await hang_up(tmp_path, rabbitmq.url, redis_server.url, 20, kill=True)
    assert found.right(20), found
