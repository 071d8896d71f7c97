"""What to do with an event: deadline, fallback, expected services; and the limits. Pure.

A policy is a TOML file (``EVAPI_POLICY``); every table and key may be left out::

    [default]
    deadline = 2.0                # seconds a consumer has
    fallback = { action = "reject", code = 503, reason = "No decision" }

    [limits]
    in_flight = 10000             # suspensions of one node waiting at a time; beyond it: overload
    emergency = 1000              # places more for events of the emergency lane

    [events.invite_request]       # what differs for one event
    deadline = 3.0
    services = ["least_cost"]     # who decides it: named when their queue is missing
    format = "json"               # of its requests; "msgpack" if it is left out

    [events.emergency_request]
    emergency = true              # never shed before the others
"""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from adapter.contract import word
from adapter.errors import CodecError, PolicyError
from adapter.wire.to_kamailio import decision_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from adapter.model.transaction import Transaction

MIN_DEADLINE: Final = 0.01
MAX_DEADLINE: Final = 120.0
KEPT: Final = 2 * MAX_DEADLINE
"""Seconds for which a policy that was replaced is kept: no call under way is as old."""
MAX_FALLBACK: Final = 7_000
"""Bytes of a fallback as JSON: with its envelope it always fits a resume, a plain one too (8,000)."""
IN_FLIGHT: Final = 10_000
EMERGENCY: Final = 1_000
BUILT_IN: Final = "built-in"
"""The revision of the policy that counts without a file."""
FORMATS: Final = ("msgpack", "json")
FALLBACK: Final = {"action": "reject", "code": 503, "reason": "No decision"}


@dataclass(frozen=True, slots=True)
class Plan:
    """How one event is handled.

    ``deadline`` in seconds; ``fallback`` is JSON text; ``as_json``: its requests are in JSON.
    """

    deadline: float = 2.0
    fallback: bytes = decision_json(FALLBACK)
    services: tuple[str, ...] = ()
    emergency: bool = False
    as_json: bool = False


@dataclass(frozen=True, slots=True)
class Policy:
    """Plans by event, and limits. ``in_flight``: suspensions claimed for one node at a time, and
    ``emergency``: how many more of them the emergency lane may make. ``revision``: a hash of its text.
    """

    default: Plan = Plan()
    events: Mapping[str, Plan] = field(default_factory=dict)
    in_flight: int = IN_FLIGHT
    emergency: int = EMERGENCY
    revision: str = BUILT_IN

    def plan(self, event: str) -> Plan:
        """The plan of an event; the default for one that is not named."""
        return self.events.get(event, self.default)

    def admission_classes(
        self, transactions: Sequence[Transaction]
    ) -> list[tuple[int, Sequence[Transaction]]]:
        """The claims by class, emergency calls first, each class with how many may be in flight with it."""
        urgent = [each for each in transactions if self.plan(each.event).emergency]
        if not urgent:
            return [(self.in_flight, transactions)]
        rest = [each for each in transactions if not self.plan(each.event).emergency]
        first: list[tuple[int, Sequence[Transaction]]] = [(self.in_flight + self.emergency, urgent)]
        return [*first, (self.in_flight, rest)] if rest else first

    @property
    def services(self) -> frozenset[str]:
        """Every service that the policy names."""
        return frozenset(self.default.services).union(*(plan.services for plan in self.events.values()))

    @property
    def longest_deadline(self) -> float:
        """Seconds of the longest deadline that any event has."""
        return max(self.default.deadline, *(plan.deadline for plan in self.events.values()), 0.0)


class LivePolicy:
    """Holds the policy, which may be replaced at any time.

    Args:
        policy: the first one.
        clock: gives epoch seconds, as claims have them.
    """

    def __init__(self, policy: Policy, clock: Callable[[], float]) -> None:
        self.now = policy
        self._clock = clock
        self._before: list[tuple[float, Policy]] = []  # until when it counted; the oldest first

    def replace(self, policy: Policy) -> None:
        """Let this one count for what is claimed from now on."""
        at = self._clock()
        self._before = [(until, each) for until, each in self._before if until > at - KEPT]
        self._before.append((at, self.now))
        self.now = policy

    @property
    def longest_deadline(self) -> float:
        """Seconds of the longest deadline that a call under way may have."""
        return max(self.now.longest_deadline, *(each.longest_deadline for _, each in self._before), 0.0)

    def plan(self, event: str) -> Plan:
        """The plan of an event that is claimed now."""
        return self.now.plan(event)

    def plan_of(self, transaction: Transaction) -> Plan:
        """The plan by which a suspension was claimed."""
        for until, policy in self._before:
            if transaction.claimed_at < until:
                return policy.plan(transaction.event)
        return self.now.plan(transaction.event)

    def admission_classes(
        self, transactions: Sequence[Transaction]
    ) -> list[tuple[int, Sequence[Transaction]]]:
        """See ``Policy.admission_classes``."""
        return self.now.admission_classes(transactions)


