"""``/livez``, ``/readyz`` and ``/metrics``."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from aiohttp import web
from prometheus_client.aiohttp import make_aiohttp_handler

from adapter.runtime.http_connections import Connections, most_connections

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from prometheus_client import CollectorRegistry

    from adapter.address import Address

KEEPALIVE: Final = 75.0
"""Seconds after which an idle connection is closed."""


class HealthServer:
    """Serves the three paths.

    ``checks()`` gives what readiness rests on, by name; all of it must hold. ``measure()``
    brings gauges up to date before they are read. ``details()`` gives, by subject, what people should
    know beside that; it is left out where there is nothing.
    """

    def __init__(
        self,
        address: Address,
        registry: CollectorRegistry,
        checks: Callable[[], Mapping[str, bool]],
        measure: Callable[[], None],
        details: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        self._address = address
        self._checks = checks
        self._measure = measure
        self._details = details
        self._metrics = make_aiohttp_handler(registry)
        self._runner: web.AppRunner | None = None
        self._server: asyncio.Server | None = None
        self.connections = Connections(most_connections())

    async def start(self) -> None:
        """Listen. Raises OSError where the port is taken."""
        app = web.Application(middlewares=[self.connections.served])
        app.router.add_get("/livez", self._livez)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._serve_metrics)
        self._runner = web.AppRunner(app, access_log=None, keepalive_timeout=KEEPALIVE)
        await self._runner.setup()
        assert self._runner.server is not None, "it is set up"
        self._server = await asyncio.get_running_loop().create_server(
            self.connections.accepts(self._runner.server), self._address.host, self._address.port
        )

    async def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()
        if self._runner is not None:
            await self._runner.cleanup()

    async def _livez(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "alive"})

    async def _readyz(self, _: web.Request) -> web.Response:
        checks = dict(self._checks())
        ready = all(checks.values())
        body: dict[str, object] = {"status": "ready" if ready else "degraded", "checks": checks}
        if details := dict(self._details()):
            body["details"] = details
        return web.json_response(body, status=200 if ready else 503)

    async def _serve_metrics(self, request: web.Request) -> web.StreamResponse:
        self._measure()
        return await self._metrics(request)
