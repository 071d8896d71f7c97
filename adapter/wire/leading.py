"""The leading members of a JSON frame that breaks further on: its name and its ids. Pure."""

from __future__ import annotations

import re
from typing import Any, Final

from adapter.bodies import JSON
from adapter.errors import CodecError

TOP_LEVEL_IDS: Final = ("tm_index", "tm_label", "tr_index", "tr_label")
"""Where ids may stand beside ``tm_trans``."""
_MEMBER = re.compile(rf'\s*"(event|tm_trans|seq|{"|".join(TOP_LEVEL_IDS)})"\s*:\s*')
_AFTER_MEMBER = re.compile(r"\s*([,}])")


def leading_members(text: str) -> dict[str, Any]:
    """The name and the ids of a JSON object that breaks further on (or was cut off).

    Only members before the first of any other name: what follows may hold what a caller wrote
    into a SIP header, which must not pick a victim. A member counts when its end is seen,
    since a number cut short is another number.
    """
    found: dict[str, Any] = {}
    at = 1
    while (member := _MEMBER.match(text, at)) and member[1] not in found:
        try:
            value, at = JSON.raw_decode(text, member.end())
        except (CodecError, ValueError, RecursionError):
            break
        after = _AFTER_MEMBER.match(text, at)
        if after is None:
            break
        found[member[1]] = value
        if after[1] == "}":
            break
        at = after.end()
    return found
