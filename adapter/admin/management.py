"""RabbitMQ's management API, where that plugin is on: what AMQP does not tell, bindings above all."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import quote

import aiohttp
from yarl import URL

from adapter import contract
from adapter.amqp.servers import parse_urls, shown
from adapter.amqp.topology import Binding
from adapter.amqp.words import explained, reason
from adapter.errors import AdapterError, SettingsError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from adapter.settings import Settings

TIMEOUT: Final = 2.0
UNKNOWN: Final = "unknown: needs RabbitMQ's management plugin (EVAPI_AMQP_API)"
_PORTS: Final = {"amqp": ("http", 15_672), "amqps": ("https", 15_671)}
_PREFIX: Final = "evapi."
_TYPE: Final = "x-queue-type"
_NONE: Final = "undefined"
_COLUMNS: Final = (
    "name,arguments,durable,exclusive,type,messages,messages_ready,consumers,effective_policy_definition"
)


class ManagementUnavailable(AdapterError):
    """The management API is not there, or refuses; the text says what to do."""


@dataclass(frozen=True, slots=True)
class ManagedQueue:
    """A queue as the API tells of it. ``messages``, those that consumers hold included, ``waiting``, without
    them, and ``consumers`` may be some seconds old (10 of a quorum queue on RabbitMQ 4.3); ``None`` while it
    knows none of them. ``arguments``: without the type, which RabbitMQ 4 adds where nobody gave it.
    ``policy``: what the policies for it have set.
    """

    name: str
    kind: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    exclusive: bool = False
    messages: int | None = None
    consumers: int | None = None
    policy: Mapping[str, Any] = field(default_factory=dict)
    waiting: int | None = None


@dataclass(frozen=True, slots=True)
class Holding:
    """What the consumers of a queue hold, and how they consume. Figures are as old as ``ManagedQueue``'s.

    ``kind``: of the queue. ``unacknowledged``: messages; ``automatic``: consumers to which a message counts
    as acknowledged once it is delivered.
    """

    kind: str
    unacknowledged: int
    automatic: int


class Management:
    """The API of one vhost, as an asynchronous context manager.

    ``urls`` are tried in turn, the credentials in them; ``timeout``: seconds for all that one call does.
    """

    def __init__(self, urls: Sequence[URL], vhost: str = "/", timeout: float = TIMEOUT) -> None:
        self._urls = list(urls)
        self._vhost = quote(vhost, safe="")
        self._timeout = timeout
        self._session: aiohttp.ClientSession

    @classmethod
    def of(cls, settings: Settings, timeout: float = TIMEOUT) -> Management:
        """The one of the settings: EVAPI_AMQP_API, or beside each host of EVAPI_AMQP_URL with its user.

        Raises SettingsError where there is neither.
        """
        amqp = [] if settings.amqp_url is None else parse_urls(settings.amqp_url.get_secret_value())
        vhost = amqp[0].path.removeprefix("/") or "/" if amqp else "/"
        if settings.amqp_api is not None:
            try:
                api = URL(settings.amqp_api.get_secret_value().strip())
            except ValueError:
                # Neither the text nor the cause is quoted: they may hold the password.
                raise SettingsError("EVAPI_AMQP_API", "is no URL") from None
            if not api.host:
                raise SettingsError("EVAPI_AMQP_API", "is no http://HOST:PORT")
            if api.user is None and amqp:
                api = api.with_user(amqp[0].user or "guest").with_password(amqp[0].password or "guest")
            return cls([api], vhost, timeout)
        if not amqp:
            raise SettingsError("EVAPI_AMQP_API", "is not set, nor is EVAPI_AMQP_URL: this asks RabbitMQ")
        return cls([_beside(url) for url in amqp], vhost, timeout)

    async def __aenter__(self) -> Self:
        """Nothing is asked yet."""
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    @property
    def url(self) -> str:
        """Where it is, without a password."""
        return ", ".join(shown(url) for url in self._urls)

    async def overview(self) -> Mapping[str, Any]:
        """Versions, listeners, totals, as RabbitMQ gives them. Raises ManagementUnavailable."""
        found = await self._get("overview")
        if not isinstance(found, dict) or "rabbitmq_version" not in found:
            raise ManagementUnavailable(f"{self.url} answers, but is no management API of RabbitMQ's")
        return found

    async def queues(self) -> dict[str, ManagedQueue]:
        """The queues of the vhost called ``evapi.*``, by name. Raises ManagementUnavailable."""
        rows = await self._rows(f"queues/{self._vhost}?columns={_COLUMNS}")
        return {
            row["name"]: ManagedQueue(
                row["name"],
                row.get("type", "classic"),
                {name: value for name, value in (row.get("arguments") or {}).items() if name != _TYPE},
                bool(row.get("exclusive")),
                row.get("messages"),
                row.get("consumers"),
                row.get("effective_policy_definition") or {},
                row.get("messages_ready"),
            )
            for row in rows
            if row.get("name", "").startswith(_PREFIX)
        }

    async def holding(self, queue: str) -> Holding:
        """What the consumers of one queue hold. Raises ManagementUnavailable."""
        found = await self._get(f"queues/{self._vhost}/{quote(queue, safe='')}")
        if not isinstance(found, dict):
            raise ManagementUnavailable(f"{self.url} answers, but is no management API of RabbitMQ's")
        consumers = found.get("consumer_details") or []
        automatic = sum(not each.get("ack_required", True) for each in consumers)
        return Holding(found.get("type", "classic"), found.get("messages_unacknowledged") or 0, automatic)

    async def bindings(self) -> list[Binding]:
        """The bindings of the exchanges called ``evapi.*``, and from ``amq.topic`` to queues called so.

        Raises ManagementUnavailable.
        """
        rows = await self._rows(f"bindings/{self._vhost}")
        return [
            Binding(
                row["source"],
                row["destination"],
                row["routing_key"],
                row["destination_type"] == "exchange",
                _compared(row.get("arguments") or {}),
            )
            for row in rows
            if row.get("source", "").startswith(_PREFIX) or _is_mqtts(row)
        ]

    async def _rows(self, what: str) -> list[dict[str, Any]]:
        found = await self._get(what)
        if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
            raise ManagementUnavailable(f"{self.url} answers, but is no management API of RabbitMQ's")
        return found

    async def _get(self, what: str) -> Any:
        """Of the first server that gives it; that one is asked first from then on."""
        problems, each_has = [], self._timeout / len(self._urls)
        for url in list(self._urls):
            try:
                async with asyncio.timeout(each_has):
                    found = await self._get_from(url, what)
            except TimeoutError:
                problems.append(f"{shown(url)}: no answer within {each_has:g} s")
                continue
            except ManagementUnavailable as exc:
                problems.append(str(exc))
                continue
            self._urls.remove(url)
            self._urls.insert(0, url)
            return found
        raise ManagementUnavailable("RabbitMQ's management API: " + "; ".join(problems))

    async def _get_from(self, url: URL, what: str) -> Any:
        where = shown(url)
        base = str(url.with_user(None).with_query(None)).rstrip("/")
        auth = aiohttp.encode_basic_auth(url.user or "guest", url.password or "guest", "utf-8")
        try:
            # The vhost is quoted already, its slash too.
            target = URL(f"{base}/api/{what}", encoded=True)
            async with self._session.get(
                target, headers={"Authorization": auth}, ssl=_tls(url), allow_redirects=False
            ) as answer:
                body = await answer.read()
        except (aiohttp.ClientError, OSError) as exc:
            cause = exc.os_error if isinstance(exc, aiohttp.ClientConnectorError) else exc
            why = (
                "connection refused"
                if isinstance(cause, ConnectionRefusedError)
                else explained(reason(cause))
            )
            raise ManagementUnavailable(
                f"{where}: {why}; is the plugin on (rabbitmq-plugins enable rabbitmq_management), "
                "and EVAPI_AMQP_API right?"
            ) from exc
        if answer.status in (401, 403):
            raise ManagementUnavailable(
                f"{where}: refused; check user and password, and that the user has the tag management or "
                "monitoring (rabbitmqctl set_user_tags)"
            )
        if answer.status != 200:
            raise ManagementUnavailable(f"{where}: answers {answer.status} to /api/{what.partition('?')[0]}")
        try:
            return json.loads(body)
        except ValueError as exc:
            raise ManagementUnavailable(
                f"{where}: answers, but no JSON: is it RabbitMQ's management API?"
            ) from exc


@contextlib.asynccontextmanager
async def reached(settings: Settings, say: Callable[[str], None]) -> AsyncIterator[Management | None]:
    """The API of the settings where it answers; else ``None``, and ``say`` is told why."""
    async with Management.of(settings) as management:
        try:
            await management.overview()
        except ManagementUnavailable as exc:
            say(f"{exc}; what only it knows is left out")
            found = None
        else:
            found = management
        yield found


def _compared(arguments: Mapping[str, Any]) -> frozenset[tuple[str, str | None]]:
    """What a headers exchange compares. A value that is none has the API's word for it."""
    values = ((name, None if value in (None, _NONE) else str(value)) for name, value in arguments.items())
    return frozenset(values)


