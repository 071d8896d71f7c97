"""What the fuzzers call: bytes in, the right questions asked of them. Each has a selector in front."""

from __future__ import annotations

from adapter.broker.rabbitmq.delivery import Delivery, read_properties
from adapter.contract import DEAD_EXCHANGE, JSON, MSGPACK
from adapter.ports.broker import Reply
from tests.fuzz import properties

LIMITS = (4096, 64, 11, 1 << 20)
ID = "sbc1:1:2:3"
_CONTENT_HEADER = b"\0\x3c\0\0" + b"\0" * 8


def events(data: bytes) -> None:
    """The first byte selects the limit, the second the size of the pieces in which the stream arrives."""
    if len(data) < 2:
        return
    limit, size, stream = LIMITS[data[0] % len(LIMITS)], data[1] % 64 + 1, data[2:]
    properties.check_stream(stream, [size] * (len(stream) // size), limit)
    properties.check_payload(stream)


def contract(data: bytes) -> None:
    """The first byte selects what the body is: a request, a reply in one of two formats, a command."""
    selector, body = data[:1], data[1:]
    match selector:
        case b"\1":
            properties.check_reply(Reply(ID, body, MSGPACK))
        case b"\2":
            properties.check_reply(Reply(ID, body, JSON))
        case b"\3":
            properties.check_command(body)
        case _:
            properties.check_body_of_request(body, 1)


def replies(data: bytes) -> None:
    """A byte selects the exchange; the length of the properties in two bytes, those, then the body."""
    exchange = DEAD_EXCHANGE if data[:1] == b"\1" else ""
    end = 3 + int.from_bytes(data[1:3], "big")
    try:
        found = read_properties(_CONTENT_HEADER + data[3:end])
    except Exception:
        return  # what nobody can read never gets here; tests/broker has what becomes of it
    properties.check_delivery(Delivery(1, False, exchange, found, data[end:]))
