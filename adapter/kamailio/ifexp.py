"""The expressions of ``#!ifexp``: numbers, texts, names of defines, comparisons, ``&&``, ``||``, ``!``."""

from __future__ import annotations

import operator
import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MAX_WORDS: Final = 200
"""Words of an expression: a longer one does not hold, as one that Kamailio cannot read."""
_WORD: Final = re.compile(
    r'\s*(?:(\d+)|"([^"]*)"|\'([^\']*)\'|([A-Za-z_]\w*)|(==|!=|<=|>=|&&|\|\||[<>!()+*/%-]))'
)
_Value = float | str
_COMPARED: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "==": operator.eq, "!=": operator.ne,
    "<": operator.lt, ">": operator.gt, "<=": operator.le, ">=": operator.ge,
}  # fmt: skip
_BINDS: Final = {
    "||": 1, "&&": 2, "==": 3, "!=": 3, "<": 4, ">": 4, "<=": 4, ">=": 4,
    "+": 5, "-": 5, "*": 6, "/": 6, "%": 6,
}  # fmt: skip


def holds(text: str, defines: Mapping[str, str]) -> bool:
    """Return whether an ``#!ifexp`` holds.

    Args:
        text: the expression.
        defines: name -> value; "" for one without a value, which counts as 1. What is not there is 0.
    """
    try:
        value = _Expression(text, defines).value()
    except (ValueError, IndexError, ZeroDivisionError, TypeError, RecursionError):
        return False
    return bool(value)


class _Expression:
    def __init__(self, text: str, defines: Mapping[str, str]) -> None:
        self._words: list[tuple[str, _Value]] = []
        position = 0
        text = text.rstrip()
        while position < len(text):
            found = _WORD.match(text, position)
            if found is None or len(self._words) > MAX_WORDS:
                raise ValueError(text)
            position = found.end()
            if found[1] is not None:
                self._words.append(("value", float(found[1])))
            elif found[4] is not None:
                self._words.append(("value", _defined(defines.get(found[4]))))
            elif found[5] is not None:
                self._words.append((found[5], ""))
            else:
                self._words.append(("value", found[2] if found[2] is not None else found[3]))
        self._position = 0

    def value(self) -> _Value:
        """Return the value of the whole. Raises ValueError or IndexError for what is no expression."""
        value = self._binary(0)
        if self._position < len(self._words):
            raise ValueError(self._words[self._position][0])
        return value

    def _binary(self, least: int) -> _Value:
        left = self._single()
        while self._position < len(self._words):
            sign = self._words[self._position][0]
            binds = _BINDS.get(sign, 0)
            if binds <= least:
                break
            self._position += 1
            left = _applied(sign, left, self._binary(binds))
        return left

    def _single(self) -> _Value:
        sign, value = self._words[self._position]
        self._position += 1
        if sign == "value":
            return value
        if sign == "!":
            return float(not self._single())
        if sign == "-":
            return -_number(self._single())
        if sign == "(":
            value = self._binary(0)
            if self._words[self._position][0] == ")":
                self._position += 1
                return value
        raise ValueError(sign)


def _defined(value: str | None) -> _Value:
    if value is None:
        return 0.0
    if not value:
        return 1.0
    quoted = len(value) > 1 and value[0] in "\"'" and value[0] == value[-1]
    return value[1:-1] if quoted else value


def _number(value: _Value) -> float:
    try:
        return float(value)
    except ValueError:
        return 0.0


def _applied(sign: str, left: _Value, right: _Value) -> _Value:
    if sign == "&&":
        return float(bool(left) and bool(right))
    if sign == "||":
        return float(bool(left) or bool(right))
    texts = isinstance(left, str) and isinstance(right, str)
    if sign in _COMPARED:
        return float(
            _COMPARED[sign](left, right) if texts else _COMPARED[sign](_number(left), _number(right))
        )
    if sign == "+" and isinstance(left, str):
        return left + (right if isinstance(right, str) else f"{right:g}")
    first, second = _number(left), _number(right)
    return {"+": first + second, "-": first - second, "*": first * second}.get(sign) or (
        (first / second if sign == "/" else first % second) if sign in "/%" else 0.0
    )
