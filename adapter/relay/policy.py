"""What to do with an event: deadline, whom to ask and how, fallback; and the limits. Pure.

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
    fallback_on = { timeout = { action = "allow" } }   # instead of the fallback, by outcome
    format = "json"               # of its requests; "msgpack" if it is left out
    mode = "all"                  # how several services decide: README has it, and the rest

    [services.fraud]              # what is known of a service by its name
    within = 0.3                  # seconds of the deadline that it may take

    [events.emergency_request]
    emergency = true              # never shed before the others
"""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from adapter.contract import word
from adapter.errors import PolicyError
from adapter.relay import policy_keys as keys
from adapter.relay import policy_lines, policy_whole
from adapter.relay import policy_services as of_services
from adapter.relay.plan import Mode, Plan, Service, resolved

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from adapter.errors import PolicyPath
    from adapter.model.transaction import Transaction

KEPT: Final = 2 * keys.MAX_DEADLINE
"""Seconds for which a policy that was replaced is kept: no call under way is as old."""
IN_FLIGHT: Final = 10_000
EMERGENCY: Final = 1_000
BUILT_IN: Final = "built-in"
"""The revision of the policy that counts without a file."""


@dataclass(frozen=True, slots=True)
class Policy:
    """Plans by event, and limits. ``in_flight``: suspensions claimed for one node at a time, and
    ``emergency``: how many more of them the emergency lane may make. ``revision``: a hash of its text.
    ``known``: what it says of services, by name.
    """

    default: Plan = field(default_factory=Plan)
    events: Mapping[str, Plan] = field(default_factory=dict)
    in_flight: int = IN_FLIGHT
    emergency: int = EMERGENCY
    revision: str = BUILT_IN
    known: Mapping[str, Service] = field(default_factory=dict)

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
        """Every service that gets calls of an event: those that decide, backups, observers, shadows."""
        return frozenset(self.default.names).union(*(plan.names for plan in self.events.values()))

    @property
    def courses(self) -> bool:
        """Whether any event needs more than one request and one reply."""
        return self.default.courses or any(plan.courses for plan in self.events.values())

    @property
    def urgent(self) -> bool:
        """Whether any event's calls are emergency calls."""
        return self.default.emergency or any(plan.emergency for plan in self.events.values())

    @property
    def batches(self) -> int:
        """In how many batches at once the requests of an event go, at most; 0: in none."""
        at_once = (plan.batches for plan in (self.default, *self.events.values()))
        return max(any(service.batch > 1 for service in self.known.values()), *at_once)

    @property
    def unused(self) -> tuple[str, ...]:
        """Services that have a table, and that no event names."""
        return tuple(name for name in self.known if name not in self.services)

    @property
    def longest_deadline(self) -> float:
        """Seconds of the longest deadline that any event has, as far as services may move it."""
        return max(self.default.longest, *(plan.longest for plan in self.events.values()), 0.0)


class LivePolicy:
    """Holds the policy, which may be replaced at any time.

    Args:
        policy: the first one.
        clock: gives epoch seconds, as claims have them.
    """

    def __init__(self, policy: Policy, clock: Callable[[], float]) -> None:
        self.now = policy
        self.courses = policy.courses
        """Whether any call under way may need more than one request and one reply."""
        self._clock = clock
        self._before: list[tuple[float, Policy]] = []  # until when it counted; the oldest first
        self._urgent, self._batches = policy.urgent, policy.batches

    def replace(self, policy: Policy) -> None:
        """Let this one count for what is claimed from now on."""
        at = self._clock()
        self._before = [(until, each) for until, each in self._before if until > at - KEPT]
        self._before.append((at, self.now))
        self.now, self._urgent, self._batches = policy, policy.urgent, policy.batches
        self.courses = policy.courses or any(each.courses for _, each in self._before)

    def in_batches(self) -> int:
        """See ``Policy.batches``, of the present one."""
        return self._batches

    @property
    def services(self) -> frozenset[str]:
        """Every service that may answer a call under way."""
        return self.now.services.union(*(each.services for _, each in self._before))

    @property
    def longest_deadline(self) -> float:
        """Seconds of the longest deadline that a call under way may have."""
        return max(self.now.longest_deadline, *(each.longest_deadline for _, each in self._before), 0.0)

    def plan(self, event: str) -> Plan:
        """The plan of an event that is claimed now."""
        return self.now.plan(event)

    def plan_at(self, event: str, arrived: float) -> Plan:
        """The plan of an event that came then, in epoch seconds, though it is claimed later."""
        policy = self._at(arrived) if self._before else self.now
        return policy.events.get(event, policy.default)

    def plan_of(self, transaction: Transaction) -> Plan:
        """The plan by which a suspension was claimed."""
        policy = self._at(transaction.claimed_at) if self._before else self.now
        return policy.events.get(transaction.event, policy.default)  # several times for each call

    def revision_of(self, transaction: Transaction) -> str:
        """The revision of the policy by which a suspension was claimed."""
        return self._at(transaction.claimed_at).revision

    def _at(self, when: float) -> Policy:
        for until, policy in self._before:
            if when < until:
                return policy
        return self.now

    def admission_classes(
        self, transactions: Sequence[Transaction]
    ) -> list[tuple[int, Sequence[Transaction]]]:
        """See ``Policy.admission_classes``."""
        return (
            self.now.admission_classes(transactions) if self._urgent else [(self.now.in_flight, transactions)]
        )


