"""Frames and ids that the tests of events share."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from adapter.wire.event import Malformed, parse

if TYPE_CHECKING:
    from adapter.wire.netstring import Oversized

MAX = 0xFFFFFFFF
IDS = b'"tm_trans":{"tm_index":37,"tm_label":18,"seq":2}'

BAD_IDS: list[Any] = [
    -1,
    MAX + 1,
    1 << 200,
    True,
    False,
    37.0,
    1e400,
    "",
    " 37",
    "+37",
    "3_7",
    "٣",
    "0x1",
    "00000000037",
    [],
    {},
    [[[]]],
]


def dumps(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def colon(event: str, index: object, label: object, data: bytes) -> bytes:
    return f"{event}:{index}:{label}:".encode() + base64.b64encode(data)


def malformed(frame: bytes | Oversized) -> Malformed:
    found = parse(frame)
    assert isinstance(found, Malformed), found
    return found
