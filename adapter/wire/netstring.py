"""Netstring framing, ``LEN:PAYLOAD,`` (D. J. Bernstein, 1997), as Kamailio's evapi module speaks it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from adapter.errors import FrameTooLarge, FramingError
from adapter.wire import resync

MAX_IN: Final = 1 << 20
"""Bytes of an incoming payload kept whole. A longer one is passed over without being stored."""
MAX_OUT: Final = 32_000
"""Bytes of an outgoing payload. Kamailio never delivers over 32,760 and closes from 32,762."""
HEAD: Final = 4096
"""Bytes kept of a payload that is passed over: enough to read its ids."""
_MAX_DIGITS: Final = 9


@dataclass(frozen=True, slots=True)
class Oversized:
    """A payload over the limit: its first bytes and its length."""

    head: bytes
    length: int


@dataclass(frozen=True, slots=True)
class CutShort:
    """A payload that ended before the length it declared: what is certainly of it. ``lost``: bytes behind
    it that may have been frames, or more of it."""

    head: bytes
    length: int
    lost: int = 0


Payload = bytes | Oversized | CutShort


def encode(payload: bytes) -> bytes:
    """Frame a payload for Kamailio. Raises FrameTooLarge over ``MAX_OUT``."""
    if len(payload) > MAX_OUT:
        raise FrameTooLarge(len(payload), MAX_OUT)
    return b"%d:%b," % (len(payload), payload)


class Decoder:
    """Cuts a byte stream into payloads.

    Any split of a stream gives the same payloads. After a FramingError the decoder is of no
    more use, but what came whole before the fault is in the error's ``payloads``.
    """

    def __init__(self, max_payload: int = MAX_IN) -> None:
        self._max = max_payload
        self._parts: list[bytes] = []  # joined once: a long payload in many pieces takes linear time
        self._missing = 0  # bytes without which nothing new can be found
        self._skip = 0  # bytes of an oversized payload (and its comma) still to pass over
        self._oversized: Oversized | None = None

    def feed(self, data: bytes) -> list[Payload]:
        """Take in bytes; give the payloads that are now whole.

        Where a payload ends short of its length, the stream goes on at the next frame that certainly is
        one (see ``resync``). Raises OutOfStep where there is none.
        """
        out: list[Payload] = []
        if self._skip:
            data = self._pass_over(data, out)
        self._parts.append(data)
        if len(data) < self._missing:
            self._missing -= len(data)
            return out
        buffer = b"".join(self._parts)
        self._missing = 0
        at, end = 0, len(buffer)
        before = -1  # where the last payload's frame begins
        while at < end:
            colon = buffer.find(b":", at, at + _MAX_DIGITS + 1)
            if colon < 0 and end - at <= _MAX_DIGITS and _is_length(buffer[at:end]):
                break
            digits = buffer[at:colon] if colon >= 0 else b""
            if not digits or not _is_length(digits):
                if before < 0:
                    raise OutOfStep(buffer[at : at + 32], out)
                span = _span(buffer, before)
                step = _behind(buffer, span, at, out)
                del out[-1]  # it was none: it ended at a comma by chance
                if step.wait:
                    at = before
                    break
                out.append(_cut_short(buffer, span, step))
                at, before = step.at, -1
                continue
            length = int(digits)
            start, stop = colon + 1, colon + 1 + length
            if length > self._max:
                if end - start < min(HEAD, length):
                    self._missing = min(HEAD, length) - (end - start)
                    break
                self._oversized = Oversized(buffer[start : start + min(HEAD, length)], length)
                self._skip = length + 1
                at, before = end - len(self._pass_over(buffer[start:], out)), -1
                continue
            if stop >= end:
                self._missing = stop + 1 - end
                break
            if buffer[stop] != 0x2C:
                span = _Span(at, start, stop)
                step = _behind(buffer, span, stop, out)
                if step.wait:
                    break
                out.append(_cut_short(buffer, span, step))
                at, before = step.at, -1
                continue
            out.append(buffer[start:stop])
            at, before = stop + 1, at
        self._parts = [buffer[at:]]
        return out

    def _pass_over(self, data: bytes, out: list[Payload]) -> bytes:
        """Drop what belongs to the oversized payload; give the rest."""
        if len(data) < self._skip:
            self._skip -= len(data)
            return b""
        comma = self._skip - 1
        if data[comma] != 0x2C:
            raise OutOfStep(data[comma : comma + 32], out)
        assert self._oversized is not None
        out.append(self._oversized)
        self._skip, self._oversized = 0, None
        return data[comma + 1 :]


class OutOfStep(FramingError):
    """Not a netstring here. ``payloads`` came whole before it."""

    def __init__(self, found: bytes, payloads: list[Payload]) -> None:
        super().__init__("out-of-step", f"no netstring at {found!r}")
        self.payloads = payloads


class _Span(NamedTuple):
    """Where a frame begins, and where its payload begins and should end."""

    at: int
    start: int
    stop: int


def _span(buffer: bytes, at: int) -> _Span:
    """That of the whole frame that begins there."""
    colon = buffer.index(b":", at)
    return _Span(at, colon + 1, colon + 1 + int(buffer[at:colon]))


def _behind(buffer: bytes, span: _Span, fault: int, out: list[Payload]) -> resync.Found:
    """What follows a payload that does not end where it should, as the ``fault`` shows. Raises OutOfStep."""
    found = resync.find(buffer, span.start, span.stop)
    if found is None:
        raise OutOfStep(buffer[fault : fault + 32], out)
    return found


def _cut_short(buffer: bytes, span: _Span, found: resync.Found) -> CutShort:
    return CutShort(buffer[span.start : found.cut], span.stop - span.start, found.at - 1 - found.cut)


def _is_length(digits: bytes) -> bool:
    return digits.isdigit() and (digits[0] != 0x30 or len(digits) == 1)
