"""Exchanges, queues and bindings: as they should be, and as they are.

What should be there is what ``adapter.broker.rabbitmq.topology`` declares, for the nodes of the settings;
of services, which declare their own queues, that these are there and bound as the policy has it.
Nothing is ever deleted.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from adapter import contract
from adapter.admin.management import UNKNOWN
from adapter.admin.rabbit import NoRights
from adapter.admin.services import UNSEEN, services
from adapter.amqp.topology import Binding, Exchange, Queue
from adapter.amqp.words import DeclaredOtherwise
from adapter.broker.rabbitmq import topology as declared
from adapter.relay import policy

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from adapter.admin.management import ManagedQueue, Management
    from adapter.admin.rabbit import Rabbit
    from adapter.admin.services import Service
    from adapter.settings import Settings

_OTHERWISE: Final = re.compile(r"inequivalent arg '([^']+)' for .*?: received (.+?) but current is ([^;]+)")
_SETTINGS: Final = {"x-expires": "EVAPI_RESULTS_EXPIRES", "x-queue-type": "EVAPI_QUEUE_TYPE"}
_OWN: Final = "adapter"


class State(StrEnum):
    """How a thing is, compared with how it should be."""

    OK = "ok"
    MISSING = "missing"
    DIFFERS = "differs"  # it is there with other arguments, which cannot be changed
    STALE = "stale"  # nobody known needs it
    UNKNOWN = "unknown"  # it cannot be seen from here


DRIFT: Final = frozenset((State.MISSING, State.DIFFERS, State.STALE))


@dataclass(frozen=True, slots=True)
class Item:
    """One thing. ``of`` is who declares it: the adapter, a node's adapters, a service. ``remark`` says
    what is wrong and what to do. ``thing`` is what ``apply`` may declare, ``None`` where that is not
    its affair.
    """

    kind: str
    name: str
    state: State
    of: str
    remark: str = ""
    thing: Exchange | Queue | Binding | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """What ``apply`` did about an item: declared, bound, or left."""

    item: Item
    action: str


async def compare(
    settings: Settings, rabbit: Rabbit, management: Management | None, also: Iterable[str] = ()
) -> list[Item]:
    """Everything that should be there, and with the API what should not. ``also``: more services.

    Raises PolicyError, BrokerUnavailable, ManagementUnavailable.
    """
    also = tuple(also)
    known = await services(settings, rabbit, management, also)
    queues = None if management is None else await management.queues()
    bindings = None if management is None else frozenset(await management.bindings())
    look = _Look(rabbit, bindings)
    found = [await look.at(each, _OWN) for each in declared.EXCHANGES]
    found += [await look.at(each, _OWN) for each in (declared.DEAD_QUEUE, *declared.DEAD_BINDINGS)]
    if settings.mqtt:
        found.append(await look.at(declared.MQTT_BINDING, _OWN))
    expected = {contract.DEAD_QUEUE}
    rules = policy.Policy() if settings.policy is None else policy.read(settings.policy)
    kind = declared.Kind(settings.results_expires, settings.queue_type, rules.longest_deadline, settings.mqtt)
    for node, _ in settings.fixed_nodes:
        of, queues_of = f"node {node}", (*await _results(rabbit, kind.results(node)), kind.commands(node))
        expected |= {each.name for each in queues_of} | {declared.bypass(kind.results(node)).name}
        *_, results, commands = queues_of
        bindings_of = (
            *declared.results_bindings(node, results.name, settings.mqtt),
            *declared.commands_bindings(node),
        )
        parts: list[Queue | Binding] = [results, commands, *bindings_of]
        found += [await look.at(each, of) for each in parts]
    for service in known:
        found += _of_service(service, queues, service.asked_for or service.by_default or service.name in also)
        expected.add(service.queue)
        handles = contract.handles_queues(service.name)
        expected |= {name for name in queues or () if name.startswith(handles)}
    for queue in (queues or {}).values():
        of_a_replica = queue.name.startswith(contract.replica_queue(""))
        if queue.name not in expected and not queue.exclusive and not of_a_replica:
            found.append(await _unexpected(rabbit, queue))
    return found


async def compare_queue(
    rabbit: Rabbit, management: Management | None, service: str, events: Iterable[str]
) -> list[Item]:
    """The queue of a service that cannot declare it itself, as it should be, and its bindings.

    Args:
        rabbit: is asked.
        management: knows the bindings; None if it does not answer.
        service: its name.
        events: what its queue is to be bound to.

    Raises:
        BrokerUnavailable, ManagementUnavailable: who was asked does not answer.
    """
    bindings = None if management is None else frozenset(await management.bindings())
    look, of = _Look(rabbit, bindings), f"service {service}"
    queue = Queue(contract.service_queue(service), {"x-dead-letter-exchange": contract.DEAD_EXCHANGE})
    keys = [f"{contract.word(event)}.*" for event in events]
    bound = [Binding(contract.EVENTS_EXCHANGE, queue.name, key) for key in keys]
    parts: list[Queue | Binding] = [queue, *bound]
    return [await look.at(each, of) for each in parts]


async def _results(rabbit: Rabbit, queue: Queue) -> tuple[Queue, ...]:
    """The queues of a node's replies that may be there; the last one is that of these settings."""
    beside = declared.beside(queue)
    with contextlib.suppress(NoRights):  # told of each queue where it is compared
        if await rabbit.queue(beside.name) is not None:
            return queue, beside
    return beside, queue


