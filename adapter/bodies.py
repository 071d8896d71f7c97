"""What peers write: the map in a body, whose format its first byte tells, and JSON text, read strictly. Pure.

A JSON object, a msgpack map and an AMQP 1.0 value around either never begin alike, so that no content type
is needed to read one. (msgpack specification: maps begin with 80 to 8f, de, df; AMQP 1.0, part 1.6: the
section ``amqp-value`` is 00 53 77, binary a0 and b0, string a1 and b1. RabbitMQ 4 hands such a section on to
AMQP 0.9.1 as it is.)
"""

from __future__ import annotations

import contextlib
import json
from enum import Enum
from typing import Any, Final

import msgpack

from adapter.errors import CodecError

MAX_BODY: Final = 1 << 20
"""Bytes of a request or reply body that a reader takes on. A resume holds 32,000 at most."""
MAX_DEPTH: Final = 200
"""Levels of an event or a decision: no Python fails to write them, and jansson reads 2048."""
WANTED: Final = "send a JSON object or a msgpack map"

_MSGPACK: Final = frozenset([*range(0x80, 0x90), 0xDE, 0xDF])
_JSON: Final = frozenset([*b"{ \t\r\n", 0xEF])  # ef begins a byte order mark
_AMQP_VALUE: Final = b"\x00\x53\x77"
_SHORT: Final = (0xA0, 0xA1)
_LONG: Final = (0xB0, 0xB1)
_UNDEFINED: Final = (0, b"\0")  # msgpackr 2: its extension for JavaScript's undefined
_RECORD: Final = b"\xd4\x72"
_SHOWN: Final = 12


class Habit(Enum):
    """What the service of a reply should change, though the adapter knew what to do with it."""

    EMPTY = "it is empty, which is no answer, and the call waits on: who has none sends nothing"
    NO_ACTION = "the decision has no key action: configurations go by it"
    MORE_TIME = "it asks for more time, and the policy has a max_deadline for no event"
    BYTES_AS_JSON = "the body is an array of bytes that was written as JSON: give the library the bytes"


def decode(body: bytes) -> dict[str, Any]:
    """Read the map.

    Timestamps of msgpack become datetimes (UTC), the ``undefined`` of msgpackr becomes None.

    Args:
        body: JSON in UTF-8, msgpack, or an AMQP 1.0 value (string or binary) that holds either.

    Raises:
        CodecError: with the reason ``too-large``, ``not-json``, ``not-msgpack``, ``not-a-map``, or
            ``format`` if it begins like none of them. Its detail says what came and what to send.
    """
    if len(body) > MAX_BODY:
        raise CodecError("too-large", f"body of {len(body)} bytes, at most {MAX_BODY} allowed")
    if body.startswith(_AMQP_VALUE):
        body = _held(body)
    first = body[0] if body else -1
    if first in _MSGPACK:
        return _unpack(body)
    if first in _JSON:
        return _parse(body)
    raise _neither(body)


def read(body: bytes) -> tuple[dict[str, Any], Habit | None]:
    """Read the decision of a reply, and what its service should change.

    Raises CodecError: see ``decode``.
    """
    decision = decode(body)
    if "action" in decision:
        return decision, None
    packed = _bytes_in(decision)
    if packed is not None:
        with contextlib.suppress(CodecError):  # it is a decision that looks alike, then
            return decode(packed), Habit.BYTES_AS_JSON
    return decision, Habit.NO_ACTION


def beginning(body: bytes) -> str:
    """Name the first bytes of a body, for whoever looks for its sender."""
    first = body[:_SHOWN]
    text = first.decode("ascii", "replace")
    shown = f" ({text!r})" if text.isprintable() and text.isascii() else ""
    return f"it begins with {first.hex(' ')}{shown}" if body else "it is empty"


def _unpack(body: bytes) -> dict[str, Any]:
    try:
        found: dict[str, Any] = msgpack.unpackb(body, timestamp=3, ext_hook=_extension)
    except (ValueError, OverflowError, RecursionError) as exc:  # every msgpack error is a ValueError
        raise CodecError("not-msgpack", f"{type(exc).__name__}: {exc}; {beginning(body)}") from exc
    return found


