"""One connection to RabbitMQ: opened within a time, watched, and let go of even if it hangs."""

from __future__ import annotations

import asyncio
import re
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Final

import aiormq
from pamqp.commands import Basic
from yarl import URL

from adapter import contract
from adapter.amqp.urls import ADVICE, split_urls, stray_comma
from adapter.amqp.wire import Wire
from adapter.certificates import refusal
from adapter.errors import BrokerUnavailable, SettingsError

if TYPE_CHECKING:
    from adapter.broker.rabbitmq.limits import Limits

_AUTHENTICATED: Final = re.compile(r"authenticated user was '([^']+)'")  # 3.10 to 4.3
EXPECTED: Final = (
    BrokerUnavailable,
    aiormq.AMQPError,
    aiormq.ChannelInvalidStateError,
    OSError,
    asyncio.CancelledError,
)
"""What a server that goes away may raise here. Anything else is a fault of ours and gets a traceback."""


def parse_urls(urls: str) -> list[URL]:
    """The servers to try in turn, of a list separated by commas. Raises SettingsError."""
    found = []
    for number, text in enumerate(split_urls(urls), 1):
        if stray_comma(text):
            raise SettingsError("EVAPI_AMQP_URL", f"number {number} of the URLs: {ADVICE}")
        try:
            url = URL(text)
        except ValueError:
            # Neither the text nor the cause is quoted: they may hold the password.
            raise SettingsError("EVAPI_AMQP_URL", f"number {number} of the URLs is none") from None
        if url.scheme not in ("amqp", "amqps") or not url.host:
            raise SettingsError("EVAPI_AMQP_URL", f"{shown(url)} is no amqp://HOST or amqps://HOST")
        _check_options(url)
        found.append(url)
    return found


def _check_options(url: URL) -> None:
    """The library takes any ``no_verify_ssl`` but 0 for a yes, and a missing file for a server's fault."""
    if url.query.get("no_verify_ssl", "0") not in ("0", "1"):
        raise SettingsError("EVAPI_AMQP_URL", "no_verify_ssl is 1, to trust any certificate, or 0")
    for option in ("cafile", "certfile", "keyfile"):
        path = url.query.get(option)
        if path is not None and not Path(path).is_file():
            raise SettingsError("EVAPI_AMQP_URL", f"{option}: there is no file {path}")


def shown(url: URL) -> str:
    """A URL for people: without password and options."""
    try:
        return str(url.with_password(None).with_query(None))
    except ValueError:
        return f"{url.scheme}:..."  # a URL without host cannot have its password taken out


def reason(exc: BaseException | None) -> str:
    """An error in a few words."""
    if exc is None:
        return "closed"
    if isinstance(exc, TimeoutError):
        return "no answer in time"
    return refusal(exc) or " ".join(str(part) for part in exc.args) or type(exc).__name__


def known_as(exc: BaseException | None) -> str:
    """Return as whom the server knows us, if it refused a message in another's name; else nothing."""
    told = _AUTHENTICATED.search(reason(exc))
    return told[1] if told else ""


class UndecodableMessage(BrokerUnavailable):
    """A message on a queue of ours cannot be read: the connection is closed for it.

    ``dropped``: it was taken off the queue, so the next connection is a step further.
    """

    dropped = False


