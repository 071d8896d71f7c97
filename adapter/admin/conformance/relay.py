"""Stands between a consumer and RabbitMQ: passes every byte on as it is, and reads along."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import TYPE_CHECKING, Final, Self

from yarl import URL

from adapter.admin.conformance.sight import Sight
from adapter.amqp.servers import shown
from adapter.errors import BrokerUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

_CHUNK: Final = 1 << 16
_PORTS: Final = {"amqp": 5672, "amqps": 5671}


class Relay:
    """Listens for consumers, as an asynchronous context manager.

    The consumer speaks plain AMQP with it; to RabbitMQ it goes by TLS where the URL says so.

    Args:
        server: RabbitMQ.
        host: where it listens.
        port: likewise; 0: any that is free.
    """

    def __init__(self, server: URL, host: str, port: int) -> None:
        self._to = server
        self._host = host
        self._port = port
        self._server: asyncio.Server
        self._open: set[asyncio.Task[None]] = set()
        self.sight = Sight()
        self.shown = ""
        """The URL that a consumer is to be given, without user and password."""
        self.url = ""
        """The same with those of RabbitMQ's URL."""

    async def __aenter__(self) -> Self:
        """Listen. Raises BrokerUnavailable if the port is taken."""
        try:
            self._server = await asyncio.start_server(self._accept, self._host, self._port)
        except OSError as exc:
            raise BrokerUnavailable(f"--listen {self._host}:{self._port}: {exc.strerror or exc}") from exc
        self._port = self._server.sockets[0].getsockname()[1]
        self.url = str(
            self._to.with_scheme("amqp").with_host(self._host).with_port(self._port).with_query(None)
        )
        self.shown = shown(URL(self.url))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            with contextlib.suppress(OSError):
                await self._pass_on(reader, writer)
        except asyncio.CancelledError:
            pass  # the kit has done; the server would log it
        finally:
            self._open.discard(task)
            writer.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert self._to.host is not None, "see parse_urls"
        port = self._to.port or _PORTS[self._to.scheme]
        back, forth = await asyncio.open_connection(self._to.host, port, ssl=_tls(self._to))
        consumer, server = self.sight.connection()
        ways = [
            asyncio.ensure_future(_copy(reader, forth, consumer)),
            asyncio.ensure_future(_copy(back, writer, server)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            forth.transport.abort()


async def _copy(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, look: Callable[[bytes], None]
) -> None:
    """Pass on until either side closes. What is passed on has been looked at before."""
    while data := await reader.read(_CHUNK):
        look(data)
        writer.write(data)
        await writer.drain()


def _tls(url: URL) -> ssl.SSLContext | None:
    """As the URL's options ask for it: cafile, certfile and keyfile, no_verify_ssl."""
    if url.scheme != "amqps":
        return None
    context = ssl.create_default_context(cafile=url.query.get("cafile"))
    if "certfile" in url.query:
        context.load_cert_chain(url.query["certfile"], url.query.get("keyfile"))
    if url.query.get("no_verify_ssl", "0") != "0":
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context
