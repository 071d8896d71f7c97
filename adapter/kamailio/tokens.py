"""The words of a Kamailio configuration, and the places where things stand in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

Kind = Literal["name", "text", "number", "variable", "sign"]


@dataclass(frozen=True, slots=True)
class Token:
    """One word. ``text`` of a quoted text is without quotes and escapes; of a variable with its ``$``."""

    kind: Kind
    text: str
    file: str
    line: int


@dataclass(frozen=True, slots=True)
class Noted:
    """A comment, a define, an include or a problem: some text and where it stands. Line 0: nowhere.

    ``order``: how many words were read before it.
    """

    text: str
    file: str
    line: int
    order: int = 0


@dataclass(frozen=True, slots=True)
class Defined:
    """One ``#!define`` or its like as it is written, whether it had an effect or not."""

    verb: str
    name: str
    file: str
    line: int
    order: int


def closing(tokens: Sequence[Token], start: int, pair: str = "()") -> int:
    """Where the bracket that opens at ``start`` closes; the end of ``tokens`` where it does not."""
    depth = 0
    for position in range(start, len(tokens)):
        token = tokens[position]
        if token.kind == "sign" and token.text in pair:
            depth += 1 if token.text == pair[0] else -1
            if depth == 0:
                return position
    return len(tokens)


def split(tokens: Sequence[Token]) -> list[list[Token]]:
    """The arguments of a call: its words between commas that stand in no further parenthesis."""
    parts: list[list[Token]] = [[]]
    depth = 0
    for token in tokens:
        if token.kind == "sign" and token.text in "([":
            depth += 1
        elif token.kind == "sign" and token.text in ")]":
            depth -= 1
        if token.kind == "sign" and token.text == "," and depth == 0:
            parts.append([])
        else:
            parts[-1].append(token)
    return parts if parts != [[]] else []


def joined(tokens: Sequence[Token]) -> str:
    """Words put together again, without quotes and white space."""
    return "".join(token.text for token in tokens)