def _is_mqtts(row: Mapping[str, Any]) -> bool:
    """Return True of a binding by which replies come by MQTT."""
    return row.get("source") == contract.TOPIC_EXCHANGE and str(row.get("destination")).startswith(_PREFIX)


def _beside(amqp: URL) -> URL:
    """The API's usual place on the host of an AMQP URL, with the same user."""
    scheme, port = _PORTS[amqp.scheme]
    assert amqp.host is not None, "see parse_urls"
    return URL.build(
        scheme=scheme,
        user=amqp.user or "guest",
        password=amqp.password or "guest",
        host=amqp.host,
        port=port,
        query=amqp.query,
    )


def _tls(url: URL) -> ssl.SSLContext | bool:
    """As the options of an AMQP URL ask for it: cafile, certfile and keyfile, no_verify_ssl."""
    if url.scheme != "https":
        return True
    try:
        context = ssl.create_default_context(cafile=url.query.get("cafile"))
        if "certfile" in url.query:
            context.load_cert_chain(url.query["certfile"], url.query.get("keyfile"))
    except OSError as exc:
        raise ManagementUnavailable(f"{shown(url)}: its cafile, certfile or keyfile: {exc}") from exc
    if url.query.get("no_verify_ssl", "0") != "0":
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def event_of(key: str) -> str:
    """The event that a service is bound to by this routing key: ``invite_request.*``; the key itself
    where it is made otherwise.
    """
    event, dot, node = key.rpartition(".")
    return event if dot and node == "*" else key


def events_of(service: str, bindings: Sequence[Binding]) -> tuple[str, ...]:
    """The events that a service's queue is bound to."""
    queue = contract.service_queue(service)
    return tuple(
        sorted(
            event_of(each.key)
            for each in bindings
            if each.source == contract.EVENTS_EXCHANGE and each.to == queue and not each.to_exchange
        )
    )
