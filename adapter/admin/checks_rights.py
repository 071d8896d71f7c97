"""What a user may do on RabbitMQ, found out by asking for what cannot be done anyway.

RabbitMQ looks at the rights first. So each attempt is refused for the one reason or for the other, and
nothing is made, bound, taken or kept: a queue or an exchange is declared with an argument that none can
have, a binding taken away that is not there, a queue consumed with a priority that is none, a message sent to
a queue that is not there.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import aiormq
from pamqp.commands import Basic

from adapter import contract
from adapter.admin.rabbit import NoRights, NotThere, Rabbit
from adapter.broker.rabbitmq import topology
from adapter.errors import BrokerUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from aiormq.abc import DeliveredMessage
    from pamqp.common import FieldValue

    Attempt = Callable[[aiormq.Channel], Coroutine[Any, Any, Any]]

ADAPTER: Final = (
    r"^evapi\.(events|commands|operator|replicas|services|dead|dead\.by-node|dead\.kept|dead-letters|(results|commands|replicas)\..*)$",
    r"^evapi\.(events|replicas|dead|dead\.by-node|dead\.kept|dead-letters|(results|commands|replicas)\..*)$|^amq\.default$",
    r"^evapi\.(commands|operator|replicas|dead|dead\.by-node|dead\.kept|(results|commands|replicas)\..*)$",
)
"""What an adapter must be allowed to configure, write and read."""
BY_MQTT: Final = (*ADAPTER[:2], rf"{ADAPTER[2]}|^amq\.topic$")
"""The same with EVAPI_MQTT."""
QUEUES: Final = "amq.default"
"""As RabbitMQ calls the exchange by which a message goes to the queue that it names."""
_REFUSED: Final = re.compile(r"'([^']+)' in vhost")
LOOK_AGAIN: Final = 0.02
"""Seconds between two looks whether RabbitMQ has told that it takes no messages."""


@dataclass(frozen=True, slots=True, order=True)
class Refusal:
    """What the user may not do: ``right`` is configure, write or read."""

    right: str
    name: str


class Rights(Rabbit):
    """A connection that is used for nothing else."""

    async def refused(self, nodes: Iterable[str], mqtt: bool = False) -> list[Refusal]:
        """What an adapter must be allowed to do, and this user is not. Raises BrokerUnavailable."""
        attempts = [*_of_all(), *(each for node in nodes for each in _of_node(node, mqtt))]
        # In turn: numbers of channels that are refused at the same time get mixed up.
        found = [await self._try(*attempt) for attempt in attempts]
        try:
            await self._send_nowhere()
        except NoRights:
            found.append(Refusal("write", QUEUES))
        return sorted({refusal for refusal in found if refusal is not None})

    async def operates(self) -> bool:
        """Whether the user is an operator's: who may answer by hand. Raises BrokerUnavailable."""
        name = contract.OPERATOR_EXCHANGE
        refused = await self._try("write", name, _unbind_exchange(name, contract.DEAD_EXCHANGE))
        return refused is None or refused.name != name

    async def takes_messages(self) -> bool:
        """Whether it does, or is short of memory or disk: it tells only who sends one.

        Raises BrokerUnavailable.
        """
        try:
            return await self._send_nowhere()
        except NoRights:  # a user who may not write there: it has read the message, for all that
            return True

    async def _send_nowhere(self) -> bool:
        """Send a message to a queue that is not there; return False if it is not read.

        Raises BrokerUnavailable, NoRights among it.
        """
        nowhere = f"evapi.doctor.{secrets.token_hex(8)}"
        sending = asyncio.ensure_future(self.publish("", nowhere, b"", Basic.Properties()))
        try:
            while not sending.done():
                await asyncio.wait({sending}, timeout=LOOK_AGAIN)
                if self.blocked:
                    return False
            sending.result()
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
        return True

    async def _try(self, right: str, name: str, attempt: Attempt) -> Refusal | None:
        try:
            await self._on_spare(attempt, name)
        except NoRights as exc:
            refused = _REFUSED.search(str(exc))
            # To take a binding away is to write to where it leads, and to read where it begins.
            elsewhere = refused is not None and refused[1] != name
            return Refusal("read", refused[1]) if refused and elsewhere else Refusal(right, name)
        except NotThere:
            pass
        except BrokerUnavailable as exc:
            if not isinstance(exc.__cause__, aiormq.ChannelPreconditionFailed):
                raise
        return None


def _of_all() -> list[tuple[str, str, Attempt]]:
    """What every adapter declares, binds and sends to, whatever its nodes."""
    events, by_node = contract.EVENTS_EXCHANGE, contract.DEAD_BY_NODE_EXCHANGE
    dead, kept, letters = contract.DEAD_EXCHANGE, contract.DEAD_KEPT_EXCHANGE, contract.DEAD_QUEUE
    replicas, beats = contract.REPLICAS_EXCHANGE, contract.replica_queue("doctor")
    return [
        *(("configure", each.name, _declare_exchange(each.name)) for each in topology.EXCHANGES),
        ("write", events, _unbind_exchange(events, by_node)),
        ("write", by_node, _unbind_exchange(by_node, dead)),
        ("write", dead, _unbind_exchange(dead, by_node)),
        ("configure", letters, _declare(letters)),
        ("write", kept, _unbind_exchange(kept, dead)),
        ("write", letters, _unbind(letters, kept)),
        ("write", replicas, _unbind_exchange(replicas, by_node)),
        ("configure", beats, _declare(beats)),
        ("write", beats, _unbind(beats, replicas)),
        ("read", beats, _consume(beats)),
    ]


def _of_node(node: str, mqtt: bool) -> list[tuple[str, str, Attempt]]:
    found: list[tuple[str, str, Attempt]] = []
    results, commands = contract.results_queue(node), contract.commands_queue(node)
    by_mqtt = (contract.TOPIC_EXCHANGE,) if mqtt else ()
    for queue, sources in (
        (results, (contract.DEAD_BY_NODE_EXCHANGE, contract.OPERATOR_EXCHANGE, *by_mqtt)),
        (commands, (contract.COMMANDS_EXCHANGE,)),
    ):
        found.append(("configure", queue, _declare(queue)))
        found += [("write", queue, _unbind(queue, source)) for source in sources]
        found.append(("read", queue, _consume(queue)))
    return found


def _declare_exchange(name: str) -> Attempt:
    wrong: dict[str, FieldValue] = {"alternate-exchange": -1}  # which has to be a name
    return lambda channel: channel.exchange_declare(
        name, exchange_type="topic", durable=True, arguments=wrong
    )


def _unbind_exchange(to: str, source: str) -> Attempt:
    return lambda channel: channel.exchange_unbind(to, source, secrets.token_hex(8))


def _unbind(queue: str, source: str) -> Attempt:
    return lambda channel: channel.queue_unbind(queue, source, secrets.token_hex(8))


def _declare(queue: str) -> Attempt:
    return lambda channel: channel.queue_declare(queue, durable=True, arguments={"x-expires": -1})


def _consume(queue: str) -> Attempt:
    async def leave(message: DeliveredMessage) -> None:
        """Nothing is taken: what came is back when the channel closes."""

    return lambda channel: channel.basic_consume(queue, leave, arguments={"x-priority": "none"})
