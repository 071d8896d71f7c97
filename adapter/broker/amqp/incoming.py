"""What the server sends, cut into AMQP frames; pure.

Of a channel that is tapped, deliveries and confirms are taken out; every other byte is the
library's, which spends many times as long on a frame (AMQP 0-9-1, sections 2.3.5 and 4.2).
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from pamqp.commands import Basic
from pamqp.header import ContentHeader

from adapter.contract import HEADER_RECEIVED, HEADER_REPLIED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aiormq.abc import DeliveredMessage

_METHOD, _HEADER, _BODY, _HEARTBEAT = 1, 2, 3, 8
_KINDS: Final = frozenset((_METHOD, _HEADER, _BODY, _HEARTBEAT))
_HEAD: Final = 7
_END: Final = 0xCE
_RETURN, _DELIVER, _ACK, _NACK = (struct.pack(">HH", 60, number) for number in (50, 60, 80, 120))

_frame_head: Final = struct.Struct(">BHI").unpack_from
_content_head: Final = struct.Struct(">HHQH").unpack_from
_size: Final = struct.Struct(">I").unpack_from
_tag: Final = struct.Struct(">QB").unpack_from

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
_TAIL: Final = 0xFFFF & ~(_KIND | _CORRELATION_ID | _MESSAGE_ID | _MORE)
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
        headers = found.headers or {}
        received, replied = headers.get(HEADER_RECEIVED), headers.get(HEADER_REPLIED)
        times = None
        if type(received) is int and type(replied) is int:
            times = received, replied
            headers = {name: headers[name] for name in headers if name not in _OF_TIME}
        return cls(found.content_type, headers, found.correlation_id, found.message_id, times)


class Delivery(NamedTuple):
    """A message for a consumer of ours."""

    consumer: bytes
    tag: int
    redelivered: bool
    exchange: str
    properties: Properties
    body: bytes

    @classmethod
    def of(cls, message: DeliveredMessage) -> Delivery:
        """One that came through the library, and has no consumer."""
        found = Properties.of(message.header.properties)
        redelivered = bool(message.redelivered)
        return cls(b"", message.delivery_tag or 0, redelivered, message.exchange or "", found, message.body)


class Confirm(NamedTuple):
    """What the server says of the publication ``number``; with ``multiple`` of those before it, too."""

    number: int
    multiple: bool
    taken: bool


class Returned(NamedTuple):
    """A publication that no queue has; its confirm is still to come."""

    message_id: str | None


class Channel(Protocol):
    """A channel that is tapped."""

    def take(self, kind: int, payload: bytes) -> bool:
        """Take a frame, or leave it to the library. Raises whatever it meets in one that is broken."""
        ...

    def hand_on(self) -> None:
        """Hand on what is complete, all at once."""
        ...


class _Content:
    """A message on its way: its method is here; then come the header and as much body as that says."""

    __slots__ = ("_header", "_left", "_parts", "body", "method", "properties")

    def __init__(self, method: bytes) -> None:
        self.method = method
        self.body = b""
        self._header = False
        self._left = 0
        self._parts: list[bytes] = []

    def add(self, kind: int, payload: bytes) -> bool:
        """Whether it is complete. Raises ValueError for a frame that does not come next."""
        if kind == _BODY and self._header:
            self._left -= len(payload)
            if self._left > 0:
                self._parts.append(payload)
                return False
            if self._left < 0:
                raise ValueError("a body longer than its header says")
            self.body = b"".join((*self._parts, payload)) if self._parts else payload
            return True
        if kind != _HEADER or self._header:
            raise ValueError("a frame out of order")
        self._header = True
        self._left, self.properties = read_header(payload)
        return not self._left


class Deliveries:
    """A channel of consumers: takes what is delivered to those it was told of."""

    def __init__(self, receiver: Callable[[list[Delivery]], None]) -> None:
        self._receiver = receiver
        self._consumers: set[bytes] = set()
        self._content: _Content | None = None
        self._came: list[Delivery] = []

    def add(self, consumer: str) -> None:
        """Take what comes for a consumer. Said before the server is asked for it."""
        self._consumers.add(consumer.encode())

    def take(self, kind: int, payload: bytes) -> bool:
        """See Channel."""
        content = self._content
        if content is not None:
            if content.add(kind, payload):
                self._content = None
                self._came.append(_delivery(content))
            return True
        if kind != _METHOD or payload[:4] != _DELIVER or payload[5 : 5 + payload[4]] not in self._consumers:
            return False
        self._content = _Content(payload)
        return True

    def hand_on(self) -> None:
        """See Channel."""
        came, self._came = self._came, []
        if came:
            self._receiver(came)


class Confirms:
    """A channel with confirms: takes them, and what is returned."""

    def __init__(self, receiver: Callable[[list[Confirm | Returned]], None]) -> None:
        self._receiver = receiver
        self._content: _Content | None = None
        self._came: list[Confirm | Returned] = []

    def take(self, kind: int, payload: bytes) -> bool:
        """See Channel."""
        content = self._content
        if content is not None:
            if content.add(kind, payload):
                self._content = None
                self._came.append(Returned(content.properties.message_id))
            return True
        if kind != _METHOD:
            return False
        method = payload[:4]
        if method in (_ACK, _NACK):
            number, bits = _tag(payload, 4)
            self._came.append(Confirm(number, bool(bits & 1), method == _ACK))
        elif method == _RETURN:
            self._content = _Content(payload)
        else:
            return False
        return True

    def hand_on(self) -> None:
        """See Channel."""
        came, self._came = self._came, []
        if came:
            self._receiver(came)


class Incoming:
    """The stream of one connection.

    Where it is ``broken``, by a frame that does not end as one or cannot be read, that frame and
    all after it go to the library, which closes the connection for it.
    """

    def __init__(self) -> None:
        self.broken = False
        self._channels: dict[int, Channel] = {}
        self._touched: dict[Channel, None] = {}  # in the order of what came
        self._kept = bytearray()  # the beginning of a frame
        self._wanted = 0  # bytes, before which it is no use to look at that again

    def add(self, number: int, channel: Channel) -> None:
        """Tap a channel."""
        self._channels[number] = channel

    def remove(self, number: int, channel: Channel) -> None:
        """Leave it to the library; its number may be another's by now."""
        if self._channels.get(number) is channel:
            del self._channels[number]

    def hand_on(self) -> None:
        """Let each tapped channel hand on what has come for it."""
        touched, self._touched = self._touched, {}
        for channel in touched:
            channel.hand_on()

    def feed(self, data: bytes) -> bytes:
        """Take in what was read. Gives what is the library's: whole frames unless it is broken."""
        if self.broken:
            return data
        if self._kept:
            self._kept += data
            if len(self._kept) < self._wanted:
                return b""
            data = bytes(self._kept)
            self._kept.clear()
        rest: list[bytes] = []
        at, there = 0, len(data)
        while at < there:
            if data[at] not in _KINDS:
                return self._break(data, at, rest)
            if there - at <= _HEAD:
                self._wanted = _HEAD + 1
                break
            kind, number, size = _frame_head(data, at)
            end = at + _HEAD + size
            if end >= there:
                self._wanted = end + 1 - at
                break
            if data[end] != _END:
                return self._break(data, at, rest)
            channel = self._channels.get(number)
            if channel is not None:
                try:
                    taken = channel.take(kind, data[at + _HEAD : end])
                except Exception:
                    # Whatever a decoder raises: the library meets it as well, and says what it was.
                    return self._break(data, at, rest)
                if taken:
                    self._touched[channel] = None
                    at = end + 1
                    continue
            rest.append(data[at : end + 1])
            at = end + 1
        if at < there:
            self._kept += data[at:]
        return b"".join(rest)

    def _break(self, data: bytes, at: int, rest: list[bytes]) -> bytes:
        self.broken = True
        return b"".join((*rest, data[at:]))


def _delivery(content: _Content) -> Delivery:
    """Of a consumer's tag, a delivery tag, a bit, an exchange and a routing key, which nobody asks for."""
    method = content.method
    at = 5 + method[4]
    tag, redelivered = _tag(method, at)
    name = method[at + 10 : at + 10 + method[at + 9]]
    exchange = name.decode() if name else ""
    return Delivery(method[5:at], tag, bool(redelivered & 1), exchange, content.properties, content.body)


def read_header(header: bytes) -> tuple[int, Properties]:
    """The size of the body, and the properties.

    Gives what the library would, and raises what it raises: the usual ones are found without it.
    """
    _, _, size, flags = _content_head(header)
    try:
        found = None if flags & _MORE else _usual(header, flags)
    except Exception:
        found = None  # the library says what is wrong with it, if it finds it so
    if found is None:
        whole = ContentHeader()
        whole.unmarshal(header)
        found = Properties.of(whole.properties)
    return size, found


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
    if flags & _TAIL:
        _decoded(flags & _TAIL, header[at:])
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
