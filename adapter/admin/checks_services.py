"""Who decides: the services, the events, and the way that replies go back."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from adapter import contract
from adapter.admin.checks_finding import Finding, Group, counted
from adapter.admin.management import UNKNOWN
from adapter.admin.presence import who_is_there
from adapter.admin.rabbit import NoRights, Rabbit
from adapter.admin.services import UNSEEN, others_decide, services
from adapter.amqp.servers import parse_urls
from adapter.relay.plan import Mode

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from adapter.admin.management import Management
    from adapter.admin.services import Service
    from adapter.hello import Hello
    from adapter.relay.plan import Plan
    from adapter.relay.policy import Policy
    from adapter.settings import Settings

SERVICES: Final = Group("services")
WAITING: Final = 100
"""Requests on one queue from which on its consumers are too slow."""
HELLO_WAIT: Final = 0.5
"""Seconds for instances of services to say what they handle."""
_TIMES_OUT: Final = (
    "What is published to it is not answered: calls wait for their deadline (outcome timeout)."
)
_SILENT: Final = (
    "Each of these calls waits for its deadline (outcome timeout). Some client libraries acknowledge what "
    "they cannot decode (kombu, Celery); a reply without its request's correlation id is none (dead letters)."
)
_START: Final = "python -m consumers MODULE:{}"
_PLUGIN: Final = "rabbitmq-plugins enable rabbitmq_management"
_LOOKS: Final = f"{_PLUGIN}    # and EVAPI_AMQP_API with a user who has the tag monitoring"


@dataclass(frozen=True, slots=True)
class Part:
    """What calls owe to a service that is named.

    ``weight``: the more, the more they owe. ``told``: what it is, after a comma. ``absent``: what follows
    if it has no queue, ``silent`` if nobody consumes its queue. ``is_needed``: whether calls fail by that.
    """

    weight: int
    told: str
    absent: str
    silent: str
    is_needed: bool = False


_SERVICE: Final = Part(
    *(5, "", "Its requests are unroutable: calls go on without its decision, or get their fallback at once."),
    *(_TIMES_OUT, True),
)
_BACKUP: Final = Part(
    *(4, "; it is a backup", "Calls that the others do not decide get their fallback."),
    *("Calls that the others do not decide wait for it in vain, then get their fallback.", True),
)
_OPTIONAL: Final = Part(
    *(3, "; it is optional", "Calls are decided without it."),
    "Calls wait for it as long as it may take (within), then are decided without it.",
)
_OBSERVER: Final = Part(
    2, "; it observes", "It does not get the calls that it observes.", "What it observes waits on its queue."
)
_SHADOW: Final = Part(
    *(1, "; it is a shadow", "Its share of the calls is compared with nothing."),
    "Its share of the calls is compared with nothing: its replies are late.",
)


async def deciders(
    settings: Settings,
    policy: Policy,
    urls: str,
    management: Management | None,
    also: Sequence[str],
    nodes: Sequence[str],
    silent: Mapping[str, int],
) -> tuple[list[Finding], list[Service]]:
    """A finding for each service and each event, and the services. ``silent``: see ``silence.silent_events``.

    Raises BrokerUnavailable, ManagementUnavailable.
    """
    async with Rabbit(urls) as rabbit:
        found = await services(settings, rabbit, management, also, silent, await _present(rabbit))
    told = [
        *_services(found, parts_of(policy, also), management is not None),
        *events(found, policy, nodes, management is not None),
    ]
    return told, found


async def _present(rabbit: Rabbit) -> Mapping[str, tuple[Hello, ...]] | None:
    """Who says hello; None if this user may not ask."""
    with contextlib.suppress(NoRights):
        return await who_is_there(rabbit, HELLO_WAIT)
    return None


def parts_of(policy: Policy, also: Iterable[str] = ()) -> dict[str, Part]:
    """What calls owe to each service that is named, by name; of several parts the gravest.

    Args:
        policy: which counts.
        also: services that must be there, too.
    """
    found: list[tuple[str, Part]] = []
    for plan in (policy.default, *policy.events.values()):
        found += [(each.name, _SHADOW) for each in (shadow.service for shadow in plan.shadows)]
        found += [(each.name, _OBSERVER) for each in plan.observers]
        found += [(each.name, _OPTIONAL) for each in plan.asked if each.optional]
        found += [(each.name, _BACKUP) for each in plan.backup]
        found += [(each.name, _SERVICE) for each in plan.asked if each.name and not each.optional]
    found += [(name, _SERVICE) for name in also]
    parts: dict[str, Part] = {}
    for name, part in found:
        if name not in parts or parts[name].weight < part.weight:
            parts[name] = part
    return parts


def _services(found: Sequence[Service], parts: Mapping[str, Part], complete: bool) -> Iterator[Finding]:
    if not found and complete:
        why = "Every event is unroutable: each call gets its fallback at once."
        yield SERVICES.error("service", "no service has a queue", why, _START.format("SERVICE"))
    elif not found:
        seen = "none is named, and only RabbitMQ's management plugin knows them"
        todo = "evapi-adapter doctor --also NAME, or services = [...] in EVAPI_POLICY"
        yield SERVICES.unknown("service", seen, "", todo)
    for each in found:
        part = parts.get(each.name) or (None if parts else _SERVICE)
        yield _left_behind(each) if _is_missed_by_nobody(each, part, found) else _service(each, part)


def _is_missed_by_nobody(each: Service, part: Part | None, found: Sequence[Service]) -> bool:
    named = part is not None and part is not _SERVICE
    return not named and each.messages is not None and not each.consumers and others_decide(each, found)


def _left_behind(each: Service) -> Finding:
    wait = f"{counted(each.messages or 0, 'request')} wait"
    seen = f"nobody consumes {each.queue}; others decide its events; {wait}"
    why = "Each call is published to it, too, in vain."
    todo = f"evapi-adapter services remove {each.name}    # if it is gone for good; it asks first"
    return SERVICES.warning("service", seen, why, todo, each.name)


def _service(each: Service, part: Part | None) -> Finding:
    start = _START.format(each.name)
    told_of = SERVICES.error if part is None or part.is_needed else SERVICES.warning
    if each.hidden:
        return SERVICES.unknown("service", UNSEEN, "", _LOOKS, each.name)
    if each.messages is None or each.consumers is None:
        seen = f"it has no queue: it has never run here{part.told if part else ''}"
        return told_of("service", seen, (part or _SERVICE).absent, start, each.name)
    wait = f"{counted(each.messages, 'request')} wait"
    if not each.consumers:
        seen = f"nobody consumes {each.queue}; {wait}"
        if part is not None:
            return told_of("service", f"{seen}{part.told}", part.silent, start, each.name)
        why = "The policy does not name it: what it is bound to waits there in vain."
        todo = f"evapi-adapter services remove {each.name}    # if it is gone for good; it asks first"
        return SERVICES.warning("service", seen, why, todo, each.name)
    told = f"{counted(each.consumers, 'consumer')}, {wait}"
    if each.messages > WAITING:
        why = "Its consumers are slower than calls come: decisions come late, or too late."
        return SERVICES.warning("service", told, why, f"{start}    # one more of it", each.name)
    if each.silence:
        todo = (
            f"evapi-adapter conformance --service {each.name}    # what it does wrong; it plays calls at it"
        )
        return SERVICES.error("service", f"{told}: {each.silence}", _SILENT, todo, each.name)
    return SERVICES.ok("service", told, each.name)


def vhost_of(urls: str) -> str:
    """The vhost of an AMQP URL, or of the first of several."""
    return parse_urls(urls)[0].path.removeprefix("/") or "/"


def events(
    found: Sequence[Service], policy: Policy, nodes: Sequence[str], complete: bool
) -> Iterator[Finding]:
    """Who decides each event of the policy, by the bindings; without them (not ``complete``) nobody knows."""
    known = {each.name: each for each in found}
    for event, plan in sorted(policy.events.items()):
        if plan.services:
            yield _named(event, plan, known, complete, nodes or ("any",))
        elif complete:
            yield _event(event, found, nodes or ("any",))
    if not complete and not all(plan.services for plan in policy.events.values()):
        seen = f"who is bound to which is {UNKNOWN}"
        yield SERVICES.unknown("event", seen, "", _PLUGIN)
    if complete and not policy.events and found:
        names = sorted({event for each in found for event in each.events or ()})
        told = ", ".join(names) or "none"
        yield SERVICES.ok("event", f"those that are bound: {told} (the policy names none)")


def _named(
    event: str, plan: Plan, known: Mapping[str, Service], complete: bool, nodes: Sequence[str]
) -> Finding:
    """Who decides an event whose services the policy names: their queues get its requests, bound or not."""
    there = [each for each in plan.services if each in known and known[each].consumed is not False]
    hidden = [each for each in there if known[each].consumed is None]
    absent = [each for each in plan.asked if each.name not in there]
    needed = [each for each in absent if not each.optional]
    lost = {
        Mode.FIRST: not there,
        Mode.ALL: bool(needed) or not there,
        Mode.CHAIN: bool(needed) or not there,
        Mode.QUORUM: len(there) < plan.quorum,
    }[plan.mode]
    told = ", ".join(f"{each} ({counted(known[each].consumers or 0, 'consumer')})" for each in there)
    names = ", ".join(each.name for each in absent)
    start = "\n".join(_START.format(each.name) for each in absent)
    if absent and lost:
        seen = f"nobody decides it: {names} {_is(absent)} not there"
        why = "Its calls get what the ladder has below: a backup's decision, or their fallback."
        return SERVICES.error("event", seen, why, start, event)
    if hidden:
        return _hidden(event, hidden)
    if absent:
        seen = f"decided by {told}; {names} {_is(absent)} not there"
        return SERVICES.warning("event", seen, "Others decide it alone.", start, event)
    if not complete:
        return SERVICES.ok("event", f"decided by {told}", event)
    unbound = [each for each in there if not any(_gets(known[each], event, node) for node in nodes)]
    if unbound:
        seen = f"{', '.join(unbound)} {_is(unbound)} asked, and not bound to it"
        why = "A service of the SDK is bound to what it has a handler of: each of its calls may fail."
        todo = f"{_START.format(unbound[0])}    # with a handler of {event}"
        return SERVICES.warning("event", seen, why, todo, event)
    bound = [each.name for each in known.values() if any(_gets(each, event, node) for node in nodes)]
    others = [each for each in bound if each not in plan.names]
    if others:
        why = "Requests go to whom the policy names."
        seen = f"decided by {told}; {', '.join(others)} {_is(others)} bound to it, and not asked"
        todo = f"observers = {_toml(others)}    # or services, in the policy, under [events.{event}]"
        return SERVICES.warning("event", seen, why, todo, event)
    return SERVICES.ok("event", f"decided by {told}", event)


def _event(event: str, found: Sequence[Service], nodes: Sequence[str]) -> Finding:
    """Who decides an event of which the policy names nobody: whoever is bound to it."""
    bound = [each for each in found if any(_gets(each, event, node) for node in nodes)]
    start = _START.format("SERVICE")
    left = [node for node in nodes if not any(_gets(each, event, node) for each in bound)]
    if left:
        why = "It is unroutable: its calls get their fallback at once."
        of = f" from {', '.join(left)}" if bound else ""
        todo = f"{start}    # with a handler of {event}"
        return SERVICES.error("event", f"no service is bound to it{of}", why, todo, event)
    told = ", ".join(f"{each.name} ({counted(each.consumers or 0, 'consumer')})" for each in bound)
    hidden = [each.name for each in bound if each.consumed is None]
    if not any(each.consumers for each in bound):
        if hidden:
            return _hidden(event, hidden)
        return SERVICES.error("event", f"nobody decides it: {told}", _TIMES_OUT, start, event)
    return SERVICES.ok("event", f"decided by {told}", event)


def _hidden(event: str, services: Sequence[str]) -> Finding:
    """An event of which nobody knows who decides it, for these services."""
    names = ", ".join(services)
    seen = f"whether it is decided is not known: RabbitMQ does not let this user look at the queue of {names}"
    return SERVICES.unknown("event", seen, "", _LOOKS, event)


def _gets(service: Service, event: str, node: str) -> bool:
    """Whether its queue gets an event of a node."""
    key = contract.routing_key(event, node).split(".")
    for bound in service.events or ():
        pattern = bound.split(".") if "." in bound or bound == "#" else [bound, "*"]
        if _matches(pattern, key):
            return True
    return False


def _matches(pattern: Sequence[str], key: Sequence[str]) -> bool:
    """As a topic exchange has it: * is one word, # any number of them."""
    if not pattern:
        return not key
    if pattern[0] == "#":
        return any(_matches(pattern[1:], key[at:]) for at in range(len(key) + 1))
    return bool(key) and pattern[0] in ("*", key[0]) and _matches(pattern[1:], key[1:])


