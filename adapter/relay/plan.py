"""How one event is handled: its deadline, whom to ask and how, and what happens if nobody decides. Pure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from adapter.contract import service_queue
from adapter.wire.to_kamailio import decision_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from adapter.model.transaction import Outcome

FALLBACK: Final = {"action": "reject", "code": 503, "reason": "No decision"}


class Mode(StrEnum):
    """How several services decide one event."""

    FIRST = "first"  # asked in parallel: the first decision counts
    ALL = "all"  # asked in parallel: their decisions are merged
    CHAIN = "chain"  # one after the other: each gets what the former decided
    QUORUM = "quorum"  # asked in parallel: so many equal actions count


@dataclass(frozen=True, slots=True)
class Breaker:
    """After so many silences in a row a service is not asked for ``pause`` seconds, then once to try."""

    after: int = 5
    pause: float = 5.0


@dataclass(frozen=True, slots=True)
class Service:
    """What a policy knows of a service that it names.

    ``within``: seconds that it may take, None: all that is left, nearly (``relay.asks.due``). ``optional``:
    its silence or failure does not fail the call. ``as_json``: its requests are in JSON, None: as the event
    says. ``fields``: keys of the data that it gets, None: all. ``accepts``: actions that it may decide, None:
    any. ``batch``: how many of its requests may be in one message.
    """

    name: str
    within: float | None = None
    optional: bool = False
    as_json: bool | None = None
    fields: tuple[str, ...] | None = None
    accepts: frozenset[str] | None = None
    breaker: Breaker | None = None
    batch: int = 1

    @property
    def queue(self) -> str:
        """Where it takes its requests; "" for whoever is bound to the event."""
        return service_queue(self.name) if self.name else ""

    def cut(self, data: Any) -> Any:
        """The data that it gets. Those that are no map have no fields: of them it gets nothing."""
        if self.fields is None:
            return data
        return {key: data[key] for key in self.fields if key in data} if isinstance(data, dict) else {}

    def may_decide(self, action: Any) -> bool:
        """Return True if a decision of this action counts, whatever type the service gave it."""
        return self.accepts is None or (isinstance(action, str) and action in self.accepts)


ANYBODY: Final = Service("")
"""Who is asked if a policy names nobody: whoever is bound to the event."""


@dataclass(frozen=True, slots=True)
class Retry:
    """How often a service is asked again that failed, or from whose queue nobody took the request."""

    failed: bool = False
    untaken: bool = False
    times: int = 1


@dataclass(frozen=True, slots=True)
class Shadow:
    """A service that gets this share of the calls, by Call-ID, and whose replies are only compared."""

    service: Service
    share: float = 1.0


def in_share(shadow: Shadow, text: str) -> bool:
    """Return True if a shadow gets a call, whose Call-ID (else correlation id) this is: always or never."""
    first = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:8]
    return int(first, 16) / 2**32 < shadow.share


@dataclass(frozen=True, slots=True)
class Caching:
    """Decisions are kept by these keys of the data; for ``stale`` seconds more for when nobody decides."""

    key: tuple[str, ...]
    stale: float = 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How one event is handled.

    ``deadline`` in seconds, and ``max_deadline``, as far as a service may move it (None: not at all).
    ``fallback`` is JSON text, ``fallback_on`` the same for some outcomes. ``services``: the names that the
    policy gives; ``asked``: what it knows of them. ``backup``: asked one after the other, with the time left,
    once those have not decided. ``observers`` get it without being waited for. ``as_json``: requests are in
    JSON. ``own``: the keys that its own table gives, for who explains it.

    What follows of these: ``queue``: where requests go, "" for whoever is bound to the event. ``batch``: how
    many of them may be in one message, if one service decides. ``courses``: whether a call needs more than
    one request and one reply (``relay.course``).
    """

    deadline: float = 2.0
    fallback: bytes = decision_json(FALLBACK)
    services: tuple[str, ...] = ()
    emergency: bool = False
    as_json: bool = False
    fallback_on: Mapping[Outcome, bytes] = field(default_factory=dict)
    mode: Mode = Mode.FIRST
    quorum: int = 0
    max_deadline: float | None = None
    backup_names: tuple[str, ...] = ()
    observer_names: tuple[str, ...] = ()
    shadow_shares: tuple[tuple[str, float], ...] = ()
    retry: Retry | None = None
    cache: Caching | None = None
    own: frozenset[str] = field(default=frozenset(), compare=False)

    asked: tuple[Service, ...] = (ANYBODY,)
    backup: tuple[Service, ...] = ()
    observers: tuple[Service, ...] = ()
    shadows: tuple[Shadow, ...] = ()
    queue: str = ""
    batch: int = 1
    courses: bool = False

    def in_json(self, service: Service) -> bool:
        """Whether the requests of a service are in JSON."""
        return self.as_json if service.as_json is None else service.as_json

    @property
    def batches(self) -> int:
        """Into how many batches at once a request of it goes."""
        return 0 if self.mode is Mode.CHAIN else sum(service.batch > 1 for service in self.asked)

    @property
    def longest(self) -> float:
        """Seconds of the deadline, as far as a service may move it."""
        return self.max_deadline or self.deadline

    @property
    def names(self) -> tuple[str, ...]:
        """Every service that gets its calls."""
        shadows = tuple(name for name, _ in self.shadow_shares)
        return (*self.services, *self.backup_names, *self.observer_names, *shadows)

    def fallback_of(self, outcome: Outcome) -> bytes:
        """The decision, as JSON text, of a call that nobody decided."""
        return self.fallback_on.get(outcome, self.fallback) if self.fallback_on else self.fallback


def resolved(plan: Plan, known: Mapping[str, Service]) -> Plan:
    """The plan with what follows of its names.

    Args:
        plan: as its table says.
        known: what the policy says of services, by name.
    """

    def of(name: str) -> Service:
        return known.get(name) or Service(name)

    asked = tuple(of(name) for name in plan.services) or (ANYBODY,)
    found: dict[str, Any] = {
        "asked": asked,
        "backup": tuple(of(name) for name in plan.backup_names),
        "observers": tuple(of(name) for name in plan.observer_names),
        "shadows": tuple(Shadow(of(name), share) for name, share in plan.shadow_shares),
        "queue": asked[0].queue,
        "batch": asked[0].batch,
        "max_deadline": plan.max_deadline if plan.longest > plan.deadline else None,
    }
    one = asked[0]
    if len(asked) == 1 and one.as_json is not None:
        found["as_json"] = one.as_json
    plan = replace(plan, **found)
    special = (one.within, one.fields, one.accepts, one.breaker)
    ladder = (plan.max_deadline, plan.retry, plan.cache)
    beside = (*plan.backup, *plan.observers, *plan.shadows)
    more = len(asked) > 1 or any(each is not None for each in (*special, *ladder))
    return replace(plan, courses=more or bool(beside))
