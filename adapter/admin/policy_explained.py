"""What a policy has for an event, and where it says so: what ``evapi-adapter policy`` shows. Pure.

Who is asked, and what comes of it, stands in ``policy_asked``.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from adapter import contract
from adapter.admin.policy_asked import Recipient, ladder, recipients
from adapter.bodies import decode_json
from adapter.errors import CodecError, PolicyError
from adapter.model.transaction import BY_SOMEBODY, Outcome
from adapter.relay import course
from adapter.relay.policy_keys import slip
from adapter.relay.policy_lines import line_of
from adapter.wire import event as wire

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from adapter.model.ladder import Rung
    from adapter.relay.plan import Plan
    from adapter.relay.policy import Policy

BUILT_IN: Final = "built-in"
"""Where a value stands that no table gives."""
SOURCES: Final = (
    *("deadline", "max_deadline", "format", "emergency", "services", "mode", "quorum", "retry", "backup"),
    *("cache", "observers", "shadows"),
)
"""Keys of whose values it is told which table gives them."""
NODE: Final = "node"
"""The node that an example of a request is from."""


@dataclass(frozen=True, slots=True)
class Given:
    """What an outcome gives Kamailio. ``decision``: JSON text, None if it is somebody's; ``source``: the
    key that says so, ``reply`` or ``operator``.
    """

    decision: bytes | None
    source: str


@dataclass(frozen=True, slots=True)
class Asked:
    """How an event's data come to the adapter.

    ``size``: of a request with all of them. ``problem``: why they cannot come; the event is then malformed.
    ``data``: as they are published. ``key``: by which its decision is kept, None if it is not.
    """

    is_map: bool = False
    size: int = 0
    problem: str = ""
    data: Any = None
    key: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """How one event is handled.

    ``table``: the event's own, or the default; ``sources``: by key, the table's key that gives its value;
    ``limit``: how many of a node may be in flight with it; ``recipients``: who gets it, in their order;
    ``ladder``: what may decide it, in that order; ``asked``: None if no data were given.
    """

    event: str
    plan: Plan
    table: str
    sources: Mapping[str, str]
    limit: int
    recipients: Sequence[Recipient]
    ladder: Sequence[tuple[Rung, str]]
    outcomes: Mapping[Outcome, Given]
    asked: Asked | None

    @property
    def admission(self) -> str:
        """Its admission class."""
        return "emergency" if self.plan.emergency else "normal"


def explain(policy: Policy, event: str, data: bytes | None = None) -> Explanation:
    """What happens to an event.

    Args:
        policy: which counts.
        event: its name.
        data: as Kamailio would send them, if these are to be looked at, too.
    """
    plan = policy.plan(event)
    tables = list(_tables(policy, event))
    asked = None if data is None else _asked(event, plan, data)
    request = None
    if asked is not None and not asked.problem:
        request = contract.Request(event, NODE, asked.data, 1, 1, 1, 0.0)
    return Explanation(
        event,
        plan,
        tables[0][0],
        {key: _source(tables, [key]) for key in SOURCES},
        policy.in_flight + (policy.emergency if plan.emergency else 0),
        recipients(plan, request),
        ladder(plan),
        {outcome: _given(tables, plan, outcome) for outcome in Outcome},
        asked,
    )


def hints(policy: Policy, text: str) -> list[str]:
    """What of a good policy may be a slip: a sentence each.

    Args:
        policy: which was read.
        text: of its file.
    """
    found = []
    for name in policy.unused:
        path = ("services", name)
        meant = slip(name, policy.services.difference(policy.known))
        do = f"did you mean {meant}?" if meant else "name it in an event, or leave its table out"
        found.append(f"line {line_of(text, path)}, {PolicyError.dotted(path)}: no event names it; {do}")
    return found


def _tables(policy: Policy, event: str) -> Iterator[tuple[str, Plan]]:
    """The tables that say something of it, the first that has a key counts."""
    if event in policy.events:
        yield PolicyError.dotted(("events", event)), policy.events[event]
    yield "default", policy.default


def _source(tables: Sequence[tuple[str, Plan]], names: Sequence[str]) -> str:
    found = (f"{table}.{name}" for table, plan in tables for name in names if name in plan.own)
    return next(found, BUILT_IN)


def _given(tables: Sequence[tuple[str, Plan]], plan: Plan, outcome: Outcome) -> Given:
    if outcome in BY_SOMEBODY:
        return Given(None, "reply" if outcome is Outcome.DECIDED else "operator")
    return Given(plan.fallback_of(outcome), _source(tables, [f"fallback_on.{outcome}", "fallback"]))


def _asked(event: str, plan: Plan, data: bytes) -> Asked:
    """As the adapter would read and publish it."""
    found = wire.parse(_frame(event, data))
    if not isinstance(found, wire.Suspended):
        return Asked(problem=found.detail if isinstance(found, wire.Malformed) else "no event")
    is_map = isinstance(found.data, dict)
    request = contract.Request(found.event, NODE, found.data, 1, 1, 1, 0.0)
    try:
        size = len(contract.encode_request(request, plan.as_json))
    except CodecError as exc:
        return Asked(is_map, problem=str(exc))
    keys = () if plan.cache is None else plan.cache.key
    is_kept = plan.cache is not None and course.cache_key(event, keys, found.data) is not None
    return Asked(is_map, size, "", found.data, {key: found.data[key] for key in keys} if is_kept else None)


def _frame(event: str, data: bytes) -> bytes:
    """As Kamailio's configuration would send it: in JSON if the data are an object."""
    try:
        is_object = isinstance(decode_json(data.decode()), dict)
    except (ValueError, RecursionError):
        is_object = False
    if is_object:
        return b'{"event":%b,"tm_index":1,"tm_label":1,"data":%b}' % (json.dumps(event).encode(), data)
    return b"%b:1:1:%b" % (event.encode("utf-8", "surrogateescape"), base64.b64encode(data))
