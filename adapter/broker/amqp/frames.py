"""The AMQP frames of a request, written out: the library's general encoder takes several times as long.

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
    from adapter.broker.base import Publication

_METHOD, _HEADER, _BODY = 1, 2, 3
_END: Final = b"\xce"
_CLASS_BASIC, _PUBLISH = 60, 40
_MANDATORY: Final = b"\x01"
_TRANSIENT: Final = b"\x01"

_frame_head: Final = struct.Struct(">BHI").pack
_content_head: Final = struct.Struct(">HHQH").pack

# The properties that are there, in the order in which they follow.
_CONTENT_TYPE, _HEADERS, _DELIVERY_MODE, _CORRELATION_ID = 1 << 15, 1 << 13, 1 << 12, 1 << 10
_REPLY_TO, _EXPIRATION, _MESSAGE_ID, _TIMESTAMP = 1 << 9, 1 << 8, 1 << 7, 1 << 6
_TYPE, _APP_ID = 1 << 5, 1 << 3
_NOTICE: Final = _CONTENT_TYPE | _HEADERS | _DELIVERY_MODE | _MESSAGE_ID | _TIMESTAMP | _TYPE | _APP_ID
_REQUEST: Final = _NOTICE | _CORRELATION_ID | _REPLY_TO | _EXPIRATION


class _Route(NamedTuple):
    """What is the same in every request of one event of one node."""

    method: bytes
    headers: bytes
    reply_to: bytes
    end: bytes


def encode(channel: int, most: int, publication: Publication, message_id: str, now: int, left: int) -> bytes:
    """The frames of a publication for a channel that takes ``most`` bytes of a body in a frame.

    ``now`` in epoch seconds; ``left`` in milliseconds, of no interest to a notice.
    """
    body = publication.body
    route = _route(channel, publication.event, publication.node)
    stamp = _short(message_id) + now.to_bytes(8, "big") + route.end
    if publication.correlation_id is None or publication.deadline is None:
        flags, table, middle = _NOTICE, route.headers, b""
    else:
        flags = _REQUEST
        table = route.headers + _integer(contract.HEADER_DEADLINE, round(publication.deadline * 1000))
        middle = _short(publication.correlation_id) + route.reply_to + _short(str(left))
    head = b"".join(
        (
            _content_head(_CLASS_BASIC, 0, len(body), flags),
            _short(contract.MSGPACK),
            len(table).to_bytes(4, "big"),
            table,
            _TRANSIENT,
            middle,
            stamp,
        )
    )
    pieces = [route.method, _frame(_HEADER, channel, head)]
    pieces += [_frame(_BODY, channel, body[start : start + most]) for start in range(0, len(body), most)]
    return b"".join(pieces)


@lru_cache(maxsize=1024)
def _route(channel: int, event: str, node: str) -> _Route:
    key = contract.routing_key(event, node)
    method = struct.pack(">HHH", _CLASS_BASIC, _PUBLISH, 0)
    method += _short(contract.EVENTS_EXCHANGE) + _short(key) + _MANDATORY
    name = node.encode()
    headers = _short(contract.HEADER_NODE) + b"S" + len(name).to_bytes(4, "big") + name
    headers += _integer(contract.HEADER_VERSION, contract.VERSION)
    return _Route(
        _frame(_METHOD, channel, method),
        headers,
        _short(contract.results_queue(node)),
        _short(event) + _short(contract.APP_ID),
    )


def _frame(kind: int, channel: int, payload: bytes) -> bytes:
    return _frame_head(kind, channel, len(payload)) + payload + _END


def _short(text: str) -> bytes:
    """A short string. Raises OverflowError over 255 bytes: names are bounded where they come in."""
    raw = text.encode()
    return len(raw).to_bytes(1, "big") + raw


def _integer(name: str, value: int) -> bytes:
    return _short(name) + b"l" + value.to_bytes(8, "big", signed=True)
