"""A log that cannot be written, and a port full of silent connections: calls are decided all the same."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from adapter.simulator import SimulatedKamailio
from tests.harness.bridge import Bridge
from tests.harness.output import Output
from tests.harness.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

SERVICE = """
from consumers import Service, allow

service = Service("chatty")

@service.on("invite_request")
def decide(request):
    print("x" * 2000)  # as people do
    return allow()
"""
CALLS = 100


@asynccontextmanager
async def bridge_to(
    sim: SimulatedKamailio, folder: Path, broken: str
) -> AsyncIterator[tuple[Bridge, Output]]:
    (folder / "chatty.py").write_text(SERVICE)
    output = Output(broken)
    bridge = Bridge(
        "r1", folder, {"sbc1": sim.port}, {"consumer": "chatty:service"}, {"PYTHONPATH": str(folder)}
    )
    bridge.process.output = output.writes
    try:
        yield bridge, output
    finally:
        await asyncio.to_thread(bridge.stop)  # in a thread: the drain waits for Kamailio, which is here
        output.close()


async def outcomes(sim: SimulatedKamailio, calls: int = CALLS) -> set[str]:
    suspended = [await sim.suspend("invite_request", {"number": number}) for number in range(calls)]
    return {(await each.resumed())["outcome"] for each in suspended}


def told(bridge: Bridge) -> str:
    return str(bridge.readiness().get("details", {}).get("log", ""))


@pytest.mark.parametrize(
    "broken, why",
    [("full", "No space left on device"), ("gone", "Broken pipe"), ("unread", "not read any more")],
)
async def test_calls_go_on_without_a_log(tmp_path: Path, broken: str, why: str) -> None:
    """From the start on."""
    async with SimulatedKamailio() as sim, bridge_to(sim, tmp_path, broken) as (bridge, _):
        await asyncio.to_thread(bridge.start)
        for _ in range(8):  # 1.6 MB of prints: more than is kept
            assert await outcomes(sim) == {"decided"}
        await until(lambda: asyncio.to_thread(lambda: why in told(bridge)))
        assert bridge.readiness()["status"] == "ready"
        assert bridge.metric("evapi_log_lost_total") > 0


async def test_a_reader_that_leaves_later(tmp_path: Path) -> None:
    async with SimulatedKamailio() as sim, bridge_to(sim, tmp_path, "") as (bridge, output):
        await asyncio.to_thread(bridge.start)
        log = b""
        while b'"started"' not in log:
            log += await asyncio.to_thread(os.read, output.reads, 65_536)
        assert bridge.metric("evapi_log_lost_total") == 0
        output.leave()
        assert await outcomes(sim) == {"decided"}
        await until(lambda: asyncio.to_thread(lambda: "Broken pipe" in told(bridge)))
        assert await outcomes(sim) == {"decided"}


@pytest.fixture
def many_files() -> Iterator[None]:
    """As many as the test opens itself."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def limited(bridge: Bridge, limits: str) -> None:
    """Have it started with these limits of open files."""
    command = bridge.process._command
    bridge.process._command = ["sh", "-c", f'{limits} && exec "$0" "$@"', *command]


@pytest.mark.usefixtures("many_files")
async def test_silent_connections_to_the_http_port(tmp_path: Path) -> None:
    """More than the process may have descriptors: it answers, and finds Kamailio again."""
    async with SimulatedKamailio() as sim, bridge_to(sim, tmp_path, "gone") as (bridge, _):
        bridge.process.output = None
        limited(bridge, "ulimit -n 256")
        await asyncio.to_thread(bridge.start)
        silent = [socket.create_connection(("127.0.0.1", bridge.http_port)) for _ in range(1024)]
        sim.restart()
        await until(lambda: asyncio.to_thread(lambda: bridge.metric("evapi_link_connects_total") == 2))
        await until(lambda: asyncio.to_thread(lambda: bridge.readiness().get("status") == "ready"))
        assert await outcomes(sim) == {"decided"}
        assert bridge.metric("evapi_http_dropped_total") >= 1024 - 64
        assert len(bridge.process.log.read_text().splitlines()) < 50 + CALLS
        for each in silent:
            each.close()


async def test_the_limit_of_open_files_is_raised(tmp_path: Path) -> None:
    async with SimulatedKamailio() as sim, bridge_to(sim, tmp_path, "gone") as (bridge, _):
        bridge.process.output = None
        limited(bridge, "ulimit -Sn 100 && ulimit -Hn 1000")
        await asyncio.to_thread(bridge.start)
        assert resource.prlimit(bridge.process.pid, resource.RLIMIT_NOFILE) == (1000, 1000)
