"""A Redis that was never of use since the start: the adapter says so. One lost later is another case."""

from __future__ import annotations

from typing import TYPE_CHECKING

from structlog.testing import capture_logs

from adapter.admin.checks_finding import Status
from adapter.admin.checks_settings import read
from adapter.admin.doctor import examine
from adapter.simulator import SimulatedKamailio
from tests.harness.redis import RedisServer
from tests.harness.until import until
from tests.system.conftest import bridged

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness.rabbitmq import RabbitServer

EMBEDDED = {"consumer": "consumers.least_cost:service"}


def refused(server: RedisServer) -> str:
    """Its URL with a login that it refuses."""
    return server.url.replace("redis://", "redis://nobody:wrong@")


async def test_without_rabbitmq_no_call_is_taken_and_everything_says_so(redis_server: RedisServer) -> None:
    url = refused(redis_server)
    async with SimulatedKamailio() as sim:
        with capture_logs() as logs:
            async with bridged(sim, "sbc1", {**EMBEDDED, "redis_url": url}, ready=False) as bridge:
                await until(lambda: bridge.nodes.readers and bridge.replicas.store_problem)
                assert not sim.gate_open
                checks, details = bridge.readiness.checks(), bridge.readiness.details()
                site, _ = read(redis_url=url, http=str(bridge._settings.http))
                found, _ = await examine(site)
    assert not checks["store"]
    assert not checks["accepting"], "the gate is shut"
    assert "the login was refused: check user and password in EVAPI_REDIS_URL" in details["store"]
    assert "never there since this replica started: the health gate stays shut" in details["store"]
    assert "wrong" not in details["store"]
    (error,) = (each for each in logs if each["log_level"] == "error")
    assert error["event"] == "in-flight store: never there"
    assert "the login was refused" in error["error"]
    assert "EVAPI_REDIS_URL" in error["do"]
    (asked,) = (each for each in found if (each.group, each.check) == ("replicas", "http"))
    assert asked.status is Status.WARNING
    assert "the health gate stays shut" in asked.seen


async def test_with_rabbitmq_calls_are_decided_in_memory_and_that_is_said(
    redis_server: RedisServer, rabbitmq: RabbitServer, node: str
) -> None:
    options = {"redis_url": refused(redis_server), "amqp_url": rabbitmq.url, "lease": "0.3"}
    async with SimulatedKamailio() as sim, bridged(sim, node, options, ready=False) as bridge:
        await sim.until(lambda: sim.gate_open)
        # On a busy machine a beat by RabbitMQ may be late, and the gate shut meanwhile.
        expected = {name: name != "store" for name in bridge.readiness.checks()}
        await until(lambda: bridge.readiness.checks() == expected)
        details = bridge.readiness.details()
    assert "never there since this replica started: calls are decided in its memory" in details["store"]


async def test_one_that_is_lost_later_is_told_as_that(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server:
        options = {**EMBEDDED, "redis_url": server.url}
        async with SimulatedKamailio() as sim, bridged(sim, "sbc1", options) as bridge:
            assert "store" not in bridge.readiness.details()
            with capture_logs() as logs:
                server.kill()
                await until(lambda: "connection refused" in bridge.readiness.details().get("store", ""))
                checks, details = bridge.readiness.checks(), bridge.readiness.details()
            assert checks["accepting"]
            assert "It was there before" in details["store"]
            assert "in-flight store: away" in [each["event"] for each in logs]
            assert sim.gate_open
            server.start()
            await until(lambda: not bridge.readiness.details())