async def apply(rabbit: Rabbit, items: Iterable[Item]) -> list[Done]:
    """Declare what is missing, and the bindings that cannot be seen: to make one again changes nothing.

    Raises BrokerUnavailable.
    """
    done = []
    for item in items:
        action = "left"
        if isinstance(item.thing, Binding) and item.state in (State.MISSING, State.UNKNOWN):
            await rabbit.bind(item.thing)
            action = "bound"
        elif isinstance(item.thing, Exchange | Queue) and item.state is State.MISSING:
            await rabbit.declare(item.thing)
            action = "declared"
        if action != "left":
            item = replace(item, state=State.OK, remark="")
        done.append(Done(item, action))
    return done


class _Look:
    """Compares one thing after the other. ``bindings`` are those there are, ``None`` where nobody tells."""

    def __init__(self, rabbit: Rabbit, bindings: Collection[Binding] | None) -> None:
        self._rabbit = rabbit
        self._bindings = bindings
        self._missing: set[str] = set()

    async def at(self, thing: Exchange | Queue | Binding, of: str) -> Item:
        """How it is."""
        if isinstance(thing, Binding):
            return self._binding(thing, of)
        kind = "exchange" if isinstance(thing, Exchange) else "queue"
        item = Item(kind, thing.name, State.OK, of, thing=thing)
        there = self._rabbit.exchange if isinstance(thing, Exchange) else self._rabbit.queue
        try:
            if not await there(thing.name):
                self._missing.add(thing.name)
                return replace(item, state=State.MISSING, remark=_missing(thing, of))
            # Only of what exists: RabbitMQ then compares, and declares nothing.
            await self._rabbit.declare(thing)
        except DeclaredOtherwise as exc:
            return replace(item, state=State.DIFFERS, remark=_otherwise(thing, str(exc)))
        except NoRights as exc:
            return replace(item, state=State.UNKNOWN, remark=str(exc))
        return item

    def _binding(self, binding: Binding, of: str) -> Item:
        item = Item("binding", binding_name(binding), State.OK, of, thing=binding)
        missing = f"nothing gets there this way; {apply_command(binding)} makes it"
        if not self._missing.isdisjoint((binding.source, binding.to)):
            return replace(item, state=State.MISSING, remark=missing)
        if self._bindings is None:
            return replace(item, state=State.UNKNOWN, remark=UNKNOWN)
        if binding not in self._bindings:
            return replace(item, state=State.MISSING, remark=missing)
        return item


def apply_command(thing: Exchange | Queue | Binding | None) -> str:
    """The command that makes it, for whoever it is missing to."""
    of_mqtt = isinstance(thing, Binding) and contract.TOPIC_EXCHANGE in (thing.source, thing.to)
    return f"evapi-adapter topology apply{' --mqtt' if of_mqtt else ''}"


def binding_name(binding: Binding) -> str:
    """For people: source -> destination, and the key or the headers that it compares, where there are any."""
    compared = (each for each in sorted(binding.arguments) if each[0] != "x-match")
    what = binding.key or ", ".join(name if value is None else f"{name}={value}" for name, value in compared)
    return f"{binding.source} -> {binding.to}" + (f" [{what}]" if what else "")


