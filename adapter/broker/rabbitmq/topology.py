"""What the adapter declares on RabbitMQ: the same each time, by every replica.

First as data, which an operator's tools compare with what is there; then the declaring. Nothing here
has a time limit: whoever calls sets one for the whole.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from adapter import contract
from adapter.amqp.topology import (
    Binding,
    Exchange,
    Queue,
    bind,
    bind_all,
    declare_exchange,
    declare_queue,
    messages_in,
    unbind,
)
from adapter.amqp.words import DeclaredOtherwise
from adapter.errors import BrokerUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    import aiormq

    from adapter.amqp.connection import Connection

    OpenChannel = Callable[[], Awaitable[aiormq.Channel]]
    Declare = Callable[["Queue"], Awaitable[int]]
    """Declares a queue; gives how many messages wait in it."""
    Look = Callable[[str], Awaitable[int | None]]
    """Gives how many messages wait in a queue; None if there is none of that name."""

QueueType = Literal["classic", "quorum"]

_TTL: Final = 5.0
_AFTER_DEADLINE: Final = 1.0  # seconds for which a reply is kept after the longest deadline, at least
"""Seconds for which replies are kept at least."""
REPLICA_QUEUE_EXPIRES: Final = 30.0
_NO_LIMIT: Final = 1_000_000
"""Times that a reply is delivered again: RabbitMQ 4 would drop it at 20 otherwise."""


REPLICAS: Final = Exchange(contract.REPLICAS_EXCHANGE, "fanout")
"""Declared with the queue on which a replica reads: who has no right to it serves all the same."""
SERVICES: Final = Exchange(contract.SERVICES_EXCHANGE, "topic")
"""Made for services, which need no right to make it; the adapter itself has no use for it."""
DEAD_KEPT: Final = Exchange(contract.DEAD_KEPT_EXCHANGE, "headers", internal=True)
"""Declared with the dead letters, on which no call depends."""
EXCHANGES: Final = (
    Exchange(contract.EVENTS_EXCHANGE, "topic"),
    Exchange(contract.COMMANDS_EXCHANGE, "topic"),
    Exchange(contract.OPERATOR_EXCHANGE, "direct"),
    REPLICAS,
    SERVICES,
    Exchange(contract.DEAD_EXCHANGE, "fanout"),
    Exchange(contract.DEAD_BY_NODE_EXCHANGE, "topic", internal=True),
    DEAD_KEPT,
)
DEAD_QUEUE: Final = Queue(contract.DEAD_QUEUE, contract.DEAD_QUEUE_ARGUMENTS)
_BY_NODE: Final = Binding(contract.DEAD_EXCHANGE, contract.DEAD_BY_NODE_EXCHANGE, to_exchange=True)
_TO_KEPT: Final = Binding(contract.DEAD_EXCHANGE, contract.DEAD_KEPT_EXCHANGE, to_exchange=True)


def _kept(header: str, value: str | None) -> Binding:
    """What has this header is kept; ``value``: only with this one. (RabbitMQ leaves headers ``x-...`` out of
    account unless it is told otherwise, which it can be from 3.10 on.)
    """
    compared = frozenset({("x-match", "all-with-x"), (header, value)})
    return Binding(contract.DEAD_KEPT_EXCHANGE, contract.DEAD_QUEUE, arguments=compared)


_KEPT: Final = (
    _kept(contract.HEADER_REASON, None),
    _kept(contract.FIRST_DEATH, "rejected"),
    _kept(contract.FIRST_DEATH, "maxlen"),
    _kept(contract.FIRST_DEATH, "delivery_limit"),
)
"""All of RabbitMQ's reasons but ``expired``: one such letter for each call would bury the others."""
DEAD_BINDINGS: Final = (_BY_NODE, _TO_KEPT, *_KEPT)
EVERYTHING_KEPT: Final = Binding(contract.DEAD_EXCHANGE, contract.DEAD_QUEUE)
"""The way by which versions before this one kept all that died: it is taken away."""
MQTT_BINDING: Final = Binding(contract.EVENTS_EXCHANGE, contract.TOPIC_EXCHANGE, "#", to_exchange=True)
"""The way of events to MQTT clients. No adapter makes it: ``evapi-adapter topology apply --mqtt`` does."""


@dataclass(frozen=True, slots=True)
class Kind:
    """Of which kind the queues of a node are.

    ``expires``: seconds after which they go when nobody consumes them; ``longest``: seconds of the
    longest deadline, past which no reply is of use; ``mqtt``: replies may come by MQTT, too.
    """

    expires: float = 600.0
    queue_type: QueueType = "classic"
    longest: float = 2.0
    mqtt: bool = False

    @property
    def results_ttl(self) -> float:
        """Seconds after which RabbitMQ drops a reply: 5, 10, 20 and so on, the first past the longest
        deadline by a second. Coarse, so that few changes of a policy change the queue's arguments.
        """
        found = _TTL
        while found < self.longest + _AFTER_DEADLINE:
            found *= 2
        return found

    @property
    def longest_kept(self) -> float:
        """Seconds of the longest deadline for which replies are kept long enough."""
        return self.results_ttl - _AFTER_DEADLINE

    @property
    def _arguments(self) -> dict[str, Any]:
        found: dict[str, Any] = {"x-expires": round(self.expires * 1000)}
        if self.queue_type == "quorum":  # a classic one does not say so, to match those that are there
            found |= {"x-queue-type": self.queue_type, "x-delivery-limit": _NO_LIMIT}
        return found

    def results(self, node: str) -> Queue:
        """The queue of the node's replies."""
        ttl = round(self.results_ttl * 1000)
        return Queue(contract.results_queue(node), {**self._arguments, "x-message-ttl": ttl})

    def commands(self, node: str) -> Queue:
        """The queue of the node's commands."""
        return Queue(contract.commands_queue(node), self._arguments)