class Connection:
    """An open connection."""

    def __init__(self, url: URL, amqp: aiormq.Connection, wire: Wire) -> None:
        self.url = shown(url)
        self._login = url.user or "guest"
        self._by_certificate = url.query.get("auth", "").lower() == "external"
        self.amqp = amqp
        self.wire = wire
        self._aborted = ""
        # aiormq 7.2's own event. To ask its coroutine ten times for each publication cost 1 % of all CPU.
        self._unblocked: asyncio.Event | None = getattr(amqp, "_Connection__connection_unblocked", None)

    @classmethod
    async def open_any(cls, urls: list[URL], limits: Limits) -> Connection:
        """Connect to the first of the servers that answers: see ``_race``.

        The list is turned, so that this server comes first. Raises BrokerUnavailable.
        """
        attempts: dict[asyncio.Task[Connection], URL] = {}
        try:
            found, url = await cls._race(urls, limits, attempts)
        finally:
            for late in attempts:
                late.cancel()
            for opened in await asyncio.gather(*attempts, return_exceptions=True):
                if isinstance(opened, Connection):
                    opened.abort("another server was faster")
        first = urls.index(url)
        urls[:] = urls[first:] + urls[:first]
        return found

    @classmethod
    async def _race(
        cls, urls: list[URL], limits: Limits, attempts: dict[asyncio.Task[Connection], URL]
    ) -> tuple[Connection, URL]:
        """Try them in turn: the next one where one fails, and beside one that says nothing for long.

        Those in ``attempts`` at the end are left to the caller. Raises BrokerUnavailable.
        """
        waiting, failures = list(urls), []
        while waiting or attempts:
            if waiting:
                url = waiting.pop(0)
                attempts[asyncio.create_task(cls._open(url, limits))] = url
            done, _ = await asyncio.wait(
                attempts,
                timeout=limits.head_start if waiting else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            for attempt in done:
                url = attempts.pop(attempt)
                try:
                    return attempt.result(), url
                except BrokerUnavailable as exc:
                    failures.append(str(exc))
        raise BrokerUnavailable("; ".join(failures))

    @classmethod
    async def _open(cls, url: URL, limits: Limits) -> Connection:
        wire = Wire(limits.held_bytes)
        opening = asyncio.ensure_future(_connect(url, limits.heartbeat, wire))
        try:
            await asyncio.wait({opening}, timeout=limits.connect_timeout)
        except asyncio.CancelledError:
            wire.abort()  # whether or not it has just come about: nobody wants it any more
            raise
        finally:
            if not opening.done():
                wire.abort()  # otherwise the library would wait for the hung peer to say goodbye
                opening.cancel()
                await asyncio.wait({opening})
        if opening.cancelled():
            raise BrokerUnavailable(f"{shown(url)}: no answer within {limits.connect_timeout:g} s")
        exc = opening.exception()
        if exc is not None:
            raise BrokerUnavailable(f"{shown(url)}: {reason(exc)}") from exc
        return cls(url, opening.result(), wire)

    async def channel(self, confirms: bool = False) -> aiormq.Channel:
        """Open a channel; with ``confirms`` those are to be tapped: the library expects none."""
        channel = await self.amqp.channel(publisher_confirms=confirms)
        assert isinstance(channel, aiormq.Channel)
        return channel

    async def user(self) -> str:
        """Return the name by which RabbitMQ knows us; empty if it does not tell.

        With a password that is the name in the URL. A login by certificate has none there, so the server is
        asked: it refuses a message in another's name, and says in whose name it takes one.
        """
        if not self._by_certificate:
            return self._login
        nobody = secrets.token_hex(16)
        channel = await self.channel()
        properties = Basic.Properties(user_id=nobody)
        await channel.basic_publish(
            b"", exchange=contract.EVENTS_EXCHANGE, routing_key=nobody, properties=properties
        )
        answer = asyncio.ensure_future(channel.exchange_declare(contract.EVENTS_EXCHANGE, passive=True))
        await asyncio.wait({answer, channel.closing}, return_when=asyncio.FIRST_COMPLETED)
        if not channel.closing.done():  # somebody who may write in anybody's name
            await answer
            await channel.close()
            return ""
        await asyncio.gather(answer, return_exceptions=True)
        return known_as(None if channel.closing.cancelled() else channel.closing.exception())

    @property
    def blocked(self) -> bool:
        """Whether the server takes no publications (memory or disk alarm)."""
        if self._unblocked is not None:
            return not self._unblocked.is_set()
        ready = self.amqp.ready()
        try:
            ready.send(None)  # it has to wait where, and only where, the server has blocked us
        except StopIteration:
            return False
        ready.close()
        return True

    @property
    def aborted(self) -> bool:
        """Whether we have let go of it."""
        return bool(self._aborted)

    @property
    def alive(self) -> bool:
        """Whether nobody has closed it."""
        return not self.amqp.is_closed

    async def unblocked(self) -> None:
        """Return once the server takes publications."""
        await self.amqp.ready()

    async def lost(self) -> None:
        """Wait until it is closed by anybody. Raises BrokerUnavailable then, from the cause.

        UndecodableMessage, where it was closed since a message could not be read.
        """
        closing = self.amqp.closing
        await asyncio.wait({closing})
        cause = asyncio.CancelledError() if closing.cancelled() else closing.exception()
        expected = (aiormq.AMQPConnectionError, OSError, asyncio.CancelledError)
        foreseen = (cause is None or isinstance(cause, expected)) and not self.wire.broken
        # What RabbitMQ says when it cannot translate a message for AMQP 0.9.1 (4.0 to 4.3).
        foreseen &= not isinstance(cause, aiormq.exceptions.ConnectionInternalError)
        kind = BrokerUnavailable if foreseen else UndecodableMessage
        raise kind(f"{self.url}: {self._aborted or reason(cause)}") from cause

    def abort(self, why: str) -> None:
        """Let go of it without a goodbye."""
        self._aborted = why
        self.wire.abort()

    async def close(self, within: float) -> None:
        """Say goodbye, within a time."""
        closing = asyncio.ensure_future(self.amqp.close())
        await asyncio.wait({closing}, timeout=within)
        self.wire.abort()
        await asyncio.wait({closing})


async def _connect(url: URL, heartbeat: int, wire: Wire) -> aiormq.Connection:
    if "heartbeat" not in url.query:
        url = url.update_query(heartbeat=heartbeat)
    return await aiormq.connect(
        url, transport_factory=wire, client_properties={"connection_name": contract.APP_ID}
    )
