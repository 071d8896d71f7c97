"""Reads a Kamailio configuration into words, with all it includes, as Kamailio's own scanner does.

A define replaces names outside of quotes, a subst the inside of quotes; directives stand anywhere in a line;
``include_file`` puts a file's words in its place. What cannot be known here (``#!defenv``, ``#!defexp``) is
a name that is defined and stands for itself. Nothing here raises on any text: what is wrong becomes a
`Noted` among the problems.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from adapter.kamailio.preprocessor import Preprocessor
from adapter.kamailio.tokens import Noted, Token

if TYPE_CHECKING:
    from collections.abc import Mapping

    from adapter.kamailio.tokens import Kind

LOADS: Final = ("loadmodule", "loadmodulex")
MAX_INCLUDES: Final = 10
"""Files within files, as in Kamailio."""
MAX_NAME: Final = 127
"""Characters of an included file's name, as in Kamailio."""
MAX_TOKENS: Final = 200_000
MAX_EXPANSIONS: Final = 1000
"""Defines that stand for each other before any word comes of it: Kamailio itself never ends there."""

_BLANK: Final = r"[ \t\b\r]"
_DEFINES: Final = (
    "define|def|trydefine|trydef|redefine|redef|defenvs|defenv|trydefenvs|trydefenv|defexps|defexp"
)
_WORD: Final = re.compile(
    rf"""(?P<space>[ \t\r\n\f\v\b\\?`\x00-\x08\x0e-\x1f\x7f-\U0010ffff]+)
    |(?:\#!|!!)(?:(?P<verb>(?:{_DEFINES}|ifdef|ifndef|ifexp){_BLANK}+|(?:else|endif){_BLANK}*\n)
        |(?P<subst>substdefs?|subst)|(?P<include>include_file|import_file))
    |(?P<comment>(?:\#|//)[^\n]*)
    |(?P<block>/\*)
    |(?P<quoted>"(?:[^"\\]|\\.)*+")
    |(?P<ticked>'[^']*')
    |(?P<open>["'])
    |(?P<variable>\$(?:\?|retcode|rc|[A-Za-z_][A-Za-z0-9_]*)?)
    |(?P<number>\d+(?![A-Za-z0-9_])|0x[0-9a-fA-F]+)
    |(?P<name>[A-Za-z0-9_]+)
    |(?P<sign>==|!=|=~|&&|\|\||<=|>=|\+=|<<|>>|.)""",
    re.VERBOSE | re.DOTALL,
)
_SKIPPED: Final = re.compile(rf"(?:#!|!!)(?P<verb>(?:ifdef|ifndef|ifexp){_BLANK}+|(?:else|endif){_BLANK}*\n)")
_NAME: Final = re.compile(r"[^A-Za-z_]*+([A-Za-z_][A-Za-z0-9_]*)(-)?")
"""The name behind a directive: what stands before it, even a line's end, is passed over."""
_ENVIRONMENT: Final = re.compile(r"[^A-Za-z_]*+([A-Za-z_][A-Za-z0-9_]*(?:=[A-Za-z_][A-Za-z0-9_]*)?)()")
_VALUE: Final = re.compile(rf"{_BLANK}*(?:([^\n](?:\\\n|[^\n])*))?(\n|\Z)")
_LINE: Final = re.compile(r"([^\n]*)(\n|\Z)")
_INCLUDED: Final = re.compile(r"[ \t\r\n]*([^ \t\r\n]+)")
_GAP: Final = re.compile(r"[ \t\b\r\n]*")
"""Between quoted texts that are one."""
_ESCAPE: Final = re.compile(r"\\(x[0-9a-fA-F]{1,2}|[0-7]{2,3}|.)", re.DOTALL)
_ESCAPED: Final = {"n": "\n", "r": "\r", "a": "\a", "t": "\t", '"': '"', "\\": "\\", "\n": ""}
_BLOCK_EDGE: Final = re.compile(r"/\*|\*/")
_PARENTHESIS: Final = re.compile(r"[()\n]")


