"""When a service had a request and gave the reply: the last two headers of a reply of the SDK's. Pure.

They differ with each reply and the others do not: so they are written, and found, without these. RabbitMQ 4
sorts headers by name (seen on 4.0.5 and 4.3.6), which makes them
the first two, but for the number of replies in a message of several.
"""

from __future__ import annotations

import struct
from typing import Final

from adapter.amqp.frames import integer_field
from adapter.contract import HEADER_RECEIVED, HEADER_REPLIED

_RECEIVED: Final = integer_field(HEADER_RECEIVED)
_REPLIED: Final = integer_field(HEADER_REPLIED)
_times: Final = struct.Struct(f">{len(_RECEIVED)}sq{len(_REPLIED)}sq")

SIZE: Final = _times.size
"""Bytes of the two headers."""


def written(received: float, replied: float) -> bytes:
    """Encode the two headers, of times in epoch seconds."""
    return _times.pack(_RECEIVED, round(received * 1e6), _REPLIED, round(replied * 1e6))


def found(header: bytes, start: int, end: int) -> tuple[int, int, int] | None:
    """Return the times, in epoch microseconds, and where their headers begin.

    ``start`` and ``end`` are those of all headers; None if the two are not there, one behind the other.
    """
    at = end - SIZE
    if at < start:
        return None
    if not header.startswith(_RECEIVED, at):
        at = header.find(_RECEIVED, start, end)
        if at < 0 or at + SIZE > end:
            return None
    _, received, name, replied = _times.unpack_from(header, at)
    return (received, replied, at) if name == _REPLIED else None
