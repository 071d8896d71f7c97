"""When a service had a request and gave the reply: the last two headers of a reply of the SDK's. Pure.

They differ with each reply and what is before them does not: so they are written, and found, without it.
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


def found(header: bytes, end: int) -> tuple[int, int] | None:
    """Return the times, in epoch microseconds, if the two headers end there; None if others do."""
    at = end - SIZE
    if at < 0 or not header.startswith(_RECEIVED, at):
        return None
    _, received, name, replied = _times.unpack_from(header, at)
    return (received, replied) if name == _REPLIED else None
