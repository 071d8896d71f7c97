"""A request as RabbitMQ delivers it. Pure."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final

from pamqp.header import ContentHeader

from adapter.amqp import fields
from adapter.amqp.fields import (
    CONTENT_TYPE,
    CORRELATION_ID,
    DELIVERY_MODE,
    ENCODING,
    EXPIRATION,
    HEADERS,
    MESSAGE_ID,
    PRIORITY,
    PROPERTIES,
    REPLY_TO,
    TIMESTAMP,
    TYPE,
    USER_ID,
)
from adapter.contract import HEADER_DIRECT, MAX_BODY

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pamqp.commands import Basic

_tag: Final = struct.Struct(">Q").unpack_from
_flags: Final = struct.Struct(">H").unpack_from
_size: Final = struct.Struct(">I").unpack_from
_long: Final = struct.Struct(">q").unpack_from

_EXCHANGE: Final = 14
"""Where the length of the exchange's name stands, if the consumer tag is empty: behind that, the delivery tag
and the flag ``redelivered`` (AMQP 0-9-1, 1.8.3.14)."""

_STRING, _INTEGER = ord("S"), ord("l")


class PropertiesError(ValueError):
    """The properties of a message cannot be read; the text says why."""


class Delivery:
    """A request as it came. ``read()`` comes first: before it, ``tag`` and ``body`` alone are there.

    ``received``: when it came, in epoch seconds, where somebody noted it.
    """

    __slots__ = (
        "_header",
        "_method",
        "_rest",
        "_size",
        "_table",
        "body",
        "correlation_id",
        "received",
        "reply_to",
        "tag",
    )

    request: Mapping[str, Any] | None = None
    """Its body, if that was decoded with others that came in the same message."""
    lasts: Any = None
    """The milliseconds that this message had when it was published, likewise."""
    lost: bool = False
    """Whether its message, done with, is to be rejected: see ``several.Part``."""

    def __init__(self, tag: int, header: bytes, body: bytes, size: int = 0, method: bytes = b"") -> None:
        self.tag = tag
        self._method = method
        self.body = body
        self._size = size  # of the body, where only its beginning is here
        self.correlation_id: str | None = None
        self.reply_to: str | None = None
        self.received = 0.0
        self._header = header
        self._rest = 0  # where what follows reply_to begins
        self._table = b""

    @classmethod
    def scanned(cls, method: bytes, header: bytes, body: bytes, size: int) -> Delivery:
        """Make one of what ``adapter.amqp.scanner`` found. The method begins with two tags."""
        (tag,) = _tag(method, 5 + method[4])
        return cls(tag, header, body, size, method)

    def read(self) -> None:
        """Read the properties. Raises PropertiesError."""
        try:
            self._read()
        except (ValueError, IndexError, struct.error) as exc:
            raise PropertiesError(f"properties: {exc}") from exc

    def _read(self) -> None:
        header = self._header
        (flags,) = _flags(header, PROPERTIES - 2)
        at = PROPERTIES
        if flags & CONTENT_TYPE:
            at += 1 + header[at]
        if flags & ENCODING:
            at += 1 + header[at]
        if flags & HEADERS:
            end = at + 4 + _size(header, at)[0]
            self._table = header[at:end]
            at = end
        if flags & DELIVERY_MODE:
            at += 1
        if flags & PRIORITY:
            at += 1
        if flags & CORRELATION_ID:
            end = at + 1 + header[at]
            self.correlation_id = header[at + 1 : end].decode()
            at = end
        if flags & REPLY_TO:
            end = at + 1 + header[at]
            self.reply_to = header[at + 1 : end].decode()
            at = end
        if not self.reply_to:
            self.correlation_id = None  # nobody waits for an answer, whatever it says
        if at > len(header):
            raise ValueError(f"{len(header)} bytes, at least {at} expected")
        self._rest = at

    def settle(self, lost: bool = False) -> bool:
        """Note that it is done with. Return True if its message is."""
        return True

    @property
    def content(self) -> bytes:
        """The body, to be sent on."""
        return self.body

    @property
    def direct(self) -> bool:
        """Whether it came straight to its queue, by the exchange without a name: nobody else got it."""
        method = self._method
        return bool(method) and not method[_EXCHANGE + method[4]]

    @property
    def user_id(self) -> str | None:
        """As whom RabbitMQ knew the sender, if the message says so. Raises PropertiesError."""
        header, at = self._header, self._rest
        try:
            (flags,) = _flags(header, PROPERTIES - 2)
            for flag in (EXPIRATION, MESSAGE_ID):
                if flags & flag:
                    at += 1 + header[at]
            if flags & TIMESTAMP:
                at += 8
            if flags & TYPE:
                at += 1 + header[at]
            return header[at + 1 : at + 1 + header[at]].decode() if flags & USER_ID else None
        except (ValueError, IndexError) as exc:
            raise PropertiesError(f"properties: {exc}") from exc

    def properties(self) -> Basic.Properties:
        """All of the properties, to be sent on. Raises what the library's decoder raises."""
        found = ContentHeader()
        found.unmarshal(self._header)
        return found.properties

    @property
    def headers(self) -> Mapping[str, Any]:
        """The message's headers. Raises PropertiesError, also for a body that is too long to be read."""
        if self._size:
            raise PropertiesError(f"a body of {self._size} bytes, at most {MAX_BODY} are read")
        try:
            return _headers(self._table)
        except (ValueError, IndexError, struct.error) as exc:
            raise PropertiesError(f"headers: {exc}") from exc


class PassedOn(Delivery):
    """A request that another instance of the service has passed on: it says how it came there."""

    __slots__ = ()

    @property
    def direct(self) -> bool:
        """Whether it came straight to the queue of the service. Raises PropertiesError."""
        return self.headers.get(HEADER_DIRECT) == 1


def _headers(table: bytes) -> Mapping[str, Any]:
    """A table of strings and integers, such as the adapter's; any other by the reader of all."""
    found: dict[str, Any] = {}
    at, end = 4, len(table)
    while at < end:
        start = at + 1
        at = start + table[at]
        name, kind = table[start:at].decode(), table[at]
        at += 1
        if kind == _STRING:
            start = at + 4
            at = start + _size(table, at)[0]
            found[name] = table[start:at].decode()
        elif kind == _INTEGER:
            found[name] = _long(table, at)[0]
            at += 8
        else:
            return fields.table(table)
    if at > end > 0:
        raise ValueError(f"a table of {end} bytes, at least {at} expected")
    return found
