"""A sender of AMQP 1.0, as far as one message goes: written out, so that it can say what no library says.

The frames are those of the OASIS standard of 2012, parts 1 to 3. A queue's address is ``/queues/NAME`` on
RabbitMQ 4, and ``/amq/queue/NAME`` on RabbitMQ 3.
"""

from __future__ import annotations

import socket
import struct
from typing import Final
from urllib.parse import quote

NULL: Final = b"\x40"
_AMQP, _SASL = 0, 1
_MECHANISMS_SEEN: Final = b"AMQP\x03\x01\x00\x00"
_PLAIN: Final = b"AMQP\x00\x01\x00\x00"


def text(value: str) -> bytes:
    """A string."""
    raw = value.encode()
    return b"\xb1" + struct.pack(">I", len(raw)) + raw


def symbol(value: str) -> bytes:
    """A symbol."""
    raw = value.encode()
    return b"\xb3" + struct.pack(">I", len(raw)) + raw


def binary(raw: bytes) -> bytes:
    """A binary."""
    return b"\xb0" + struct.pack(">I", len(raw)) + raw


def number(value: int) -> bytes:
    """An unsigned integer of 32 bits."""
    return b"\x70" + struct.pack(">I", value)


def described(code: int, *fields: bytes) -> bytes:
    """A list with a descriptor: a performative, or a section of a message."""
    raw = b"".join(fields)
    return b"\x00\x53" + bytes([code, 0xD0]) + struct.pack(">II", len(raw) + 4, len(fields)) + raw


def message(correlation_id: str, content_type: str, body: bytes) -> bytes:
    """A reply, with whatever is given for its content type."""
    properties = described(0x73, NULL, NULL, NULL, NULL, NULL, text(correlation_id), symbol(content_type))
    return properties + b"\x00\x53\x75" + binary(body)


class Sender:
    """A link to one queue. ``addressed``: how that is done, with its name after it."""

    def __init__(
        self,
        port: int,
        queue: str,
        user: str = "guest",
        password: str = "guest",
        addressed: str = "/amq/queue/",
    ) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self._sent = 0
        self._socket.sendall(_MECHANISMS_SEEN)
        self._read(8)
        self._frame()
        self._write(_SASL, described(0x41, symbol("PLAIN"), binary(f"\0{user}\0{password}".encode())))
        self._frame()
        self._socket.sendall(_PLAIN)
        self._read(8)
        self._write(_AMQP, described(0x10, text("sender")))
        self._frame()
        window = number(1000)
        self._write(_AMQP, described(0x11, NULL, number(0), window, window))
        self._frame()
        target = described(0x29, text(addressed + quote(queue, safe="")))
        fields = (text("link"), number(0), b"\x42", b"\x50\x01", NULL, described(0x28), target)
        self._write(_AMQP, described(0x12, *fields, NULL, NULL, number(0)))
        self._frame()  # the attachment
        self._frame()  # the credit

    def send(self, sections: bytes) -> None:
        """Send a message, settled."""
        tag = binary(str(self._sent).encode())
        transfer = described(0x14, number(0), number(self._sent), tag, number(0), b"\x41")
        self._sent += 1
        self._write(_AMQP, transfer + sections)

    def close(self) -> None:
        """End the connection, once the server has read all that was sent."""
        self._write(_AMQP, described(0x18))
        self._frame()
        self._socket.close()

    def _write(self, kind: int, payload: bytes) -> None:
        self._socket.sendall(struct.pack(">IBBH", len(payload) + 8, 2, kind, 0) + payload)

    def _frame(self) -> bytes:
        (size,) = struct.unpack(">I", self._read(4))
        return self._read(size - 4)

    def _read(self, size: int) -> bytes:
        found = b""
        while len(found) < size:
            piece = self._socket.recv(size - len(found))
            if not piece:
                raise ConnectionError("closed by the server")
            found += piece
        return found
