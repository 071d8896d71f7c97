"""What a Kamailio configuration says: its modules, parameters, routes, each with its file and line."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from adapter.kamailio.parser import statements
from adapter.kamailio.scanner import LOADS, Reader
from adapter.kamailio.tokens import Defined, Noted, Token, closing, joined, split

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from adapter.kamailio.statements import Statement

REQUEST: Final = "request_route"
ROUTE: Final = "route"
FAILURE: Final = "failure_route"
EVENT: Final = "event_route"
_KINDS: Final = {
    "route": ROUTE,
    "request_route": REQUEST,
    "failure_route": FAILURE,
    "event_route": EVENT,
    "branch_route": "branch_route",
    "onreply_route": "reply_route",
    "reply_route": "reply_route",
    "onsend_route": "onsend_route",
    "error_route": "error_route",
}
_ENGINE: Final = "cfgengine"
"""What names the language of the routes; its value stands without an equals sign."""
_PARAMETERS: Final = ("modparam", "modparamx")


@dataclass(frozen=True, slots=True)
class Setting:
    """``modparam(module, name, value)``, or ``name=value`` with an empty ``module``.

    ``order``: its place among all facts, so that what comes later wins.
    """

    module: str
    name: str
    value: str
    file: str
    line: int
    order: int

    @property
    def number(self) -> int | None:
        """The value where it is a whole number, as Kamailio writes them; else None."""
        return number(self.value)


@dataclass(frozen=True, slots=True)
class Module:
    """``loadmodule``, without folder and ``.so``."""

    name: str
    file: str
    line: int
    order: int


@dataclass(frozen=True, slots=True)
class Route:
    """One route with the words and statements of its body.

    ``kind``: as in ``_KINDS``; ``name``: "" for the main one; ``order``: as in `Setting`.
    """

    kind: str
    name: str
    file: str
    line: int
    order: int
    body: tuple[Token, ...] = field(repr=False)
    statements: tuple[Statement, ...] = field(repr=False, default=())

    @property
    def title(self) -> str:
        """As it is written."""
        return f"{self.kind}[{self.name}]" if self.name else self.kind


@dataclass(frozen=True, slots=True)
class Configuration:
    """One configuration with all it includes. ``defines``: name -> value and place (line 0: by -A)."""

    path: str
    modules: tuple[Module, ...]
    settings: tuple[Setting, ...]
    routes: tuple[Route, ...]
    defines: Mapping[str, Noted]
    comments: tuple[Noted, ...]
    includes: tuple[Noted, ...]
    problems: tuple[Noted, ...]
    defined: tuple[Defined, ...] = ()
    """Each define as it is written, in their order."""

    def module(self, name: str) -> Module | None:
        """The first ``loadmodule`` of this name."""
        return next((module for module in self.modules if module.name == name), None)

    def setting(self, module: str, name: str) -> Setting | None:
        """The last value that was set: the one that holds."""
        found = [one for one in self.settings if (one.module, one.name) == (module, name)]
        return found[-1] if found else None

    def route(self, kind: str, name: str) -> Route | None:
        """The route of this kind and name."""
        return next((route for route in self.routes if (route.kind, route.name) == (kind, name)), None)


def number(text: str) -> int | None:
    """A whole number as Kamailio writes them, with a sign or as hexadecimal; else None."""
    try:
        return int(text, 16 if text.lower().startswith("0x") else 10)
    except ValueError:
        return {"yes": 1, "on": 1, "true": 1, "no": 0, "off": 0, "false": 0}.get(text)


def load(
    path: Path, defines: Mapping[str, str] | None = None, version: tuple[int, int] | None = None
) -> Configuration:
    """Read the configuration at ``path``, with the ``defines`` that Kamailio gets by ``-A NAME=VALUE``.

    ``version``: Kamailio's, where it is known. Never raises for what the files hold or lack: see
    ``problems``.
    """
    reader = Reader(defines or {}, version)
    reader.read(path)
    facts = _Facts(reader.tokens)
    facts.collect()
    return Configuration(
        str(path),
        tuple(facts.modules),
        tuple(facts.settings),
        tuple(facts.routes),
        reader.defines,
        tuple(reader.comments),
        tuple(reader.includes),
        tuple(reader.problems or facts.problems),  # the latter may come of the former
        tuple(reader.defined),
    )


class _Facts:
    """Walks over the words outside of routes."""

    def __init__(self, tokens: list[Token]) -> None:
        self.modules: list[Module] = []
        self.settings: list[Setting] = []
        self.routes: list[Route] = []
        self.problems: list[Noted] = []
        self._tokens = tokens
        self._position = 0
        self._order = 0

    def collect(self) -> None:
        while self._position < len(self._tokens):
            token = self._tokens[self._position]
            following = self._sign(1)
            self._order += 1
            if token.kind != "name":
                self._position += 1
            elif token.text in _KINDS and following in ("{", "[", "("):
                self._route(token)
            elif token.text in LOADS:
                self._module(token)
            elif token.text in _PARAMETERS and following == "(":
                self._parameter(token)
            elif following == "=" or (token.text == _ENGINE and self._text(1)):
                self._core(token)
            else:
                self._position += 1

    def _text(self, ahead: int) -> bool:
        position = self._position + ahead
        return position < len(self._tokens) and self._tokens[position].kind == "text"

    def _sign(self, ahead: int) -> str:
        position = self._position + ahead
        if position < len(self._tokens) and self._tokens[position].kind == "sign":
            return self._tokens[position].text
        return ""

    def _route(self, token: Token) -> None:
        start = self._position + 1
        name = ""
        if self._sign(1) in ("[", "("):
            end = closing(self._tokens, start, "[]" if self._sign(1) == "[" else "()")
            name = joined(self._tokens[start + 1 : end])
            start = end + 1
        self._position = start
        if self._sign(0) != "{":
            return
        end = closing(self._tokens, start, "{}")
        if end == len(self._tokens):
            self.problems.append(Noted("a route whose brace is not closed", token.file, token.line))
        kind = _KINDS[token.text]
        if kind == ROUTE and name in ("", "0"):
            kind, name = REQUEST, ""
        body = tuple(self._tokens[start + 1 : end])
        made, problems = statements(body)
        self.problems += problems
        if not body:
            self.problems.append(
                Noted("a route without a statement: Kamailio wants at least a ;", token.file, token.line)
            )
        self.routes.append(Route(kind, name, token.file, token.line, self._order, body, made))
        self._position = end + 1

    def _module(self, token: Token) -> None:
        self._position += 2 if self._sign(1) == "(" else 1
        if self._position < len(self._tokens) and self._tokens[self._position].kind == "text":
            name = self._tokens[self._position].text.rsplit("/", 1)[-1].removesuffix(".so")
            self.modules.append(Module(name, token.file, token.line, self._order))
            self._position += 1

    def _parameter(self, token: Token) -> None:
        end = closing(self._tokens, self._position + 1)
        arguments = split(self._tokens[self._position + 2 : end])
        self._position = end + 1
        if len(arguments) != 3:
            self.problems.append(Noted("a modparam that has not three parts", token.file, token.line))
            return
        modules, name, value = (joined(argument) for argument in arguments)
        for module in modules.split("|"):
            self.settings.append(Setting(module, name, value, token.file, token.line, self._order))

    def _core(self, token: Token) -> None:
        """``name=value``, or ``cfgengine "name"``: the value ends with its line."""
        start = end = self._position + (2 if self._sign(1) == "=" else 1)
        while end < len(self._tokens):
            word = self._tokens[end]
            if (word.file, word.line) != (token.file, token.line) or word.text == ";":
                break
            end += 1
        value = joined(self._tokens[start:end])
        self.settings.append(Setting("", token.text, value, token.file, token.line, self._order))
        self._position = max(end, start)
