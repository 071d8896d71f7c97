"""What a route does, step by step.

Steps come in the order of the text; nothing is evaluated. Each knows the blocks it stands in, so
that a rule can tell what happens before something, what only happens for other requests, and what
happens after it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from adapter.kamailio.configuration import closing, joined, split

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adapter.kamailio.tokens import Token

MAX_BLOCKS: Final = 200
"""Blocks within blocks that are told apart."""
WRITES: Final = {
    "jansson_get": 2,
    "jansson_xget": 2,
    "jansson_array_size": 2,
    "json_get_field": 2,
    "json_get_string": 2,
}
"""Functions that write into a variable -> which argument."""
_ENDS: Final = frozenset({"exit", "drop", "return", "break"})
_VARIABLE: Final = re.compile(
    r"\$\(?(var|avp|xavp|sht|shtinc|shv)\(\s*([^()\[{=\s]+(?:\[[^\]]*\])?)|\$(rc|retcode|\?)"
)
_OTHERS: Final = re.compile(r"""is_method\(([A-Z|]+)|(?:\$rm|method)==([A-Z]+)""")


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """What runs only under a condition. ``otherwise``: the block whose ``else`` it is."""

    kind: str
    condition: str
    otherwise: Block | None = None

    @property
    def for_other_requests(self) -> bool:
        """Whether an INVITE from outside of a dialog never comes here, as far as the text tells."""
        if self.kind not in ("if", "while") or "||" in self.condition:
            return False
        if self.condition.startswith("has_totag("):
            return True
        found = _OTHERS.search(self.condition)
        if found is None or self.condition[: found.start()].endswith("!"):
            return False
        return "INVITE" not in (found[1] or found[2])


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a call. ``quoted``: the whole of it stands in quotes."""

    text: str
    quoted: bool
    variable: bool


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happens.

    ``kind``: ``call`` (``name`` is the function), ``read`` and ``set`` (``name`` as in ``variables``),
    ``text`` (``name`` is a quoted text), or ``end`` (exit, drop, return, break). ``checked``: its
    result is looked at; ``tested``: by the condition of that block. ``frames``: the routes it was
    called through, each call with a number of its own.
    """

    kind: Literal["call", "read", "set", "text", "end"]
    name: str
    file: str
    line: int
    blocks: tuple[Block, ...] = ()
    arguments: tuple[Argument, ...] = ()
    checked: bool = False
    tested: Block | None = None
    negated: bool = False
    frames: tuple[int, ...] = ()

    def argument(self, position: int) -> str:
        """The text of an argument, "" where there is none."""
        return self.arguments[position].text if position < len(self.arguments) else ""


def variables(text: str) -> list[str]:
    """What ``text`` reads: ``var(x)``, ``avp(x)``, ``sht(table)``, ``shv(x)``, ``rc``."""
    found = []
    for one in _VARIABLE.finditer(text):
        kind = {"shtinc": "sht"}.get(one[1], one[1])
        found.append("rc" if one[3] else f"{kind}({one[2]})")
    return found


def steps(body: Sequence[Token]) -> list[Step]:
    """What a route's words do, in their order; ``route(NAME)`` stays a call."""
    return _Walk(body).run()


@dataclass(slots=True)
class _Open:
    kind: Literal["brace", "single", "case"]
    block: Block | None
    path: tuple[Block, ...]


class _Walk:
    """Over the words of one route."""

    def __init__(self, body: Sequence[Token]) -> None:
        self.steps: list[Step] = []
        self._body = tuple(body)
        self._position = 0
        self._open: list[_Open] = []

    def run(self) -> list[Step]:
        """The steps of the route alone."""
        while self._position < len(self._body):
            token = self._body[self._position]
            if token.kind == "sign" and token.text in "{};":
                self._edge(token.text)
            elif token.kind == "name" and token.text in ("if", "while", "switch") and self._is(1, "("):
                self._condition(token)
            elif token.kind == "name" and (
                token.text == "case" or (token.text == "default" and self._is(1, ":"))
            ):
                self._case()
            else:
                self._statement()
        return self.steps

    def _is(self, ahead: int, sign: str) -> bool:
        position = self._position + ahead
        return position < len(self._body) and (self._body[position].kind, self._body[position].text) == (
            "sign",
            sign,
        )

    @property
    def _path(self) -> tuple[Block, ...]:
        return self._open[-1].path if self._open else ()

    def _enter(self, kind: Literal["brace", "single", "case"], block: Block | None) -> None:
        path = self._path
        if block is not None and len(path) < MAX_BLOCKS:
            path = (*path, block)
        self._open.append(_Open(kind, block, path))

    def _edge(self, sign: str) -> None:
        self._position += 1
        if sign == "{":
            self._enter("brace", None)
            return
        if sign == "}":
            while self._open:
                closed = self._open.pop()
                if closed.kind == "brace":
                    if self._otherwise(closed):
                        return
                    break
        self._ended()

    def _ended(self) -> None:
        """A statement is over, and with it those that consist of it."""
        while self._open and self._open[-1].kind == "single":
            if self._otherwise(self._open.pop()):
                return

    def _otherwise(self, closed: _Open) -> bool:
        """Whether an ``else`` follows; then its block is entered."""
        if closed.block is None or self._position >= len(self._body):
            return False
        token = self._body[self._position]
        if (token.kind, token.text) != ("name", "else"):
            return False
        self._position += 1
        self._begin(Block("else", closed.block.condition, closed.block))
        return True

    def _begin(self, block: Block) -> None:
        """A block of braces or of a single statement begins here."""
        if self._is(0, "{"):
            self._position += 1
            self._enter("brace", block)
        else:
            self._enter("single", block)

    def _condition(self, token: Token) -> None:
        end = closing(self._body, self._position + 1)
        words = self._body[self._position + 2 : end]
        block = Block(token.text, joined(list(words)))
        self._expression(words, checked=True, tested=block)
        self._position = end + 1
        self._begin(block)

    def _case(self) -> None:
        if self._open and self._open[-1].kind == "case":
            self._open.pop()
        start = self._position
        while self._position < len(self._body) and not self._is(0, ":"):
            if self._body[self._position].text in "{};":
                break
            self._position += 1
        self._enter("case", Block("case", joined(list(self._body[start : self._position]))))
        self._position += 1 if self._is(0, ":") else 0

    def _statement(self) -> None:
        start = self._position
        while self._position < len(self._body):
            word = self._body[self._position]
            if word.kind == "sign" and word.text in "{};":
                break
            self._position += 1
        words = self._body[start : self._position]
        first = words[0]
        if first.kind == "name" and first.text in _ENDS:
            self._add("end", first.text, first)
        elif first.kind == "variable" and len(words) > 1 and words[1].text in ("=", "+="):
            if words[1].text == "+=":
                self._reads(first)
            self._expression(words[2:], checked=True)
            for name in variables(first.text)[:1]:
                self._add("set", name, first, arguments=(_argument(list(words[2:])),))
        else:
            self._expression(words, checked=False)

    def _expression(self, words: Sequence[Token], *, checked: bool, tested: Block | None = None) -> None:
        written: set[int] = set()
        negated = False
        for position, word in enumerate(words):
            calls = position + 1 < len(words) and (words[position + 1].kind, words[position + 1].text) == (
                "sign",
                "(",
            )
            if word.kind == "name" and calls:
                negated = position > 0 and words[position - 1].text in ("!", "not")
                self._call(words, position, written, checked or position > 0, tested, negated)
            elif position in written:
                continue
            elif word.kind == "variable":
                self._reads(word)
            elif word.kind == "text":
                self._add("text", word.text, word)
                self._reads(word)

    def _call(
        self,
        words: Sequence[Token],
        position: int,
        written: set[int],
        checked: bool,
        tested: Block | None,
        negated: bool,
    ) -> None:
        word = words[position]
        end = closing(tuple(words), position + 1)
        arguments = tuple(_argument(part) for part in split(tuple(words[position + 2 : end])))
        self._add(
            "call", word.text, word, arguments=arguments, checked=checked, tested=tested, negated=negated
        )
        target = WRITES.get(word.text)
        if target is not None and target < len(arguments):
            written.update(range(end - 1, end))  # the target is the last argument
            for name in variables(arguments[target].text)[:1]:
                self._add("set", name, word)

    def _reads(self, word: Token) -> None:
        for name in variables(word.text):
            self._add("read", name, word)

    def _add(
        self,
        kind: Literal["call", "read", "set", "text", "end"],
        name: str,
        word: Token,
        *,
        arguments: tuple[Argument, ...] = (),
        checked: bool = False,
        tested: Block | None = None,
        negated: bool = False,
    ) -> None:
        self.steps.append(
            Step(kind, name, word.file, word.line, self._path, arguments, checked, tested, negated)
        )


def _argument(words: list[Token]) -> Argument:
    kinds = {word.kind for word in words}
    return Argument(joined(words), kinds == {"text"}, len(words) == 1 and kinds == {"variable"})
