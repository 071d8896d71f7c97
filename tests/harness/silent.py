"""A server that takes connections and says nothing."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Silent:
    """What it has seen."""

    def __init__(self, port: int) -> None:
        self.url = f"amqp://127.0.0.1:{port}/"
        self.connections = 0
        self.open = 0
        self.connected = asyncio.Event()


@asynccontextmanager
async def silent_server() -> AsyncIterator[Silent]:
    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        made.connections += 1
        made.connected.set()
        made.open += 1
        try:
            await reader.read()
        except ConnectionError:
            pass  # the client let go of us
        finally:
            made.open -= 1
            writer.transport.abort()

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    made = Silent(server.sockets[0].getsockname()[1])
    yield made
    server.close()
