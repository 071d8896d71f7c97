"""What one ``recv`` after the other gives to Kamailio's netstring reader, and the frames it makes of that.

The real server and the model (adapter/simulator/reader.py) are held to the same cases.
"""

from __future__ import annotations

from random import Random
from typing import Final

CASES: Final[tuple[tuple[list[bytes], list[bytes]], ...]] = (
    ([b"3:abc,3:def,"], [b"abc", b"def"]),
    ([b"003:abc,"], [b"abc"]),
    # Where a recv may end: after the colon and within the body.
    ([b"3:", b"abc,"], [b"abc"]),
    ([b"3:a", b"b", b"c,3:def,"], [b"abc", b"def"]),
    # Where it must not: within the digits, before the colon, before the comma. The next recv is lost, too.
    ([b"1", b"0:abcdefghij,", b"3:def,"], [b"def"]),
    ([b"10", b":abcdefghij,", b"3:def,"], [b"def"]),
    ([b"3:abc", b",", b"3:def,"], [b"def"]),
    ([b"3:abc", b",3:def,3:ghi,", b"3:jkl,"], [b"jkl"]),
    ([b"3:abc,3:def", b",3:ghi,", b"3:jkl,"], [b"abc", b"jkl"]),
    # A length of 0 is none.
    ([b"3:abc,0:,3:def,", b"3:ghi,"], [b"abc", b"ghi"]),
    ([b"0:", b",3:def,", b"3:ghi,"], [b"ghi"]),
    ([b":,3:def,", b"3:ghi,"], [b"ghi"]),
    # White space between frames is passed over, within the length it is out of place.
    ([b"3:abc, \t\r\n3:def,"], [b"abc", b"def"]),
    ([b"3:abc,", b" \r\n", b"3:def,"], [b"abc", b"def"]),
    ([b"3:abc, \t\r\n3:d", b"ef,"], [b"abc", b"def"]),
    ([b"3:abc,\v3:def,", b"3:ghi,"], [b"abc", b"ghi"]),
    ([b"3 :abc,3:def,", b"3:ghi,"], [b"ghi"]),
    ([b"3: bc,"], [b" bc"]),
    # Neither digit nor comma where one belongs.
    ([b"3:abc,oops,3:def,", b"3:ghi,"], [b"abc", b"ghi"]),
    ([b"3:abcd,3:def,", b"3:ghi,"], [b"ghi"]),
    ([b"+3:abc,", b"3:ghi,"], [b"ghi"]),
)

WRAPPED: Final = ([b"4294967297:q,3:def,", b"3:ghi,"], [b"q", b"def", b"ghi"])
"""A length is a C int of 32 bits, up to Kamailio 6.0.1: this one is 1."""
REFUSED: Final = ([b"4294967297:q,3:def,", b"32769:q,3:def,", b"3:ghi,"], [b"ghi"])
"""Kamailio 6.1.5 refuses a length of more than its buffer at once, and throws away what it holds."""
CHECKS_LENGTHS: Final = (6, 1, 5)
"""The version of Kamailio that was seen to do so; 6.0.1 does not."""

PIECES: Final = (
    *(b"5:abcde,", b"1:x,", b"0:,", b"12:", b":", b",", b" \r\n\t", b"7", b"01:y,", b"z"),
    *(b"9999999999:", b"4294967297:q,"),
)


def drawn(seed: int) -> list[bytes]:
    """Recvs made of ``PIECES`` and odd bytes, the same for the same seed."""
    random = Random(seed)
    odd = [bytes([random.randrange(256)]) for _ in range(3)]
    return [
        b"".join(random.choices([*PIECES, *odd], k=random.randint(1, 6))) for _ in range(random.randint(1, 8))
    ]
