"""Kamailio's preprocessor: defines, conditions and substitutions, as its own scanner has them.

Source: ``src/core/cfg.lex`` and ``ppcfg.c``, and a table of small files that the tests run through
``kamailio -c`` of several versions. What would surprise: a second ``#!define`` of a name stops the start;
``#!else text`` and ``#!endif text`` are comments; ``#!ifexp`` and ``#!defexp`` are comments before 5.7.
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Final

from adapter.kamailio.ifexp import holds
from adapter.kamailio.tokens import Defined, Noted

if TYPE_CHECKING:
    from collections.abc import Mapping

EXPRESSIONS_SINCE: Final = (5, 7)
"""Kamailio since when ``#!ifexp``, ``#!defexp`` and ``KAMAILIO_VERSION`` are known."""
MAX_TEXT: Final = 65_536
"""Characters of a quoted text up to which substitutions are carried out."""

_DEF_VARIABLE: Final = re.compile(r"\$defn?\((\w+)\)")
_POSIX: Final = re.compile(r"\[:(\w+):\]")
_CLASSES: Final = {
    "alpha": "a-zA-Z", "digit": "0-9", "alnum": "a-zA-Z0-9", "upper": "A-Z", "lower": "a-z", "space": r"\s",
    "blank": r" \t", "xdigit": "0-9A-Fa-f", "punct": r"!-/:-@\[-`{-~", "cntrl": r"\x00-\x1f\x7f",
}  # fmt: skip


