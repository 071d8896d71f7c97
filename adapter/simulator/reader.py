"""Kamailio's netstring reader (``evapi_recv_client`` of evapi_dispatch.c), faults included. Pure.

What it does to a stream depends on where each ``recv`` ends:

- within the length digits, or just before the closing comma: all it holds is thrown away, and
  the next ``recv`` is taken for the beginning of a frame;
- after the colon or within the body: safe, the rest is waited for;
- a length of 0, or a byte that is no digit where one belongs: all it holds is thrown away;
- a frame that fills the buffer: ``recv`` is asked for 0 bytes, gives 0, and that is taken for
  the client's end.

White space between frames is passed over. As soon as it reads a length of more than 32,768, Kamailio 6.1.5
throws away what it holds; those before it count with C's int and wait for so many.
tests/kamailio/test_reader.py holds all of this to the real Kamailio (5.6.3, 6.0.1, 6.1.5).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from adapter.simulator.counters import Counters

BUFFER: Final = 32_767
LONGEST: Final = 32_768
"""The largest length that Kamailio 6.1.5 does not refuse."""
_LENGTH = re.compile(rb"[ \t\r\n]*([0-9]*)")


class Reader:
    """One connection's buffer.

    Args:
        counters: of what is thrown away.
        faulty: if False it waits where Kamailio throws away for no reason.
        checks_lengths: whether it refuses lengths beyond its buffer, as Kamailio 6.1.5 does.
    """

    def __init__(self, counters: Counters, *, faulty: bool = True, checks_lengths: bool = False) -> None:
        self._counters = counters
        self._checks_lengths = checks_lengths
        self._faulty = faulty
        self._partial = b""

    @property
    def room(self) -> int:
        """Bytes to ask the next ``recv`` for; 0: the connection ends here."""
        return BUFFER - len(self._partial)

    def feed(self, data: bytes) -> list[bytes]:
        """Take what one ``recv`` gave, at most ``room`` bytes; the payloads that it makes whole."""
        buffer = self._partial + data if self._partial else data
        self._partial = b""
        frames: list[bytes] = []
        at, end = 0, len(buffer)
        while at < end:
            found = _LENGTH.match(buffer, at)
            assert found is not None  # it matches nothing, too
            digits, colon = found[1], found.end()
            start = found.start(1)
            if start == end:
                break  # nothing but white space
            if colon == end and not self._faulty:
                self._partial = buffer[start:]
                break
            length = _checked(digits) if self._checks_lengths else _c_int(digits)
            if colon == end or buffer[colon] != 0x3A or length <= 0:
                self._discard(end - start)
                break
            comma = colon + 1 + length
            if comma > end or (comma == end and not self._faulty):
                self._partial = buffer[start:]
                break
            if comma == end or buffer[comma] != 0x2C:
                self._discard(end - start)
                break
            frames.append(buffer[colon + 1 : comma])
            at = comma + 1
        return frames

    def _discard(self, size: int) -> None:
        self._counters.discards += 1
        self._counters.discarded_bytes += size


def _checked(digits: bytes) -> int:
    """The digits' value; 0 for one that Kamailio 6.1.5 refuses."""
    value = _c_int(digits) if len(digits.lstrip(b"0")) < 10 else 0
    return value if value <= LONGEST else 0


def _c_int(digits: bytes) -> int:
    """The digits as C's ``int`` adds them up: 32 bits, the sign included."""
    if len(digits) < 10:
        return int(digits or b"0")
    value = 0
    for digit in digits:
        value = (value * 10 + digit - 0x30) & 0xFFFFFFFF
    return value - (1 << 32) if value >> 31 else value
