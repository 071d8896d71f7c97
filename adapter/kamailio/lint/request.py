"""What kind of request is followed, and which conditions that decides."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from adapter.kamailio.statements import Step

_METHOD: Final = frozenset({"$rm", "method"})
_TO_TAG: Final = frozenset({"$tt", "$(tt)", "@to.tag"})


@dataclass(frozen=True, slots=True)
class Request:
    """A request's method ("" if it is not known), and whether its To has a tag (None: not known)."""

    method: str = ""
    tag: bool | None = None

    def compared(self, left: str, sign: str, right: str) -> bool | None:
        """Whether ``left SIGN right`` holds for this request; None if it does not tell."""
        if left in _METHOD and self.method:
            if sign == "=~":
                try:
                    return re.search(right, self.method, re.IGNORECASE) is not None
                except re.error:
                    return None
            if sign in ("==", "!="):
                return (right == self.method) == (sign == "==")
        if left in _TO_TAG and self.tag is not None and right in ("$null", "") and sign in ("==", "!="):
            return self.tag == (sign == "!=")
        return None


INVITE: Final = Request("INVITE", tag=False)
CANCEL: Final = Request("CANCEL", tag=False)
ANY: Final = Request()


def decided(step: Step, request: Request) -> bool | None:
    """Whether a call is true for this request; None if that is not known."""
    if step.name == "is_method" and request.method:
        methods = step.argument(0).split("|")
        return None if any("$" in one for one in methods) else request.method in methods
    if step.name == "has_totag":
        return request.tag
    if step.name == "is_request":
        return True
    if step.name == "is_reply":
        return False
    return None
