"""AMQP frames, written out: the library's general encoder takes several times as long. Pure.

A publication is the method ``basic.publish``, a content header with the properties, and the body in as
many frames as the server's frame size asks for (AMQP 0-9-1, sections 2.3.5 and 4.2). What is the same in
many messages is made once: the method by ``publish_method``, the properties by whoever knows which they are.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import Final

METHOD, HEADER, BODY, HEARTBEAT = 1, 2, 3, 8
END: Final = b"\xce"
BASIC, PUBLISH, RETURN, DELIVER, ACK, REJECT, NACK = 60, 40, 50, 60, 80, 90, 120
TRANSIENT: Final = b"\x01"
"""The delivery mode of a message that need not outlive the server."""
INTEGER: Final = b"l"
"""The type of a header whose value is eight bytes with a sign (RabbitMQ's errata to the types)."""
MAX_TEXT: Final = 255
"""Bytes of a short string: a property or a name."""

_MANDATORY: Final = b"\x01"
_MULTIPLE, _REQUEUE = 1, 2

long: Final = struct.Struct(">q").pack
"""Packs the value of an integer header, or a timestamp."""
_frame_head: Final = struct.Struct(">BHI").pack
_header_head: Final = struct.Struct(">BHIHHQH").pack
_CONTENT_HEAD: Final = 14  # bytes, of class, weight, size and flags
_answer: Final = struct.Struct(">BHIHHQBB").pack


def message(method: bytes, channel: int, most: int, flags: int, properties: bytes, body: bytes) -> bytes:
    """Write a message out: what ``publish_method`` gave, and the frames of its content.

    Args:
        method: the whole frame of the method, for this channel.
        channel: the channel's number.
        most: bytes of a body that one frame takes.
        flags: which properties there are: the sum of the flags of ``fields``.
        properties: their values, in the order of the flags.
        body: the message's body.

    Returns:
        The frames, to be written in one piece.
    """
    size = len(body)
    head = _header_head(HEADER, channel, _CONTENT_HEAD + len(properties), BASIC, 0, size, flags)
    if 0 < size <= most:
        return b"".join((method, head, properties, END, _frame_head(BODY, channel, size), body, END))
    pieces = [method, head, properties, END]
    pieces += [_frame(BODY, channel, body[start : start + most]) for start in range(0, size, most)]
    return b"".join(pieces)


@lru_cache(maxsize=1024)
def publish_method(channel: int, exchange: str, routing_key: str) -> bytes:
    """Return the frame of a ``basic.publish`` whose message is returned if no queue gets it."""
    method = struct.pack(">HHH", BASIC, PUBLISH, 0) + short(exchange) + short(routing_key) + _MANDATORY
    return _frame(METHOD, channel, method)


def ack(channel: int, tag: int, multiple: bool) -> bytes:
    """Acknowledge a delivery; with ``multiple`` all before it, too."""
    return _answer(METHOD, channel, 13, BASIC, ACK, tag, multiple, END[0])


def reject(channel: int, tag: int) -> bytes:
    """Give a delivery to the dead letters."""
    return _answer(METHOD, channel, 13, BASIC, REJECT, tag, False, END[0])


def give_back(channel: int, tag: int) -> bytes:
    """Have a delivery and all before it, which are not acknowledged, delivered again."""
    return _answer(METHOD, channel, 13, BASIC, NACK, tag, _MULTIPLE | _REQUEUE, END[0])


def short(text: str) -> bytes:
    """Encode a short string. Raises ValueError for more than 255 bytes."""
    raw = text.encode()
    size = len(raw)
    if size > MAX_TEXT:
        raise ValueError(f"{size} bytes in a property, at most {MAX_TEXT} allowed")
    return size.to_bytes(1, "big") + raw


@lru_cache(maxsize=256)
def constant(text: str) -> bytes:
    """Encode a short string that comes again and again."""
    return short(text)


def text_field(name: str, value: str) -> bytes:
    """Encode a header whose value is a text."""
    raw = value.encode()
    return short(name) + b"S" + len(raw).to_bytes(4, "big") + raw


def texts_field(name: str, *values: str) -> bytes:
    """Encode a header whose value is an array of texts."""
    raw = b"".join([b"S" + len(each).to_bytes(4, "big") + each for each in map(str.encode, values)])
    return short(name) + b"A" + len(raw).to_bytes(4, "big") + raw


def integer_field(name: str) -> bytes:
    """Encode the name and type of a header whose value, an integer, follows (see ``long``)."""
    return short(name) + INTEGER


def _frame(kind: int, channel: int, payload: bytes) -> bytes:
    return _frame_head(kind, channel, len(payload)) + payload + END