def _is(names: Sequence[object]) -> str:
    return "is" if len(names) == 1 else "are"


def _toml(names: Iterable[str]) -> str:
    return "[" + ", ".join(f'"{name}"' for name in names) + "]"


async def replies(urls: str, nodes: Sequence[str], live: bool) -> list[Finding]:
    """Whether somebody takes the replies for each node. ``live``: adapters run, or may.

    Raises BrokerUnavailable.
    """
    found = []
    async with Rabbit(urls) as rabbit:
        for node in nodes:
            queue = contract.results_queue(node)
            try:
                state = await rabbit.queue(queue)
            except NoRights:
                seen = f"RabbitMQ does not let this user look at {queue}"
                todo = "evapi-adapter doctor    # as the adapter's user, who may"
                found.append(SERVICES.unknown("replies", seen, todo=todo, of=node))
                continue
            if state is not None and state.consumers:
                told = f"{counted(state.consumers, 'adapter')} on {queue}, {state.messages} wait"
                found.append(SERVICES.ok("replies", told, node))
                continue
            seen = f"there is no queue {queue}" if state is None else f"no adapter consumes {queue}"
            if not live:
                found.append(SERVICES.unknown("replies", f"{seen}: no replica lives", of=node))
                continue
            why = "Decisions do not come back: its calls wait for their deadline (outcome timeout)."
            todo = f"evapi-adapter nodes    # which replica has a link to {node}? Its log says why not"
            found.append(SERVICES.error("replies", seen, why, todo, node))
    return found
