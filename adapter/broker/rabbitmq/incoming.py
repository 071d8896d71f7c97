"""What the server sends, cut into AMQP frames; pure.

Of a channel that is tapped, deliveries and confirms are taken out; every other byte is the
library's, which spends many times as long on a frame (AMQP 0-9-1, sections 2.3.5 and 4.2).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from adapter.broker.rabbitmq.header import Properties, read_header, readable
from adapter.contract import MAX_REPLY

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiormq.abc import DeliveredMessage

_METHOD, _HEADER, _BODY, _HEARTBEAT = 1, 2, 3, 8
_KINDS: Final = frozenset((_METHOD, _HEADER, _BODY, _HEARTBEAT))
_HEAD: Final = 7
_AROUND: Final = 8  # bytes of a frame, beside its payload
_END: Final = 0xCE
_BEGINNING: Final = 4_096
"""Bytes that are kept of a body which nobody will look at, for the dead letters."""
_RETURN, _DELIVER, _ACK, _NACK = (struct.pack(">HH", 60, number) for number in (50, 60, 80, 120))

_frame_head: Final = struct.Struct(">BHI").unpack_from
_tag: Final = struct.Struct(">QB").unpack_from


class Delivery(NamedTuple):
    """A message for a consumer of ours."""

    consumer: bytes
    tag: int
    redelivered: bool
    exchange: str
    properties: Properties
    body: bytes
    size: int = 0
    """Of the body, where that is longer than ``MAX_REPLY``: then only its beginning is kept."""

    @classmethod
    def of(cls, message: DeliveredMessage) -> Delivery:
        """One that came through the library, and has no consumer."""
        found = Properties.of(message.header.properties)
        body, size = message.body, len(message.body)
        if size > MAX_REPLY:
            body = body[:_BEGINNING]
        tag, redelivered, exchange = message.delivery_tag or 0, bool(message.redelivered), message.exchange
        return cls(b"", tag, redelivered, exchange or "", found, body, size if size > MAX_REPLY else 0)


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

    def take_whole(self, number: int, data: bytes, start: int, end: int) -> int:
        """Take a delivery of one piece: method, header and body follow each other in ``data``.

        Args:
            number: of the channel.
            data: what was read.
            start: where the payload of the method's frame begins.
            end: where it ends.

        Returns:
            Where the body's frame ends; 0 if it is not all there, or not as usual: then nothing is taken.
        """
        ...

    def hand_on(self) -> None:
        """Hand on what is complete, all at once."""
        ...


class _Content:
    """A message on its way: its method is here; then come the header and as much body as that says."""

    __slots__ = ("_header", "_left", "_parts", "body", "method", "properties", "size")

    def __init__(self, method: bytes) -> None:
        self.method = method
        self.body = b""
        self.size = 0  # of the body, where it is too long to be kept
        self._header = False
        self._left = 0
        self._parts: list[bytes] = []

    def add(self, kind: int, payload: bytes) -> bool:
        """Whether it is complete. Raises ValueError for a frame that does not come next."""
        if kind == _BODY and self._header:
            self._left -= len(payload)
            if self._left < 0:
                raise ValueError("a body longer than its header says")
            if self.size:
                self.body = self.body or payload[:_BEGINNING]
                return not self._left
            if self._left:
                self._parts.append(payload)
                return False
            self.body = b"".join((*self._parts, payload)) if self._parts else payload
            return True
        if kind != _HEADER or self._header:
            raise ValueError("a frame out of order")
        self._header = True
        self._left, self.properties = read_header(payload)
        if self._left > MAX_REPLY:
            self.size = self._left
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
                self._came.append(_delivery(content.method, content.properties, content.body, content.size))
            return True
        if kind != _METHOD or payload[:4] != _DELIVER or payload[5 : 5 + payload[4]] not in self._consumers:
            return False
        self._content = _Content(payload)
        return True

    def take_whole(self, number: int, data: bytes, start: int, end: int) -> int:
        """See Channel. It costs half of what three frames cost that are taken one by one."""
        method = data[start:end]
        if self._content is not None or method[5 : 5 + method[4]] not in self._consumers:
            return 0
        try:
            header = _payload(_HEADER, number, data, end + 1)
            size, properties = read_header(header)
            body = _payload(_BODY, number, data, end + _AROUND + len(header) + 1) if size else b""
        except (struct.error, IndexError):
            return 0
        if not 0 < size == len(body) <= MAX_REPLY:
            return 0
        self._came.append(_delivery(method, properties, body))
        return end + 2 * _AROUND + len(header) + len(body)

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

    def take_whole(self, number: int, data: bytes, start: int, end: int) -> int:
        """See Channel: nothing is delivered here."""
        return 0

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
                    if kind == _METHOD and data[at + _HEAD : at + _HEAD + 4] == _DELIVER:
                        whole = channel.take_whole(number, data, at + _HEAD, end)
                        if whole:
                            self._touched[channel] = None
                            at = whole + 1
                            continue
                    taken = channel.take(kind, data[at + _HEAD : end])
                except Exception:
                    # Whatever a decoder raises: the library meets it as well, and says what it was.
                    return self._break(data, at, rest)
                if taken:
                    self._touched[channel] = None
                    at = end + 1
                    continue
            rest.append(readable(data[at : end + 1]) if kind == _HEADER else data[at : end + 1])
            at = end + 1
        if at < there:
            self._kept += data[at:]
        return b"".join(rest)

    def _break(self, data: bytes, at: int, rest: list[bytes]) -> bytes:
        self.broken = True
        return b"".join((*rest, data[at:]))


def _payload(kind: int, number: int, data: bytes, at: int) -> bytes:
    """That of a frame. Raises struct.error or IndexError if there is not all of such a frame."""
    found, channel, size = _frame_head(data, at)
    end = at + _HEAD + size
    if found != kind or channel != number or data[end] != _END:
        raise IndexError(at)
    return data[at + _HEAD : end]


def _delivery(method: bytes, properties: Properties, body: bytes, size: int = 0) -> Delivery:
    """Of a consumer's tag, a delivery tag, a bit, an exchange and a routing key, which nobody asks for."""
    at = 5 + method[4]
    tag, redelivered = _tag(method, at)
    name = method[at + 10 : at + 10 + method[at + 9]]
    exchange = name.decode() if name else ""
    return Delivery(method[5:at], tag, bool(redelivered & 1), exchange, properties, body, size)
