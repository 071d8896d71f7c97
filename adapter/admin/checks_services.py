"""Who decides: the services, the events, and the way that replies go back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from adapter import contract
from adapter.admin.checks_finding import Finding, Group, counted
from adapter.admin.management import UNKNOWN
from adapter.admin.rabbit import Rabbit
from adapter.admin.services import services
from adapter.amqp.servers import parse_urls

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from adapter.admin.management import Management
    from adapter.admin.services import Service
    from adapter.relay.plan import Plan
    from adapter.relay.policy import Policy
    from adapter.settings import Settings

SERVICES: Final = Group("services")
WAITING: Final = 100
"""Requests on one queue from which on its consumers are too slow."""
_TIMES_OUT: Final = (
    "What is published to it is not answered: calls wait for their deadline (outcome timeout)."
)
_SILENT: Final = (
    "Each of these calls waits for its deadline (outcome timeout). Some client libraries acknowledge what "
    "they cannot decode (kombu, Celery); a reply without its request's correlation id is none (dead letters)."
)
_START: Final = "python -m consumers MODULE:{}"


async def deciders(
    settings: Settings,
    policy: Policy,
    urls: str,
    management: Management | None,
    also: Sequence[str],
    nodes: Sequence[str],
    silent: Mapping[str, int],
) -> list[Finding]:
    """A finding for each service and each event. ``silent``: see ``silence.silent_events``.

    Raises BrokerUnavailable, ManagementUnavailable.
    """
    async with Rabbit(urls) as rabbit:
        found = await services(settings, rabbit, management, also, silent)
    must = {*policy.services, *also}
    return [
        *_services(found, must, management is not None, vhost_of(urls)),
        *events(found, policy, nodes, management is not None),
    ]


def _services(found: Sequence[Service], must: set[str], complete: bool, vhost: str) -> Iterator[Finding]:
    if not found and complete:
        why = "Every event is unroutable: each call gets its fallback at once."
        yield SERVICES.error("service", "no service has a queue", why, _START.format("SERVICE"))
    elif not found:
        seen = "none is named, and only RabbitMQ's management plugin knows them"
        todo = "evapi-adapter doctor --service NAME, or services = [...] in EVAPI_POLICY"
        yield SERVICES.unknown("service", seen, "", todo)
    for each in found:
        yield _service(each, not must or each.name in must, vhost)


def _service(each: Service, needed: bool, vhost: str) -> Finding:
    start = _START.format(each.name)
    if each.messages is None or each.consumers is None:
        why = "Where no other service is bound, its events are unroutable: calls get their fallback at once."
        return SERVICES.error("service", "it has no queue: it has never run here", why, start, each.name)
    wait = f"{counted(each.messages, 'request')} wait"
    if not each.consumers:
        seen = f"nobody consumes {each.queue}; {wait}"
        if needed:
            return SERVICES.error("service", seen, _TIMES_OUT, start, each.name)
        why = "The policy does not name it: what it is bound to waits there in vain."
        todo = f"rabbitmqctl delete_queue -p {vhost} {each.queue}"
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
    if not complete:
        if policy.events:
            seen = f"who is bound to which is {UNKNOWN}"
            yield SERVICES.unknown("event", seen, "", "rabbitmq-plugins enable rabbitmq_management")
        return
    for event, plan in sorted(policy.events.items()):
        yield _event(event, plan, found, nodes or ("any",))
    if not policy.events and found:
        names = sorted({event for each in found for event in each.events or ()})
        told = ", ".join(names) or "none"
        yield SERVICES.ok("event", f"those that are bound: {told} (the policy names none)")


def _event(event: str, plan: Plan, found: Sequence[Service], nodes: Sequence[str]) -> Finding:
    bound = [each for each in found if any(_gets(each, event, node) for node in nodes)]
    start = _START.format(plan.services[0] if plan.services else "SERVICE")
    left = [node for node in nodes if not any(_gets(each, event, node) for each in bound)]
    if left:
        why = "It is unroutable: its calls get their fallback at once."
        of = f" from {', '.join(left)}" if bound else ""
        todo = f"{start}    # with a handler of {event}"
        return SERVICES.error("event", f"no service is bound to it{of}", why, todo, event)
    told = ", ".join(f"{each.name} ({counted(each.consumers or 0, 'consumer')})" for each in bound)
    if not any(each.consumers for each in bound):
        return SERVICES.error("event", f"nobody decides it: {told}", _TIMES_OUT, start, event)
    named = set(plan.services)
    absent = sorted(named.difference(each.name for each in bound))
    if absent:
        seen = f"{', '.join(absent)} {_is(absent)} not bound to it, as the policy has it; {told} is"
        why = "Another decides than was meant to."
        return SERVICES.error("event", seen, why, f"{start}    # with a handler of {event}", event)
    others = [each.name for each in bound if each.name not in named]
    if named and others:
        why = "Each gets every request, and the first reply is the decision: another than meant may decide."
        seen = f"decided by {told}; {', '.join(others)} {_is(others)} not in the policy"
        todo = f"services = {_toml(sorted({*named, *others}))}    # in the policy, under [events.{event}]"
        return SERVICES.warning("event", seen, why, todo, event)
    return SERVICES.ok("event", f"decided by {told}", event)


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


def _is(names: Sequence[str]) -> str:
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
            state = await rabbit.queue(queue)
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
