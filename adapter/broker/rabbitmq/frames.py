"""The AMQP frames of each call, written out: the library's general encoder takes several times as long.

A publication is the method ``basic.publish``, a content header with the properties of the
contract, and the body in as many frames as the server's frame size asks for (AMQP 0-9-1,
sections 2.3.5 and 4.2).
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from adapter import contract

if TYPE_CHECKING:
    from adapter.ports.broker import Publication

_METHOD, _HEADER, _BODY = 1, 2, 3
_END: Final = b"\xce"
_CLASS_BASIC, _PUBLISH, _ACK, _NACK = 60, 40, 80, 120
_CONTENT_HEAD: Final = 14  # bytes, of class, weight, size and flags
_INTEGER: Final = b"l"
_MANDATORY: Final = b"\x01"
_TRANSIENT: Final = b"\x01"
_MULTIPLE, _REQUEUE = 1, 2

_TIME_LEFT: Final = (
    len(contract.HEADER_TIME_LEFT).to_bytes(1, "big") + contract.HEADER_TIME_LEFT.encode() + _INTEGER
)

_times: Final = struct.Struct(f">q{len(_TIME_LEFT)}sq").pack
_frame_head: Final = struct.Struct(">BHI").pack
_header_head: Final = struct.Struct(">BHIHHQH").pack
_long: Final = struct.Struct(">q").pack
_answer: Final = struct.Struct(">BHIHHQBB").pack

# The properties that are there, in the order in which they follow.
_CONTENT_TYPE, _HEADERS, _DELIVERY_MODE, _CORRELATION_ID = 1 << 15, 1 << 13, 1 << 12, 1 << 10
_REPLY_TO, _EXPIRATION, _MESSAGE_ID, _TIMESTAMP = 1 << 9, 1 << 8, 1 << 7, 1 << 6
_TYPE, _USER_ID, _APP_ID = 1 << 5, 1 << 4, 1 << 3
_NOTICE: Final = _CONTENT_TYPE | _HEADERS | _DELIVERY_MODE | _MESSAGE_ID | _TIMESTAMP | _TYPE | _APP_ID
_REQUEST: Final = _NOTICE | _CORRELATION_ID | _REPLY_TO | _EXPIRATION


class _Route(NamedTuple):
    """What is the same in every request, and in every notice, of one event of one node."""

    method: bytes
    notice: bytes
    """Its first properties."""
    request: bytes
    """Its first properties, up to the value of the deadline."""
    reply_to: bytes
    end: bytes


def encode(
    channel: int,
    most: int,
    publication: Publication,
    message_id: str,
    now: int,
    left: int,
    reply_to: str,
    user: str = "",
) -> bytes:
    """The frames of a publication for a channel that takes ``most`` bytes of a body in a frame.

    ``now`` in epoch seconds; ``left`` in milliseconds, of no interest to a notice, nor is ``reply_to``.
    ``user``: as whom the server knows us, for the property ``user_id``, which is left out where that is
    empty.
    """
    event, node, body, correlation_id, deadline = (
        publication.event,
        publication.node,
        publication.body,
        publication.correlation_id,
        publication.deadline,
    )
    trace = _trace(publication.traceparent) if publication.traceparent else b""
    route = _route(channel, event, node, len(trace), reply_to, user)
    stamp, size = _short(message_id), len(body)
    if correlation_id is None or deadline is None:
        flags = _NOTICE
        properties = b"".join((route.notice, stamp, _long(now), route.end))
    else:
        flags = _REQUEST
        properties = b"".join(
            (
                route.request,
                _times(round(deadline * 1000), _TIME_LEFT, left),
                trace,
                _TRANSIENT,
                stamp if correlation_id == message_id else _short(correlation_id),
                route.reply_to,
                _expiration(left),
                stamp,
                _long(now),
                route.end,
            )
        )
    if user:
        flags |= _USER_ID
    head = _header_head(_HEADER, channel, _CONTENT_HEAD + len(properties), _CLASS_BASIC, 0, size, flags)
    if 0 < size <= most:
        whole = _frame_head(_BODY, channel, size)
        return b"".join((route.method, head, properties, _END, whole, body, _END))
    pieces = [route.method, head, properties, _END]
    pieces += [_frame(_BODY, channel, body[start : start + most]) for start in range(0, size, most)]
    return b"".join(pieces)


def ack(channel: int, tag: int, multiple: bool) -> bytes:
    """Acknowledge a delivery; with ``multiple`` all before it, too."""
    return _answer(_METHOD, channel, 13, _CLASS_BASIC, _ACK, tag, multiple, _END[0])


def give_back(channel: int, tag: int) -> bytes:
    """Have a delivery and all before it, which are not acknowledged, delivered again."""
    return _answer(_METHOD, channel, 13, _CLASS_BASIC, _NACK, tag, _MULTIPLE | _REQUEUE, _END[0])


@lru_cache(maxsize=1024)
def _route(channel: int, event: str, node: str, more: int, reply_to: str, user: str) -> _Route:
    """``more``: bytes of the headers that follow the time left."""
    key = contract.routing_key(event, node)
    method = struct.pack(">HHH", _CLASS_BASIC, _PUBLISH, 0)
    method += _short(contract.EVENTS_EXCHANGE) + _short(key) + _MANDATORY
    name = node.encode()
    always = _short(contract.HEADER_NODE) + b"S" + len(name).to_bytes(4, "big") + name
    always += _short(contract.HEADER_VERSION) + _INTEGER + _long(contract.VERSION)
    deadline = _short(contract.HEADER_DEADLINE) + _INTEGER
    kind = _short(contract.MSGPACK)
    with_deadline = len(always) + len(deadline) + 8 + len(_TIME_LEFT) + 8 + more
    return _Route(
        _frame(_METHOD, channel, method),
        kind + len(always).to_bytes(4, "big") + always + _TRANSIENT,
        kind + with_deadline.to_bytes(4, "big") + always + deadline,
        _short(reply_to),
        _short(event) + (_short(user) if user else b"") + _short(contract.APP_ID),
    )


@lru_cache(maxsize=4096)
def _expiration(left: int) -> bytes:
    return _short(str(left))


def _trace(traceparent: str) -> bytes:
    raw = traceparent.encode()
    return _short(contract.HEADER_TRACEPARENT) + b"S" + len(raw).to_bytes(4, "big") + raw


def _frame(kind: int, channel: int, payload: bytes) -> bytes:
    return _frame_head(kind, channel, len(payload)) + payload + _END


def _short(text: str) -> bytes:
    """A short string. Raises OverflowError over 255 bytes: names are bounded where they come in."""
    raw = text.encode()
    return len(raw).to_bytes(1, "big") + raw
