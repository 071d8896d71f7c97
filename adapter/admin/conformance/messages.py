"""Requests on the wire as the adapter writes them, and what a question changes in them. Pure.

``adapter.broker.rabbitmq.frames`` writes the whole message, so that a consumer meets the very bytes that it
gets from an adapter. Only where a question asks for more are its frames taken apart.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pamqp import encode

from adapter import contract
from adapter.amqp import fields
from adapter.amqp.frames import END, HEADER, integer_field, long, publish_method, short
from adapter.broker.rabbitmq import frames
from adapter.ports.broker import Publication

if TYPE_CHECKING:
    from collections.abc import Mapping

    from adapter.admin.conformance.questions import Content

_HEAD: Final = 7  # bytes of a frame before its payload
_frame_head: Final = struct.Struct(">BHI")
_TIME_LEFT: Final = integer_field(contract.HEADER_TIME_LEFT)


@dataclass(frozen=True, slots=True)
class Way:
    """Where requests go.

    Args:
        exchange: empty: the default exchange, which gives it to the queue ``key`` and to nobody else.
        key: the routing key.
        user: as whom RabbitMQ knows the kit; empty: it does not tell.
        mqtt: whether requests name the topic by which MQTT clients reply.
    """

    exchange: str
    key: str
    user: str = ""
    mqtt: bool = False


@dataclass(frozen=True, slots=True)
class Addressed:
    """Whose request it is: its event and node, its id, whether somebody waits, and where the reply goes."""

    event: str
    node: str
    id: str
    notice: bool
    reply_to: str


def written(
    line: tuple[int, int], way: Way, to: Addressed, content: Content, now: float, timeout: float
) -> bytes:
    """Return the frames of a request.

    Args:
        line: the channel's number, and how many bytes of a body one frame of it takes.
        way: where it goes.
        to: whose it is.
        content: what is particular about it.
        now: epoch seconds.
        timeout: seconds until RabbitMQ drops it, and until its deadline unless that is over.
    """
    channel, most = line
    deadline = now - content.past if content.past else now + timeout
    publication = Publication(
        to.event,
        to.node,
        content.body,
        None if to.notice else to.id,
        None if to.notice else deadline,
    )
    left = round(timeout * 1000)
    raw = frames.encode(channel, most, publication, to.id, int(now), left, to.reply_to, way.user, way.mqtt)
    method, header, rest = _cut(raw)
    if way.exchange != contract.EVENTS_EXCHANGE:
        method = publish_method(channel, way.exchange, way.key)
    if content.past:
        header = _with_time_left(header, -round(content.past * 1000))
    if content.headers:
        header = _with_headers(header, content.headers)
    if to.notice:
        header = _with_expiration(header, left)
    return method + _frame_head.pack(HEADER, channel, len(header)) + header + END + rest


def _cut(raw: bytes) -> tuple[bytes, bytes, bytes]:
    """The frame of the method, the payload of the header's, and the frames of the body."""
    _, _, size = _frame_head.unpack_from(raw)
    method = raw[: _HEAD + size + 1]
    at = len(method)
    _, _, size = _frame_head.unpack_from(raw, at)
    end = at + _HEAD + size
    return method, raw[at + _HEAD : end], raw[end + 1 :]


def _with_time_left(header: bytes, left: int) -> bytes:
    """A content header with another ``x-time-left``, in milliseconds."""
    before, name, after = header.partition(_TIME_LEFT)
    assert name, "a request says how much time is left"
    return before + name + long(left) + after[8:]


def _with_expiration(header: bytes, left: int) -> bytes:
    """The content header of a notice, with an expiration in milliseconds.

    The adapter's notices have none. One of the kit's must not stay on a queue that nobody consumes.
    """
    flags = int.from_bytes(header[fields.PROPERTIES - 2 : fields.PROPERTIES], "big") | fields.EXPIRATION
    at = _headers(header)[1] + 1  # behind the delivery mode
    head = header[: fields.PROPERTIES - 2] + flags.to_bytes(2, "big") + header[fields.PROPERTIES : at]
    return head + short(str(left)) + header[at:]


def _with_headers(header: bytes, more: Mapping[str, Any]) -> bytes:
    """A content header with more headers, behind those that it has."""
    start, end = _headers(header)
    table = header[start + 4 : end] + encode.field_table(dict(more))[4:]
    return header[:start] + len(table).to_bytes(4, "big") + table + header[end:]


def _headers(header: bytes) -> tuple[int, int]:
    """Where the table of headers begins and ends: behind the content type."""
    start = fields.PROPERTIES + 1 + header[fields.PROPERTIES]
    return start, start + 4 + int.from_bytes(header[start : start + 4], "big")
