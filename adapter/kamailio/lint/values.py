"""Variables as they stand in a text: which a caller writes, and what becomes of them on their way."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_VARIABLE: Final = re.compile(r"\$(\()?([A-Za-z_]\w*)")
_TRANSFORM: Final = re.compile(r"\{([a-z]+\.?[a-z]*\.?[\w]*)")
_CALLERS: Final = frozenset(
    (
        *("ua", "fn", "tn", "fU", "rU", "tU", "oU", "aU", "pU", "pu", "pn", "pd", "ct", "cT"),
        *("fu", "tu", "ru", "ou", "au", "ai", "di", "du", "rd", "od", "fd", "td", "ad", "hdr"),
        *("hdrc", "mb", "rb", "bs", "rt", "re", "rr", "ft", "tt", "rz", "x_hdr", "hfl", "sel", "contact"),
        *("sdp"),
    )
)
"""Variables that hold what a caller wrote."""
_SAFE: Final = re.compile(
    r"\{(s\.(encode\.|len|int|md5|sha|numeric|crc|escape\.(user|param|common)|rmhlws)|urlencode|val\.json|json\.|jsonv"
    r"|xlog|num|line\.count|ip\.|uri\.port)"
)
"""Transformations after which nothing can end a JSON string."""


@dataclass(frozen=True, slots=True)
class Value:
    """One variable in a text: ``$(ua{s.len})`` has the name ``ua`` and the changes ``{s.len}``."""

    text: str
    name: str
    inside: str
    changes: str
    start: int

    @property
    def key(self) -> str:
        """As in ``parser.variables``: ``var(x)``."""
        return f"{self.name}({self.inside})"

    @property
    def from_caller(self) -> bool:
        """Whether it holds a text that a caller wrote, as it was written."""
        return self.name in _CALLERS and not _SAFE.search(self.changes)

    @property
    def kept(self) -> bool:
        """Whether what it holds is still as it was, for JSON."""
        return not _SAFE.search(self.changes)


def values(text: str) -> Iterator[Value]:
    """Every variable of a text."""
    at = 0
    while (found := _VARIABLE.search(text, at)) is not None:
        wrapped = found[1] is not None
        position = found.end()
        inside, position = _parenthesis(text, position)
        changes = ""
        if wrapped:
            while position < len(text) and text[position] in "[{":
                closing = "]" if text[position] == "[" else "}"
                end = _balanced(text, position, text[position], closing)
                changes += text[position:end] if closing == "}" else ""
                position = end
            position += text.startswith(")", position)
        elif inside and text.startswith("[", position) and text.find("]", position) > 0:
            position = text.find("]", position) + 1
        yield Value(text[found.start() : position], found[2], inside, changes, found.start())
        at = max(position, found.end())


def _parenthesis(text: str, position: int) -> tuple[str, int]:
    if not text.startswith("(", position):
        return "", position
    end = _balanced(text, position, "(", ")")
    return re.split(r"=>|\[", text[position + 1 : end - 1], maxsplit=1)[0].strip(), end


def _balanced(text: str, start: int, opens: str, closes: str) -> int:
    depth = 0
    for position in range(start, len(text)):
        if text[position] == opens:
            depth += 1
        elif text[position] == closes:
            depth -= 1
            if depth == 0:
                return position + 1
    return len(text)
