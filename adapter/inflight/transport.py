"""Ways to Redis: a single server, behind Sentinel, or a Cluster. The one file that imports redis-py
and hiredis.

A transport holds one connection (of a Cluster, one to each server) and writes to it by itself: redis-py's
pool and pipeline objects cost twice as much for each round trip.

A transport sends nothing twice: a claim that Redis carried out, though its answer was lost, would the
second time seem to be another replica's.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol
from urllib.parse import urlsplit

from hiredis import pack_command
from redis.asyncio import ConnectionPool, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import RedisSSLContext, parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import MasterNotFoundError, Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import (
    ClusterError,
    MasterDownError,
    NoPermissionError,
    NoScriptError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.maint_notifications import MaintNotificationsConfig

from adapter.certificates import refusal
from adapter.errors import SettingsError, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from redis.asyncio.client import Redis
    from redis.asyncio.connection import AbstractConnection

    from adapter.inflight.pipeline import Argument, Command

VARIABLE: Final = "EVAPI_REDIS_URL"
PORT: Final = 6379
SENTINEL_PORT: Final = 26379
TLS_FILES: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")

FAILURES: Final = (RedisError, RedisClusterException, OSError)
"""What a round trip raises: of redis-py's own errors, that of a Cluster is no RedisError."""

Packed = tuple["Argument", ...]


class RoundTrip(Protocol):
    """Sends commands to one kind of server, and reads the replies."""

    async def send(self, commands: Sequence[Packed]) -> list[Any]:
        """Return one reply for each command, its ``ResponseError`` if the server refused it.

        Raises one of the ``FAILURES`` if the server did not answer.
        """
        ...

    async def close(self) -> None:
        """Disconnect."""
        ...


