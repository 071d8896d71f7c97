"""Consumers that do all that the kit asks for, each of another kind; new ones are added to ``CONSUMERS``."""

from __future__ import annotations

import asyncio
import shutil
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from aiohttp import web

from adapter.admin.rabbit import Rabbit
from consumers import Service, load, route
from tests.conformance.faulty import EVENT, consuming
from tests.conformance.plain import plain
from tests.consumers.asker import running
from tests.harness import node
from tests.harness.process import Process
from tests.harness.readme import CONSUMERS as PAGE
from tests.harness.readme import block
from tests.harness.until import until
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


@asynccontextmanager
async def page_pika(url: str, name: str) -> AsyncIterator[None]:
    """The consumer of consumers/README.md, "Without an SDK"."""
    with TemporaryDirectory() as folder:
        service = Path(folder) / "service.py"
        service.write_text(_named(block("python", "basic_consume", PAGE), name))
        async with _process([sys.executable, str(service)], Path(folder), url, name):
            yield


@asynccontextmanager
async def page_node(url: str, name: str) -> AsyncIterator[None]:
    """The consumer of consumers/README.md, "Node.js"."""
    with TemporaryDirectory() as folder:
        service = Path(folder) / "service.mjs"
        service.write_text(_named(block("js", "evapi-consumers", PAGE), name))
        await asyncio.to_thread(node.provide, Path(folder))
        async with _process([shutil.which("node") or "node", str(service)], Path(folder), url, name):
            yield


def _named(text: str, name: str) -> str:
    return text.replace("my_service", name).replace("invite_request", EVENT)


@asynccontextmanager
async def _process(command: list[str], folder: Path, url: str, name: str) -> AsyncIterator[None]:
    """Run a consumer's process, from when it consumes."""
    process = Process(name, command, folder, {"EVAPI_AMQP_URL": url})
    process.start()
    try:
        async with Rabbit(url) as rabbit:
            await until(lambda: _consumed(rabbit, name))
        yield
    finally:
        await asyncio.to_thread(process.stop)


async def _consumed(rabbit: Rabbit, name: str) -> bool:
    state = await rabbit.queue(f"evapi.decide.{name}")
    return state is not None and state.consumers > 0


CONSUMERS: Final[Mapping[str, Consuming]] = {
    "sdk": sdk,
    "sdk-quorum": sdk_quorum,
    "pika": pika,
    "webhook": webhook,
    "aiormq": consuming,
    "page-pika": page_pika,
    "page-node": page_node,
}
