"""The AMQP frames that are written for each request: a reply, and what becomes of the request.

Written out, since the library's general encoder takes several times as long (AMQP 0-9-1,
sections 2.3.5 and 4.2).
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from adapter.contract import APP_ID, HEADER_RECEIVED, HEADER_REPLIED

if TYPE_CHECKING:
    from consumers.service import Answer

_METHOD, _HEADER, _BODY = 1, 2, 3
_END: Final = b"\xce"
_BASIC, _PUBLISH, _ACK, _REJECT = 60, 40, 80, 90
_MANDATORY: Final = b"\x01"
_TRANSIENT: Final = b"\x01"

_frame_head: Final = struct.Struct(">BHI").pack
_content_head: Final = struct.Struct(">HHQH").pack
_answer: Final = struct.Struct(">BHIHHQBB").pack
_RECEIVED: Final = bytes([len(HEADER_RECEIVED)]) + HEADER_RECEIVED.encode() + b"l"
_REPLIED: Final = bytes([len(HEADER_REPLIED)]) + HEADER_REPLIED.encode() + b"l"
_times: Final = struct.Struct(f">{len(_RECEIVED)}sq{len(_REPLIED)}sq").pack
_TIMES: Final = len(_RECEIVED) + len(_REPLIED) + 16

# The properties that are there, in the order in which they follow.
_CONTENT_TYPE, _HEADERS, _DELIVERY_MODE, _CORRELATION_ID = 1 << 15, 1 << 13, 1 << 12, 1 << 10
_MESSAGE_ID, _APP_ID = 1 << 7, 1 << 3
_ALWAYS: Final = _HEADERS | _DELIVERY_MODE | _MESSAGE_ID | _APP_ID


def reply(
    channel: int,
    most: int,
    answer: Answer,
    body: bytes,
    to: str,
    message_id: str,
    received: float = 0.0,
    replied: float = 0.0,
) -> bytes:
    """The frames of a reply for a channel that takes ``most`` bytes of a body in a frame.

    ``received`` and ``replied``: when the request came and the reply left, in epoch seconds; they are
    the last of its headers. To the default exchange, and returned where no queue is called ``to``.
    Raises ValueError for properties that AMQP cannot carry.
    """
    flags, content_type, correlation_id = _ALWAYS, b"", b""
    if answer.content_type is not None:
        flags |= _CONTENT_TYPE
        content_type = _constant(answer.content_type)
    if answer.correlation_id is not None:
        flags |= _CORRELATION_ID
        correlation_id = _short(answer.correlation_id)
    head = b"".join(
        (
            _content_head(_BASIC, 0, len(body), flags),
            content_type,
            *_table(tuple(answer.headers.items())),
            _times(_RECEIVED, round(received * 1e6), _REPLIED, round(replied * 1e6)),
            _TRANSIENT,
            correlation_id,
            _short(message_id),
            _constant(APP_ID),
        )
    )
    pieces = [_method(channel, to), _frame_head(_HEADER, channel, len(head)), head, _END]
    for start in range(0, len(body), most):
        part = body[start : start + most]
        pieces += _frame_head(_BODY, channel, len(part)), part, _END
    return b"".join(pieces)


def ack(channel: int, tag: int, multiple: bool) -> bytes:
    """Acknowledge a request; with ``multiple`` all before it, too."""
    return _answer(_METHOD, channel, 13, _BASIC, _ACK, tag, multiple, _END[0])


def reject(channel: int, tag: int) -> bytes:
    """Give a request to the dead letters."""
    return _answer(_METHOD, channel, 13, _BASIC, _REJECT, tag, False, _END[0])


@lru_cache(maxsize=1024)
def _method(channel: int, to: str) -> bytes:
    method = struct.pack(">HHH", _BASIC, _PUBLISH, 0) + _short("") + _short(to) + _MANDATORY
    return _frame_head(_METHOD, channel, len(method)) + method + _END


@lru_cache(maxsize=64)
def _table(headers: tuple[tuple[str, str], ...]) -> tuple[bytes, bytes]:
    """The length of the headers with the times that follow, and the headers before these."""
    fields = b""
    for name, value in headers:
        raw = value.encode()
        fields += _short(name) + b"S" + len(raw).to_bytes(4, "big") + raw
    return (len(fields) + _TIMES).to_bytes(4, "big"), fields


@lru_cache(maxsize=64)
def _constant(text: str) -> bytes:
    return _short(text)


def _short(text: str) -> bytes:
    raw = text.encode()
    if len(raw) > 255:
        raise ValueError(f"{len(raw)} bytes in a property, at most 255 allowed")
    return len(raw).to_bytes(1, "big") + raw
