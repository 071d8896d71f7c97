"""What a service declares on RabbitMQ: the same each time, by every instance."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import aiormq

from adapter.contract import (
    DEAD_EXCHANGE,
    DEAD_QUEUE,
    DEAD_QUEUE_ARGUMENTS,
    EVENTS_EXCHANGE,
    service_queue,
    word,
)
from consumers.amqp.connection import ANSWER_TIMEOUT, Connection, Lost, told

if TYPE_CHECKING:
    from consumers.service import Service

_log = logging.getLogger("consumers")


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
    """Declare the exchanges, the dead letters and the service's queue. ``bind`` comes after it.

    What is the adapter's is declared only where it is missing, so that a service needs no right to it.
    A queue that exists with other arguments is used as it is: they cannot be changed, and calls
    are waiting. On channels of its own, since each refusal closes one.
    """
    for exchange, kind in ((EVENTS_EXCHANGE, "topic"), (DEAD_EXCHANGE, "fanout")):
        await _exchange(connection, exchange, kind)
    channel = await _dead_queue(connection)
    queue = service_queue(service.name)
    channel = await _queue(connection, channel, queue, queue_arguments(service))
    await channel.close()


async def bind(connection: Connection, service: Service) -> None:
    """Bind the service's queue to its events, and the dead letters' to their exchange."""
    channel = await connection.channel()
    queue = service_queue(service.name)
    for key in sorted({f"{word(event)}.*" for event in service.events}):
        await channel.queue_bind(queue, EVENTS_EXCHANGE, key, timeout=ANSWER_TIMEOUT)
    try:
        await channel.queue_bind(DEAD_QUEUE, DEAD_EXCHANGE, timeout=ANSWER_TIMEOUT)
    except (aiormq.ChannelNotFoundEntity, aiormq.ChannelAccessRefused) as exc:
        _log.debug("%s is left to the adapter to bind: %s", DEAD_QUEUE, told(exc))
    else:
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


async def _exchange(connection: Connection, name: str, kind: str) -> None:
    """Declare an exchange where there is none."""
    channel = await connection.channel()
    try:
        await channel.exchange_declare(name, passive=True, timeout=ANSWER_TIMEOUT)
    except aiormq.ChannelNotFoundEntity:
        channel = await connection.channel()
        try:
            await channel.exchange_declare(name, exchange_type=kind, durable=True, timeout=ANSWER_TIMEOUT)
        except aiormq.ChannelAccessRefused as exc:
            raise Lost(f"there is no exchange {name}: start an adapter first, which makes it") from exc
    await channel.close()


async def _look(channel: aiormq.Channel, queue: str) -> None:
    """Raise ChannelNotFoundEntity where there is no such queue."""
    await channel.queue_declare(queue, passive=True, timeout=ANSWER_TIMEOUT)


async def _dead_queue(connection: Connection) -> aiormq.Channel:
    """Declare the queue of dead letters where there is none; gives the channel to go on with.

    It may be on a server of the cluster that is down. Calls do not wait for that one.
    """
    channel = await connection.channel()
    try:
        await _look(channel, DEAD_QUEUE)
    except (
        aiormq.ChannelAccessRefused
    ):  # RabbitMQ 4.3: it is the adapter's affair, whether it is there or not
        return await connection.channel()
    except aiormq.ChannelNotFoundEntity:
        channel = await connection.channel()
    except TimeoutError as exc:
        _log.warning("%s cannot be looked at: %s", DEAD_QUEUE, told(exc))
        return await connection.channel()
    else:
        return channel
    try:
        channel = await _queue(connection, channel, DEAD_QUEUE, dict(DEAD_QUEUE_ARGUMENTS))
    except (aiormq.ChannelNotFoundEntity, aiormq.ChannelAccessRefused, TimeoutError) as exc:
        _log.warning("%s cannot be declared: %s", DEAD_QUEUE, told(exc))
        return await connection.channel()
    return channel


async def _queue(
    connection: Connection, channel: aiormq.Channel, name: str, arguments: dict[str, Any]
) -> aiormq.Channel:
    """Declare a queue; gives the channel to go on with."""
    try:
        await channel.queue_declare(name, durable=True, arguments=arguments, timeout=ANSWER_TIMEOUT)
    except aiormq.ChannelPreconditionFailed as exc:
        _log.warning("%s is used as it is: %s", name, told(exc))
        return await connection.channel()
    return channel
