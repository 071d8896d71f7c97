"""The AMQP frames of a reply: see ``adapter.amqp.frames``. Pure."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from adapter.amqp import fields, reply_times
from adapter.amqp.frames import (
    TRANSIENT,
    constant,
    integer_field,
    long,
    message,
    publish_method,
    short,
    text_field,
)
from adapter.contract import APP_ID

if TYPE_CHECKING:
    from consumers.messages import Answer, Extension

_ALWAYS: Final = fields.HEADERS | fields.DELIVERY_MODE | fields.MESSAGE_ID | fields.APP_ID


def reply(
    channel: int,
    most: int,
    answer: Answer | Extension,
    body: bytes,
    to: str,
    message_id: str,
    received: float = 0.0,
    replied: float = 0.0,
) -> bytes:
    """Write a reply out, for a channel that takes ``most`` bytes of a body in a frame.

    ``received`` and ``replied``: when the request came and the reply left, in epoch seconds; they are
    the last of its headers. To the default exchange, and returned where no queue is called ``to``.
    Raises ValueError for properties that AMQP cannot carry.
    """
    flags, content_type, correlation_id = _ALWAYS, b"", b""
    if answer.content_type is not None:
        flags |= fields.CONTENT_TYPE
        content_type = constant(answer.content_type)
    if answer.correlation_id is not None:
        flags |= fields.CORRELATION_ID
        correlation_id = short(answer.correlation_id)
    properties = b"".join(
        (
            content_type,
            *_table(tuple(answer.headers.items())),
            reply_times.written(received, replied),
            TRANSIENT,
            correlation_id,
            short(message_id),
            constant(APP_ID),
        )
    )
    return message(publish_method(channel, "", to), channel, most, flags, properties, body)


@lru_cache(maxsize=256)
def _table(headers: tuple[tuple[str, str | int], ...]) -> tuple[bytes, bytes]:
    """The length of the headers with the times that follow, and the headers before these."""
    found = b"".join([_field(name, value) for name, value in headers])
    return (len(found) + reply_times.SIZE).to_bytes(4, "big"), found


def _field(name: str, value: str | int) -> bytes:
    return text_field(name, value) if isinstance(value, str) else integer_field(name) + long(value)