class RedisTransport:
    """Any kind of round trip: scripts by their SHA-1, errors as ours."""

    def __init__(self, round_trip: RoundTrip) -> None:
        self._round_trip = round_trip

    async def run(self, commands: Sequence[Command]) -> list[Any]:
        """See ``inflight.pipeline.Transport``. If the server does not know a script, it is sent the script's
        text after all other commands: for that once, verbs may be carried out in another order.
        """
        try:
            replies = await self._round_trip.send([_by_sha(command) for command in commands])
            unknown = [at for at, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
            if unknown:
                again = await self._round_trip.send([_by_text(commands[at]) for at in unknown])
                for at, reply in zip(unknown, again, strict=True):
                    replies[at] = reply
        except FAILURES as exc:
            raise StoreUnavailable(_described(exc)) from exc
        return [_refused(reply) if isinstance(reply, Exception) else reply for reply in replies]

    async def close(self) -> None:
        """Disconnect."""
        with contextlib.suppress(*FAILURES):  # a goodbye that fails is one, too
            await self._round_trip.close()


class Single:
    """One connection of a pool's kind, opened when needed, thrown away when in doubt."""

    def __init__(self, pool: ConnectionPool) -> None:
        self._pool = pool  # a Sentinel connection asks its pool for the master, and holds it weakly
        self._connection: AbstractConnection = pool.make_connection()  # type: ignore[no-untyped-call]

    async def send(self, commands: Sequence[Packed]) -> list[Any]:
        """One write, then as many replies."""
        connection = self._connection
        try:
            if not connection.is_connected or await connection.can_read():
                # Nothing is waited for: what can be read is an end of file.
                await connection.disconnect(nowait=True)
                _forget_certificates(connection)
                await connection.connect()  # type: ignore[no-untyped-call]
            # In C: the connection's own packing costs more than all the rest of a large batch.
            packed = b"".join(map(pack_command, commands))  # type: ignore[arg-type]  # its stub errs
            await connection.send_packed_command(packed, check_health=False)
            replies = [await self._reply() for _ in commands]
        except BaseException:  # the timeout's cancellation, too: a late answer must not meet a new question
            await connection.disconnect(nowait=True)
            raise
        if any(isinstance(reply, ReadOnlyError | MasterDownError) for reply in replies):
            await connection.disconnect(nowait=True)  # another server is the master now: find it
        return replies

    async def _reply(self) -> Any:
        try:
            # No timeout of its own: the pipeline has one for the whole round trip.
            return await self._connection.read_response(timeout=math.inf)
        except ResponseError as exc:
            return exc

    async def close(self) -> None:
        """Disconnect, from the sentinels too."""
        await self._connection.disconnect()
        if isinstance(self._pool, SentinelConnectionPool):
            for sentinel in self._pool.sentinel_manager.sentinels:
                await sentinel.aclose()


def _forget_certificates(*connections: AbstractConnection) -> None:
    """Have the files of certificates and keys read again at the next connect: they may have been replaced.

    redis-py 8.1 keeps what it has read for as long as a connection object lives, and it lives through
    disconnects.
    """
    for connection in connections:
        read = getattr(connection, "ssl_context", None)
        if isinstance(read, RedisSSLContext):
            read.context = None


class Clustered:
    """A Cluster client of its own. One round trip to each server concerned, at the same time."""

    def __init__(self, cluster: RedisCluster) -> None:
        self._cluster = cluster
        self._doubtful = False  # whether what it knows of the Cluster still holds
        # Replies as they came, as from a single server: of our commands redis-py rewrites this one's.
        cluster.set_response_callback("HSCAN", _as_it_came)

    async def send(self, commands: Sequence[Packed]) -> list[Any]:
        """A write to each server, then its replies."""
        if self._doubtful:
            await self._cluster.aclose()  # it then asks anew who serves what
            for node in self._cluster.get_nodes():
                _forget_certificates(*node._connections)
        self._doubtful = True  # also where this is cut short by the timeout, as by a master that hangs
        pipeline = self._cluster.pipeline()
        for command in commands:
            pipeline.execute_command(*command)
        replies: list[Any] = await pipeline.execute(raise_on_error=False)
        lost = RedisConnectionError | RedisTimeoutError | ClusterError
        self._doubtful = any(isinstance(reply, lost) for reply in replies)
        return replies

    async def close(self) -> None:
        """Disconnect."""
        await self._cluster.aclose()


class Sentinels(Sentinel):
    """Asks its servers at the same time: one that hangs keeps nobody waiting."""

    async def discover_master(self, service_name: str) -> tuple[str, int]:
        """The address. Raises MasterNotFoundError, which says of each server why."""
        asked = [asyncio.ensure_future(self._master_by(each, service_name)) for each in self.sentinels]
        reasons = []
        try:
            for answer in asyncio.as_completed(asked):
                try:
                    return await answer
                except (RedisError, OSError) as exc:
                    reasons.append(_described(exc))
        finally:
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
        raise MasterNotFoundError(f"no sentinel has a master {service_name!r}: {'; '.join(reasons)}")

    async def _master_by(self, sentinel: Redis, name: str) -> tuple[str, int]:
        _forget_certificates(*sentinel.connection_pool._available_connections)
        masters: Any = await sentinel.sentinel_masters()
        state = masters.get(name)
        if state is None or not self.check_master_state(state, name):
            where = sentinel.connection_pool.connection_kwargs
            found = "does not know it" if state is None else "says that it is down"
            raise MasterNotFoundError(f"{where['host']}:{where['port']} {found}")
        return state["ip"], state["port"]


def connect(url: str, timeout: float) -> RedisTransport:
    """Return a transport to the servers of a URL. It connects when first used.

    What else redis-py takes in a query holds here. User and password are those of the data servers;
    Sentinel's go into the query as ``sentinel_username`` and ``sentinel_password``.

    Args:
        url: ``redis://`` or ``rediss://``: one server. ``redis+sentinel://host:port,host:port/name/db``: the
            master of that name. ``redis+cluster://host:port,host:port``: any of its servers will do. These
            two use TLS as ``rediss+sentinel`` and ``rediss+cluster``.
        timeout: seconds for one connection to open.

    Raises:
        SettingsError: the URL is none of these, or names a file that is not there.
    """
    common: dict[str, Any] = {
        "retry": Retry(NoBackoff(), 0),
        "socket_timeout": None,
        "socket_connect_timeout": timeout,
        "client_name": "evapi-adapter",
    }
    try:
        if "#" in url:  # what follows it would be no part of the host, or of the password that it stands in
            raise ValueError("a fragment")
        return RedisTransport(_round_trip(url, common))
    except (RedisError, ValueError, TypeError) as exc:
        # Their text may quote a part of the URL, hence of the password.
        raise SettingsError(
            VARIABLE,
            f"not a URL that can be used ({type(exc).__name__}): check host, port and query, and that "
            "special characters of the password are percent-encoded",
        ) from exc


class _Url(NamedTuple):
    """A URL that may have several hosts. Newer releases of ``urlsplit`` refuse those in brackets."""

    scheme: str
    login: str  # with its @
    hosts: str
    path: str
    query: str

    @classmethod
    def parse(cls, url: str) -> _Url:
        scheme, _, rest = url.partition("://")
        rest, _, query = rest.partition("?")
        place, _, path = rest.partition("/")
        login, at, hosts = place.rpartition("@")
        return cls(scheme, login + at, hosts, path.strip("/"), query)


def _round_trip(url: str, common: Mapping[str, Any]) -> RoundTrip:
    scheme = _Url.parse(url).scheme
    found = _options(url)
    for name in TLS_FILES:
        if name in found and not Path(found[name]).is_file():
            raise SettingsError(VARIABLE, f"{name}: there is no file {found[name]}")
    plain = {
        **common,
        "driver_info": None,
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
    }
    if scheme in ("redis", "rediss"):
        return Single(ConnectionPool.from_url(url, **plain))
    if scheme in ("redis+sentinel", "rediss+sentinel"):
        return _behind_sentinel(url, {**plain, **found})
    if scheme in ("redis+cluster", "rediss+cluster"):
        nodes = [ClusterNode(host, port) for host, port in _hosts(url, PORT)]
        return Clustered(RedisCluster(startup_nodes=nodes, **{**common, **found}))
    raise ValueError(scheme)


def _behind_sentinel(url: str, found: Mapping[str, Any]) -> Single:
    name, _, db = _Url.parse(url).path.partition("/")
    if not name:
        raise ValueError("no master name")
    options = {**found, "db": int(db or 0)}
    login = {key: options.pop(f"sentinel_{key}", None) for key in ("username", "password")}
    both = ("socket_connect_timeout", "retry", "maint_notifications_config", "driver_info")
    shared = {key: value for key, value in options.items() if key in both or key.startswith("ssl")}
    sentinel = Sentinels(_hosts(url, SENTINEL_PORT), sentinel_kwargs={**shared, **login})  # type: ignore[no-untyped-call]
    return Single(SentinelConnectionPool(name, sentinel, **options))  # type: ignore[no-untyped-call]


def _hosts(url: str, port: int) -> list[tuple[str, int]]:
    found = [urlsplit(f"//{host}") for host in _Url.parse(url).hosts.split(",")]
    return [(part.hostname or "localhost", part.port or port) for part in found]


def _options(url: str) -> dict[str, Any]:
    """What redis-py reads from the rest of a URL with several hosts: login, TLS, query."""
    parts = _Url.parse(url)
    options: dict[str, Any] = {**parse_url(f"redis://{parts.login}host/?{parts.query}")}
    del options["host"]
    if parts.scheme.startswith("rediss"):
        options["ssl"] = True
    return options


def _as_it_came(response: Any, **_: Any) -> Any:
    return response


def _by_sha(command: Command) -> Packed:
    if command.script is None:
        return command.arguments
    return ("EVALSHA", command.script.sha, *command.arguments)


def _by_text(command: Command) -> Packed:
    assert command.script is not None, "only a script can be unknown"
    return ("EVAL", command.script.text, *command.arguments)


def _described(exc: BaseException) -> str:
    """Describe an error for people: of a certificate, whose it is and why it is refused."""
    refused = refusal(exc)
    if not refused:
        return str(exc) if isinstance(exc, MasterNotFoundError) else f"{type(exc).__name__}: {exc}"
    server = str(exc).partition("connecting to ")[2].partition(". ")[0]
    return f"{server or 'the server'}: {refused}"


def is_forbidden(answer: object) -> bool:
    """Return True if an answer is the error of what this replica's user may not do."""
    return isinstance(answer, StoreUnavailable) and isinstance(answer.__cause__, NoPermissionError)


def _refused(reply: Exception) -> StoreUnavailable:
    error = StoreUnavailable(f"{type(reply).__name__}: {reply}")
    error.__cause__ = reply
    return error
