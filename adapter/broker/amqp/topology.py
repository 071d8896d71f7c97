"""What the adapter declares on RabbitMQ: the same each time, by every replica.

Nothing here has a time limit: whoever calls sets one for the whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

import aiormq

from adapter import contract
from adapter.broker.amqp.connection import reason
from adapter.errors import BrokerUnavailable

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from adapter.broker.amqp.connection import Connection

_EXCHANGES = (
    (contract.EVENTS_EXCHANGE, "topic", False),
    (contract.COMMANDS_EXCHANGE, "topic", False),
    (contract.DEAD_EXCHANGE, "fanout", False),
    (contract.DEAD_BY_NODE_EXCHANGE, "topic", True),
)

QueueType = Literal["classic", "quorum"]

_NO_LIMIT: Final = 1_000_000
"""Times that a reply is delivered again: RabbitMQ 4 would drop it at 20 otherwise."""


class DeclaredOtherwise(BrokerUnavailable):
    """It is there with other arguments, which cannot be changed."""


async def declare_exchanges(channel: aiormq.Channel) -> None:
    """The exchanges. Raises BrokerUnavailable."""
    for name, kind, internal in _EXCHANGES:
        try:
            await channel.exchange_declare(name, exchange_type=kind, durable=True, internal=internal)
        except aiormq.AMQPError as exc:
            raise _refused("exchange", name, exc) from exc


async def declare_dead_letters(channel: aiormq.Channel) -> None:
    """Their ways and their queue. Raises BrokerUnavailable, DeclaredOtherwise among it."""
    await channel.exchange_bind(contract.DEAD_BY_NODE_EXCHANGE, contract.DEAD_EXCHANGE)
    await _declare_queue(channel, contract.DEAD_QUEUE, contract.DEAD_QUEUE_ARGUMENTS)
    await channel.queue_bind(contract.DEAD_QUEUE, contract.DEAD_EXCHANGE)


async def declare_node(channel: aiormq.Channel, node: str, expires: float, queue_type: QueueType) -> None:
    """The queues of a node, which go when nobody has consumed them for ``expires`` seconds.

    Replies that cannot be taken in are given back, so nothing of them is dead-lettered. Raises
    BrokerUnavailable.
    """
    arguments: dict[str, Any] = {"x-expires": round(expires * 1000)}
    if queue_type == "quorum":  # a classic one does not say so, to match those that are there
        arguments |= {"x-queue-type": queue_type, "x-delivery-limit": _NO_LIMIT}
    for queue in (contract.results_queue(node), contract.commands_queue(node)):
        await _declare_queue(channel, queue, arguments)


async def bind_node(channel: aiormq.Channel, node: str) -> None:
    """The ways to a node's queues.

    Apart, since in a cluster a server that hangs holds up every new binding, even one that is
    there, and nothing that exists already.
    """
    word = contract.word(node)
    results, commands = contract.results_queue(node), contract.commands_queue(node)
    # A dead request keeps its routing key, <event>.<node>; a dead letter of ours has but one word.
    await channel.queue_bind(results, contract.DEAD_BY_NODE_EXCHANGE, f"*.{word}")
    for key in (word, contract.ALL_NODES):
        await channel.queue_bind(commands, contract.COMMANDS_EXCHANGE, key)


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


async def _declare_queue(channel: aiormq.Channel, name: str, arguments: Mapping[str, Any]) -> None:
    try:
        await channel.queue_declare(name, durable=True, arguments=dict(arguments))
    except aiormq.AMQPError as exc:
        raise _refused("queue", name, exc) from exc


def _refused(kind: str, name: str, exc: aiormq.AMQPError) -> BrokerUnavailable:
    kind_of, remedy = BrokerUnavailable, ""
    if isinstance(exc, aiormq.ChannelPreconditionFailed):
        kind_of = DeclaredOtherwise
        remedy = "; it was declared otherwise: delete it, or give the setting the value it was made with"
    if isinstance(exc, aiormq.ChannelAccessRefused):
        remedy = "; the user needs the permission to configure, write and read evapi.*"
    return kind_of(f"{kind} {name}: {reason(exc)}{remedy}")
