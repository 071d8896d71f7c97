"""What the server sends, cut into AMQP frames; pure.

Of a channel that is tapped, the requests that are delivered and what becomes of the replies are
taken out; every other byte is the library's, which spends many times as long on a frame
(AMQP 0-9-1, sections 2.3.5 and 4.2).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pamqp import header

from adapter.amqp import fields

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pamqp import commands

_METHOD, _HEADER, _BODY, _HEARTBEAT = 1, 2, 3, 8
_KINDS: Final = frozenset((_METHOD, _HEADER, _BODY, _HEARTBEAT))
_HEAD: Final = 7
_END: Final = 0xCE
_BASIC: Final = 60 << 16
_RETURN, _DELIVER, _ACK, _NACK = _BASIC | 50, _BASIC | 60, _BASIC | 80, _BASIC | 120

_frame_head: Final = struct.Struct(">BHI").unpack_from
_method: Final = struct.Struct(">I").unpack_from
_confirm: Final = struct.Struct(">IQB").unpack
_tag: Final = struct.Struct(">Q").unpack_from
_content_head: Final = struct.Struct(">HHQH").unpack_from
_size: Final = struct.Struct(">I").unpack_from
_long: Final = struct.Struct(">q").unpack_from

# The properties that are looked at or passed over, in the order in which they follow.
_CONTENT_TYPE, _ENCODING, _HEADERS, _MODE, _PRIORITY = 1 << 15, 1 << 14, 1 << 13, 1 << 12, 1 << 11
_CORRELATION_ID, _REPLY_TO = 1 << 10, 1 << 9
_EXPIRATION, _MESSAGE_ID, _TIMESTAMP, _TYPE, _USER_ID = 1 << 8, 1 << 7, 1 << 6, 1 << 5, 1 << 4
_PROPERTIES: Final = 14

_STRING, _INTEGER = ord("S"), ord("l")


class PropertiesError(ValueError):
    """The properties of a message cannot be read; the text says why."""


class Delivery:
    """A request as it came. ``read()`` comes first: before it, ``tag`` and ``body`` alone are there.

    ``received``: when it came, in epoch seconds, where somebody noted it.
    """

    __slots__ = ("_header", "_rest", "_table", "body", "correlation_id", "received", "reply_to", "tag")

    def __init__(self, tag: int, header: bytes, body: bytes) -> None:
        self.tag = tag
        self.body = body
        self.correlation_id: str | None = None
        self.reply_to: str | None = None
        self.received = 0.0
        self._header = header
        self._rest = 0  # where what follows reply_to begins
        self._table = b""

    def read(self) -> None:
        """Read the properties. Raises PropertiesError."""
        try:
            self._read()
        except (ValueError, IndexError, struct.error) as exc:
            raise PropertiesError(f"properties: {exc}") from exc

    def _read(self) -> None:
        header = self._header
        _, _, _, flags = _content_head(header)
        at = _PROPERTIES
        if flags & _CONTENT_TYPE:
            at += 1 + header[at]
        if flags & _ENCODING:
            at += 1 + header[at]
        if flags & _HEADERS:
            end = at + 4 + _size(header, at)[0]
            self._table = header[at:end]
            at = end
        if flags & _MODE:
            at += 1
        if flags & _PRIORITY:
            at += 1
        if flags & _CORRELATION_ID:
            end = at + 1 + header[at]
            self.correlation_id = header[at + 1 : end].decode()
            at = end
        if flags & _REPLY_TO:
            end = at + 1 + header[at]
            self.reply_to = header[at + 1 : end].decode()
            at = end
        if at > len(header):
            raise ValueError(f"{len(header)} bytes, at least {at} expected")
        self._rest = at

    @property
    def user_id(self) -> str | None:
        """As whom RabbitMQ knew the sender, if the message says so. Raises PropertiesError."""
        header, at = self._header, self._rest
        try:
            _, _, _, flags = _content_head(header)
            for flag in (_EXPIRATION, _MESSAGE_ID):
                if flags & flag:
                    at += 1 + header[at]
            if flags & _TIMESTAMP:
                at += 8
            if flags & _TYPE:
                at += 1 + header[at]
            return header[at + 1 : at + 1 + header[at]].decode() if flags & _USER_ID else None
        except (ValueError, IndexError) as exc:
            raise PropertiesError(f"properties: {exc}") from exc

    def properties(self) -> commands.Basic.Properties:
        """All of the properties, to be sent on. Raises what the library's decoder raises."""
        found = header.ContentHeader()
        found.unmarshal(self._header)
        return found.properties

    @property
    def headers(self) -> Mapping[str, Any]:
        """The message's headers. Raises PropertiesError."""
        try:
            return _headers(self._table)
        except (ValueError, IndexError, struct.error) as exc:
            raise PropertiesError(f"headers: {exc}") from exc


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


class Confirm(NamedTuple):
    """What the server says of the reply ``number``; with ``multiple`` of those before it, too."""

    number: int
    multiple: bool
    taken: bool


