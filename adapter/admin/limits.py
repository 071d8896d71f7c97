"""What is too much, and what follows from how the whole is: the judgement of ``check``. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Final

from adapter.admin.checks_names import found as names_that_clash
from adapter.admin.overview import Load, active, live, node_names, node_rows, replica_rows, short
from adapter.admin.services import others_decide
from adapter.relay.policy import IN_FLIGHT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

    from adapter.admin.overview import Bus, Overview, Store

FEW: Final = 20
"""Calls below which a share or a percentile says little: then it is told and not judged."""
SOME: Final = 3
"""Calls from which on it is a warning if nobody decided any of them."""
SECONDS: Final = "s"
SHARE: Final = "share"
_NUMBER = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|%)?")
_FACTORS: Final = {SECONDS: {"ms": 0.001, "s": 1.0, "m": 60.0}, SHARE: {"%": 0.01}, "": {None: 1.0}}
_EXAMPLES: Final = {SECONDS: "2s or 1s:2s", SHARE: "1% or 1%:5%", "": "100 or 100:1000"}


class Level(IntEnum):
    """What was found; its number is the exit code."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3

    @property
    def word(self) -> str:
        """ok, warning, critical or unknown."""
        return self.name.lower()


_GRAVITY: Final = (Level.OK, Level.UNKNOWN, Level.WARNING, Level.CRITICAL)
"""By weight: what could not be measured is no reason to hide what was."""


@dataclass(frozen=True, slots=True)
class Limit:
    """Beyond ``warning`` or ``critical``, the one or the other or both, it is too much (``least``: below
    them, too little). ``unit`` of both: seconds, share (1.0 is all) or none.
    """

    warning: float | None = None
    critical: float | None = None
    unit: str = ""
    least: bool = False

    @classmethod
    def parse(cls, text: str, unit: str = "", *, least: bool = False) -> Limit:
        """Read ``CRITICAL``, ``WARNING:CRITICAL`` or ``WARNING:``. Raises ValueError."""
        first, colon, second = text.replace(" ", "").partition(":")
        if not colon:
            first, second = "", first
        warning = _number(first, unit, text) if first else None
        critical = _number(second, unit, text) if second else None
        if warning is None and critical is None:
            raise ValueError(f"{text!r} holds no limit; write {_EXAMPLES[unit]}")
        if (
            warning is not None
            and critical is not None
            and (warning < critical if least else warning > critical)
        ):
            order = "under" if least else "over"
            raise ValueError(
                f"{text!r}: the warning comes first (WARNING:CRITICAL), and is not {order} the other"
            )
        return cls(warning, critical, unit, least)

    def level(self, value: float) -> Level:
        """What a value is."""
        for limit, found in ((self.critical, Level.CRITICAL), (self.warning, Level.WARNING)):
            if limit is not None and (value < limit if self.least else value > limit):
                return found
        return Level.OK


def _number(text: str, unit: str, whole: str) -> float:
    found = _NUMBER.fullmatch(text)
    factors: Mapping[str | None, float] = _FACTORS[unit]  # type: ignore[assignment]  # by unit, its own keys
    if found is None or found[2] not in factors:
        raise ValueError(f"{whole!r} is no limit; write {_EXAMPLES[unit]}")
    return float(found[1]) * factors[found[2]]