def read(path: Path) -> Policy:
    """Read a policy file. Raises PolicyError, naming the file, the line and the key."""
    file = str(path)
    try:
        text = path.read_text("utf-8-sig")
    except OSError as exc:
        do = "name a file that can be read, by --policy or EVAPI_POLICY"
        raise PolicyError((), f"cannot be read: {exc.strerror}", do, file=file) from exc
    except UnicodeDecodeError as exc:
        line = exc.object.count(b"\n", 0, exc.start) + 1
        wrong = f"is no TOML: it is not UTF-8 ({exc.reason})"
        raise PolicyError((), wrong, "save it as UTF-8", line=line, file=file) from exc
    return parse_text(text, file)


def parse_text(text: str, file: str = "") -> Policy:
    """A policy from the text of its file. Raises PolicyError, naming the line and the key."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        line, said, do = policy_lines.broken_at(text, exc)
        raise PolicyError((), f"is no TOML: {said}", do, line=line, file=file) from exc
    except RecursionError as exc:
        raise PolicyError((), "is no TOML: nested too deeply", "nest it less deeply", file=file) from exc
    try:
        found = parse(raw)
    except PolicyError as exc:
        line = policy_lines.line_of(text, exc.path)
        raise PolicyError(exc.path, exc.problem, exc.do, line=line, file=file) from exc
    return replace(found, revision=hashlib.sha256(text.encode()).hexdigest()[:12])


def parse(raw: Mapping[str, Any]) -> Policy:
    """A policy from its tables. Raises PolicyError, naming the key."""
    keys.known(raw, (), keys.TABLES)
    known = of_services.known_services(raw)
    base = _plan(None, keys.table(raw, "default"), ("default",))
    events = keys.table(raw, "events")
    _meet_nowhere(events)
    plans = {name: _plan(base, keys.table(events, name, ("events",)), ("events", name)) for name in events}
    policy_whole.within_deadlines(known, (base, *plans.values()))
    policy_whole.batches_in_msgpack(known, (base, *plans.values()))
    plans = {name: resolved(plan, known) for name, plan in plans.items()}
    limits = keys.table(raw, "limits")
    keys.known(limits, ("limits",), keys.LIMITS)
    in_flight = keys.number(limits, "in_flight", IN_FLIGHT, 1)
    emergency = keys.number(limits, "emergency", EMERGENCY, 0)
    return Policy(resolved(base, known), plans, in_flight, emergency, known=known)


def _meet_nowhere(events: Iterable[str]) -> None:
    """Raises PolicyError for two events with one routing key: a service of either would get both."""
    taken: dict[str, str] = {}
    for name in events:
        other = taken.setdefault(word(name), name)
        if other != name:
            wrong = f"has the routing key {word(name)}.*, as {other} has: services of one get both"
            raise PolicyError(("events", name), wrong, "rename one of them")


def _plan(base: Plan | None, raw: Mapping[str, Any], path: PolicyPath) -> Plan:
    """Of a table, with what it has of ``base``; not resolved."""
    keys.known(raw, path, keys.PLAN)
    given = {name: check(raw[key], (*path, key)) for key, check, name in _CHECKS if key in raw}
    above = base or Plan()
    on = given.get("fallback_on", {})
    # An event's own fallback counts before what the default has for an outcome.
    given["fallback_on"] = on if "fallback" in raw else {**above.fallback_on, **on}
    if given.get("mode", Mode.QUORUM) is not Mode.QUORUM:  # the default's quorum is of the default's mode
        given.setdefault("quorum", 0)
    plan = replace(above, **given, own=frozenset(raw).union(f"fallback_on.{outcome}" for outcome in on))
    policy_whole.agrees(plan, base, path)
    return plan


_CHECKS: Final[tuple[tuple[str, Callable[[Any, PolicyPath], Any], str], ...]] = (
    ("deadline", keys.deadline, "deadline"),
    ("fallback", keys.fallback, "fallback"),
    ("fallback_on", keys.fallback_on, "fallback_on"),
    ("max_deadline", partial(keys.seconds, example=3.0), "max_deadline"),
    ("services", of_services.services, "services"),
    ("mode", of_services.mode, "mode"),
    ("quorum", of_services.quorum, "quorum"),
    ("observers", of_services.services, "observer_names"),
    ("shadows", of_services.shadows, "shadow_shares"),
    ("retry", of_services.retry, "retry"),
    ("backup", of_services.services, "backup_names"),
    ("cache", of_services.cache, "cache"),
    ("emergency", keys.truth, "emergency"),
    ("format", keys.as_json, "as_json"),
)
"""Each key of a plan: how it is checked, and its field."""
