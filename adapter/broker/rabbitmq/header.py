"""The content header of a message: how long its body is, and the properties that anybody asks for; pure.

The usual ones are found without the library, which spends many times as long on them.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pamqp.commands import Basic
from pamqp.header import ContentHeader

from adapter.amqp import fields
from adapter.contract import HEADER_RECEIVED, HEADER_REPLIED

if TYPE_CHECKING:
    from collections.abc import Mapping

_HEAD: Final = 7  # bytes of a frame before its payload

_content_head: Final = struct.Struct(">HHQH").unpack_from
_size: Final = struct.Struct(">I").unpack_from
_body_size: Final = struct.Struct(">Q").unpack_from

_OF_TIME: Final = (HEADER_RECEIVED, HEADER_REPLIED)
_RECEIVED: Final = bytes([len(HEADER_RECEIVED)]) + HEADER_RECEIVED.encode() + b"l"
_REPLIED: Final = bytes([len(HEADER_REPLIED)]) + HEADER_REPLIED.encode() + b"l"
_times: Final = struct.Struct(f">q{len(_REPLIED)}sq").unpack_from
_TIMES: Final = len(_RECEIVED) + len(_REPLIED) + 16

_PROPERTIES: Final = 14  # where they begin in a header
_CONTENT_TYPE, _ENCODING, _HEADERS = 1 << 15, 1 << 14, 1 << 13
_MODE, _PRIORITY, _CORRELATION_ID, _MESSAGE_ID = 1 << 12, 1 << 11, 1 << 10, 1 << 7
_KIND: Final = _CONTENT_TYPE | _ENCODING | _HEADERS | _MODE | _PRIORITY
_MORE: Final = 1 << 9 | 1 << 8 | 1  # reply-to, expiration, further flags: unusual in what comes to us
_CACHED: Final = 512
"""Bytes of properties that are worth keeping decoded: a consumer gives the same with each reply."""


class Properties(NamedTuple):
    """Those that somebody asks for. The headers are shared: nobody changes them."""

    content_type: str | None
    headers: Mapping[str, Any]
    correlation_id: str | None
    message_id: str | None
    times: tuple[int, int] | None = None
    """When a consumer had the request and gave the reply, in epoch microseconds."""

    @classmethod
    def of(cls, found: Basic.Properties) -> Properties:
        """Out of all, as the library decodes them."""
        return cls.told(found.content_type, found.headers or {}, found.correlation_id, found.message_id)

    @classmethod
    def told(
        cls,
        content_type: str | None,
        headers: Mapping[str, Any],
        correlation_id: str | None,
        message_id: str | None,
    ) -> Properties:
        """With the times taken out of the headers."""
        received, replied = headers.get(HEADER_RECEIVED), headers.get(HEADER_REPLIED)
        times = None
        if type(received) is int and type(replied) is int:
            times = received, replied
            headers = {name: headers[name] for name in headers if name not in _OF_TIME}
        return cls(content_type, headers, correlation_id, message_id, times)


def read_header(header: bytes) -> tuple[int, Properties]:
    """The size of the body, and the properties.

    Gives what the library would; the usual ones are found without it. Where the library would raise,
    what Python cannot hold is left out (see ``adapter.amqp.fields``): one message must not cost the
    connection. Raises struct.error for a header that is too short to be one.
    """
    _, _, size, flags = _content_head(header)
    try:
        found = None if flags & _MORE else _usual(header, flags)
    except Exception:
        found = None  # some value of it cannot be held
    return size, _read_on(header) if found is None else found


def _read_on(header: bytes) -> Properties:
    try:
        whole = ContentHeader()
        whole.unmarshal(header)
        return Properties.of(whole.properties)
    except Exception:  # whatever a decoder raises: it meets what anybody may send
        found = fields.properties(header)
        return Properties.told(found.content_type, found.headers, found.correlation_id, found.message_id)


def readable(frame: bytes) -> bytes:
    """A header's frame as the library can read it: properties that it cannot are left out."""
    header = frame[_HEAD:-1]
    try:
        ContentHeader().unmarshal(header)
    except Exception:
        kept = _rewritten(header) if len(header) >= _PROPERTIES else header
        return frame[:3] + len(kept).to_bytes(4, "big") + kept + frame[-1:]
    return frame


def _rewritten(header: bytes) -> bytes:
    found = fields.properties(header)
    (size,) = _body_size(header, 4)
    texts: dict[str, Any] = {
        "content_type": found.content_type,
        "correlation_id": found.correlation_id,
        "reply_to": found.reply_to,
        "message_id": found.message_id,
    }
    try:
        properties = Basic.Properties(headers=found.headers, **texts)
        return ContentHeader(body_size=size, properties=properties).marshal()
    except Exception:  # it reads values that it cannot write
        return ContentHeader(body_size=size, properties=Basic.Properties(**texts)).marshal()


def _usual(header: bytes, flags: int) -> Properties | None:
    """Those of a reply as most consumers send it. What differs from one to the next is an id or two."""
    at = _PROPERTIES
    if flags & _CONTENT_TYPE:
        at += 1 + header[at]
    if flags & _ENCODING:
        at += 1 + header[at]
    table, times = at, None
    if flags & _HEADERS:
        at += 4 + _size(header, at)[0]
        times = _times_at(header, at - _TIMES)
    end = at
    at += bool(flags & _MODE) + bool(flags & _PRIORITY)
    if times is None:
        raw = header[_PROPERTIES:at]
    else:  # they differ with each reply: without them the rest is known
        length = (end - table - 4 - _TIMES).to_bytes(4, "big")
        raw = header[_PROPERTIES:table] + length + header[table + 4 : end - _TIMES] + header[end:at]
    kind = _decoded(flags & _KIND, raw)
    correlation_id = message_id = None
    if flags & _CORRELATION_ID:
        start, at = at + 1, at + 1 + header[at]
        correlation_id = header[start:at].decode()
    if flags & _MESSAGE_ID:
        start, at = at + 1, at + 1 + header[at]
        message_id = header[start:at].decode()
    if at > len(header):
        return None  # cut off
    return Properties(kind.content_type, kind.headers, correlation_id, message_id, times or kind.times)


def _times_at(header: bytes, at: int) -> tuple[int, int] | None:
    """The times, where they stand there as the SDK writes them: the last of the headers."""
    if at < 0 or not header.startswith(_RECEIVED, at):
        return None
    received, name, replied = _times(header, at + len(_RECEIVED))
    return (received, replied) if name == _REPLIED else None


def _decoded(flags: int, raw: bytes) -> Properties:
    return _known(flags, raw) if len(raw) <= _CACHED else _known.__wrapped__(flags, raw)


@lru_cache(maxsize=1024)
def _known(flags: int, raw: bytes) -> Properties:
    found = Basic.Properties()
    found.unmarshal(flags, raw)
    return Properties.of(found)
