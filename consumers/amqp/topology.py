"""What a service declares on RabbitMQ: the same each time, by every instance."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from adapter.amqp.topology import Binding, Exchange, Queue, bind_all, declare_exchange, declare_queue
from adapter.amqp.words import DeclaredOtherwise, NotAllowed, NotThere, reason
from adapter.contract import DEAD_EXCHANGE, EVENTS_EXCHANGE, service_queue, word
from adapter.errors import BrokerUnavailable

if TYPE_CHECKING:
    from adapter.amqp.connection import Connection
    from consumers.service import Service

_log = logging.getLogger("consumers")

_EXCHANGES: Final = (Exchange(EVENTS_EXCHANGE, "topic"), Exchange(DEAD_EXCHANGE, "fanout"))


def queue_arguments(service: Service) -> dict[str, Any]:
    """The arguments of a service's queue. Dead requests keep their routing key: it names the node."""
    arguments: dict[str, Any] = {
        "x-queue-type": service.queue_type,
        "x-dead-letter-exchange": DEAD_EXCHANGE,
        "x-max-length": service.max_length,
    }
    if service.queue_type == "quorum":
        arguments["x-delivery-limit"] = service.delivery_limit
    return arguments


async def declare(connection: Connection, service: Service) -> None:
    """Declare the exchanges and the service's queue. ``bind_service`` comes after it.

    What is the adapter's is declared only where it is missing, so that a service needs no right to it; what
    is kept of what died is the adapter's affair alone. A queue that exists with other arguments is used as
    it is: they cannot be changed, and calls are waiting. On channels of its own, since each refusal closes
    one.
    """
    for exchange in _EXCHANGES:
        await declare_missing(connection, exchange)
    await _queue(connection, Queue(service_queue(service.name), queue_arguments(service)))


async def bind_service(connection: Connection, service: Service) -> None:
    """Bind the service's queue to its events."""
    channel = await connection.channel()
    queue = service_queue(service.name)
    keys = sorted({f"{word(event)}.*" for event in service.events})
    await connection.in_time(bind_all(channel, [Binding(EVENTS_EXCHANGE, queue, key) for key in keys]))
    await channel.close()


async def keep_declaring(connection: Connection, service: Service) -> None:
    """Declare it, again until it is done.

    In a cluster a server that hangs holds up every declaration that is new; what was declared before
    can be consumed all the while.
    """
    while True:
        try:
            await declare(connection, service)
        except TimeoutError:
            _log.warning("%s: a declaration got no answer; trying again", service.name)
        else:
            return


async def declare_missing(connection: Connection, exchange: Exchange) -> None:
    """Declare an exchange where there is none. Raises BrokerUnavailable, also if the user may not make it."""
    for passive in (True, False):
        channel = await connection.channel()
        try:
            await connection.in_time(declare_exchange(channel, exchange, passive))
        except NotThere:
            continue
        except NotAllowed as exc:
            why = f"there is no exchange {exchange.name}: start an adapter first, which makes it"
            raise BrokerUnavailable(why) from exc
        await channel.close()
        return


async def _queue(connection: Connection, queue: Queue) -> None:
    channel = await connection.channel()
    try:
        await connection.in_time(declare_queue(channel, queue))
    except DeclaredOtherwise as exc:
        _log.warning("%s is used as it is: %s", queue.name, reason(exc))
    else:
        await channel.close()
