"""Where a stream goes on behind a netstring that is shorter than it says. Pure.

A NUL in a frame that a configuration has pasted together by hand ends Kamailio's ``snprintf``: the
length that it declares counts everything, the body ends before the NUL, and the comma follows at once
(run on 5.6.3, 6.0.1 and 6.1.5)::

    155:{"event":"invite_request",...,"ua":"ab,149:{"event":...},
                                          ^ here it was cut

What stands between the cut and the declared end are the next frames, or it is what the caller wrote to
look like frames: the bytes are the same. So only a frame's beginning that every reading of them has in
common counts. What stands before it is given up, never delivered.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

_HEADER: Final = re.compile(rb",([1-9][0-9]{0,8}):")
_PARTIAL_HEADER: Final = re.compile(rb",(?:[1-9][0-9]{0,8})?\Z")
_BODY: Final = re.compile(rb'\{\s*"|[\w.-]{1,120}:[0-9]*:[0-9]*:')
"""How an event begins, see ``event``."""
_BODY_BYTES: Final = 150
"""Bytes within which that shows."""
_MOST_READINGS: Final = 20
_MOST_CUTS: Final = 5
"""Beyond them there is no telling: a caller could make it arbitrarily hard."""
_FRAME: Final = re.compile(rb"(0|[1-9][0-9]{0,8}):")
_PARTIAL_FRAME: Final = re.compile(rb"(?:0|[1-9][0-9]{0,8})?\Z")


class Found(NamedTuple):
    """``cut``: where the short body ends at the latest that is safe to read. ``at``: where a frame begins
    for certain; what is between them cannot be told apart. ``wait``: the next bytes will tell."""

    cut: int = 0
    at: int = 0
    wait: bool = False


def find(buffer: bytes, start: int, stop: int) -> Found | None:
    """Look for the next frame behind a body that begins at ``start`` and should have ended at ``stop``,
    but did not. None: there is no telling."""
    begins = _begins(buffer, start, stop)
    if begins is None:
        return Found(wait=True)
    common = _common(buffer, begins, 0)
    return Found(begins[0] - 1, min(common)) if common else None


def _begins(buffer: bytes, start: int, stop: int) -> list[int] | None:
    """Where the next frame may begin. None: the next bytes will tell."""
    if (tail := _PARTIAL_HEADER.search(buffer, start)) is not None and tail.start() < stop:
        return None
    begins: list[int] = []
    for header in _HEADER.finditer(buffer, start, min(stop + 11, len(buffer))):
        if header.start() >= stop:
            break
        if _BODY.match(buffer, header.end()):
            begins.append(header.start() + 1)
        elif len(buffer) - header.end() < min(_BODY_BYTES, int(header[1])):
            return None
    return begins


def _common(buffer: bytes, begins: list[int], depth: int) -> set[int] | None:
    """What all readings have in common of where frames begin. None: there is none that holds."""
    if len(begins) > _MOST_READINGS:
        return set()
    readings = [_follow(buffer, begin, depth) for begin in begins]
    possible = [reading for reading in readings if reading is not None]
    return set.intersection(*possible) if possible else None


def _follow(buffer: bytes, at: int, depth: int) -> set[int] | None:
    """Where frames begin if one begins at ``at``, as far as it can be seen. None: none does."""
    begins: set[int] = set()
    before: tuple[int, int] | None = None  # the last payload
    while True:
        header = _FRAME.match(buffer, at)
        if header is None:
            if _PARTIAL_FRAME.match(buffer, at):
                return begins | {at}
            return _cut_again(buffer, begins, before, depth)
        begins.add(at)
        before = header.end(), header.end() + int(header[1])
        if before[1] >= len(buffer):
            return begins
        if buffer[before[1]] != 0x2C:
            return _cut_again(buffer, begins, before, depth)
        at = before[1] + 1


def _cut_again(
    buffer: bytes, begins: set[int], payload: tuple[int, int] | None, depth: int
) -> set[int] | None:
    """The same where a payload does not end where it should: it has been cut short, too, or it is none."""
    if payload is None:
        return None
    if depth == _MOST_CUTS or (inner := _begins(buffer, *payload)) is None:
        return begins
    found = _common(buffer, inner, depth + 1)
    return None if found is None else begins | found
