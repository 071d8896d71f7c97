"""The words of a Kamailio configuration, after its preprocessor: comments, defines, includes.

As Kamailio's own scanner has it: a define replaces names outside of quotes, a subst the inside of
quotes, ``#!ifdef`` and its like stand anywhere, ``include_file`` puts a file's words in its place.
What cannot be known here (``#!defenv``, ``#!defexp``) is a name that is defined and stands for itself.

Nothing here raises on any text: what is wrong becomes a `Problem` with its place.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

LOADS: Final = ("loadmodule", "loadmodulex")
MAX_INCLUDES: Final = 10
"""Files within files, as in Kamailio."""
MAX_EXPANSIONS: Final = 16
"""Defines within defines: one that names itself ends here."""
MAX_TOKENS: Final = 200_000
MAX_TEXT: Final = 65_536
"""Characters of a quoted text up to which substitutions are carried out."""

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
    """A comment, a define, an include or a problem: some text and where it stands. Line 0: nowhere."""

    text: str
    file: str
    line: int


_WORD: Final = re.compile(
    r"""(?P<space>(?:[ \t\r\n\f\v\b\\]+))
    |(?P<directive>(?:\#!|!!)(?P<verb>(?:try|re)?def(?:ine)?|(?:try)?defenvs?|defexps?
        |substdefs?|subst|ifdef|ifndef|ifexp|else|endif)\b)
    |(?P<comment>(?:\#|//)[^\n]*)
    |(?P<block>/\*)
    |(?P<quoted>"(?:[^"\\]|\\.)*+")
    |(?P<ticked>'[^']*')
    |(?P<open>["'])
    |(?P<variable>\$(?:[A-Za-z_][\w.]*|\?)?)
    |(?P<number>\d+(?!\w)|0x[0-9a-fA-F]+)
    |(?P<name>\w+)
    |(?P<sign>==|!=|=~|!~|=>|&&|\|\||<=|>=|\+=|.)""",
    re.VERBOSE | re.DOTALL,
)
_SKIPPED: Final = re.compile(r"(?:#!|!!)(ifdef|ifndef|ifexp|else|endif)\b")
_ESCAPE: Final = re.compile(r"\\(x[0-9a-fA-F]{1,2}|[0-7]{2,3}|.)", re.DOTALL)
_ESCAPED: Final = {"n": "\n", "r": "\r", "a": "\a", "t": "\t", '"': '"', "\\": "\\", "\n": ""}
_BLOCK_EDGE: Final = re.compile(r"/\*|\*/")
_PARENTHESIS: Final = re.compile(r"[()\n]")
_DEFINE: Final = re.compile(r"[ \t]+(\w+)[ \t]*((?:\\\r?\n|[^\n])*)")
_INCLUDE: Final = re.compile(r'[ \t]*("[^"\n]*"|\S+)')
_REST: Final = re.compile(r"[^\n]*")
_DEF_VARIABLE: Final = re.compile(r"\$defn?\((\w+)\)")
_VERSION_TEST: Final = re.compile(r"\s*KAMAILIO_VERSION\s*(>=|<=|==|!=|>|<)\s*(\d+)\s*$")


class Reader:
    """Reads one configuration with all it includes.

    ``defines``: as ``-A NAME=VALUE`` gives them. ``version``: Kamailio's, where it is known; then
    ``KAMAILIO_5_7`` and its like are defined. Afterwards ``tokens``, ``comments``, ``includes``,
    ``problems`` and ``defines`` (name -> value and place) hold what was found.
    """

    def __init__(self, defines: Mapping[str, str], version: tuple[int, int] | None) -> None:
        self.tokens: list[Token] = []
        self.comments: list[Noted] = []
        self.includes: list[Noted] = []
        self.problems: list[Noted] = []
        self.defines = {name: Noted(value, f"-A {name}={value}", 0) for name, value in defines.items()}
        self._version = version
        if version is not None:
            for name in (f"KAMAILIO_{version[0]}", f"KAMAILIO_{version[0]}_{version[1]}"):
                self.defines.setdefault(name, Noted("", name, 0))
        self._substitutions: list[tuple[re.Pattern[str], str, int]] = []
        self._conditions: list[bool] = []

    def read(self, path: Path) -> None:
        """Read a file and what it includes."""
        self._file(path, Noted("", str(path), 0), 0, optional=False)
        if self._conditions:
            self.problems.append(Noted("an #!ifdef without its #!endif", str(path), 0))

    def _file(self, path: Path, asked: Noted, depth: int, *, optional: bool) -> None:
        if depth > MAX_INCLUDES:
            self._problem(asked, f"more than {MAX_INCLUDES} files include each other, at {path}")
            return
        try:
            data = path.read_bytes()
        except FileNotFoundError as error:
            if not optional:  # import_file takes what is there
                self._problem(asked, f"cannot read {path}: {error.strerror}")
            return
        except (OSError, ValueError) as error:  # ValueError: a NUL byte in a path
            self._problem(asked, f"cannot read {path}: {getattr(error, 'strerror', None) or error}")
            return
        _Scan(self, data.decode("utf-8", "replace"), str(path), depth=depth).run()

    def _problem(self, at: Noted, text: str) -> None:
        self.problems.append(Noted(text, at.file, at.line))

    def substituted(self, text: str) -> str:
        """``text`` from between quotes, after subst and ``$def(NAME)``."""
        text = _DEF_VARIABLE.sub(lambda found: self._value(found[1], found[0]), text)
        for pattern, replacement, count in self._substitutions:
            if len(text) > MAX_TEXT:
                break
            text = pattern.sub(partial(_replaced, replacement), text, count=count)
        return text

    def _value(self, name: str, otherwise: str) -> str:
        found = self.defines.get(name)
        return found.text if found else otherwise

    def include(self, text: str, at: Noted, depth: int, *, optional: bool) -> None:
        """``text``: the file's name as it is written, with or without quotes; beside the file that asks."""
        name = self.substituted(text.strip("\"';"))
        path = Path(at.file).parent / name
        self.includes.append(Noted(str(path), at.file, at.line))
        self._file(path, at, depth + 1, optional=optional)

    def substitution(self, verb: str, text: str, at: Noted) -> None:
        """``/pattern/replacement/flags``, with any sign in the place of the slash."""
        parts = text[1:].split(text[0]) if text else []
        if len(parts) < 2 or not parts[0]:
            self._problem(at, f'#!{verb} "{text}" is not of the form "/pattern/replacement/"')
            return
        pattern, replacement, flags = parts[0], parts[1], parts[2] if len(parts) > 2 else ""
        try:
            compiled = re.compile(pattern, re.IGNORECASE if "i" in flags else 0)
        except (re.error, OverflowError, RecursionError):
            # POSIX may know what Python's expressions do not: the text stays as it is.
            return
        self._substitutions.append((compiled, replacement, 0 if "g" in flags else 1))
        if verb != "subst":
            value = f'"{replacement}"' if verb == "substdefs" else replacement
            self.defines.setdefault(pattern, Noted(value, at.file, at.line))

    def define(self, verb: str, name: str, value: str, at: Noted) -> None:
        """A define of any form; the first one stands, except for ``redefine``."""
        if "env" in verb or "exp" in verb:
            name = name.partition("=")[0]
            value = name  # only Kamailio's own environment knows
        if verb.startswith("redef"):
            self.defines[name] = Noted(value, at.file, at.line)
        else:
            self.defines.setdefault(name, Noted(value, at.file, at.line))

    @property
    def skipping(self) -> bool:
        """Whether what comes now is left out by a condition."""
        return not all(self._conditions)

    def condition(self, verb: str, text: str, at: Noted) -> None:
        """``#!ifdef`` and its like."""
        if verb == "ifexp":
            self._conditions.append(self._expression(text))
        elif verb in ("ifdef", "ifndef"):
            name = text.split()[0] if text.split() else ""
            self._conditions.append((name in self.defines) == (verb == "ifdef"))
        elif not self._conditions:
            self._problem(at, f"an #!{verb} without its #!ifdef")
        elif verb == "else":
            self._conditions[-1] = not self._conditions[-1]
        else:
            self._conditions.pop()

    def _expression(self, text: str) -> bool:
        """Whether an ``#!ifexp`` holds: by the version where it asks for that, else by names."""
        test = _VERSION_TEST.match(text)
        if test and self._version is not None:
            mine, other = self._version[0] * 1_000_000 + self._version[1] * 1000, int(test[2])
            return {">=": mine >= other, "<=": mine <= other, "==": mine == other, "!=": mine != other}.get(
                test[1], mine > other if test[1] == ">" else mine < other
            )
        words = re.findall(r"[A-Za-z_]\w*", text)
        return bool(words) and all(word in self.defines for word in words) and "!" not in text


def _replaced(replacement: str, found: re.Match[str]) -> str:
    """The replacement with ``\\1`` and its like filled in."""
    groups = (found[0], *found.groups(default=""))
    return re.sub(
        r"\\(\d)", lambda one: groups[int(one[1])] if int(one[1]) < len(groups) else "", replacement
    )


class _Scan:
    """One text on its way through the scanner: a file, or the value of a define (``line`` is fixed)."""

    def __init__(self, reader: Reader, text: str, file: str, *, depth: int, line: int = 0, nested: int = 0):
        self._reader = reader
        self._text = text
        self._file = file
        self._depth = depth
        self._line = line
        self._nested = nested
        self._position = 0
        self._starts = [-1, *(found.start() for found in re.finditer("\n", text))]

    def _here(self, position: int, text: str = "") -> Noted:
        return Noted(text, self._file, self._line or bisect_right(self._starts, position - 1))

    def run(self) -> None:
        """Scan all of it."""
        while self._position < len(self._text):
            if len(self._reader.tokens) > MAX_TOKENS:
                if not any("too long" in problem.text for problem in self._reader.problems):
                    self._reader.problems.append(self._here(self._position, "the configuration is too long"))
                return
            if self._reader.skipping:
                found = _SKIPPED.search(self._text, self._position)
                if found is None:
                    return
                self._directive(found[1], found.start(), found.end())
                continue
            found = _WORD.match(self._text, self._position)
            if found is None:  # a NUL and its like: every other character is a sign
                self._position += 1
                continue
            self._word(found)

    def _word(self, found: re.Match[str]) -> None:
        start, self._position = found.span()
        match found.lastgroup:
            case "directive" | "verb":
                self._directive(found["verb"], start, found.end())
            case "comment":
                self._reader.comments.append(self._here(start, found[0]))
            case "block":
                self._block(start)
            case "quoted":
                self._add("text", self._reader.substituted(self._joined(found)), start)
            case "ticked":
                self._add("text", self._reader.substituted(found[0][1:-1]), start)
            case "open":
                self._reader.problems.append(self._here(start, "a quote that is not closed"))
                self._position = len(self._text)
            case "variable":
                self._variable(start)
            case "number":
                self._add("number", found[0], start)
            case "name":
                self._name(found[0], start)
            case "sign":
                self._add("sign", found[0], start)

    def _add(self, kind: Kind, text: str, start: int) -> None:
        if kind == "text" and self._loads():
            name = f"MOD_{text.rsplit('/', 1)[-1].removesuffix('.so')}"
            self._reader.define("define", name, name, self._here(start))
        self._reader.tokens.append(Token(kind, text, self._file, self._here(start).line))

    def _loads(self) -> bool:
        """Whether a module's name comes now: Kamailio defines MOD_NAME where it has loaded one."""
        before = [token.text for token in self._reader.tokens[-2:]]
        return bool(before) and (before[-1] in LOADS or (before[0] in LOADS and before[-1] == "("))

    def _joined(self, found: re.Match[str] | None) -> str:
        """A quoted text, with those that follow it: Kamailio makes one of ``"a" "b"``."""
        parts = []
        while found is not None and found.lastgroup == "quoted":
            parts.append(_ESCAPE.sub(_unescaped, found[0][1:-1]))
            self._position = found.end()
            after = _WORD.match(self._text, self._position)
            space = after.end() if after is not None and after.lastgroup == "space" else self._position
            found = _WORD.match(self._text, space)
        return "".join(parts)

    def _block(self, start: int) -> None:
        """Comments of this form nest."""
        depth = 1
        while depth:
            edge = _BLOCK_EDGE.search(self._text, self._position)
            if edge is None:
                self._reader.problems.append(self._here(start, "a comment that is not closed"))
                self._position = len(self._text)
                return
            depth += 1 if edge[0] == "/*" else -1
            self._position = edge.end()

    def _variable(self, start: int) -> None:
        """With its parentheses, which hold anything but a line's end."""
        depth = 0
        while depth or self._text.startswith("(", self._position):
            edge = _PARENTHESIS.search(self._text, self._position)
            if edge is None or edge[0] == "\n":
                self._reader.problems.append(self._here(start, "a variable whose parenthesis is not closed"))
                break
            depth += 1 if edge[0] == "(" else -1
            self._position = edge.end()
            if not depth:
                break
        self._add("variable", self._reader.substituted(self._text[start : self._position]), start)

    def _name(self, name: str, start: int) -> None:
        if name in ("include_file", "import_file") and not self._nested:
            found = _INCLUDE.match(self._text, self._position)
            if found is not None:
                self._position = found.end()
                optional = name == "import_file"
                self._reader.include(found[1], self._here(start), self._depth, optional=optional)
            return
        known = self._reader.defines.get(name)
        if known is None or known.text == name or self._nested >= MAX_EXPANSIONS:
            self._add("name", name, start)
            return
        line = self._here(start).line
        comments = len(self._reader.comments)
        _Scan(
            self._reader, known.text, self._file, depth=self._depth, line=line, nested=self._nested + 1
        ).run()
        if len(self._reader.comments) > comments:
            self._cut(name, start)

    def _cut(self, name: str, start: int) -> None:
        """A comment in a define's value goes on to the end of the line that uses it."""
        rest = _REST.match(self._text, self._position)
        if rest is not None and rest[0].strip() and not rest[0].lstrip().startswith(("#", "//")):
            text = f"the comment behind #!define {name} cuts off the rest of this line"
            self._reader.problems.append(self._here(start, text))
            self._position = rest.end()

    def _directive(self, verb: str, start: int, end: int) -> None:
        at = self._here(start)
        if verb.startswith("subst"):
            found = _WORD.match(self._text, len(self._text) if end >= len(self._text) else end)
            while found is not None and found.lastgroup == "space":
                found = _WORD.match(self._text, found.end())
            if found is None or found.lastgroup not in ("quoted", "ticked"):
                self._reader.problems.append(self._here(start, f"#!{verb} without a text in quotes"))
                self._position = end
                return
            self._position = found.end()
            self._reader.substitution(verb, found[0][1:-1], at)
        elif "def" in verb and not verb.startswith("if"):
            found = _DEFINE.match(self._text, end)
            self._position = found.end() if found else end
            if found is None:
                self._reader.problems.append(self._here(start, f"#!{verb} without a name"))
            else:
                value = re.sub(r"\\\r?\n", "", found[2]).strip()
                self._reader.define(verb, found[1], value, at)
        else:
            rest = _REST.match(self._text, end)
            self._position = rest.end() if rest else end
            self._reader.condition(verb, rest[0] if rest else "", at)


def _unescaped(found: re.Match[str]) -> str:
    code = found[1]
    if code in _ESCAPED:
        return _ESCAPED[code]
    if code[0] == "x" and len(code) > 1:
        return chr(int(code[1:], 16))
    if len(code) > 1:
        return chr(int(code, 8))
    return found[0]
