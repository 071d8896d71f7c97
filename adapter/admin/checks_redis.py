"""Redis: what it is, how it is set up, and whether the adapter's user may do there what it must."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from adapter.admin import tried
from adapter.admin.checks_finding import Finding, Group
from adapter.errors import StoreUnavailable
from adapter.inflight.operator import OperatorStore
from adapter.model.transaction import Outcome, Progress, Settlement, State, Transaction, TransactionId
from adapter.ports.store import Claim
from adapter.settings import without_password

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from adapter.model.beat import Beat
    from adapter.settings import Settings

REDIS: Final = Group("redis")
_SERVERS: Final = {server.name: server for server in (tried.REDIS, tried.VALKEY)}
SKEW_WARNING: Final = 0.1
SKEW_ERROR: Final = 1.0
"""Seconds by which clocks may differ."""
FULL_WARNING: Final = 0.8
FULL_ERROR: Final = 0.95
"""Shares of maxmemory."""
TIMEOUT: Final = 1.7
"""Seconds for each answer: less than a check has, so that it can say what is the matter."""
NO_EVICTION: Final = "noeviction"
MOMENT: Final = 0.05
"""Seconds for which what the trial writes is kept, at most twice."""
CLOCKS_DIFFER: Final = (
    "Deadlines go to consumers as a time of day: where clocks differ they drop calls that live, or work for "
    "dead ones; ages and traces are wrong by as much."
)
PARTS: Final = ("version", "memory-policy", "memory", "clock", "rights")
"""What is looked at once Redis answers."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What Redis told of the replicas. ``problem``: why it did not; then the rest is empty."""

    beats: Mapping[str, Beat] = field(default_factory=dict)
    orders: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    at: float = 0.0
    problem: str = ""


async def look(store: OperatorStore) -> Seen:
    """Who beats, and what was ordered. Raises StoreUnavailable."""
    at = await store.time()
    return Seen(await store.snapshot(), await store.orders(), at)


def not_set(wrong: bool) -> list[Finding]:
    """There is no URL: each adapter keeps what is in flight to itself."""
    if wrong:
        return [REDIS.unknown("reachable", "EVAPI_REDIS_URL is wrong, see above")]
    seen = "EVAPI_REDIS_URL is not set: left out. Each adapter keeps what is in flight to itself"
    why = "No other adapter can take over its calls, and its restart leaves them to their deadlines."
    return [REDIS.unknown("reachable", seen, why, "EVAPI_REDIS_URL=redis://HOST:6379/0")]


def reachable(settings: Settings, took: float) -> Finding:
    """It answered, within so many seconds."""
    assert settings.redis_url is not None, "else nobody was asked"
    where = without_password(settings.redis_url.get_secret_value())
    return REDIS.ok("reachable", f"{where} answers within {took * 1000:.0f} ms", of=where)


def away(problem: str, settings: Settings) -> list[Finding]:
    """It did not answer, or lets the user do nothing at all."""
    if "NoPermission" in problem:
        rest = [REDIS.unknown(part, "the user may not ask") for part in PARTS[:-1]]
        return [*rest, _no_rights(problem, settings)]
    rest = [REDIS.unknown(part, "Redis does not answer") for part in PARTS]
    why = (
        "Each adapter that had it goes on with what it knows itself: a call whose adapter dies now is not "
        "taken over. One that never had it since its start listens for others over RabbitMQ first; without "
        "RabbitMQ its health gate stays shut, and it takes no calls."
    )
    todo = "redis-cli -u $EVAPI_REDIS_URL PING"
    return [REDIS.error("reachable", problem, why, todo), *rest]


