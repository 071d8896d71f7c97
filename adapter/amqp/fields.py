"""Properties and headers of a message, as far as Python can hold them. Pure.

A message is valid whatever its sender put there: a timestamp in microseconds (the year 58,878, a
habit of real consumers), a string that is no UTF-8, arrays nested a thousand deep. The library's
decoder raises for these, and closes the whole connection for one message. This reader leaves such a
value out and goes on behind it, since every value of AMQP says how long it is (AMQP 0-9-1, section
4.2.5, with RabbitMQ's errata to the types).
"""

from __future__ import annotations

import contextlib
import struct
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pamqp.commands import Basic
from pamqp.header import ContentHeader

if TYPE_CHECKING:
    from collections.abc import Callable

# The properties that a header may say are there, in the order in which they follow (AMQP 0-9-1, 4.2.6.1).
CONTENT_TYPE, ENCODING, HEADERS, DELIVERY_MODE = 1 << 15, 1 << 14, 1 << 13, 1 << 12
PRIORITY, CORRELATION_ID, REPLY_TO, EXPIRATION = 1 << 11, 1 << 10, 1 << 9, 1 << 8
MESSAGE_ID, TIMESTAMP, TYPE, USER_ID, APP_ID = 1 << 7, 1 << 6, 1 << 5, 1 << 4, 1 << 3
MORE: Final = 1
"""The flags go on in another word."""
PROPERTIES: Final = 14
"""Bytes of a header before its properties: class, weight, size of the body, flags."""

MAX_DEPTH: Final = 16
"""Tables and arrays within each other that are read; the value at a deeper one is left out."""

_MILLISECONDS_FROM: Final = 0xFFFFFFFF
"""The library takes a greater timestamp for milliseconds, and so do we."""

_long: Final = struct.Struct(">I").unpack_from
_content_head: Final = struct.Struct(">HHQH").unpack_from
_flag_word: Final = struct.Struct(">H").unpack_from


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
    try:
        text, at = _texts(header, flags)
    except (IndexError, struct.error, ValueError):
        return Found(None, {}, None, None, None)
    headers: dict[str, Any] = {}
    if at:
        # Of a table that contradicts itself it is known all the same where it ends.
        with contextlib.suppress(IndexError, struct.error, ValueError):
            headers = table(header, at)
    return Found(text.get(CONTENT_TYPE), headers, *map(text.get, (CORRELATION_ID, REPLY_TO, MESSAGE_ID)))


def ids(header: bytes) -> tuple[str | None, str | None]:
    """Return the correlation id and the message id of a content header, without reading its table.

    Both are None if the header is cut off. Raises struct.error for a header without flags.
    """
    flags = _content_head(header)[3]
    try:
        text, _ = _texts(header, flags)
    except (IndexError, struct.error, ValueError):
        return None, None
    return text.get(CORRELATION_ID), text.get(MESSAGE_ID)


def expiration(header: bytes) -> str | None:
    """Return the expiration of a content header; None if it has none, or is cut off."""
    flags = _content_head(header)[3]
    try:
        return _texts(header, flags)[0].get(EXPIRATION)
    except (IndexError, struct.error, ValueError):
        return None


def readable(header: bytes) -> bytes:
    """Return a content header as the library can read it: without the properties that it cannot hold."""
    try:
        ContentHeader().unmarshal(header)
    except Exception:  # whatever a decoder raises: it meets what anybody may send
        return _rewritten(header) if len(header) >= PROPERTIES else header
    return header


def _rewritten(header: bytes) -> bytes:
    found, size = properties(header), _content_head(header)[2]
    texts: dict[str, Any] = {
        "content_type": found.content_type,
        "correlation_id": found.correlation_id,
        "reply_to": found.reply_to,
        "message_id": found.message_id,
    }
    try:
        kept = Basic.Properties(headers=found.headers, **texts)
        return ContentHeader(body_size=size, properties=kept).marshal()
    except Exception:  # the library reads values that it cannot write
        return ContentHeader(body_size=size, properties=Basic.Properties(**texts)).marshal()


def _texts(header: bytes, flags: int) -> tuple[dict[int, str], int]:
    """The short strings up to the message id, by flag, and where the table of headers begins (or 0).

    Raises IndexError, struct.error or ValueError for a header that is cut off.
    """
    at, word = PROPERTIES, flags
    while word & MORE:
        (word,) = _flag_word(header, at)
        at += 2
    text: dict[int, str] = {}
    headers = 0
    for flag in (CONTENT_TYPE, ENCODING):
        if flags & flag:
            text[flag], at = _short_text(header, at)
    if flags & HEADERS:
        headers, at = at, at + 4 + _long(header, at)[0]
    at += bool(flags & DELIVERY_MODE) + bool(flags & PRIORITY)
    for flag in (CORRELATION_ID, REPLY_TO, EXPIRATION, MESSAGE_ID):
        if flags & flag:
            text[flag], at = _short_text(header, at)
    if at > len(header):
        raise ValueError("cut off")
    return text, headers


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
