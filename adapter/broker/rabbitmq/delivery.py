"""A message for a consumer of ours, with the properties that anybody asks for. Pure.

The usual properties are found without the library, which spends many times as long on them.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pamqp.commands import Basic
from pamqp.header import ContentHeader

from adapter.amqp import fields, reply_times
from adapter.amqp.fields import (
    CONTENT_TYPE,
    CORRELATION_ID,
    DELIVERY_MODE,
    ENCODING,
    EXPIRATION,
    HEADERS,
    MESSAGE_ID,
    MORE,
    PRIORITY,
    PROPERTIES,
    REPLY_TO,
)
from adapter.amqp.scanner import BEGINNING
from adapter.contract import HEADER_RECEIVED, HEADER_REPLIED, MAX_REPLY

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiormq.abc import DeliveredMessage

LOOKUP: Final = "application/vnd.evapi-adapter.lookup"
"""The content type of a message that asks whether a queue is there, and says nothing else: see ``lookup``."""

_flags: Final = struct.Struct(">H").unpack_from
_size: Final = struct.Struct(">I").unpack_from
_tag: Final = struct.Struct(">QB").unpack_from

_OF_TIME: Final = (HEADER_RECEIVED, HEADER_REPLIED)
_KIND: Final = CONTENT_TYPE | ENCODING | HEADERS | DELIVERY_MODE | PRIORITY
_UNUSUAL: Final = REPLY_TO | EXPIRATION | MORE
"""In what comes to us."""
_CACHED: Final = 512
"""Bytes of properties that are worth keeping decoded: a consumer gives the same with each reply."""


class Properties(NamedTuple):
    """Those that somebody asks for. The headers are shared: nobody changes them."""

    content_type: str | None
    headers: Mapping[str, Any]
    correlation_id: str | None
    times: tuple[int, int] | None = None
    """When a consumer had the request and gave the reply, in epoch microseconds."""

    @classmethod
    def of(cls, found: Basic.Properties) -> Properties:
        """Out of all, as the library decodes them."""
        return cls.told(found.content_type, found.headers or {}, found.correlation_id)

    @classmethod
    def told(
        cls, content_type: str | None, headers: Mapping[str, Any], correlation_id: str | None
    ) -> Properties:
        """With the times taken out of the headers."""
        received, replied = headers.get(HEADER_RECEIVED), headers.get(HEADER_REPLIED)
        times = None
        if type(received) is int and type(replied) is int:
            times = received, replied
            headers = {name: headers[name] for name in headers if name not in _OF_TIME}
        return cls(content_type, headers, correlation_id, times)


class Delivery(NamedTuple):
    """A message for a consumer of ours."""

    tag: int
    redelivered: bool
    exchange: str
    properties: Properties
    body: bytes
    size: int = 0
    """Of the body, where that is longer than ``MAX_REPLY``: then only its beginning is kept."""

    @classmethod
    def scanned(cls, method: bytes, header: bytes, body: bytes, size: int) -> Delivery:
        """Make one of what ``adapter.amqp.scanner`` found.

        The method has the consumer's tag, a delivery tag, a bit, an exchange and a routing key, which
        nobody asks for.
        """
        at = 5 + method[4]
        tag, redelivered = _tag(method, at)
        name = method[at + 10 : at + 10 + method[at + 9]]
        exchange = name.decode() if name else ""
        return cls(tag, bool(redelivered & 1), exchange, read_properties(header), body, size)

    @classmethod
    def of(cls, message: DeliveredMessage) -> Delivery:
        """One that came through the library, and has no consumer."""
        found = Properties.of(message.header.properties)
        body, size = message.body, len(message.body)
        if size > MAX_REPLY:
            body = body[:BEGINNING]
        tag, redelivered, exchange = message.delivery_tag or 0, bool(message.redelivered), message.exchange
        return cls(tag, redelivered, exchange or "", found, body, size if size > MAX_REPLY else 0)


def read_properties(header: bytes) -> Properties:
    """Read the properties of a content header.

    Gives what the library would; the usual ones are found without it. Where the library would raise,
    what Python cannot hold is left out (see ``adapter.amqp.fields``): one message must not cost the
    connection. Raises struct.error for a header that is too short to be one.
    """
    (flags,) = _flags(header, PROPERTIES - 2)
    try:
        found = None if flags & _UNUSUAL else _usual(header, flags)
    except Exception:
        found = None  # some value of it cannot be held
    return _read_on(header) if found is None else found


def _read_on(header: bytes) -> Properties:
    try:
        whole = ContentHeader()
        whole.unmarshal(header)
        return Properties.of(whole.properties)
    except Exception:  # whatever a decoder raises: it meets what anybody may send
        found = fields.properties(header)
        return Properties.told(found.content_type, found.headers, found.correlation_id)


def _usual(header: bytes, flags: int) -> Properties | None:
    """Those of a reply as most consumers send it. What differs from one to the next is an id or two."""
    at = PROPERTIES
    if flags & CONTENT_TYPE:
        at += 1 + header[at]
    if flags & ENCODING:
        at += 1 + header[at]
    table, times = at, None
    if flags & HEADERS:
        at += 4 + _size(header, at)[0]
        times = reply_times.found(header, table + 4, at)
    end = at
    at += bool(flags & DELIVERY_MODE) + bool(flags & PRIORITY)
    if times is None:
        raw = header[PROPERTIES:at]
    else:  # they differ with each reply: without them the rest is known
        length, cut = (end - table - 4 - reply_times.SIZE).to_bytes(4, "big"), times[2]
        rest = header[cut + reply_times.SIZE : at]
        raw = header[PROPERTIES:table] + length + header[table + 4 : cut] + rest
    kind = _decoded(flags & _KIND, raw)
    correlation_id = None
    if flags & CORRELATION_ID:
        start, at = at + 1, at + 1 + header[at]
        correlation_id = header[start:at].decode()
    if flags & MESSAGE_ID:
        at += 1 + header[at]
    if at > len(header):
        return None  # cut off
    return Properties(kind.content_type, kind.headers, correlation_id, times[:2] if times else kind.times)


def _decoded(flags: int, raw: bytes) -> Properties:
    return _known(flags, raw) if len(raw) <= _CACHED else _known.__wrapped__(flags, raw)


@lru_cache(maxsize=1024)
def _known(flags: int, raw: bytes) -> Properties:
    found = Basic.Properties()
    found.unmarshal(flags, raw)
    return Properties.of(found)