async def server(store: OperatorStore, settings: Settings) -> list[Finding]:
    """Version, memory, clock. Raises StoreUnavailable."""
    asked = time.perf_counter()
    try:
        told = await store.server()
    except StoreUnavailable as exc:
        if "NoPermission" not in str(exc):
            raise
        seen = f"the user may not ask: {exc}"
        todo = f"redis-cli ACL SETUSER {_user(settings)} +info"
        return [REDIS.unknown(part, seen, "", todo) for part in PARTS[:-1]]
    took = time.perf_counter() - asked
    off = clock(told["skew"], took / 2)
    if not told["version"]:
        return [*(REDIS.unknown(part, "the server does not tell (INFO)") for part in PARTS[:3]), off]
    return [_version(told), *_policy(told), *_memory(told), off]


def _version(told: Mapping[str, Any]) -> Finding:
    kind, version = _SERVERS[told["name"]], told["version"]
    seen = kind.describe(version)
    if kind.supports(version):
        return REDIS.ok("version", seen)
    why = f"It is tested with {kind.since} and later; older ones lack what its scripts use."
    return REDIS.error("version", seen, why, f"upgrade to {kind.since} or later")


def _policy(told: Mapping[str, Any]) -> Iterator[Finding]:
    policy, limited = told["memory_policy"], told["max_memory"] > 0
    if policy == NO_EVICTION:
        yield REDIS.ok("memory-policy", policy)
        return
    why = (
        "When memory runs short Redis drops keys, and with them calls that are in flight: "
        "they are forgotten, and hang until Kamailio's own timer."
    )
    todo = f"redis-cli CONFIG SET maxmemory-policy {NO_EVICTION}    # and in redis.conf"
    if limited:
        yield REDIS.error("memory-policy", f"maxmemory-policy {policy}", why, todo)
    else:
        seen = f"maxmemory-policy {policy}, without effect as long as there is no maxmemory"
        yield REDIS.warning("memory-policy", seen, why, todo)


def _memory(told: Mapping[str, Any]) -> Iterator[Finding]:
    used, limit = told["memory"], told["max_memory"]
    if limit <= 0:
        yield REDIS.ok("memory", f"{_size(used)} used, no limit")
        return
    share = used / limit
    seen = f"{_size(used)} of {_size(limit)} used ({share:.0%})"
    why = "At the limit Redis refuses to write: no call can be claimed there any more."
    todo = "redis-cli CONFIG SET maxmemory ...    # and redis-cli --bigkeys tells what fills it"
    if share >= FULL_ERROR:
        yield REDIS.error("memory", seen, why, todo)
    elif share >= FULL_WARNING:
        yield REDIS.warning("memory", seen, why, todo)
    else:
        yield REDIS.ok("memory", seen)


def clock(skew: float, doubt: float) -> Finding:
    """Redis' clock against this machine's; ``doubt``: seconds for which the way there may account."""
    off = max(abs(skew) - doubt, 0.0)
    seen = f"{_length(abs(skew))} {'ahead of' if skew > 0 else 'behind'} this machine's"
    if off <= SKEW_WARNING:
        return REDIS.ok("clock", f"within {_length(SKEW_WARNING)} of this machine's")
    todo = "chronyc tracking    # on both machines; timedatectl set-ntp true"
    return (REDIS.error if off > SKEW_ERROR else REDIS.warning)("clock", seen, CLOCKS_DIFFER, todo)