@dataclass(frozen=True, slots=True)
class Limits:
    """What is judged; ``None``: not judged. ``asked``: names of those that must be measured, else what
    was found is UNKNOWN.
    """

    in_flight: Limit = Limit(IN_FLIGHT * 0.5, IN_FLIGHT * 0.9)
    oldest: Limit | None = None
    fallback_rate: Limit = Limit(0.05, 0.25, SHARE)
    p99: Limit | None = None
    dead_letters: Limit = Limit(0, 1000)
    queue_depth: Limit = Limit(100, 1000)
    replicas: Limit = Limit(None, 1, least=True)
    consumers: Limit = Limit(None, 1, least=True)
    asked: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. ``of``: which node, replica or service; empty for the whole.
    ``run``: the command to run next.
    """

    check: str
    level: Level
    text: str
    of: str = ""
    value: float | None = None
    limit: Limit | None = None
    run: str = ""
    unit: str = ""


def worst(findings: Iterable[Finding]) -> Level:
    """The gravest of the findings."""
    return max((finding.level for finding in findings), key=_GRAVITY.index, default=Level.OK)


def judge(overview: Overview, limits: Limits) -> list[Finding]:
    """All that was looked at, in the order in which an operator would."""
    return [*_store(overview, limits), *_bus(overview, limits)]


def _store(overview: Overview, limits: Limits) -> Iterator[Finding]:
    if overview.store is None:
        if overview.store_problem:
            yield Finding("redis", Level.CRITICAL, overview.store_problem, run="evapi-adapter doctor")
        return
    if not overview.store.embedded:
        yield Finding("redis", Level.OK, "Redis answers")
    yield from _replicas(overview, limits)
    yield from _policy(overview)
    yield from _without_ids(overview)
    for clash in names_that_clash(overview):
        name, run = clash.names[0], "evapi-adapter doctor"
        yield Finding("names", Level.WARNING, f"{clash.text}; {clash.do}", name, run=run)
    if live(overview):
        for row in node_rows(overview):
            yield _node(overview, row)
        if not node_names(overview):
            run = "evapi-adapter doctor"
            yield Finding("node", Level.CRITICAL, "no replica knows of a node (EVAPI_NODES)", run=run)
    yield from _in_flight(overview.store, node_names(overview), limits)
    yield from _recent(overview, limits)


def _replicas(overview: Overview, limits: Limits) -> Iterator[Finding]:
    store, there = overview.store, live(overview)
    assert store is not None, "see _store"
    run = "evapi-adapter replicas"
    level = limits.replicas.level(len(there))
    told = f"{len(there)} of at least {_least(limits.replicas):g} replicas live" if level else ""
    told = "no replica lives" if not there else told or f"{_counted(len(there), 'replica')} live"
    level = level if there else Level.CRITICAL
    yield Finding("replicas", level, told, value=len(there), limit=limits.replicas, run=run)
    replaced = {name.partition("~")[0] for name in there}
    names = short(store.beats)
    for row in replica_rows(overview):
        name = names[row["replica"]]
        if row["state"] == "silent" and row["replica"].partition("~")[0] not in replaced:
            text = f"silent since {row['beat_age']:.0f} s: it died, hangs, or is cut off from Redis"
            yield Finding("replica", Level.WARNING, text, name, run=run)
        elif row["state"] in ("drained", "draining"):
            by = _by(row["order"])
            how = f"evapi-adapter resume {name}" if row["order"] is not None else run
            yield Finding("replica", Level.WARNING, f"{row['state']}{by}", name, run=how)
        elif row["state"] == "live" and not row["broker"]:
            alone = not any(beat.broker for beat in there.values())
            text = "has no broker: it cannot publish" + (", nor can another" if alone else "; others do")
            level = Level.CRITICAL if alone else Level.WARNING
            yield Finding("replica", level, text, name, run="evapi-adapter doctor")


def _policy(overview: Overview) -> Iterator[Finding]:
    """Which policy counts, by what the replicas say."""
    there, run = live(overview), "evapi-adapter policy check FILE"
    names = short(there)
    told = {
        names[full]: str(revision) for full, beat in there.items() if (revision := beat.about.get("policy"))
    }
    if len(set(told.values())) > 1:
        each = ", ".join(f"{name} has {revision}" for name, revision in sorted(told.items()))
        text = f"replicas differ: {each}; give all of them one file"
        yield Finding("policy", Level.WARNING, text, run="evapi-adapter replicas -o json")
    elif told:
        yield Finding("policy", Level.OK, f"revision {next(iter(told.values()))}")
    for full, beat in there.items():
        if problem := beat.about.get("policy_problem"):
            text = f"its file is wrong, the policy before it counts: {problem}"
            yield Finding("policy", Level.WARNING, text, names[full], run=run)


def _without_ids(overview: Overview) -> Iterator[Finding]:
    """Events without ids whose data look like a question: Kamailio waits, and nobody answers."""
    told: dict[str, str] = {}
    for beat in live(overview).values():
        found = beat.about.get("without_ids")
        told |= (
            {str(event): str(member) for event, member in found.items()} if isinstance(found, dict) else {}
        )
    for event, member in sorted(told.items()):
        text = f"{event} has no ids, but a member {member}: where it is a question, nobody answers it"
        run = "evapi-adapter doctor --kamailio-cfg /etc/kamailio/kamailio.cfg"
        yield Finding("event", Level.WARNING, text, event, run=run)


def _node(overview: Overview, row: Mapping[str, Any]) -> Finding:
    node, states = row["node"], row["links"]
    bad = {replica: how for replica, how in states.items() if how in ("down", "unread", "none")}
    assert overview.store is not None, "see _store"
    names = short(overview.store.beats)
    told = ", ".join(f"{how} at {names[replica]}" for replica, how in bad.items())
    run = "evapi-adapter nodes"
    if row["gate"] == "paused":
        resume = f"evapi-adapter resume {node}"
        return Finding("node", Level.WARNING, f"paused{_by(row['paused'])}", node, run=resume)
    if active(overview, node) is None:
        if states and len(bad) == len(states):
            why = f"the link is {told}: does Kamailio run, and read?"
        else:
            why = "none that has its link and its broker takes calls"
        return Finding("node", Level.CRITICAL, f"no active replica; {why}", node, run=run)
    if "silent" in states.values():
        text = "nothing ever came from it (no hello, no event): is it EVAPI's port?"
        return Finding("node", Level.WARNING, text, node, run="evapi-adapter doctor")
    if bad:
        text = f"the link is {told}; {row['active_name']} serves it"
        return Finding("node", Level.WARNING, text, node, run=run)
    text = f"{row['active_name']} is active"
    if "paced" in states.values():  # some have meant it so: told, and no warning
        text += "; it sends no receipts (no include? `evapi-adapter doctor` has the line to write)"
    return Finding("node", Level.OK, text, node)


def _in_flight(store: Store, nodes: Iterable[str], limits: Limits) -> Iterator[Finding]:
    for node in nodes:
        found = store.loads.get(node, Load())
        text = f"{_counted(found.in_flight, 'call')} in flight"
        level = limits.in_flight.level(found.in_flight)
        run = f"evapi-adapter inflight list --node {node}"
        yield Finding("inflight", level, text, node, found.in_flight, limits.in_flight, run)
        if found.overdue:
            text = f"{_counted(found.overdue, 'call')} past the deadline and not answered"
            yield Finding("overdue", Level.CRITICAL, text, node, found.overdue, run=run)
        if limits.oldest is not None:
            age = found.oldest or 0.0
            text = "none is in flight" if found.oldest is None else f"the oldest in flight waits {age:.1f} s"
            yield Finding("oldest", limits.oldest.level(age), text, node, age, limits.oldest, run, SECONDS)


def _recent(overview: Overview, limits: Limits) -> Iterator[Finding]:
    recent = overview.recent
    if recent is None:
        return
    number, over = recent.calls, f"in {recent.covered:.0f} s"
    few = number < FEW
    share = recent.fallbacks or 0.0
    common = ", ".join(f"{count} {outcome}" for outcome, count in recent.outcomes.most_common())
    text = f"{share:.1%} of {_counted(number, 'call')} {over} got the fallback" + (
        f" ({common})" if common else ""
    )
    if recent.fault:
        text += f"; {recent.fault}"
    if not number:
        text = f"no call {over} (told by the journal: EVAPI_JOURNAL)"
    elif few and not (number >= SOME and share == 1.0):
        text += "; too few to judge"
    level = Level.OK if few else limits.fallback_rate.level(share)
    if few and number >= SOME and share == 1.0:  # of a site that is new, or a night without calls
        level = Level.WARNING
    run = "evapi-adapter doctor"
    yield Finding("fallback_rate", level, text, "", share, limits.fallback_rate, run, SHARE)
    if limits.p99 is not None:
        (p99,) = recent.latencies(0.99)
        text = (
            "no call"
            if p99 is None
            else f"99 % of {_counted(number, 'call')} {over} were answered within {p99:.3g} s"
        )
        level = Level.OK if few or p99 is None else limits.p99.level(p99)
        yield Finding("p99", level, text, "", p99, limits.p99, "evapi-adapter top", SECONDS)


def _bus(overview: Overview, limits: Limits) -> Iterator[Finding]:
    bus = overview.bus
    if bus is None:
        if overview.bus_problem:
            yield Finding("rabbitmq", Level.CRITICAL, overview.bus_problem, run="evapi-adapter doctor")
        else:
            for name in sorted(limits.asked & {"dead_letters", "queue_depth", "consumers"}):
                text = "not measured: EVAPI_AMQP_URL is not set"
                yield Finding(name, Level.UNKNOWN, text, run="evapi-adapter settings show")
        return
    if bus.blocked:
        text = "RabbitMQ takes no messages: it is short of memory or disk"
        yield Finding("rabbitmq", Level.CRITICAL, text, run="rabbitmqctl status")
    elif not bus.embedded:
        yield Finding("rabbitmq", Level.OK, f"RabbitMQ {bus.version} answers")
    yield from _services(bus, limits)
    yield _dead_letters(bus, limits)


def _services(bus: Bus, limits: Limits) -> Iterator[Finding]:
    run = "evapi-adapter services"
    if not bus.services and not bus.complete:
        asked = limits.asked & {"queue_depth", "consumers"}
        text = (
            "no service is known: name them (--also, or services in EVAPI_POLICY), or turn on "
            "RabbitMQ's management plugin"
        )
        yield Finding("consumers", Level.UNKNOWN if asked else Level.OK, text, run=run)
    for each in bus.services:
        if each.hidden:
            level = Level.UNKNOWN if limits.asked & {"queue_depth", "consumers"} else Level.OK
            yield Finding("consumers", level, each.remark, each.name, run=run)
            continue
        if each.messages is None or each.consumers is None:
            yield Finding("consumers", Level.CRITICAL, each.remark, each.name, 0, limits.consumers, run)
            continue
        level = limits.consumers.level(each.consumers)
        text = f"{_counted(each.consumers, 'consumer')}"
        if not each.consumers and "consumers" not in limits.asked and others_decide(each, bus.services):
            level = min(level, Level.WARNING)
            text, remove = (
                f"nobody consumes {each.queue}; others decide its events",
                f"{run} remove {each.name}",
            )
            yield Finding("consumers", level, text, each.name, 0, limits.consumers, remove)
            continue
        if not each.consumers:
            text = each.remark
        elif level:
            text += f", of at least {_least(limits.consumers):g}"
        yield Finding("consumers", level, text, each.name, each.consumers, limits.consumers, run)
        level = limits.queue_depth.level(each.messages)
        text = f"{_counted(each.messages, 'request')} wait on {each.queue}"
        yield Finding("queue_depth", level, text, each.name, each.messages, limits.queue_depth, run)


def _dead_letters(bus: Bus, limits: Limits) -> Finding:
    if bus.dead_letters is None:
        asked = "dead_letters" in limits.asked
        text = "there is no queue evapi.dead-letters: no adapter has been here"
        run = "evapi-adapter topology diff"
        return Finding("dead_letters", Level.UNKNOWN if asked else Level.OK, text, run=run)
    level = limits.dead_letters.level(bus.dead_letters)
    run = "evapi-adapter dead-letters list"
    text = _counted(bus.dead_letters, "dead letter")
    return Finding("dead_letters", level, text, "", bus.dead_letters, limits.dead_letters, run)


def _least(limit: Limit) -> float:
    return limit.warning if limit.warning is not None else limit.critical or 0.0


def _by(order: Mapping[str, Any] | None) -> str:
    if order is None:
        return ""
    by, reason = order["by"] or "somebody", order["reason"]
    return f" by {by}" + (f": {reason}" if reason else "")


def _counted(number: float, what: str) -> str:
    return f"{number:,g} {what}{'' if number == 1 else 's'}" if number < 1e6 else f"{number:,.0f} {what}s"
