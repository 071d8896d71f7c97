"""Properties and headers of a message, as far as Python can hold them. Pure.

A message is valid whatever its sender put there: a timestamp in microseconds (the year 58,878, a
habit of real consumers), a string that is no UTF-8, arrays nested a thousand deep. The library's
decoder raises for these, and closes the whole connection for one message. This reader leaves such a
value out and goes on behind it, since every value of AMQP says how long it is (AMQP 0-9-1, section
4.2.5, with RabbitMQ's errata to the types).
"""

from __future__ import annotations

import struct
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_DEPTH: Final = 16
"""Tables and arrays within each other that are read; the value at a deeper one is left out."""

_MILLISECONDS_FROM: Final = 0xFFFFFFFF
"""The library takes a greater timestamp for milliseconds, and so do we."""

_long: Final = struct.Struct(">I").unpack_from
_content_head: Final = struct.Struct(">HHQH").unpack_from
_flag_word: Final = struct.Struct(">H").unpack_from

_PROPERTIES: Final = 14  # where they begin in a header
_CONTENT_TYPE, _ENCODING, _HEADERS = 1 << 15, 1 << 14, 1 << 13
_MODE, _PRIORITY, _CORRELATION_ID = 1 << 12, 1 << 11, 1 << 10
_REPLY_TO, _EXPIRATION, _MESSAGE_ID = 1 << 9, 1 << 8, 1 << 7
_MORE: Final = 1


class Left(Exception):
    """A value that is whole and that Python cannot hold."""


class Found(NamedTuple):
    """The properties of a message that anybody of ours asks for."""

    content_type: str | None
    headers: dict[str, Any]
    correlation_id: str | None
    reply_to: str | None
    message_id: str | None


def properties(header: bytes) -> Found:
    """Read a content header. What cannot be read is left out; all of them where it is cut off.

    Raises struct.error for a header without flags.
    """
    flags = _content_head(header)[3]
    at = _PROPERTIES
    word = flags
    try:
        while word & _MORE:
            (word,) = _flag_word(header, at)
            at += 2
        return _properties(header, at, flags)
    except (IndexError, struct.error, ValueError):
        return Found(None, {}, None, None, None)


def _properties(header: bytes, at: int, flags: int) -> Found:
    text: dict[int, str] = {}
    headers: dict[str, Any] = {}
    for flag in (_CONTENT_TYPE, _ENCODING):
        if flags & flag:
            text[flag], at = _short_text(header, at)
    if flags & _HEADERS:
        end = at + 4 + _long(header, at)[0]
        try:
            headers = table(header, at)
        except (IndexError, struct.error, ValueError):
            headers = {}  # a table that contradicts itself; where it ends is known all the same
        at = end
    at += bool(flags & _MODE) + bool(flags & _PRIORITY)
    for flag in (_CORRELATION_ID, _REPLY_TO, _EXPIRATION, _MESSAGE_ID):
        if flags & flag:
            text[flag], at = _short_text(header, at)
    if at > len(header):
        raise ValueError("cut off")
    return Found(text.get(_CONTENT_TYPE), headers, *map(text.get, (_CORRELATION_ID, _REPLY_TO, _MESSAGE_ID)))


def table(raw: bytes, at: int = 0) -> dict[str, Any]:
    """Read a field table that begins at ``at`` with its length. What Python cannot hold is left out.

    Raises ValueError, IndexError or struct.error for one that contradicts itself.
    """
    return _table(raw, at, _end(raw, at, len(raw)), 1)


def _table(raw: bytes, at: int, end: int, depth: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    at += 4
    while at < end:
        name, at = _short_text(raw, at)
        try:
            found[name], at = _value(raw, at, end, depth)
        except _Skipped as skipped:
            at = skipped.end
    if at > end:
        raise ValueError(f"a table of {end} bytes, at least {at} expected")
    return found


def _array(raw: bytes, at: int, end: int, depth: int) -> list[Any]:
    found: list[Any] = []
    at += 4
    while at < end:
        try:
            value, at = _value(raw, at, end, depth)
            found.append(value)
        except _Skipped as skipped:
            at = skipped.end
    if at > end:
        raise ValueError(f"an array of {end} bytes, at least {at} expected")
    return found


class _Skipped(Exception):
    """A value that is left out; the next one begins at ``end``."""

    def __init__(self, end: int) -> None:
        super().__init__()
        self.end = end


def _value(raw: bytes, at: int, within: int, depth: int) -> tuple[Any, int]:
    """One value and where it ends. Raises _Skipped, or ValueError where its end is not known."""
    kind = raw[at : at + 1]
    at += 1
    fixed = _FIXED.get(kind)
    if fixed is not None:
        size, read = fixed
        end = at + size
        if end > within:
            raise ValueError("a value that is cut off")
        try:
            return read(raw[at:end]), end
        except Left:
            raise _Skipped(end) from None
    if kind not in (b"S", b"x", b"F", b"A"):
        raise ValueError(f"a value of the unknown type {kind!r}")
    end = _end(raw, at, within)
    if kind == b"S":
        return _text(raw[at + 4 : end]), end
    if kind == b"x":
        return bytearray(raw[at + 4 : end]), end
    if depth >= MAX_DEPTH:
        raise _Skipped(end)
    return (_table if kind == b"F" else _array)(raw, at, end, depth + 1), end


def _end(raw: bytes, at: int, within: int) -> int:
    end = at + 4 + int(_long(raw, at)[0])
    if end > within:
        raise ValueError(f"{within} bytes, {end} expected")
    return end


def _short_text(raw: bytes, at: int) -> tuple[str, int]:
    end = at + 1 + raw[at]
    return raw[at + 1 : end].decode(errors="replace"), end


def _text(raw: bytes) -> str | bytes:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


def _timestamp(raw: bytes) -> datetime:
    seconds: float = int.from_bytes(raw, "big")
    if seconds > _MILLISECONDS_FROM:
        seconds /= 1000
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        raise Left from None


def _decimal(raw: bytes) -> Decimal:
    return Decimal(int.from_bytes(raw[1:], "big")) * Decimal(10) ** -raw[0]


def _number(form: str) -> Callable[[bytes], Any]:
    unpack = struct.Struct(form).unpack
    return lambda raw: unpack(raw)[0]


_FIXED: Final[dict[bytes, tuple[int, Callable[[bytes], Any]]]] = {
    b"t": (1, lambda raw: raw != b"\0"),
    b"b": (1, _number(">b")),
    b"B": (1, _number(">B")),
    b"s": (2, _number(">h")),
    b"u": (2, _number(">H")),
    b"I": (4, _number(">i")),
    b"i": (4, _number(">I")),
    b"l": (8, _number(">q")),
    b"L": (8, _number(">q")),
    b"f": (4, _number(">f")),
    b"d": (8, _number(">d")),
    b"D": (5, _decimal),
    b"T": (8, _timestamp),
    b"V": (0, lambda _: None),
    b"\0": (0, lambda _: None),
}
