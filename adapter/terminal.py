"""Text from peers must not steer a terminal. Pure."""

from __future__ import annotations

import re
from typing import Final

_CONTROL: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""Control characters, what turns the direction of writing, and what cannot be written at all."""
_LINES: Final = "\t\n"


def escaped(text: str, lines: bool = False) -> str:
    """The text with control characters written out, such as \\x1b; ``lines``: but not tab and newline."""
    return _CONTROL.sub(
        lambda found: found[0] if lines and found[0] in _LINES else repr(found[0])[1:-1], text
    )
