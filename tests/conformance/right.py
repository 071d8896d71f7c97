"""Consumers that do all that the kit asks for, each of another kind; new ones are added to ``CONSUMERS``."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from aiohttp import web

from consumers import Service, load, route
from tests.conformance.faulty import EVENT, consuming
from tests.conformance.plain import plain
from tests.consumers.asker import running
from tests.webhook.functions import LOOPBACK, Function, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from contextlib import AbstractAsyncContextManager

    from adapter.contract import Decision, Request

    Consuming = Callable[[str, str], AbstractAsyncContextManager[object]]
    """Given the URL to connect to and the service's name: runs it, and removes its queue in the end."""


@asynccontextmanager
async def sdk(url: str, name: str) -> AsyncIterator[None]:
    """The Python SDK, with a handler that fails for data without a URI."""
    service = Service(name)

    @service.on(EVENT)
    async def decide(request: Request) -> Decision:
        return route(request.data["ruri"])

    async with running(service, url):
        yield


@asynccontextmanager
async def sdk_quorum(url: str, name: str) -> AsyncIterator[None]:
    """The Python SDK on a quorum queue, with a handler that does not wait."""
    service = Service(name, queue_type="quorum", prefetch=2)
    service.on(EVENT)(lambda request: route(request.data["ruri"]))
    async with running(service, url):
        yield


@asynccontextmanager
async def pika(url: str, name: str) -> AsyncIterator[None]:
    """pika without any SDK."""
    made = plain(url, name, EVENT)
    await asyncio.to_thread(made.__enter__)
    try:
        yield
    finally:
        await asyncio.to_thread(made.__exit__, None, None, None)


@asynccontextmanager
async def webhook(url: str, name: str) -> AsyncIterator[None]:
    """The service that asks HTTP functions, and one that fails for data without a URI."""

    async def decide(asked: web.Request) -> web.Response:
        return web.json_response(route((await asked.json())["data"]["ruri"]))

    async with serving(Function(decide)) as function:
        with TemporaryDirectory() as folder:
            keys = f'name = "{name}"\nevents = ["{EVENT}"]\nurls = ["http://127.0.0.1:{function.port}/"]\n'
            async with running(load(_written(Path(folder, "webhook.toml"), keys + LOOPBACK)), url):
                yield


def _written(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


CONSUMERS: Final[Mapping[str, Consuming]] = {
    "sdk": sdk,
    "sdk-quorum": sdk_quorum,
    "pika": pika,
    "webhook": webhook,
    "aiormq": consuming,
}
