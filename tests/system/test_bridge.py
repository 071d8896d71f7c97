"""The process around the trip: health, drain, what keeps it from running."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from adapter.cluster.drain import Drain
from adapter.simulator import SimulatedKamailio
from consumers import Request, Service, allow
from tests.harness.process import free_port
from tests.harness.until import until
from tests.system.conftest import bridged

if TYPE_CHECKING:
    from pathlib import Path

    from adapter.app import Bridge
    from adapter.model.beat import Beat, Snapshot

EMBEDDED = {"consumer": "tests.system.test_bridge:service"}
service = Service("held")
held: list[asyncio.Event] = []


@service.on("held")
async def _decide(request: Request) -> dict[str, Any]:
    if request.data.get("hold"):
        event = asyncio.Event()
        held.append(event)
        await event.wait()
    return allow()


@pytest.fixture(autouse=True)
def _nothing_held() -> None:
    held.clear()


async def get(bridge: Bridge, path: str) -> tuple[int, str]:
    url = f"http://{bridge._settings.http}{path}"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return answer.status, await answer.text()


async def test_health_and_metrics() -> None:
    async with SimulatedKamailio() as sim, bridged(sim, "sbc1", EMBEDDED) as bridge:
        call = await sim.suspend("held", {})
        await call.resumed()
        await until(lambda: all(link.opens_gate for link in bridge.nodes))
        await bridge.replicas.beat()  # what is in flight is counted then
        assert await get(bridge, "/livez") == (200, '{"status": "alive"}')
        status, body = await get(bridge, "/readyz")
        checks = dict.fromkeys(("broker", "store", "links", "accepting", "replies", "clock"), True)
        assert (status, json.loads(body)) == (200, {"status": "ready", "checks": checks})
        status, metrics = await get(bridge, "/metrics")
        assert status == 200
        assert 'evapi_gate_open{node="sbc1"}' in metrics
        for line in (
            'evapi_outcomes_total{event="held",node="sbc1",outcome="decided"} 1.0',
            'evapi_decision_seconds_count{outcome="decided"} 1.0',
            'evapi_in_flight{node="sbc1"} 0.0',
            'evapi_link_up{node="sbc1"} 1.0',
            'evapi_link_sound{node="sbc1"} 1.0',
            'evapi_link_receipts{node="sbc1"} 1.0',
            'evapi_active{node="sbc1"} 1.0',
            "evapi_replicas 1.0",
            'evapi_receipts_missed_total{node="sbc1"} 0.0',
            "evapi_broker_ready 1.0",
            "evapi_store_ready 1.0",
        ):
            assert line in metrics.splitlines()
        sim.refuse()
        sim.disconnect()
        await until(lambda: not bridge.nodes.up)
        status, body = await get(bridge, "/readyz")
        assert (status, json.loads(body)["checks"]["links"]) == (503, False)


async def test_a_change_of_the_policy_counts_and_a_wrong_one_is_told(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text('[default]\ndeadline = 0.05\nfallback = { action = "reject", code = 480 }\n')
    options = {**EMBEDDED, "policy": str(path)}
    async with SimulatedKamailio() as sim, bridged(sim, "sbc1", options) as bridge:
        await until(lambda: bridge.policy.now.plan("held").deadline == 0.05)
        first = bridge.policy.now.revision
        call = await sim.suspend("held", {"hold": True})
        assert (await call.resumed())["decision"]["code"] == 480
        path.write_text('[default]\ndeadline = 0.05\nfallback = { action = "reject", code = 486 }\n')
        await until(lambda: bridge.policy.now.revision != first)
        call = await sim.suspend("held", {"hold": True})
        assert (await call.resumed())["decision"]["code"] == 486
        path.write_text("[default]\ndeadline = 0\n")
        await until(lambda: bridge.policy_file is not None and bridge.policy_file.problem)
        status, body = await get(bridge, "/readyz")
        assert status == 200, "the one before counts"
        detail = json.loads(body)["details"]["policy"]
        assert detail.startswith(f"{path}, line 2, default.deadline: 0 is not within")
        assert bridge._about()["policy_problem"] in detail
        _, metrics = await get(bridge, "/metrics")
        assert "evapi_policy_wrong 1.0" in metrics.splitlines()
        assert f'evapi_policy_info{{revision="{bridge.policy.now.revision}"}} 1.0' in metrics.splitlines()


async def test_a_drain_tells_kamailio_first_and_finishes_what_is_in_flight() -> None:
    async with SimulatedKamailio() as sim, bridged(sim, "sbc1", EMBEDDED) as bridge:
        early = await sim.suspend("held", {"hold": True})
        await until(lambda: held)
        draining = asyncio.create_task(bridge.draining.run())
        await sim.until(lambda: not sim.gate_open)
        await until(lambda: not bridge.roles.drain.claims)
        assert json.loads((await get(bridge, "/readyz"))[1])["checks"]["accepting"] is False
        await asyncio.sleep(0)
        assert not draining.done(), "a call waits"
        held[0].set()
        await draining
        assert (await early.resumed())["outcome"] == "decided"
        assert await bridge.inflight.scan("sbc1") == [], "its receipt is waited for, too"


async def test_a_drain_looks_who_else_serves_before_it_leaves_the_rest_to_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with SimulatedKamailio() as sim, bridged(sim, "sbc1", EMBEDDED) as bridge:
        told = []
        beat = bridge.inflight.beat

        async def recorded(state: Beat) -> Snapshot:
            told.append((state.accepting, bridge.roles.drain.claims))
            return await beat(state)

        monkeypatch.setattr(bridge.inflight, "beat", recorded)
        await bridge.draining.run()
        assert (False, True) in told


async def test_waiting_for_another_is_part_of_the_time_for_a_drain(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pod has drain_timeout and 4 s, whatever the lease is: three of these are 60 s here."""
    options = {**EMBEDDED, "lease": "20", "drain_timeout": "0.2"}
    async with SimulatedKamailio() as sim, bridged(sim, "sbc1", options) as bridge:
        monkeypatch.setattr(bridge.draining, "_relieved", asyncio.Event().wait)
        async with asyncio.timeout(20):
            await bridge.draining.run()
        assert bridge.roles.drain is Drain.ENDED