def _extension(code: int, data: bytes) -> Any:
    return None if (code, data) == _UNDEFINED else msgpack.ExtType(code, data)


def _parse(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as exc:
        raise CodecError("not-json", f"{exc}; {beginning(body)}") from exc
    if not isinstance(found, dict):
        raise CodecError("not-a-map", f"a JSON {type(found).__name__}; {WANTED}")
    return found


def _held(body: bytes) -> bytes:
    """What an AMQP 1.0 value holds. Raises CodecError if that is neither string nor binary, or cut off."""
    code = body[3] if len(body) > 3 else -1
    start = 5 if code in _SHORT else 8
    if code not in _SHORT and code not in _LONG:
        raise CodecError("format", f"an AMQP 1.0 value that is neither string nor binary; {WANTED}")
    if int.from_bytes(body[4:start], "big") != len(body) - start:
        raise CodecError("format", "an AMQP 1.0 value of another length than it says")
    return body[start:]


def _neither(body: bytes) -> CodecError:
    kind = _kind(body)
    reason = "not-a-map" if kind else "format"
    return CodecError(reason, f"{kind or 'neither JSON nor msgpack'}: {beginning(body)}; {WANTED}")


def _kind(body: bytes) -> str:
    """What is known of a body that is no map; empty for one that may be anything."""
    first = body[0] if body else -1
    if body.startswith(_RECORD):
        return "a msgpackr record (useRecords: false makes maps)"
    if 0x90 <= first <= 0x9F or first in (0xDC, 0xDD):
        return "a msgpack array"
    if first == ord("["):
        return "a JSON array"
    if first == ord('"'):
        return "a JSON string"
    return ""


def _bytes_in(found: dict[str, Any]) -> bytes | None:
    """The bytes that a JSON library has written as numbers, by index or (Node.js) as a Buffer."""
    numbers: list[Any]
    if "0" in found:
        numbers = [found.get(str(index)) for index in range(len(found))]
    elif found.get("type") == "Buffer" and isinstance(found.get("data"), list):
        numbers = found["data"]
    else:
        return None
    try:
        return bytes(numbers)
    except (TypeError, ValueError):  # other values than bytes: a decision that looks alike
        return None


# JSON text. A member that stands twice is refused on every level: parsers differ in which one counts, so
# that in a frame which a configuration has pasted together by hand the caller's header would pick the event,
# the ids or a value. jansson, which builds the frames of the shipped configuration, refuses such text, too.


def _not_in_json(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def _once(members: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(members)
    if len(found) != len(members):
        names = [name for name, _ in members]
        twice = next(name for name in names if names.count(name) > 1)
        raise CodecError("twice", f"member {twice[:40]!r} stands twice")
    return found


JSON: Final = json.JSONDecoder(parse_constant=_not_in_json, object_pairs_hook=_once)
"""Refuses what stands twice."""


def decode_json(text: str) -> Any:
    """Read JSON text of at most ``MAX_DEPTH`` levels.

    What parses at Python's recursion limit might fail whoever only looks at it later, so the limit is far
    from that one.

    Raises:
        CodecError: a member stands twice.
        ValueError, RecursionError: it is no JSON, or too deep.
    """
    # The decoder's own ``decode`` looks for white space around the value first: 2 of 10 us.
    found, end = JSON.raw_decode(text) if text.startswith("{") else (None, -1)
    if end != len(text):
        found = JSON.decode(text)
    if text.count("{") + text.count("[") >= MAX_DEPTH and _deep(found):
        raise ValueError(f"more than {MAX_DEPTH} levels")
    return found


def _deep(value: Any) -> bool:
    """Whether there are more than ``MAX_DEPTH`` levels, what is no container counted as one."""
    level, depth = [value], 1
    while level:
        if depth > MAX_DEPTH:
            return True
        below: list[Any] = []
        for each in level:
            if isinstance(each, dict):
                below += each.values()
            elif isinstance(each, list):
                below += each
        level, depth = below, depth + 1
    return False