def _missing(thing: Exchange | Queue, of: str) -> str:
    if of == _OWN or isinstance(thing, Exchange):
        return "an adapter declares it at its start; so does evapi-adapter topology apply"
    return "no adapter has had a link to this node lately; one that gets it declares the queue"


def _otherwise(thing: Exchange | Queue, refusal: str) -> str:
    """What differs, of RabbitMQ's refusal, and what to do."""
    parts = _OTHERWISE.search(refusal)
    if parts is None:
        return refusal
    argument, wanted, current = parts.groups()
    what = f"its {argument} is {current}, not {wanted}"
    if thing.name == contract.DEAD_QUEUE:
        return f"{what}; the adapter uses it as it is. To have ours, empty and delete it, then apply"
    if isinstance(thing, Queue) and thing.name.startswith(contract.results_queue("")):
        beside = declared.beside(thing).name
        return (
            f"{what}: the settings have changed. An adapter has its replies sent to "
            f"{beside} beside it, and leaves this one to expire"
        )
    if thing.name.startswith(contract.commands_queue("")):
        return f"{what}; the adapter uses it as it is. To have it anew, delete it while no adapter runs"
    setting = _SETTINGS.get(argument)
    instead = f", or set {setting} to what it was made with" if setting and isinstance(thing, Queue) else ""
    kind = "exchange" if isinstance(thing, Exchange) else "queue"
    return f"{what}: the adapter cannot use it; delete the {kind}, then apply{instead}"


def _of_service(service: Service, queues: Mapping[str, ManagedQueue] | None, named: object) -> Iterator[Item]:
    """A service's queue and what it is bound to. ``named``: by the policy, or by whoever asks."""
    of = f"service {service.name}"
    queue = Item("queue", service.queue, State.OK, of)
    there = (queues or {}).get(service.queue)
    if service.missing:
        yield replace(queue, state=State.MISSING, remark=service.remark)
    elif not named and service.consumed is False:
        yield replace(queue, state=State.STALE, remark=f"no policy names the service, and {service.remark}")
    elif there is not None and there.arguments.get("x-dead-letter-exchange") != contract.DEAD_EXCHANGE:
        remark = (
            f"without x-dead-letter-exchange={contract.DEAD_EXCHANGE}: a call whose request is rejected "
            "waits for its deadline; delete the queue, and start the service again"
        )
        yield replace(queue, state=State.DIFFERS, remark=remark)
    elif service.hidden and there is None:
        yield replace(queue, state=State.UNKNOWN, remark=UNSEEN)
    else:
        yield queue
    yield from _bindings_of(service, of)


def _bindings_of(service: Service, of: str) -> Iterator[Item]:
    def item(word: str, state: State, remark: str = "") -> Item:
        binding = Binding(contract.EVENTS_EXCHANGE, service.queue, word)
        return Item("binding", binding_name(binding), state, of, remark)

    unbound = service.asked_for if service.missing else service.unbound
    for event in unbound:
        remark = f"the policy has {service.name} decide {event}: start it with a handler of that event"
        yield item(f"{contract.word(event)}.*", State.MISSING, remark)
    if service.events is None and not service.missing:
        for event in service.asked_for:
            yield item(f"{contract.word(event)}.*", State.UNKNOWN, UNKNOWN)
    for event in service.events or ():
        yield item(event if "." in event or event == "#" else f"{event}.*", State.OK)


async def _unexpected(rabbit: Rabbit, queue: ManagedQueue) -> Item:
    """A queue that is neither of a node nor of a service that is known."""
    item = Item("queue", queue.name, State.OK, "others", "not of EVAPI_NODES, but somebody consumes it")
    try:
        state = await rabbit.queue(queue.name)  # the API's numbers may be some seconds old
        consumers = None if state is None else state.consumers
    except NoRights:
        consumers = queue.consumers
    if consumers is None or consumers:
        return item
    expires = queue.arguments.get("x-expires")
    goes = f"RabbitMQ deletes it after {expires / 1000:g} s" if isinstance(expires, int) else "delete it"
    return replace(
        item, state=State.STALE, remark=f"of no node or service known, and nobody consumes it: {goes}"
    )


def drift(items: Iterable[Item]) -> list[Item]:
    """Those that are not as they should be."""
    return [item for item in items if item.state in DRIFT]
