"""HTTP functions of a test, on 127.0.0.1: well-behaved ones, and ones that are not."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from consumers.webhook import files

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable

LOOPBACK = 'allow_networks = ["127.0.0.0/8"]\n'
ALLOW = b'{"action":"allow"}'


@dataclass
class Function:
    """A server that answers with what ``answer`` gives, and remembers what it was asked."""

    answer: Callable[[web.Request], Awaitable[web.StreamResponse]]
    port: int = 0
    asked: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    connections: set[int] = field(default_factory=set)

    async def on_request(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(
            ({name.lower(): value for name, value in request.headers.items()}, await request.read())
        )
        assert request.transport is not None
        self.connections.add(request.transport.get_extra_info("peername")[1])
        return await self.answer(request)


def fixed(status: int = 200, body: bytes = ALLOW, **headers: str) -> Function:
    """A function that answers always alike."""

    async def answer(_: web.Request) -> web.Response:
        told = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(status=status, body=body, headers=told)

    return Function(answer)


@contextlib.asynccontextmanager
async def serving(function: Function, tls: ssl.SSLContext | None = None) -> AsyncIterator[Function]:
    """Serve it on a free port, which a function that was served before gets again."""
    application = web.Application(client_max_size=1 << 24)
    application.router.add_route("*", "/{path:.*}", function.on_request)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.01)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", function.port, ssl_context=tls, reuse_address=True)
    await site.start()
    function.port = runner.addresses[0][1]
    try:
        yield function
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def raw(*answers: bytes, close: bool = True) -> AsyncIterator[tuple[int, list[bytes]]]:
    """Answer each connection's requests with these bytes, then close it, or stand still.

    Gives the port, and a list of the requests' heads.
    """
    heads: list[bytes] = []
    serving: dict[asyncio.StreamWriter, asyncio.Task[None] | None] = {}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving[writer] = asyncio.current_task()
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            for answer in answers:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                await reader.readexactly(length)
                heads.append(head)
                writer.write(answer)
                await writer.drain()
            if not close:
                await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], heads
    finally:
        server.close()
        for writer, task in serving.items():
            writer.transport.abort()
            assert task is not None
            await task


class Pointing(AbstractResolver):
    """A DNS whose owner points every name to one address after the other, the last one for ever."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = list(addresses)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        address = self.addresses.pop(0) if len(self.addresses) > 1 else self.addresses[0]
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
        ]

    async def close(self) -> None:
        """Nothing is open."""


def loaded(*urls: str, more: str = LOOPBACK, **keys: Any) -> files.Loaded:
    """Settings as from a file. ``keys``: numbers and lists, as TOML has them."""
    lines = [f'events = ["e"]\nurls = {list(urls)}\n', *(f"{key} = {value}\n" for key, value in keys.items())]
    return files.load("".join(lines) + more, Path())
