"""Headers of a reply, whatever type a consumer gave them. Pure."""

from __future__ import annotations

import math
from typing import Any, Final

_MOST: Final = (1 << 31) - 1  # 24 days in milliseconds, 68 years in seconds
_MAX_DIGITS: Final = 32


def count(value: Any) -> int:
    """Read a whole number: an integer, a float or a text. 0 where it is no positive number."""
    if isinstance(value, bytes | bytearray):
        value = bytes(value[:_MAX_DIGITS]).decode(errors="replace")
    if isinstance(value, bool) or (isinstance(value, str) and len(value) > _MAX_DIGITS):
        return 0
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        return 0
    return int(min(found, _MOST)) if 0 < found < math.inf else 0