def replica_queue(replica: str, lease: float) -> Queue:
    """Of one life of a replica: it is gone soon after that, and old beats are gone after a lease."""
    arguments = {
        "x-expires": round(max(REPLICA_QUEUE_EXPIRES, 10 * lease) * 1000),
        "x-message-ttl": max(round(lease * 1000), 1),
        "x-max-length": 1_000,
    }
    return Queue(contract.replica_queue(replica), arguments)


def beside(queue: Queue, why: str = "") -> Queue:
    """A queue of the same arguments, for where another has its name: theirs cannot be changed.

    Every replica with these arguments finds the same name. ``why``: tells apart several of them.
    """
    told = json.dumps(dict(queue.arguments), sort_keys=True) + why
    digest = hashlib.blake2b(told.encode(), digest_size=4, usedforsecurity=False).hexdigest()
    return Queue(f"{queue.name}.{digest}", queue.arguments)


def bypass(queue: Queue) -> Queue:
    """Return the queue to which replies are sent while the usual one is long (see ``declare_results``)."""
    return beside(queue, "bypass")


def results_bindings(node: str, queue: str, mqtt: bool = False) -> tuple[Binding, ...]:
    """The ways to a queue of the node's replies. ``mqtt``: whether replies may come by MQTT, too.

    An MQTT client publishes to a topic, which becomes the key: ``evapi/results/sbc1``.
    """
    by_mqtt = (Binding(contract.TOPIC_EXCHANGE, queue, queue),) if mqtt else ()
    # A dead request keeps its routing key, <event>.<node>; a dead letter of ours has but one word.
    return (
        Binding(contract.DEAD_BY_NODE_EXCHANGE, queue, f"*.{contract.word(node)}"),
        Binding(contract.OPERATOR_EXCHANGE, queue, node),
        *by_mqtt,
    )


def commands_bindings(node: str) -> tuple[Binding, ...]:
    """The ways to a node's commands."""
    queue = contract.commands_queue(node)
    keys = contract.word(node), contract.ALL_NODES
    return tuple(Binding(contract.COMMANDS_EXCHANGE, queue, key) for key in keys)


async def declare_exchanges(channel: aiormq.Channel) -> None:
    """The exchanges that calls depend on. Raises BrokerUnavailable."""
    for exchange in EXCHANGES:
        if exchange not in (REPLICAS, SERVICES, DEAD_KEPT):
            await declare_exchange(channel, exchange)


async def declare_dead_letters(channel: aiormq.Channel) -> None:
    """Their ways and their queue. Raises BrokerUnavailable, DeclaredOtherwise among it.

    That queue is bound by whoever made it with other bounds.
    """
    await bind(channel, _BY_NODE)
    await declare_exchange(channel, DEAD_KEPT)
    await bind(channel, _TO_KEPT)
    await declare_queue(channel, DEAD_QUEUE)
    await bind_all(channel, _KEPT)
    await unbind(channel, EVERYTHING_KEPT)


async def declare_results(
    open_channel: OpenChannel, queue: Queue, most: int, declare: Declare, look: Look
) -> str:
    """Declare the queue of a node's replies; gives its name.

    What is not there yet is left to ``declare``: in a cluster of RabbitMQ 4.3 without majority that has no
    answer, and after 30 s closes the whole connection.

    Where a queue of that name has other arguments, one beside it is declared: the settings were
    changed, and replicas of before still use the old one. Once somebody has made that, all who share
    the settings use it, though the old one has gone meanwhile.

    If the queue holds more than ``most`` replies, another one is declared, and the shorter of the two is
    it: a queue is first in, first out, and the replies to new calls would wait behind what nobody needs
    any more. Nothing is thrown away for that. Raises BrokerUnavailable.
    """
    name, waiting = await _declare_or_beside(open_channel, queue, declare, look)
    if waiting <= most:
        return name
    shorter = bypass(queue)
    there = await declare_carefully(open_channel, shorter, declare, look)
    return shorter.name if there < waiting else name


async def _declare_or_beside(
    open_channel: OpenChannel, queue: Queue, declare: Declare, look: Look
) -> tuple[str, int]:
    """The name of the one that is used, and how many messages wait in it."""
    other = beside(queue)
    waiting = await look(other.name)
    if waiting is not None:
        return other.name, waiting
    try:
        return queue.name, await declare_carefully(open_channel, queue, declare, look)
    except DeclaredOtherwise:
        return other.name, await declare(other)


async def declare_carefully(open_channel: OpenChannel, queue: Queue, declare: Declare, look: Look) -> int:
    """Declare a queue, by ``declare`` if it is not there; gives how many messages wait in it.

    Raises BrokerUnavailable, DeclaredOtherwise among it.
    """
    if await look(queue.name) is None:
        return await declare(queue)
    channel = await open_channel()
    waiting = await declare_queue(channel, queue)
    await channel.close()
    return waiting


async def missing_services(connection: Connection, services: Collection[str]) -> list[str]:
    """Those of the services whose queue nobody has declared."""
    missing = []
    for service in sorted(services):
        try:
            found = await messages_in(await connection.channel(), contract.service_queue(service))
        except BrokerUnavailable:
            continue  # it is there, though not for us to look at
        if found is None:
            missing.append(service)
    return missing
