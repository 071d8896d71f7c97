"""A bridge in this process, between a simulated Kamailio and the real servers."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from adapter import settings
from adapter.app import Bridge
from adapter.relay import policy
from tests.harness.process import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from adapter.simulator import SimulatedKamailio
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


@asynccontextmanager
async def bridged(
    sim: SimulatedKamailio,
    node: str,
    options: Mapping[str, str],
    rules: Mapping[str, Any] | None = None,
    *,
    ready: bool = True,
) -> AsyncIterator[Bridge]:
    """A bridge between a simulated Kamailio and what ``options`` name: started, ready unless that
    is not to be waited for, and closed in the end.
    """
    # A prefix of its own: a replica that another test killed a moment ago is none of this one's.
    own: dict[str, Any] = {
        "nodes": f"{node}={sim.address}",
        "http": f"127.0.0.1:{free_port()}",
        "redis_prefix": node,
        # A RabbitMQ that is slow, as all are on a busy machine, is not one that is gone.
        "confirm_timeout": "10",
    }
    bridge = Bridge(settings.load(**{**own, **options}), policy.parse(rules or {}))
    await bridge.start()
    try:
        async with asyncio.timeout(20):
            while ready and not all(bridge.readiness.checks().values()):
                await asyncio.sleep(0.005)
        if ready and sim.configuration == "include":
            await sim.until(lambda: sim.gate_open)
        yield bridge
    finally:
        await bridge.close()