class Returned(NamedTuple):
    """A reply that no queue has."""

    correlation_id: str | None
    routing_key: str


class Batch:
    """What one read brought for one channel."""

    __slots__ = ("confirms", "deliveries", "returned")

    def __init__(self) -> None:
        self.deliveries: list[Delivery] = []
        self.confirms: list[Confirm] = []
        self.returned: list[Returned] = []


class _Tapped:
    """A channel: its present batch, and the content that is not complete yet."""

    __slots__ = ("batch", "header", "left", "method", "parts")

    def __init__(self) -> None:
        self.batch: Batch | None = None
        self.method: bytes | None = None
        self.header = b""
        self.parts: list[bytes] = []
        self.left = 0


class Incoming:
    """The stream of one connection. ``feed`` gives back what is the library's.

    A stream ``out_of_step`` goes to the library as it is, for good. It is of no use any more, but
    the library may say why.
    """

    def __init__(self) -> None:
        self._kept = b""
        self.out_of_step = False
        self._channels: dict[int, _Tapped] = {}
        self._touched: list[tuple[int, Batch]] = []

    def add(self, channel: int) -> None:
        """Tap a channel, before its first delivery and its first publication."""
        self._channels[channel] = _Tapped()

    def remove(self, channel: int) -> None:
        """Let the library have what comes for the channel."""
        self._channels.pop(channel, None)

    def batches(self) -> list[tuple[int, Batch]]:
        """What was taken out since the last time, by channel."""
        touched, self._touched = self._touched, []
        for channel, _ in touched:
            if channel in self._channels:
                self._channels[channel].batch = None
        return touched

    def feed(self, data: bytes) -> bytes:
        """Take in what was read; gives what is the library's, in order."""
        if self.out_of_step:
            return data
        if self._kept:
            data = self._kept + data
        rest: list[bytes] = []
        at, there = 0, len(data)
        channels = self._channels
        while at < there:
            if data[at] not in _KINDS:
                return self._give_up(data, at, rest)
            if there - at <= _HEAD:
                break
            kind, channel, size = _frame_head(data, at)
            start = at + _HEAD
            end = start + size
            if end >= there:
                break
            if data[end] != _END:
                return self._give_up(data, at, rest)
            tapped = channels.get(channel)
            if tapped is None:
                rest.append(data[at : end + 1])
            else:
                try:
                    taken = self._take(channel, tapped, kind, data[start:end])
                except (ValueError, IndexError, struct.error):
                    return self._give_up(data, at, rest)
                if not taken:
                    rest.append(data[at : end + 1])
            at = end + 1
        self._kept = data[at:]
        return b"".join(rest)

    def _give_up(self, data: bytes, at: int, rest: list[bytes]) -> bytes:
        self.out_of_step = True
        self._kept = b""
        return b"".join((*rest, data[at:]))

    def _take(self, channel: int, tapped: _Tapped, kind: int, payload: bytes) -> bool:
        """Take a frame; whether it is not the library's. Raises ValueError and the like for a broken one."""
        if kind == _BODY:
            if not tapped.left:
                return False
            tapped.parts.append(payload)
            tapped.left -= len(payload)
            if tapped.left < 0:
                raise ValueError("a body longer than its header says")
            if not tapped.left:
                self._complete(channel, tapped)
            return True
        if kind == _HEADER:
            if tapped.method is None:
                return False
            if tapped.left:
                raise ValueError("a second header")
            _, _, tapped.left, _ = _content_head(payload)
            tapped.header = payload
            if not tapped.left:
                self._complete(channel, tapped)
            return True
        (method,) = _method(payload)
        if method in (_DELIVER, _RETURN):
            if tapped.method is not None:
                raise ValueError("a message that does not end")
            tapped.method = payload
            return True
        if method in (_ACK, _NACK):
            _, number, bits = _confirm(payload)
            confirm = Confirm(number, bool(bits & 1), method == _ACK)
            self._batch(channel, tapped).confirms.append(confirm)
            return True
        return False

    def _complete(self, channel: int, tapped: _Tapped) -> None:
        method, parts = tapped.method, tapped.parts
        assert method is not None, "a header comes after it"
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        tapped.method, tapped.parts = None, []
        batch = self._batch(channel, tapped)
        if method[3] == _DELIVER & 0xFF:
            (tag,) = _tag(method, 5 + method[4])  # behind the consumer's tag
            batch.deliveries.append(Delivery(tag, tapped.header, body))
        else:
            batch.returned.append(_returned(method, tapped.header))

    def _batch(self, channel: int, tapped: _Tapped) -> Batch:
        if tapped.batch is None:
            tapped.batch = Batch()
            self._touched.append((channel, tapped.batch))
        return tapped.batch


def _returned(method: bytes, header: bytes) -> Returned:
    """Behind the reply code: text, exchange and routing key."""
    at = 6
    at += 1 + method[at]
    at += 1 + method[at]
    key = method[at + 1 : at + 1 + method[at]].decode(errors="replace")
    message = Delivery(0, header, b"")
    message.read()
    return Returned(message.correlation_id, key)
