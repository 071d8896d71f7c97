"""One URL: its connections, and what one attempt brings."""

from __future__ import annotations

import io
import socket
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import yarl

from adapter.certificates import refusal
from consumers.webhook.addresses import why_refused
from consumers.webhook.breaker import Breaker
from consumers.webhook.outcomes import Failure, Response
from consumers.webhook.settings import Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp.abc import AbstractResolver

    from consumers.webhook.files import Loaded
    from consumers.webhook.settings import Url

FAIR: Final = 0.5
"""Seconds of silence from which on it counts against a URL: what had less was late before it was asked."""
ONE_WRITE: Final = 1 << 20
"""Bytes of a body that aiohttp writes in one go; of a longer one it wants a file, piece by piece."""
DNS_CACHE: Final = 10
"""Seconds for which a name's addresses are kept. Each connection is checked all the same."""


class Refused(OSError):
    """A connection to an address that the settings do not allow; the text says which, and what to do."""


class Target:
    """Asks one URL. To be made and closed in one event loop.

    Args:
        url: Where to POST to.
        loaded: The settings.
        resolver: Looks names up; None: the system's.
    """

    def __init__(self, url: Url, loaded: Loaded, resolver: AbstractResolver | None = None) -> None:
        hook = loaded.hook
        self.url = url
        self.breaker = Breaker(hook.breaker_after, hook.breaker_pause)
        self._hook = hook
        self._url = yarl.URL(url.text, encoded=True)
        reuse = aiohttp.TraceConfig()
        reuse.on_connection_reuseconn.append(_note_reuse)
        self._connector = aiohttp.TCPConnector(
            limit=0,  # the service has no more requests in hand than its prefetch
            keepalive_timeout=hook.keep_alive,
            ssl=loaded.tls,
            resolver=resolver,
            ttl_dns_cache=DNS_CACHE,
            socket_factory=self._socket,
        )
        self._session = aiohttp.ClientSession(
            connector=self._connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,  # a few bytes could become gigabytes
            trace_configs=[reuse],
        )

    def __repr__(self) -> str:
        return f"<Target {self.url.shown} {self.breaker!r}>"

    @property
    def closed(self) -> bool:
        """Whether ``close`` was called."""
        return self._session.closed

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def post(self, body: bytes, headers: Mapping[str, str], seconds: float) -> Response | Failure:
        """POST once.

        Args:
            body: The request.
            headers: All of them.
            seconds: What there is for it, until the whole answer is there.

        Returns:
            The answer, or why there is none. The failure's reason says whether the function may have run.
        """
        timeout = aiohttp.ClientTimeout(total=seconds, connect=min(seconds, self._hook.connect_timeout))
        trip = SimpleNamespace(reused=False)
        try:
            async with self._session.post(
                self._url,
                data=body if len(body) <= ONE_WRITE else io.BytesIO(body),
                headers=headers,
                allow_redirects=False,
                timeout=timeout,
                trace_request_ctx=trip,
            ) as response:
                told = response.headers
                wanted = response.status == 200
                return Response(
                    response.status,
                    await self._body(response) if wanted else None,
                    told.get("retry-after"),
                    told.get("content-encoding"),
                    told.get("cache-control"),
                )
        except (TimeoutError, aiohttp.ClientError, OSError) as exc:
            failure = self._failure(exc, trip.reused, seconds)
            if failure.reason is Reason.CONNECT:
                self._connector.clear_dns_cache()  # its name may lead elsewhere by now
            return failure

    async def _body(self, response: aiohttp.ClientResponse) -> bytes | None:
        most = self._hook.max_response
        if (response.content_length or 0) > most:
            return None
        found = bytearray()
        async for chunk in response.content.iter_any():
            found += chunk
            if len(found) > most:
                return None
        return bytes(found)

    def _socket(self, info: tuple[Any, ...]) -> socket.socket:
        """Make the socket for an address, the very one that it is about to be connected to."""
        family, kind, protocol, _, address = info
        refused = why_refused(address[0], self._hook.allow_networks, encrypted=self.url.encrypted)
        if refused:
            raise Refused(refused)
        return socket.socket(family, kind, protocol)

    def _failure(self, exc: BaseException, reused: bool, seconds: float) -> Failure:
        """What an exception of aiohttp means."""
        match exc:
            case aiohttp.ClientConnectorError() | aiohttp.ClientSSLError():
                return Failure(f"no connection: {_why(exc)}", Reason.CONNECT)
            case aiohttp.ConnectionTimeoutError():
                had = min(seconds, self._hook.connect_timeout)
                return Failure(f"no connection within {had:.3f} s", Reason.CONNECT, counts=self.is_fair(had))
            case aiohttp.ServerDisconnectedError() | aiohttp.ClientOSError() if reused:
                # A server ends idle connections whenever it likes, also while a request is on its way.
                return Failure("the server closed the kept connection", Reason.CONNECT)
            case TimeoutError():
                return self.silence(seconds)
            case aiohttp.ClientResponseError():
                return Failure("its answer is no HTTP", Reason.READ)
            case _:
                return Failure(f"the connection broke: {type(exc).__name__}", Reason.READ)

    def silence(self, seconds: float) -> Failure:
        """That no answer came for so many seconds."""
        return Failure(f"no whole answer within {seconds:.3f} s", Reason.READ, counts=self.is_fair(seconds))

    def is_fair(self, seconds: float) -> bool:
        """Whether the server had long enough, so that its silence tells anything."""
        return seconds >= min(FAIR, self._hook.timeout, self._hook.connect_timeout)


async def _note_reuse(_: aiohttp.ClientSession, context: Any, __: object) -> None:
    context.trace_request_ctx.reused = True


def _why(exc: aiohttp.ClientError) -> str:
    cause = (
        exc.__cause__ or exc
    )  # aiohttp's own error of a certificate is one of ssl's without what these know
    return refusal(cause) or getattr(cause, "strerror", None) or str(cause)