async def test_a_drain_that_runs_out_of_time_leaves_the_rest_to_be_adopted(
    scaled: dict[str, str], node: str
) -> None:
    options = {**scaled, "drain_timeout": "0.1", "lease": "1"}
    long = {"default": {"deadline": 60}}
    async with SimulatedKamailio() as sim, contextlib.AsyncExitStack() as stack:
        async with bridged(sim, node, {**options, "replica": "one"}, long) as one:
            await _bind(scaled["amqp_url"], node)
            call = await sim.suspend("held", {})
            await _claimed(one, node)
            two = await stack.enter_async_context(bridged(sim, node, {**options, "replica": "two"}, long))
            await one.draining.run()
            assert two.metrics.trip.taken_over.labels(node, "claimed")._value.get() == 0

        async def taken_over() -> bool:
            records = await two.inflight.scan(node)
            return bool(records) and records[0].owner == two.inflight.replica

        await until(taken_over)
        await until(lambda: two.metrics.trip.taken_over.labels(node, "claimed")._value.get() == 1)
        assert call.state.value == "suspended"


async def _claimed(bridge: Bridge, node: str) -> None:
    await until(lambda: bridge.inflight.count(node))
    await bridge.trip.idle()


async def _bind(url: str, node: str) -> None:
    """A queue that nobody reads: what is published for the node waits in it."""
    import aio_pika

    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        exchange = await channel.declare_exchange("evapi.events", "topic", durable=True)
        queue = await channel.declare_queue(f"nobody-{node}", durable=True, arguments={"x-expires": 60_000})
        await queue.bind(exchange, f"held.{node}")


async def test_a_part_that_ends_ends_the_bridge(monkeypatch: pytest.MonkeyPatch) -> None:
    async with SimulatedKamailio() as sim, bridged(sim, "sbc1", EMBEDDED) as bridge:

        def broken() -> None:
            raise RuntimeError("a fault of ours")

        monkeypatch.setattr(bridge.trip, "tick", broken)
        with pytest.raises(RuntimeError, match="a fault of ours"):
            async with asyncio.timeout(10):
                await bridge.until(asyncio.Event())


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "adapter.cli", "run", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def test_a_taken_http_port_is_exit_code_1_and_a_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("--consumer", "consumers.least_cost:service", "--http", f"127.0.0.1:{port}")
    assert done.returncode == 1
    assert f"EVAPI_HTTP: cannot listen on 127.0.0.1:{port}" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--consumer", "no_such:service"), "EVAPI_CONSUMER: there is no module 'no_such'"),
        (
            ("--consumer", "consumers.least_cost:service", "--policy", "/no/such.toml"),
            "/no/such.toml cannot be",
        ),
        (("--amqp-url", "amqp://x:99999/"), "EVAPI_AMQP_URL"),
        (("--amqp-url", "amqp://x/", "--redis-url", "redis://h:x"), "EVAPI_REDIS_URL"),
    ],
)
def test_wrong_settings_are_exit_code_2_and_a_sentence(arguments: list[str], sentence: str) -> None:
    done = run(*arguments, "--http", f"127.0.0.1:{free_port()}")
    assert done.returncode == 2, done.stderr
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