class Reader(Preprocessor):
    """Reads one configuration with all it includes; see `Preprocessor` for the arguments.

    Afterwards ``tokens``, ``comments``, ``includes``, ``problems`` and ``defines`` hold what was found.
    """

    def __init__(self, defines: Mapping[str, str], version: tuple[int, int] | None) -> None:
        super().__init__(defines, version)
        self.tokens: list[Token] = []
        self.comments: list[Noted] = []
        self.includes: list[Noted] = []
        self.depth = 0
        """Braces that are open."""

    def read(self, path: Path) -> None:
        """Read a file and what it includes."""
        self.file(path, Noted("", str(path), 0), 0, optional=False)
        self.end()

    def file(self, path: Path, asked: Noted, depth: int, *, optional: bool) -> None:
        """Read one file.

        Args:
            path: of it.
            asked: the place that wants it.
            depth: how many files are around it.
            optional: one that is missing is no problem.
        """
        if depth > MAX_INCLUDES:
            self.problem(asked, f"more than {MAX_INCLUDES} files include each other, at {path}")
            return
        try:
            data = path.read_bytes()
        except FileNotFoundError as error:
            if not optional:  # import_file takes what is there
                self.problem(asked, f"cannot read {path}: {error.strerror}")
            return
        except (OSError, ValueError) as error:  # ValueError: a NUL byte in a path
            self.problem(asked, f"cannot read {path}: {getattr(error, 'strerror', None) or error}")
            return
        _Scan(self, data.decode("utf-8", "replace"), str(path), depth).run()

    def include(self, text: str, at: Noted, depth: int, *, optional: bool) -> None:
        """Read an included file.

        Args:
            text: its name as it is written, with its quotes. It is looked for beside the file that asks.
            at: where.
            depth: of the file that asks.
            optional: as in `file`.
        """
        name = self.substituted(text)
        if len(name) < 3 or not (name[0] == name[-1] == '"') or len(name) > MAX_NAME:
            self.problem(
                at, f"include_file {name}: a file's name stands between double quotes, without blanks"
            )
            return
        name = re.sub(r"\\(.)", lambda found: _ESCAPED.get(found[1], found[1]), name[1:-1])
        path = Path(at.file).parent / name
        self.includes.append(Noted(str(path), at.file, at.line, at.order))
        self.file(path, at, depth + 1, optional=optional)

    def full(self, at: Noted) -> bool:
        """Return True if there are too many words, after saying so once."""
        if len(self.tokens) <= MAX_TOKENS:
            return False
        if not any("too long" in problem.text for problem in self.problems):
            self.problem(at, "the configuration is too long")
        return True


