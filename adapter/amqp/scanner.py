"""What a server sends, cut into AMQP frames. Pure.

Of a channel that is tapped, deliveries, confirms and returned messages are taken out; every other byte is
the library's, which spends many times as long on a frame (AMQP 0-9-1, sections 2.3.5 and 4.2).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeVar

from adapter.amqp import fields
from adapter.amqp.frames import ACK, BASIC, BODY, DELIVER, END, HEADER, HEARTBEAT, METHOD, NACK, RETURN

if TYPE_CHECKING:
    from collections.abc import Callable

D = TypeVar("D")
"""What a tapped channel makes of a delivery."""

_KINDS: Final = frozenset((METHOD, HEADER, BODY, HEARTBEAT))
_HEAD: Final = 7  # bytes of a frame before its payload
_AROUND: Final = 8  # bytes of a frame, beside its payload
_END: Final = END[0]
_RETURN, _DELIVER, _ACK, _NACK = (struct.pack(">HH", BASIC, each) for each in (RETURN, DELIVER, ACK, NACK))
BEGINNING: Final = 4_096
"""Bytes that are kept of a body which is too long, for the dead letters."""

_frame_head: Final = struct.Struct(">BHI").unpack_from
_content_head: Final = struct.Struct(">HHQH").unpack_from
_tag: Final = struct.Struct(">QB").unpack_from


class Confirm(NamedTuple):
    """What the server says of the publication ``number``; with ``multiple`` of those before it, too."""

    number: int
    multiple: bool
    taken: bool


class Returned(NamedTuple):
    """A publication that no queue has; its confirm is still to come."""

    message_id: str | None
    correlation_id: str | None = None
    routing_key: str = ""


class _Content:
    """A message on its way: its method is here; then come the header and as much body as that says."""

    __slots__ = ("_left", "_most", "_parts", "body", "header", "method", "size")

    def __init__(self, method: bytes, most: int) -> None:
        self.method = method
        self.header = b""
        self.body = b""
        self.size = 0  # of the body, where it is too long to be kept
        self._most = most
        self._left = 0
        self._parts: list[bytes] = []

    def add(self, kind: int, payload: bytes) -> bool:
        """Whether it is complete. Raises ValueError for a frame that does not come next."""
        if kind == BODY and self.header:
            self._left -= len(payload)
            if self._left < 0:
                raise ValueError("a body longer than its header says")
            if self.size:
                self.body = self.body or payload[:BEGINNING]
                return not self._left
            if self._left:
                self._parts.append(payload)
                return False
            self.body = b"".join((*self._parts, payload)) if self._parts else payload
            return True
        if kind != HEADER or self.header:
            raise ValueError("a frame out of order")
        _, _, self._left, _ = _content_head(payload)
        self.header = payload
        if self._left > self._most:
            self.size = self._left
        return not self._left


class Tapped(Generic[D]):
    """A channel that is tapped.

    Args:
        receiver: is given what one read brought, all at once: deliveries, and what became of publications
            in the order in which the server said it. It raises nothing.
        make: makes a delivery of the payloads of the method's and the header's frame, the body, and the
            body's size if only its beginning is there, else 0. Without it no delivery is taken.
        most: bytes of a body; of a longer one only the beginning is kept.
    """

    def __init__(
        self,
        receiver: Callable[[list[D], list[Confirm | Returned]], None],
        make: Callable[[bytes, bytes, bytes, int], D] | None,
        most: int,
    ) -> None:
        self._receiver = receiver
        self._make = make
        self._most = most
        self._content: _Content | None = None
        self._deliveries: list[D] = []
        self._confirms: list[Confirm | Returned] = []

    def take(self, kind: int, payload: bytes) -> bool:
        """Take a frame, or leave it to the library. Raises whatever it meets in one that is broken."""
        content = self._content
        if content is not None:
            if content.add(kind, payload):
                self._content = None
                self._complete(content)
            return True
        if kind != METHOD:
            return False
        method = payload[:4]
        if method in (_ACK, _NACK):
            number, bits = _tag(payload, 4)
            self._confirms.append(Confirm(number, bool(bits & 1), method == _ACK))
            return True
        if method == _DELIVER and self._make is not None:
            _tag(payload, 5 + payload[4])  # it has one: see _complete
        elif method != _RETURN:
            return False
        self._content = _Content(payload, self._most)
        return True

    def take_whole(self, number: int, data: bytes, start: int, end: int) -> int:
        """Take a delivery of one piece: method, header and body follow each other in ``data``.

        It costs half of what three frames cost that are taken one by one.

        Args:
            number: of the channel.
            data: what was read.
            start: where the payload of the method's frame begins.
            end: where it ends.

        Returns:
            Where the body's frame ends; 0 if it is not all there, or not as usual: then nothing is taken.
        """
        make = self._make
        if make is None or self._content is not None:
            return 0
        try:
            header = _payload(HEADER, number, data, end + 1)
            _, _, size, _ = _content_head(header)
            body = _payload(BODY, number, data, end + _AROUND + len(header) + 1) if size else b""
        except (struct.error, IndexError):
            return 0
        if not 0 < size == len(body) <= self._most:
            return 0
        self._deliveries.append(make(data[start:end], header, body, 0))
        return end + 2 * _AROUND + len(header) + len(body)

    def hand_on(self) -> None:
        """Hand on what is complete, all at once."""
        deliveries, confirms = self._deliveries, self._confirms
        if deliveries or confirms:
            self._deliveries, self._confirms = [], []
            self._receiver(deliveries, confirms)

    def _complete(self, content: _Content) -> None:
        if content.method[:4] == _RETURN:
            self._confirms.append(_returned(content.method, content.header))
        elif self._make is not None:
            made = self._make(content.method, content.header, content.body, content.size)
            self._deliveries.append(made)


class Scanner:
    """The stream of one connection.

    Where it is ``broken``, by a frame that does not end as one or cannot be read, that frame and
    all after it go to the library, which closes the connection for it.
    """

    def __init__(self) -> None:
        self.broken = False
        self._channels: dict[int, Tapped[Any]] = {}
        self._touched: dict[Tapped[Any], None] = {}  # in the order of what came
        self._kept = bytearray()  # the beginning of a frame
        self._wanted = 0  # bytes, before which it is no use to look at that again

    def add(self, number: int, channel: Tapped[Any]) -> None:
        """Tap a channel."""
        self._channels[number] = channel

    def remove(self, number: int, channel: Tapped[Any]) -> None:
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
                    if kind == METHOD and data[at + _HEAD : at + _HEAD + 4] == _DELIVER:
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
            rest.append(_readable(data[at : end + 1]) if kind == HEADER else data[at : end + 1])
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


def _readable(frame: bytes) -> bytes:
    """A header's frame with nothing in it that the library raises for: that would cost the connection."""
    header = frame[_HEAD:-1]
    kept = fields.readable(header)
    return frame if kept is header else frame[:3] + len(kept).to_bytes(4, "big") + kept + frame[-1:]


def _returned(method: bytes, header: bytes) -> Returned:
    """Behind the reply code: text, exchange and routing key."""
    at = 6
    at += 1 + method[at]
    at += 1 + method[at]
    key = method[at + 1 : at + 1 + method[at]].decode(errors="replace")
    correlation_id, message_id = fields.ids(header)
    return Returned(message_id, correlation_id, key)