def read(path: Path) -> Policy:
    """Read a policy file. Raises PolicyError, naming the file and the key."""
    try:
        text = path.read_text("utf-8-sig")
    except OSError as exc:
        raise PolicyError(str(path), f"cannot be read: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise PolicyError(str(path), f"is no TOML: {exc}") from exc
    try:
        return parse_text(text)
    except PolicyError as exc:
        where = f"{path}, {exc.variable}" if exc.variable else str(path)
        raise PolicyError(where, exc.problem) from exc


def parse_text(text: str) -> Policy:
    """A policy from the text of its file. Raises PolicyError, naming the key."""
    try:
        raw = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as exc:
        raise PolicyError("", f"is no TOML: {exc}") from exc
    revision = hashlib.sha256(text.encode()).hexdigest()[:12]
    return replace(parse(raw), revision=revision)


def parse(raw: Mapping[str, Any]) -> Policy:
    """A policy from its tables. Raises PolicyError, naming the key."""
    _only(raw, "the top level", "default", "limits", "events")
    default = _plan(Plan(), _table(raw, "default"), "default")
    events = _table(raw, "events")
    _meet_nowhere(events)
    plans = {name: _plan(default, _table(events, name, "events."), f"events.{name}") for name in events}
    limits = _table(raw, "limits")
    _only(limits, "limits", "in_flight", "emergency")
    in_flight = _number(limits, "in_flight", IN_FLIGHT, 1)
    return Policy(default, plans, in_flight, _number(limits, "emergency", EMERGENCY, 0))


def _meet_nowhere(events: Iterable[str]) -> None:
    """Raises PolicyError for two events with one routing key: a service of either would get both."""
    keys: dict[str, str] = {}
    for name in events:
        other = keys.setdefault(word(name), name)
        if other != name:
            problem = f"has the routing key {word(name)}.*, as {other} has: every service of one gets both"
            raise PolicyError(f"events.{name}", f"{problem}; rename one of them")


def _number(limits: Mapping[str, Any], key: str, default: int, least: int) -> int:
    found = limits.get(key, default)
    if type(found) is not int or found < least:
        raise PolicyError(f"limits.{key}", f"{found!r} is no whole number of at least {least}")
    return found


def _plan(base: Plan, raw: Mapping[str, Any], where: str) -> Plan:
    _only(raw, where, "deadline", "fallback", "services", "emergency", "format")
    plan = base
    if "deadline" in raw:
        seconds = raw["deadline"]
        if type(seconds) not in (int, float) or not MIN_DEADLINE <= seconds <= MAX_DEADLINE:
            allowed = f"{MIN_DEADLINE} to {MAX_DEADLINE:.0f} seconds"
            raise PolicyError(f"{where}.deadline", f"{seconds!r} is not within {allowed}")
        plan = replace(plan, deadline=float(seconds))
    if "fallback" in raw:
        plan = replace(plan, fallback=_fallback(raw["fallback"], f"{where}.fallback"))
    if "services" in raw:
        services = raw["services"]
        if not isinstance(services, list) or not all(isinstance(name, str) and name for name in services):
            raise PolicyError(f"{where}.services", "is no list of service names")
        plan = replace(plan, services=tuple(services))
    if "emergency" in raw:
        if not isinstance(raw["emergency"], bool):
            raise PolicyError(f"{where}.emergency", f"{raw['emergency']!r} is neither true nor false")
        plan = replace(plan, emergency=raw["emergency"])
    if "format" in raw:
        if raw["format"] not in FORMATS:
            raise PolicyError(f"{where}.format", f"{raw['format']!r} is neither {' nor '.join(FORMATS)}")
        plan = replace(plan, as_json=raw["format"] == "json")
    return plan


def _fallback(raw: Any, where: str) -> bytes:
    if not isinstance(raw, dict):
        raise PolicyError(where, "is no table such as { action = 'reject', code = 503 }")
    try:
        text = decision_json(raw)
    except CodecError as exc:
        raise PolicyError(where, f"cannot be sent to Kamailio: {exc.detail}") from exc
    if len(text) > MAX_FALLBACK:
        raise PolicyError(where, f"is {len(text)} bytes of JSON, at most {MAX_FALLBACK} allowed")
    return text


def _table(raw: Mapping[str, Any], key: str, prefix: str = "") -> Mapping[str, Any]:
    found = raw.get(key, {})
    if not isinstance(found, dict):
        raise PolicyError(prefix + key, "is no table")
    return found


def _only(raw: Mapping[str, Any], where: str, *known: str) -> None:
    for key in raw:
        if key not in known:
            raise PolicyError(where, f"no such key: {key!r} (known: {', '.join(known)})")
