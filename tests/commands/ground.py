"""A real Kamailio that carries commands out, calls on it, bridges beside it, and a service that asks."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from adapter import settings
from adapter.app import Bridge
from adapter.relay import policy
from consumers import Request, Service, allow
from consumers.amqp import Runner
from tests.harness.process import free_port
from tests.harness.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from tests.harness.kamailio import KamailioServer
    from tests.harness.sip import Call, Caller

service = Service("commanding")
"""What the embedded broker runs."""


@service.on("invite_request")
async def _decide(request: Request) -> dict[str, Any]:
    return allow()


def asker() -> Service:
    """A service that allows every call."""
    made = Service("commanding")

    @made.on("invite_request")
    async def decide(request: Request) -> dict[str, Any]:
        return allow()

    return made


@asynccontextmanager
async def bridged(
    nodes: Mapping[str, KamailioServer], prefix: str, options: Mapping[str, Any]
) -> AsyncIterator[Bridge]:
    """A bridge in this process to real Kamailios, ready for calls."""
    own: dict[str, Any] = {
        "nodes": ",".join(f"{name}={each.evapi_address}" for name, each in nodes.items()),
        "http": f"127.0.0.1:{free_port()}",
        "redis_prefix": prefix,
        "confirm_timeout": "10",
    }
    bridge = Bridge(settings.load(**{**own, **options}), policy.parse({}))
    await bridge.start()
    try:
        await until(lambda: all(bridge.readiness.checks().values()))
        await until(lambda: all(link.opens_gate for link in bridge.nodes if link.node in nodes))
        yield bridge
    finally:
        await bridge.close()


@asynccontextmanager
async def running(asking: Service, amqp_url: str) -> AsyncIterator[Service]:
    """A service on RabbitMQ."""
    runner = Runner(asking, [amqp_url], hello=0)
    task = asyncio.create_task(runner.run())
    try:
        await until(runner.consuming.is_set)
        yield asking
    finally:
        runner.stop()
        await task


async def answered(caller: Caller) -> Call:
    """A call that is up."""
    call = caller.call()
    assert (await call.final()).code == 200
    return call