class Trial(OperatorStore):
    """Does what an adapter does, with keys of a node that is none; they are gone in a moment."""

    async def run(self) -> None:
        """Raises StoreUnavailable where anything is refused."""
        await self._let_go()  # without the right to that, nothing may be written
        try:
            await self._do_it()
        finally:
            await self._let_go()

    async def operates(self) -> bool:
        """Whether the user may read all and order, and write nothing else."""
        try:
            await self._plain("HGETALL", self._replicas)
            await self._plain("HDEL", self._orders, self.replica)
        except StoreUnavailable:
            return False
        try:
            await self._plain("HDEL", self._replicas, self.replica)
        except StoreUnavailable as exc:
            return "NoPermission" in str(exc)
        return False

    async def _do_it(self) -> None:
        await self._plain("HGETALL", self._replicas)
        await self._plain("HDEL", self._orders, self.replica)
        await self._plain("XADD", self._journal(self.replica), "MAXLEN", 1, "*", "steps", b"\x90")
        await self.remember(self.replica, b"", MOMENT)
        await self.recall(self.replica)
        id_ = TransactionId(self.replica, 0, 0, 1)
        now = self._clock()
        trial = Transaction(id_, "doctor", now + MOMENT, now, b"", self.replica, State.CLAIMED)
        if await self.claim([trial], 1) != [Claim.WON]:
            raise StoreUnavailable("a script did not do what it should")
        await self.adopt(self.replica, [self.replica], State.CLAIMED)
        await self.progress([Progress(id_, b"[]\n", now + MOMENT)])
        await self.settle([Settlement(id_, Outcome.OPERATOR, b"{}")])
        await self.resumed([id_])
        await self.unclaimed([id_])
        await self.answered([id_])
        await self.expire(self.replica)

    async def _let_go(self) -> None:
        """A script that was refused half way has set no expiry."""
        for key in (*self._of(self.replica), self._journal(self.replica)):
            await self._plain("PEXPIRE", key, round(MOMENT * 1000))


def trial(settings: Settings) -> Trial:
    """To be run and closed. Raises SettingsError."""
    assert settings.redis_url is not None, "else nobody is asked"
    name, url = f"doctor-{secrets.token_hex(4)}", settings.redis_url.get_secret_value()
    return Trial(url, name, prefix=settings.redis_prefix, retention=MOMENT, timeout=TIMEOUT)


async def rights(settings: Settings) -> list[Finding]:
    """Whether scripts run and keys are written, under the prefix alone. Raises StoreUnavailable."""
    attempt = trial(settings)
    try:
        await attempt.run()
    except StoreUnavailable as exc:
        if await attempt.operates():
            seen = "the user is an operator's; what an adapter's may do, tells doctor with its URL"
            return [REDIS.ok("rights", seen)]
        return [_no_rights(str(exc), settings)]
    finally:
        await attempt.close()
    return [REDIS.ok("rights", f"scripts run, {settings.redis_prefix}:* can be written")]


def _no_rights(problem: str, settings: Settings) -> Finding:
    why = "Calls cannot be claimed there: adapters go on alone, as if Redis were away."
    for word, seen, todo in _REFUSALS:
        if word in problem:
            given = todo.format(prefix=settings.redis_prefix, user=_user(settings))
            return REDIS.error("rights", f"{seen} ({problem})", why, given)
    return REDIS.error("rights", problem, why, "redis-cli INFO")


_MAY_NOT: Final = (
    "the user may not do what the adapter does",
    "redis-cli ACL SETUSER {user} '~{prefix}:*' +@connection -@dangerous +eval +evalsha +@hash +@sortedset "
    "+get +set +xadd +pexpire +pttl +time +info",
)
_REFUSALS: Final = (
    ("NoPermission", *_MAY_NOT),
    ("user executing the script can", *_MAY_NOT),  # as Redis 7.0 says of what is within a script
    ("ACL failure in script", *_MAY_NOT),  # as later ones do
    ("ReadOnly", "this server is a replica, which takes no writes", "EVAPI_REDIS_URL=...    # of the master"),
    ("OutOfMemory", "it is out of memory", "redis-cli CONFIG SET maxmemory ..."),
    ("OOM", "it is out of memory", "redis-cli CONFIG SET maxmemory ..."),
    ("MISCONF", "it cannot save to disk, and takes no writes until it can", "redis-cli INFO persistence"),
    ("NOREPLICAS", "it has too few replicas (min-replicas-to-write)", "redis-cli INFO replication"),
)


def _user(settings: Settings) -> str:
    assert settings.redis_url is not None, "else nobody was asked"
    place = settings.redis_url.get_secret_value().partition("://")[2].partition("/")[0]
    return place.rpartition("@")[0].partition(":")[0] or "default"


def _size(number: int) -> str:
    return f"{number / (1 << 20):,.1f} MB"


def _length(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:,.1f} s"
