"""Takes away the queue of a service that is gone for good."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from adapter import contract
from adapter.admin.checks_finding import counted
from adapter.admin.management import events_of, reached
from adapter.admin.rabbit import NotThere, Rabbit
from adapter.admin.services import asked_for
from adapter.relay import policy

if TYPE_CHECKING:
    from collections.abc import Callable

    from adapter.settings import Settings


@dataclass(frozen=True, slots=True)
class Doomed:
    """A queue that is to be deleted.

    ``events``: those it is bound to, None if nobody tells. ``named``: those of which the policy says that the
    service decides them.
    """

    queue: str
    messages: int
    consumers: int
    events: tuple[str, ...] | None
    named: tuple[str, ...]

    @property
    def told(self) -> str:
        """What goes with it, for people."""
        bound = "its bindings (which, only the management plugin knows)"
        if self.events is not None:
            bound = f"its bindings to {', '.join(self.events) or 'nothing'}"
        said = f"{self.queue}: {counted(self.messages, 'request')} that wait and {bound} go with it"
        if self.named:
            said += f"; the policy still has it decide {', '.join(self.named)}: these calls become unroutable"
        return said


async def look(settings: Settings, urls: str, name: str, say: Callable[[str], None]) -> Doomed:
    """Say what would go.

    Args:
        settings: name the policy, and where the management API is.
        urls: of RabbitMQ.
        name: of the service.
        say: is told that the API does not answer.

    Raises:
        NotThere: it has no queue.
        BrokerUnavailable: RabbitMQ does not answer, or the user may not look.
        PolicyError: the policy is wrong.
    """
    read = policy.Policy() if settings.policy is None else policy.read(settings.policy)
    queue = contract.service_queue(name)
    async with Rabbit(urls) as rabbit, reached(settings, say) as management:
        state = await rabbit.queue(queue)
        if state is None:
            raise NotThere(f"{queue}: there is no such queue; evapi-adapter services lists them")
        events = None if management is None else events_of(name, await management.bindings())
    return Doomed(queue, state.messages, state.consumers, events, asked_for(read).get(name, ()))


async def remove_queue(urls: str, queue: str) -> int:
    """Delete it, unless somebody has begun to consume it; return how many messages went with it.

    Raises:
        BrokerUnavailable: somebody consumes it, or the user may not.
    """
    async with Rabbit(urls) as rabbit:
        return await rabbit.delete_unused(queue)
