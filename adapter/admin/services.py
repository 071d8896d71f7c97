"""The services that decide: who they are, whether anybody is there, and for which events."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from adapter import contract
from adapter.admin.management import events_of
from adapter.admin.presence import is_heard
from adapter.admin.rabbit import NoRights, QueueState
from adapter.relay import policy

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from adapter.admin.management import ManagedQueue, Management
    from adapter.admin.rabbit import Rabbit
    from adapter.hello import Hello
    from adapter.settings import Settings

_QUEUE: Final = contract.service_queue("")
UNSEEN: Final = "RabbitMQ does not let this user look at its queue"
_NOT_KNOWN: Final = f"{UNSEEN}: whether anybody consumes it is not known (README, Security)"


@dataclass(frozen=True, slots=True)
class Service:
    """A service.

    ``messages`` wait on its queue and ``consumers`` take them; both ``None`` where there is no queue.
    ``hidden``: both are ``None`` because nobody tells: RabbitMQ does not let this user look at the queue.
    ``events`` are those that the queue is bound to, ``None`` where nobody tells. ``asked_for`` are those
    that the policy says it decides; ``by_default``: all that are not named there. ``unhandled``: events
    that the queue is bound to, while none of the instances has a handler of them. ``silent``: events that
    come to it and that nobody answers, each with the number of calls that timed out (see ``silence``).
    ``instances``: those that said hello when they were asked (see ``presence``). ``deaf``: none did, though
    one hears the question.
    """

    name: str
    queue: str
    messages: int | None
    consumers: int | None
    events: tuple[str, ...] | None
    asked_for: tuple[str, ...] = ()
    by_default: bool = False
    unhandled: tuple[str, ...] = ()
    silent: Mapping[str, int] = field(default_factory=dict)
    instances: tuple[Hello, ...] = ()
    deaf: bool = False
    hidden: bool = False

    @property
    def missing(self) -> bool:
        """Whether it is known to have no queue."""
        return self.messages is None and not self.hidden

    @property
    def consumed(self) -> bool | None:
        """Whether anybody takes requests from its queue; None if nobody tells."""
        if self.consumers is not None:
            return self.consumers > 0
        if self.instances or self.deaf:
            return True
        return None if self.hidden else False

    @property
    def handled(self) -> tuple[str, ...] | None:
        """The events that its instances have handlers of; None if none of them says so."""
        return tuple(sorted({event for each in self.instances for event in each.events})) or None

    @property
    def hanging(self) -> str:
        """That consumers do not answer who is there, if that is so; else empty."""
        if self.deaf:
            return "its consumers do not answer who is there: they hang; restart them"
        missing = (self.consumers or 0) - len(self.instances)
        if self.instances and missing > 0:
            of, one = f"{missing} of {self.consumers} consumers", missing == 1
            verbs = ("does", "it hangs", "is") if one else ("do", "they hang", "are")
            return f"{of} {verbs[0]} not answer who is there: {verbs[1]}, or {verbs[2]} none of the SDK"
        return ""

    @property
    def unbound(self) -> tuple[str, ...]:
        """Events that the policy says it decides, and that do not come to its queue."""
        if self.events is None or "#" in self.events or "*" in self.events:
            return ()
        return tuple(event for event in self.asked_for if contract.word(event) not in self.events)

    def takes(self, event: str) -> bool:
        """Return True if the event comes to its queue, as far as that is known."""
        if event in self.asked_for:  # its queue gets them, bound or not
            return True
        return not {"#", "*", contract.word(event)}.isdisjoint(self.events or ())

    @property
    def silence(self) -> str:
        """That it takes requests and answers none, if that is so; else empty."""
        if not self.silent or not self.consumed:
            return ""
        events, calls = ", ".join(sorted(self.silent)), sum(self.silent.values())
        return f"takes requests and answers none: the last {calls} calls of {events} timed out"

    @property
    def remark(self) -> str:
        """What is wrong with it, and what to do; empty where nothing is."""
        if self.missing:
            return f"no queue: it has never run here; start it (python -m consumers MODULE:{self.name})"
        if self.consumed is False:
            waits = f"; {self.messages} wait" if self.messages else ""
            removed = f"evapi-adapter services remove {self.name}"
            return (
                f"nobody consumes{waits}: its events time out; start it, or if it is gone for good: {removed}"
            )
        if self.events == () and not self.asked_for and not self.by_default:
            return "bound to nothing: no event comes to it; restart it, its start binds it"
        if self.unbound:
            return f"the policy has it decide {', '.join(self.unbound)}, to which it is not bound"
        if self.hanging:
            return self.hanging
        if self.silence:
            return f"{self.silence}; evapi-adapter conformance --service {self.name} finds out why"
        if self.unhandled:
            return (
                f"bound to {', '.join(self.unhandled)} without a handler: unbound by the next request of it; "
                "start whoever decides it now"
            )
        return _NOT_KNOWN if self.consumed is None else ""


async def services(
    settings: Settings,
    rabbit: Rabbit,
    management: Management | None,
    also: Iterable[str] = (),
    silent: Mapping[str, int] = MappingProxyType({}),
    present: Mapping[str, tuple[Hello, ...]] | None = None,
) -> list[Service]:
    """Those that the policy names, that have a queue (where the API tells), that are there, and ``also``.

    They come by name. ``silent``: the events that nobody answers, see ``silence.silent_events``. ``present``:
    who answered, see ``presence.who_is_there``; None if nobody was asked.
    Raises PolicyError, BrokerUnavailable, ManagementUnavailable.
    """
    read = policy.Policy() if settings.policy is None else policy.read(settings.policy)
    asked = asked_for(read)
    names = set(read.services).union(also, present or ())
    bindings, queues = None, None
    if management is not None:
        queues = await management.queues()
        names |= {name.removeprefix(_QUEUE) for name in queues if name.startswith(_QUEUE)}
        bindings = await management.bindings()
    found = []
    for name in sorted(names):
        queue = contract.service_queue(name)
        state, hidden = await _look(rabbit, queue, queues)
        bound = None if bindings is None else events_of(name, bindings)
        instances = (present or {}).get(name, ())
        asks = present is not None and not instances
        asks &= hidden or (state is not None and state.consumers > 0)
        found.append(
            Service(
                name,
                queue,
                None if state is None else state.messages,
                None if state is None else state.consumers,
                bound,
                asked.get(name, ()),
                name in read.default.services,
                _unhandled(name, bound or (), queues or ()),
                instances=instances,
                deaf=asks and await is_heard(rabbit, name),
                hidden=hidden,
            )
        )
    return _told_of_silence(found, silent) if silent else found


async def _look(
    rabbit: Rabbit, queue: str, managed: Mapping[str, ManagedQueue] | None
) -> tuple[QueueState | None, bool]:
    """Return how a queue is, None if it is not there, and whether that is not known.

    RabbitMQ 4.3 lets nobody look at a queue who has no right to it. So the figures of the API count then,
    ``managed``, which are some seconds old; None if it does not answer. Raises BrokerUnavailable.
    """
    try:
        return await rabbit.queue(queue), False
    except NoRights:
        if managed is None:
            return None, True
    there = managed.get(queue)
    if there is None:
        return None, False
    if there.waiting is None or there.consumers is None:  # it is new
        return None, True
    return QueueState(queue, there.waiting, there.consumers), False


def _unhandled(service: str, bound: Iterable[str], queues: Iterable[str]) -> tuple[str, ...]:
    """The events that it is bound to, and no instance has a handler of, by the queues of those that do.

    A service without any such queue says nothing of its handlers: it does not use the SDK, or does not run.
    """
    prefix = contract.handles_queues(service)
    handled = {contract.word(name.removeprefix(prefix)) for name in queues if name.startswith(prefix)}
    return tuple(event for event in bound if handled and contract.word(event) == event not in handled)


def _told_of_silence(found: Sequence[Service], silent: Mapping[str, int]) -> list[Service]:
    """Note at each service the events that come to it and that nobody answers.

    If the policy names who decides an event, these are meant: others may only listen. If one that is meant
    does not run, or does not get the event, that is told of it, and nobody is called silent.
    """
    events: dict[str, dict[str, int]] = {}
    for event, calls in silent.items():
        takers = [each for each in found if each.takes(event)]
        meant = [each for each in found if event in each.asked_for] or takers
        if all(each.consumed and each in takers for each in meant):
            for each in meant:
                events.setdefault(each.name, {})[event] = calls
    return [replace(each, silent=events.get(each.name, {})) for each in found]


def others_decide(gone: Service, found: Iterable[Service]) -> bool:
    """Return True if nobody misses a service that does not run: the policy does not name it, and each event
    that comes to it comes to another one, too, which runs."""
    if gone.asked_for or gone.by_default or not gone.events:
        return False
    there = [each for each in found if each.name != gone.name and each.consumed]
    return all(any(each.takes(event) for each in there) for event in gone.events)


def asked_for(read: policy.Policy) -> Mapping[str, tuple[str, ...]]:
    """The events that a policy has each service decide, by service."""
    found: dict[str, list[str]] = {}
    for event, plan in sorted(read.events.items()):
        for service in plan.services:
            found.setdefault(service, []).append(event)
    return {service: tuple(events) for service, events in found.items()}
