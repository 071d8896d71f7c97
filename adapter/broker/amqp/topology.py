"""What the adapter declares on RabbitMQ: the same each time, by every replica.

First as data, which an operator's tools compare with what is there; then the declaring. Nothing here
has a time limit: whoever calls sets one for the whole.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

import aiormq

from adapter import contract
from adapter.broker.amqp.connection import reason
from adapter.errors import BrokerUnavailable

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from adapter.broker.amqp.connection import Connection

QueueType = Literal["classic", "quorum"]

_NO_LIMIT: Final = 1_000_000
"""Times that a reply is delivered again: RabbitMQ 4 would drop it at 20 otherwise."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """A durable exchange. An ``internal`` one takes nothing from clients."""

    name: str
    kind: str
    internal: bool = False


@dataclass(frozen=True, slots=True)
class Queue:
    """A durable queue."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Binding:
    """A way from an exchange to a queue, or to another exchange."""

    source: str
    to: str
    key: str = ""
    to_exchange: bool = False


EXCHANGES: Final = (
    Exchange(contract.EVENTS_EXCHANGE, "topic"),
    Exchange(contract.COMMANDS_EXCHANGE, "topic"),
    Exchange(contract.OPERATOR_EXCHANGE, "direct"),
    Exchange(contract.DEAD_EXCHANGE, "fanout"),
    Exchange(contract.DEAD_BY_NODE_EXCHANGE, "topic", internal=True),
)
DEAD_QUEUE: Final = Queue(contract.DEAD_QUEUE, contract.DEAD_QUEUE_ARGUMENTS)
DEAD_BINDINGS: Final = (
    Binding(contract.DEAD_EXCHANGE, contract.DEAD_BY_NODE_EXCHANGE, to_exchange=True),
    Binding(contract.DEAD_EXCHANGE, contract.DEAD_QUEUE),
)


def node_queues(node: str, expires: float, queue_type: QueueType) -> tuple[Queue, ...]:
    """The queues of a node, which go when nobody has consumed them for ``expires`` seconds."""
    arguments: dict[str, Any] = {"x-expires": round(expires * 1000)}
    if queue_type == "quorum":  # a classic one does not say so, to match those that are there
        arguments |= {"x-queue-type": queue_type, "x-delivery-limit": _NO_LIMIT}
    return tuple(
        Queue(name, arguments) for name in (contract.results_queue(node), contract.commands_queue(node))
    )


def node_bindings(node: str) -> tuple[Binding, ...]:
    """The ways to a node's queues."""
    word = contract.word(node)
    results, commands = contract.results_queue(node), contract.commands_queue(node)
    return (
        # A dead request keeps its routing key, <event>.<node>; a dead letter of ours has but one word.
        Binding(contract.DEAD_BY_NODE_EXCHANGE, results, f"*.{word}"),
        Binding(contract.OPERATOR_EXCHANGE, results, node),
        *(Binding(contract.COMMANDS_EXCHANGE, commands, key) for key in (word, contract.ALL_NODES)),
    )


class DeclaredOtherwise(BrokerUnavailable):
    """It is there with other arguments, which cannot be changed."""


async def declare_exchanges(channel: aiormq.Channel) -> None:
    """The exchanges. Raises BrokerUnavailable."""
    for exchange in EXCHANGES:
        await declare_exchange(channel, exchange)


async def declare_dead_letters(channel: aiormq.Channel) -> None:
    """Their ways and their queue. Raises BrokerUnavailable, DeclaredOtherwise among it."""
    between, kept = DEAD_BINDINGS
    await bind(channel, between)
    await declare_queue(channel, DEAD_QUEUE)
    await bind(channel, kept)


async def declare_node(channel: aiormq.Channel, node: str, expires: float, queue_type: QueueType) -> None:
    """The queues of a node: see ``node_queues``.

    Replies that cannot be taken in are given back, so nothing of them is dead-lettered. Raises
    BrokerUnavailable.
    """
    for queue in node_queues(node, expires, queue_type):
        await declare_queue(channel, queue)


async def bind_node(channel: aiormq.Channel, node: str) -> None:
    """The ways to a node's queues.

    Apart, since in a cluster a server that hangs holds up every new binding, even one that is
    there, and nothing that exists already.
    """
    for binding in node_bindings(node):
        await bind(channel, binding)


async def missing_services(connection: Connection, services: Collection[str]) -> list[str]:
    """Those of the services whose queue nobody has declared."""
    missing = []
    for service in sorted(services):
        channel = await connection.channel()  # an answer of "not found" closes it
        try:
            await channel.queue_declare(contract.service_queue(service), passive=True)
        except aiormq.ChannelNotFoundEntity:
            missing.append(service)
        except aiormq.AMQPChannelError:
            pass  # it is there, though not for us to look at
        else:
            await channel.close()
    return missing


async def declare_exchange(channel: aiormq.Channel, exchange: Exchange) -> None:
    """One exchange. Raises BrokerUnavailable, DeclaredOtherwise among it."""
    try:
        await channel.exchange_declare(
            exchange.name, exchange_type=exchange.kind, durable=True, internal=exchange.internal
        )
    except aiormq.AMQPError as exc:
        raise _refused("exchange", exchange.name, exc) from exc


async def declare_queue(channel: aiormq.Channel, queue: Queue) -> None:
    """One queue. Raises BrokerUnavailable, DeclaredOtherwise among it."""
    try:
        await channel.queue_declare(queue.name, durable=True, arguments=dict(queue.arguments))
    except aiormq.AMQPError as exc:
        raise _refused("queue", queue.name, exc) from exc


async def bind(channel: aiormq.Channel, binding: Binding) -> None:
    """One binding. Raises what the library raises."""
    if binding.to_exchange:
        await channel.exchange_bind(binding.to, binding.source, routing_key=binding.key)
    else:
        await channel.queue_bind(binding.to, binding.source, binding.key)


def _refused(kind: str, name: str, exc: aiormq.AMQPError) -> BrokerUnavailable:
    kind_of, remedy = BrokerUnavailable, ""
    if isinstance(exc, aiormq.ChannelPreconditionFailed):
        kind_of = DeclaredOtherwise
        remedy = "; it was declared otherwise: delete it, or give the setting the value it was made with"
    if isinstance(exc, aiormq.ChannelAccessRefused):
        remedy = "; the user needs the permission to configure, write and read evapi.*"
    return kind_of(f"{kind} {name}: {reason(exc)}{remedy}")