class Preprocessor:
    """What defines, conditions and substitutions have made of the configuration so far.

    ``defines``: as ``-A NAME=VALUE`` gives them. ``version``: Kamailio's, where it is known; then
    ``KAMAILIO_5_7`` and its like are defined. ``problems`` are faults with which Kamailio does not start.
    """

    def __init__(self, defines: Mapping[str, str], version: tuple[int, int] | None) -> None:
        self.problems: list[Noted] = []
        self.defines = {name: Noted(value, f"-A {name}={value}", 0) for name, value in defines.items()}
        self.defined: list[Defined] = []
        self.opaque: set[str] = set()
        """Names whose value only Kamailio knows: each stands for itself."""
        self.version = version
        if version is not None:
            for name in (f"KAMAILIO_{version[0]}", f"KAMAILIO_{version[0]}_{version[1]}"):
                self.defines.setdefault(name, Noted("", name, 0))
            if self.knows_expressions:
                number = str(version[0] * 1_000_000 + version[1] * 1000)
                self.defines.setdefault("KAMAILIO_VERSION", Noted(number, "KAMAILIO_VERSION", 0))
        self._substitutions: list[tuple[re.Pattern[str], str, int]] = []
        self._conditions: list[tuple[bool, Noted]] = []
        self.skipping = False
        """Whether what comes now is left out by a condition."""

    @property
    def knows_expressions(self) -> bool:
        """Whether ``#!ifexp`` is more than a comment; of an unknown version it is."""
        return self.version is None or self.version >= EXPRESSIONS_SINCE

    def end(self) -> None:
        """Say which conditions were never closed."""
        for _, at in self._conditions:
            self.problem(
                at, f"{at.text} is never closed: an #!endif stands alone in its line, and ends with it"
            )

    def problem(self, at: Noted, text: str) -> None:
        """Keep a fault with which Kamailio does not start."""
        self.problems.append(Noted(text, at.file, at.line, at.order))

    def define(self, verb: str, name: str, value: str, at: Noted) -> None:
        """Carry out a define of any form.

        Args:
            verb: ``define``, ``trydef``, ``redef``, ``defenv``, ``defexp`` and their longer forms.
            name: what is defined, with ``=ENVIRONMENT`` behind it where ``defenv`` has that.
            value: the rest of the line.
            at: where.
        """
        if "env" in verb or "exp" in verb:
            name = name.partition("=")[0]
            value = name  # only Kamailio's own environment knows
            self.opaque.add(name)
        self.defined.append(Defined(verb, name, at.file, at.line, at.order))
        first = self.defines.get(name)
        if first is None or verb.startswith("redef"):
            self.defines[name] = Noted(value, at.file, at.line, at.order)
        elif not verb.startswith("try"):
            where = f"{first.file}, line {first.line}" if first.line else f"the command line ({first.file})"
            self.problem(at, f"{name} is defined twice, first in {where}: Kamailio does not start")

    def condition(self, verb: str, text: str, at: Noted) -> None:
        """Carry out ``#!ifdef``, ``#!ifndef``, ``#!ifexp``, ``#!else`` or ``#!endif``.

        Args:
            verb: without its signs.
            text: the name, or the expression.
            at: where.
        """
        if verb == "ifexp":
            self._conditions.append((holds(text, self._values()), at))
        elif verb in ("ifdef", "ifndef"):
            self._conditions.append(((text in self.defines) == (verb == "ifdef"), at))
        elif verb == "else" and self._conditions:  # one without its #!ifdef is only warned of
            held, first = self._conditions[-1]
            self._conditions[-1] = (not held, first)
        elif verb == "endif" and self._conditions:
            self._conditions.pop()
        elif verb == "endif":
            self.problem(at, "an #!endif without its #!ifdef")
        self.skipping = not all(held for held, _ in self._conditions)

    def _values(self) -> dict[str, str]:
        return {name: one.text for name, one in self.defines.items()}

    def substituted(self, text: str) -> str:
        """Return ``text`` from between quotes after substitutions and ``$def(NAME)``."""
        if "$def" in text:
            text = _DEF_VARIABLE.sub(lambda found: self._value(found[1], found[0]), text)
        for pattern, replacement, count in self._substitutions:
            if len(text) > MAX_TEXT:
                break
            text = pattern.sub(partial(_replaced, replacement), text, count=count)
        return text

    def _value(self, name: str, otherwise: str) -> str:
        found = self.defines.get(name)
        return found.text if found else otherwise

    def substitution(self, verb: str, text: str, at: Noted) -> None:
        """Carry out ``#!subst "/pattern/replacement/flags"`` and its like, with any sign for the slash.

        Args:
            verb: ``subst``, ``substdef`` or ``substdefs``.
            text: what stands in the quotes.
            at: where.
        """
        parts = _parts(text)
        if len(parts) < 3 or not parts[0]:
            self.problem(at, f'#!{verb} "{text}" is not of the form "/pattern/replacement/"')
            return
        pattern, replacement, flags = parts
        try:
            compiled = re.compile(_python(pattern), re.IGNORECASE if "i" in flags else 0)
        except (re.error, OverflowError, RecursionError):
            self.problem(at, f'#!{verb} "{text}": {pattern} is no regular expression')
            return
        replacement = _DEF_VARIABLE.sub(lambda found: self._value(found[1], found[0]), replacement)
        self._substitutions.append((compiled, replacement, 0 if "g" in flags else 1))
        if verb != "subst":
            self.define("define", pattern, f'"{replacement}"' if verb == "substdefs" else replacement, at)


def _parts(text: str) -> list[str]:
    """Pattern, replacement, flags: between separators that have no backslash before them."""
    parts = []
    start = 1
    for position in range(1, len(text)):
        if text[position] == text[0] and text[position - 1] != "\\":
            parts.append(text[start:position])
            start = position + 1
            if len(parts) == 2:
                return [*parts, text[start:]]
    return parts


def _python(pattern: str) -> str:
    """A POSIX expression as Python writes it."""
    return _POSIX.sub(lambda found: _CLASSES.get(found[1], found[0]), pattern)


def _replaced(replacement: str, found: re.Match[str]) -> str:
    """Return the replacement with ``\\1`` and its like filled in."""
    groups = (found[0], *found.groups(default=""))
    return re.sub(
        r"\\(\d)", lambda one: groups[int(one[1])] if int(one[1]) < len(groups) else "", replacement
    )
