"""Numbers and names out of SIP addresses, in the one spelling by which they are compared."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote

MAX_LENGTH: Final = 128
"""Characters of a number or name that are looked at."""

_SCHEME = re.compile(r"(sips?|tel):", re.IGNORECASE)
_DISPLAY_NAME = re.compile(r'\s*"(?:[^"\\]|\\.)*"', re.DOTALL)
_SEPARATORS = re.compile(r"[-.() ]")
_NUMBER = re.compile(r"(?:\+|00)?([0-9]+)")


def user_of(address: str) -> str:
    """The user part of ``sip:user@host``, ``"Name" <sip:user@host>``, ``tel:number`` or a bare user.

    Empty where there is none. Escapes are undone: ``%2B44`` is ``+44``.
    """
    # A display name is the caller's own text: it may hold brackets, and must not be taken for the URI.
    before, bracket, after = address[_end_of_name(address) :].partition("<")
    bare = after.partition(">")[0] if bracket else before.strip()
    scheme = _SCHEME.match(bare)
    if scheme is not None:
        bare = bare[scheme.end() :]
    user, at, _ = bare.partition("@")
    if scheme is not None and not at and scheme[1].lower() != "tel":
        return ""  # a host alone
    return unquote(re.split("[;:]", user, maxsplit=1)[0])


def _end_of_name(address: str) -> int:
    name = _DISPLAY_NAME.match(address)
    return name.end() if name else 0


def normal(user: str) -> str:
    """One spelling: a number as digits without ``+``, ``00`` or separators, a name in lower case."""
    user = user[:MAX_LENGTH].strip()
    number = _NUMBER.fullmatch(_SEPARATORS.sub("", user))
    return number[1] if number else user.casefold()


def is_number(normalised: str) -> bool:
    """Whether it is digits alone."""
    return normalised.isascii() and normalised.isdigit()