class _Scan:
    """One file on its way through the scanner. What a define stands for is put before the rest of it."""

    def __init__(self, reader: Reader, text: str, file: str, depth: int) -> None:
        self._reader = reader
        self._text = text
        self._file = file
        self._depth = depth
        self._line = 1
        self._position = 0
        self._value_end = 0
        """Up to where the text is a define's value."""
        self._define = ""
        self._expansions = 0

    def _here(self, text: str = "") -> Noted:
        return Noted(text, self._file, self._line, len(self._reader.tokens))

    def _forward(self, position: int) -> None:
        self._line += self._text.count("\n", self._position, position)
        self._position = position

    def run(self) -> None:
        """Scan all of it."""
        while self._position < len(self._text):
            if len(self._reader.tokens) > MAX_TOKENS and self._reader.full(self._here()):
                return
            if self._reader.skipping:
                found = _SKIPPED.search(self._text, self._position)
                if found is None:
                    return
                self._forward(found.start())
                self._directive(found)
                continue
            found = _WORD.match(self._text, self._position)
            if found is None:
                self._position += 1
                continue
            self._word(found)

    def _word(self, found: re.Match[str]) -> None:
        match found.lastgroup:
            case "verb":
                self._directive(found)
            case "subst":
                self._substitution(found)
            case "include":
                self._include(found)
            case "comment":
                self._comment(found)
            case "block":
                self._block()
            case "quoted":
                line = self._line
                self._add("text", self._reader.substituted(self._joined(found)), line)
            case "ticked":
                self._add("text", self._reader.substituted(found[0][1:-1]), self._line)
                self._forward(found.end())
            case "open":
                self._reader.problem(self._here(), "a quote that is not closed")
                self._forward(len(self._text))
            case "variable":
                self._variable(found)
            case "name":
                self._name(found)
            case "number" | "sign" as kind:
                self._reader.depth += {"{": 1, "}": -1}.get(found[0], 0)
                self._add(cast("Kind", kind), found[0], self._line)
                self._position = found.end()
            case _:
                self._forward(found.end())

    def _add(self, kind: Kind, text: str, line: int) -> None:
        if kind == "text" and self._loads():
            name = f"MOD_{text.rsplit('/', 1)[-1].removesuffix('.so')}"
            self._reader.defines.setdefault(name, self._here())
        self._reader.tokens.append(Token(kind, text, self._file, line))
        self._expansions = 0

    def _loads(self) -> bool:
        """Whether a module's name comes now: Kamailio defines MOD_NAME where it has loaded one."""
        before = [token.text for token in self._reader.tokens[-2:]]
        return bool(before) and (before[-1] in LOADS or (before[0] in LOADS and before[-1] == "("))

    def _joined(self, found: re.Match[str] | None) -> str:
        """A quoted text, with those that follow it: Kamailio makes one of ``"a" "b"``."""
        parts = []
        while found is not None and found.lastgroup == "quoted":
            parts.append(_ESCAPE.sub(_unescaped, found[0][1:-1]))
            self._forward(found.end())
            found = _GAP.match(self._text, self._position)
            found = _WORD.match(self._text, found.end()) if found else None
        return "".join(parts)

    def _comment(self, found: re.Match[str]) -> None:
        self._reader.comments.append(self._here(found[0]))
        cut = self._text[self._value_end : found.end()].strip()
        if found.start() < self._value_end < found.end() and cut and not cut.startswith(("#", "//")):
            text = f"the comment behind #!define {self._define} cuts off the rest of this line"
            self._reader.problem(self._here(), text)
        self._position = found.end()

    def _block(self) -> None:
        """Comments of this form nest."""
        depth = 0
        begun = self._here()
        while True:
            edge = _BLOCK_EDGE.search(self._text, self._position)
            if edge is None:
                self._reader.problem(begun, "a comment that is not closed")
                self._forward(len(self._text))
                return
            depth += 1 if edge[0] == "/*" else -1
            self._forward(edge.end())
            if not depth:
                return

    def _variable(self, found: re.Match[str]) -> None:
        """With its parentheses, which hold anything but a line's end."""
        start = self._position
        position = found.end()
        depth = 0
        while depth or self._text.startswith("(", position):
            edge = _PARENTHESIS.search(self._text, position)
            if edge is None or edge[0] == "\n":
                self._reader.problem(self._here(), "a variable whose parenthesis is not closed in its line")
                break
            depth += 1 if edge[0] == "(" else -1
            position = edge.end()
            if not depth:
                break
        self._add("variable", self._reader.substituted(self._text[start:position]), self._line)
        self._position = position

    def _name(self, found: re.Match[str]) -> None:
        name = found[0]
        if name in ("include_file", "import_file"):
            self._include(found)
            return
        known = self._reader.defines.get(name)
        if known is None or name in self._reader.opaque or name[0].isdigit():
            self._add("name", name, self._line)
            self._position = found.end()
            return
        self._expansions += 1
        if self._expansions > MAX_EXPANSIONS:
            self._reader.problem(self._here(), f"{name} is defined by itself: Kamailio never ends to read it")
            self._forward(len(self._text))
            return
        self._value_end = len(known.text) + max(self._value_end - found.end(), 0)
        self._define = name
        self._text = known.text + self._text[found.end() :]
        self._position = 0

    def _include(self, found: re.Match[str]) -> None:
        at = self._here()
        self._position = found.end()
        name = _INCLUDED.match(self._text, self._position)
        if name is not None:
            self._forward(name.end())
            optional = found[0].endswith("import_file")
            self._reader.include(name[1], at, self._depth, optional=optional)

    def _substitution(self, found: re.Match[str]) -> None:
        at = self._here()
        verb = found["subst"]
        self._position = found.end()
        word = _WORD.match(self._text, self._position)
        while word is not None and word.lastgroup == "space":
            self._forward(word.end())
            word = _WORD.match(self._text, self._position)
        if word is None or word.lastgroup not in ("quoted", "ticked"):
            self._reader.problem(at, f"#!{verb} without a text in quotes")
            return
        if word.lastgroup == "quoted":
            text = self._joined(word)
        else:
            text = word[0][1:-1]
            self._forward(word.end())
        if self._reader.depth > 0:
            self._reader.problem(at, f"#!{verb} stands in a route: it must stand outside")
        self._reader.substitution(verb, self._reader.substituted(text), at)

    def _directive(self, found: re.Match[str]) -> None:
        verb = found["verb"].split()[0]
        at = self._here(f"an #!{verb}" if verb[0] in "aeiou" else f"a #!{verb}")
        self._forward(found.end())
        reader = self._reader
        if verb in ("else", "endif"):
            reader.condition(verb, "", at)
        elif "exp" in verb and not reader.knows_expressions:
            self._rest()
        elif verb == "ifexp":
            reader.condition(verb, self._rest(), at)
        else:
            self._named(verb, at)

    def _rest(self) -> str:
        found = _LINE.match(self._text, self._position)
        if found is None:
            return ""
        self._forward(found.end())
        return found[1]

    def _named(self, verb: str, at: Noted) -> None:
        """``#!define``, ``#!ifdef`` and their like, which have a name."""
        reader = self._reader
        found = (_ENVIRONMENT if "env" in verb else _NAME).match(self._text, self._position)
        if found is None:
            reader.problem(at, f"{at.text} without a name")
            self._forward(len(self._text))
            return
        self._forward(found.end())
        if found[2]:
            reader.problem(
                at, f"the name behind {at.text} has a dash ({found[1]}-...): Kamailio does not start"
            )
            self._rest()
        elif verb in ("ifdef", "ifndef"):
            self._rest()  # only printed
            reader.condition(verb, found[1], at)
        else:
            value = _VALUE.match(self._text, self._position)
            self._forward(value.end() if value else self._position)
            text = (value[1] or "") if value else ""
            if text == "\\":
                reader.problem(
                    at, f"the value of {found[1]} begins in the next line: it must begin in this one"
                )
            reader.define(verb, found[1], re.sub(r"(?<=.)\\\n", "", text).strip(), at)


def _unescaped(found: re.Match[str]) -> str:
    code = found[1]
    if code in _ESCAPED:
        return _ESCAPED[code]
    if code[0] == "x" and len(code) > 1:
        return chr(int(code[1:], 16))
    if len(code) > 1:
        return chr(int(code, 8))
    return found[0]
