"""Runs services on RabbitMQ until a signal ends them, with health and metrics beside them."""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from adapter.errors import AdapterError
from adapter.hello import EACH

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adapter.address import Address
    from consumers.amqp import Runner
    from consumers.service import Service


async def serve(
    services: Sequence[Service],
    urls: Sequence[str],
    prefetch: int | None = None,
    requests_from: Sequence[str] = (),
    http: Address | None = None,
    hello: float = EACH,
) -> None:
    """Run the services until SIGTERM or SIGINT.

    Args:
        services: loaded.
        urls: of RabbitMQ; tried in turn.
        prefetch: requests at a time of each service; by default what it says itself.
        requests_from: the users of RabbitMQ whose requests are taken; empty: everybody's.
        http: where ``/livez``, ``/readyz`` and ``/metrics`` are served, if they are.
        hello: seconds after which each says that it is there; 0: never.

    Raises:
        AdapterError: the address cannot be listened on, or a lifespan cannot be opened.
    """
    from consumers.amqp import Runner  # here, so that --help and `import consumers` need no AMQP

    runners = [
        Runner(service, urls, prefetch=prefetch, requests_from=requests_from, hello=hello)
        for service in services
    ]

    def stop() -> None:
        for runner in runners:
            runner.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    async with AsyncExitStack() as stack:
        if http is not None:
            await _observe(stack, runners, http)
        await asyncio.gather(*(runner.run() for runner in runners))


async def _observe(stack: AsyncExitStack, runners: Sequence[Runner], http: Address) -> None:
    """Serve health and metrics until the stack is closed."""
    from adapter.runtime.health import HealthServer
    from consumers.metrics import ConsumerMetrics

    ready = {runner.service.name: runner.consuming.is_set for runner in runners}
    metrics = ConsumerMetrics([runner.service for runner in runners], ready)
    health = HealthServer(
        http,
        metrics.registry,
        lambda: {name: is_ready() for name, is_ready in ready.items()},
        metrics.measure,
    )
    stack.push_async_callback(health.close)
    try:
        await health.start()
    except OSError as exc:
        raise AdapterError(f"--http: cannot listen on {http}: {exc.strerror}") from exc
