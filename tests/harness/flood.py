"""Many replies at once into a queue: written out, since a client's library takes seconds for 200,000."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from pamqp import frame
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from adapter.amqp.connection import Connection
from adapter.amqp.servers import parse_urls
from adapter.broker.rabbitmq.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import aiormq

AT_A_TIME: Final = 500
_MOST: Final = 100_000
"""Bytes of a body in one frame: RabbitMQ takes 131,064."""
PATIENCE: Final = 60.0
"""Seconds until all are in the queue."""


async def flood(
    url: str,
    queue: str,
    ids: Sequence[str],
    body: bytes,
    *,
    arguments: Mapping[str, Any] | None = None,
    content_type: str = "application/msgpack",
) -> None:
    """Declare the queue with these arguments, if any are given, and put a reply into it for each id.

    Returns once RabbitMQ has them all. All ids have the same length, and nobody consumes meanwhile.
    """
    connection = await Connection.open_any(parse_urls(url), Limits(1, 1.0))
    try:
        channel = await connection.channel()
        if arguments is not None:
            await channel.queue_declare(queue, durable=True, arguments=dict(arguments))
        there = await _messages(channel, queue)
        template = _frames(channel.number, queue, ids[0], body, content_type)
        place, own = template.index(ids[0].encode()), len(ids[0])
        before, after = template[:place], template[place + own :]
        for first in range(0, len(ids), AT_A_TIME):
            part = ids[first : first + AT_A_TIME]
            connection.wire.write(channel, b"".join(before + each.encode() + after for each in part))
            await asyncio.sleep(0)
        await _until_there(channel, queue, there + len(ids))
    finally:
        await connection.close(1.0)


def _frames(channel: int, queue: str, correlation_id: str, body: bytes, content_type: str) -> bytes:
    properties = Basic.Properties(correlation_id=correlation_id, content_type=content_type)
    parts: tuple[Any, ...] = (
        Basic.Publish(exchange="", routing_key=queue),
        ContentHeader(body_size=len(body), properties=properties),
        *(ContentBody(body[at : at + _MOST]) for at in range(0, len(body), _MOST)),
    )
    return b"".join(frame.marshal(each, channel) for each in parts)


async def _until_there(channel: aiormq.abc.AbstractChannel, queue: str, number: int) -> None:
    async with asyncio.timeout(PATIENCE):
        while await _messages(channel, queue) < number:
            await asyncio.sleep(0.02)


async def _messages(channel: aiormq.abc.AbstractChannel, queue: str) -> int:
    return (await channel.queue_declare(queue, passive=True)).message_count or 0
