"""What a comparison tells of the values in it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from adapter.kamailio.statements import Both, Leaf

if TYPE_CHECKING:
    from adapter.kamailio.statements import Expression


def text_of(what: Expression) -> str:
    """What a value is, as it is written; "" of what is more than a value."""
    return what.text if isinstance(what, Leaf) else ""


def number_of(what: Expression | None) -> int | None:
    """The number that is given back; 1 where there is none, None where it is not known."""
    if what is None:
        return 1
    if isinstance(what, Both) and what.sign == "-" and text_of(what.left) == "0":
        number = number_of(what.right)
        return None if number is None else -number
    return int(text_of(what)) if re.fullmatch(r"[0-9]+", text_of(what)) else None


def tells_closed(sign: str, other: str) -> bool | None:
    """Whether ``gate SIGN other`` tells of a closed gate where it is true, or (False) where it is false."""
    nothing = other in ("$null", "0", "")
    if sign in ("==", "!="):
        return nothing == (sign == "==")
    return {"<": True, "<=": True, ">": False, ">=": False}.get(sign)


def tells_failed(sign: str, other: str) -> tuple[bool | None, bool | None]:
    """Whether ``result SIGN other`` tells of a failure, where it is true and where it is false."""
    if not re.fullmatch(r"-?\d+", other):
        return None, None
    number = int(other)
    if (
        (sign in ("<", "<=") and number <= 1)
        or (sign == "==" and number < 0)
        or (sign == "!=" and number > 0)
    ):
        return True, False
    if sign in (">", ">=") or (sign == "==" and number > 0) or (sign == "!=" and number < 0):
        return False, True
    return None, None
