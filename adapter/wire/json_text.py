"""JSON text from a peer, read strictly. Pure.

A member that stands twice is refused on every level: parsers differ in which one counts, so in a frame that
a configuration has pasted together by hand the caller's header would pick the event, the ids or a value.
jansson, which builds the frames of the shipped configuration, refuses such text, too.
"""

from __future__ import annotations

import json
from typing import Any, Final

from adapter.errors import CodecError

MAX_DEPTH: Final = 200
"""Levels of an event or a decision: no Python fails to write them, and jansson reads 2048."""


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


def decode(text: str) -> Any:
    """The value. Raises CodecError for a member that stands twice, ValueError or RecursionError for what is
    no JSON. What parses at the recursion limit might fail
    whoever only looks at it later, so the limit is far from that one.
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
