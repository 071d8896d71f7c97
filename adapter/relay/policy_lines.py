"""Where in a policy's text a table or key stands, which tomllib tells of syntax errors alone. Pure.

Up to the end of each of its statements the text is TOML of its own. So the statement that defines a key is
the one without which the key is not there yet: dotted and quoted keys, inline tables and arrays of tables
need no rules of their own.
"""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from adapter.errors import PolicyPath

FAR: Final = 200
"""Lines that are looked back for the begin of a statement that has no end."""
_PLACE: Final = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")
_REMEDIES: Final = (
    (r"Cannot (overwrite|declare|mutate|redefine)|Duplicate", "write each table and each key once"),
    (r"Unclosed inline|Invalid initial", "write { ... } on one line, without a comma before }"),
    (r"Unclosed|Expected '\]", "close what [ begins with ]"),
    (r"Invalid value", "write text in quotes, and true or false in small letters"),
    (r"Unterminated|Illegal|Expected ['\"]{3}|Expected ['\"]['\"]['\"]$", "end the text with its quotes"),
    (r"Unescaped|Escaped|(Invalid )?hex value", "write each \\ of a text twice"),
    (r"Expected '=' after", "write key = value"),
    (r"Expected newline", "write one key = value in a line, and text in quotes"),
)
_OTHERWISE: Final = "write it as TOML: [table], and key = value below it"


def line_of(text: str, path: PolicyPath) -> int:
    """Return the line, from 1, on which a key or table is first defined; 0 if it is not there.

    Args:
        text: of a whole TOML document without errors of syntax.
        path: keys, and places in arrays, from the top.
    """
    lines = text.split("\n")
    if not path or not _defines(lines, path):
        return 0
    without, within = 0, len(lines)
    while (end := _end_between(lines, without, within)) is not None:
        if _defines(lines[:end], path):
            within = end
        else:
            without = end
    return without + 1


def broken_at(text: str, error: tomllib.TOMLDecodeError) -> tuple[int, str, str]:
    """Return where and why a text is no TOML: the line (0 if unknown), what is wrong, and what to write."""
    said = str(error)
    if place := _PLACE.search(said):
        said = said[: place.start()]
        line = int(place[1]) if place[1] else _last_begin(text.split("\n"))
    else:
        line = 0
    remedies = (do for pattern, do in _REMEDIES if re.match(pattern, said))
    return line, said, next(remedies, _OTHERWISE)


def _defines(lines: Sequence[str], path: PolicyPath) -> bool:
    found: Any = tomllib.loads("\n".join(lines) + "\n")
    for key in path:
        if isinstance(found, dict):
            if key not in found:
                return False
        elif not isinstance(found, list) or not isinstance(key, int) or key >= len(found):
            return False
        found = found[key]
    return True


def _end_between(lines: Sequence[str], low: int, high: int) -> int | None:
    """The end of a statement between two others, near the middle; None if there is none."""
    middle = (low + high) // 2
    return _first_end(lines, [*range(max(middle, low + 1), high), *range(middle - 1, low, -1)])


def _first_end(lines: Sequence[str], ends: Iterable[int]) -> int | None:
    for end in ends:
        try:
            tomllib.loads("\n".join(lines[:end]) + "\n")
        except tomllib.TOMLDecodeError:
            continue
        return end
    return None


def _last_begin(lines: Sequence[str]) -> int:
    """The line on which the statement begins that the text breaks off in."""
    end = _first_end(lines, range(len(lines) - 1, max(-1, len(lines) - FAR), -1))
    return 0 if end is None else end + 1
