"""Exchanges, queues and bindings: as data, and declared.

Nothing here has a time limit: whoever calls sets one. What a server refuses is raised as one of ``words``; it
has closed the channel then.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiormq

from adapter.amqp.tasks import heed_cancellation
from adapter.amqp.words import NotThere, refused

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pamqp.common import Arguments


@dataclass(frozen=True, slots=True)
class Exchange:
    """A durable exchange. An ``internal`` one takes nothing from clients."""

    name: str
    kind: str
    internal: bool = False


@dataclass(frozen=True, slots=True)
class Queue:
    """A durable queue. One that is ``auto_delete`` goes with its last consumer."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    auto_delete: bool = False


@dataclass(frozen=True, slots=True)
class Binding:
    """A way from an exchange to a queue, or to another exchange.

    ``arguments``: what a headers exchange compares; None: any value.
    """

    source: str
    to: str
    key: str = ""
    to_exchange: bool = False
    arguments: frozenset[tuple[str, str | None]] = frozenset()


async def declare_exchange(channel: aiormq.Channel, exchange: Exchange, passive: bool = False) -> None:
    """One exchange; a ``passive`` one must be there. Raises BrokerUnavailable, DeclaredOtherwise among it."""
    try:
        await channel.exchange_declare(
            exchange.name,
            exchange_type=exchange.kind,
            durable=True,
            internal=exchange.internal,
            passive=passive,
        )
    except aiormq.AMQPError as exc:
        heed_cancellation()
        raise refused("exchange", exchange.name, exc) from exc


async def declare_queue(channel: aiormq.Channel, queue: Queue, passive: bool = False) -> int:
    """One queue, which must be there if it is ``passive``; gives how many messages wait in it.

    Raises BrokerUnavailable, DeclaredOtherwise among it.
    """
    try:
        found = await channel.queue_declare(
            queue.name,
            durable=True,
            auto_delete=queue.auto_delete,
            arguments=dict(queue.arguments),
            passive=passive,
        )
    except aiormq.AMQPError as exc:
        heed_cancellation()
        raise refused("queue", queue.name, exc) from exc
    return found.message_count or 0


async def messages_in(channel: aiormq.Channel, queue: str) -> int | None:
    """Return how many messages wait in a queue; None if there is none of that name.

    The channel is closed after that. Raises BrokerUnavailable.
    """
    try:
        found = await declare_queue(channel, Queue(queue), passive=True)
    except NotThere:
        return None
    await channel.close()
    return found


async def bind_all(channel: aiormq.Channel, bindings: Sequence[Binding]) -> None:
    """Make bindings.

    Apart from the declarations, since in a cluster a server that hangs holds up every new binding, even
    one that is there, and nothing that exists already. Raises what the library raises.
    """
    for binding in bindings:
        await bind(channel, binding)


async def bind(channel: aiormq.Channel, binding: Binding) -> None:
    """One binding. Raises what the library raises."""
    compared: Arguments | None = dict(binding.arguments) or None
    if binding.to_exchange:
        await channel.exchange_bind(binding.to, binding.source, routing_key=binding.key, arguments=compared)
    else:
        await channel.queue_bind(binding.to, binding.source, binding.key, arguments=compared)


async def unbind(channel: aiormq.Channel, binding: Binding) -> None:
    """Take a binding to a queue away; there need be none. Raises what the library raises."""
    await channel.queue_unbind(binding.to, binding.source, binding.key)
