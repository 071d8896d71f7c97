"""Makes statements of the words of a route. See `adapter.kamailio.statements` for the grammar."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Final

from adapter.kamailio.statements import (
    Argument,
    Assign,
    Both,
    Call,
    Case,
    Do,
    End,
    If,
    Leaf,
    Not,
    Step,
    Switch,
    While,
)
from adapter.kamailio.tokens import Noted, closing, split

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adapter.kamailio.statements import Expression, Statement
    from adapter.kamailio.tokens import Token

MAX_DEPTH: Final = 100
"""Blocks and parentheses within each other that are told apart."""
WRITES: Final = {
    "jansson_get": 2,
    "jansson_xget": 2,
    "jansson_array_size": 2,
    "json_get_field": 2,
    "json_get_string": 2,
    "jansson_set": 3,
    "jansson_append": 3,
}
"""Functions that write into a variable -> which argument."""
ADDS: Final = frozenset({"jansson_set", "jansson_append"})
"""Those that need what was in it."""

_VARIABLE: Final = re.compile(
    r"\$\(?(var|avp|xavp|sht|shtinc|shv)\(\s*([^()\[{=\s]+(?:\[[^\]]*\])?)|\$(rc|retcode|\?)"
)
_ENDS: Final = frozenset({"exit", "drop", "return", "break"})
_BINDS: Final = {
    "||": 1, "or": 1, "&&": 2, "and": 2, "|": 3, "&": 4, "^": 5, "<<": 6, ">>": 6,
    "==": 7, "!=": 7, "=~": 7, "eq": 7, "ne": 7, "ieq": 7, "ine": 7, "<": 8, ">": 8, "<=": 8, ">=": 8,
    "+": 9, "-": 9, "*": 10, "/": 10, "mod": 10,
}  # fmt: skip
_WORDS: Final = {"or": "||", "and": "&&", "eq": "==", "ne": "!=", "ieq": "==", "ine": "!="}
_SIGNED: Final = frozenset(
    {("sign", "!"), ("sign", "~"), ("sign", "-"), ("name", "not"), ("name", "defined")}
)
_JOINS: Final = frozenset(".:[]")
"""Signs within a host, an address, ``uri:host``, a select."""


def variables(text: str) -> list[str]:
    """What ``text`` reads: ``var(x)``, ``avp(x)``, ``sht(table)``, ``shv(x)``, ``rc``."""
    if "$" not in text:
        return []
    found = []
    for one in _VARIABLE.finditer(text):
        kind = {"shtinc": "sht"}.get(one[1], one[1])
        found.append("rc" if one[3] else f"{kind}({one[2]})")
    return found


def statements(body: Sequence[Token]) -> tuple[tuple[Statement, ...], list[Noted]]:
    """Make the statements of a route's words.

    Returns:
        The statements, and what Kamailio would refuse: after the first of those, what could be made of the
        rest.
    """
    parser = _Parser(body)
    return parser.route(), parser.problems


class _Stuck(Exception):
    """No statement can be made of what stands here."""


class _Parser:
    def __init__(self, body: Sequence[Token]) -> None:
        self.problems: list[Noted] = []
        self._body = body
        self._position = 0
        self._depth = 0

    def route(self) -> tuple[Statement, ...]:
        """All statements; one that cannot be read is left out, with a problem."""
        found: list[Statement] = []
        while self._position < len(self._body):
            before = self._position
            with contextlib.suppress(_Stuck):
                self._actions(found)
            if self._position < len(self._body):
                self._problem(f"{self._body[self._position].text[:20]} is not expected here")
                self._pass_over()
            if self._position == before:
                self._position += 1
        return tuple(found)

    def _pass_over(self) -> None:
        while self._position < len(self._body) and self._sign() not in (";", "}"):
            self._position += 1
        self._position += 1

    def _problem(self, text: str) -> None:
        at = self._body[min(self._position, len(self._body) - 1)]
        if not self.problems:
            self.problems.append(Noted(text, at.file, at.line))

    def _sign(self, ahead: int = 0) -> str:
        position = self._position + ahead
        if position < len(self._body) and self._body[position].kind == "sign":
            return self._body[position].text
        return ""

    def _name(self) -> str:
        if self._position < len(self._body) and self._body[self._position].kind == "name":
            return self._body[self._position].text
        return ""

    def _wants(self, sign: str, text: str) -> None:
        if self._sign() != sign:
            self._problem(text)
            raise _Stuck
        self._position += 1

    def _actions(self, found: list[Statement], stop: tuple[str, ...] = ()) -> list[Statement]:
        """Put statements into ``found``, up to a ``}`` or a name in ``stop``."""
        while self._position < len(self._body) and self._sign() != "}" and self._name() not in stop:
            if self._sign() == ";":
                self._position += 1
                continue
            found.extend(self._action())
        return found

    def _block(self) -> tuple[Statement, ...]:
        """``{ ... }`` or a single statement."""
        self._depth += 1
        if self._depth > MAX_DEPTH or self._position >= len(self._body):
            self._problem(
                "blocks within blocks without an end"
                if self._depth > MAX_DEPTH
                else "a condition without a statement"
            )
            self._depth = 0
            self._position = len(self._body)
            raise _Stuck
        found: list[Statement] = []
        if self._sign() == ";":
            self._position += 1
        elif self._sign() == "{":
            self._position += 1
            if self._sign() == "}":
                self._problem("a block without a statement: Kamailio wants at least a ;")
            self._actions(found)
            self._wants("}", "a brace that is not closed")
        else:
            found = self._action()
        self._depth -= 1
        return tuple(found)

    def _action(self) -> list[Statement]:
        token = self._body[self._position]
        if token.kind == "name":
            if token.text == "if":
                self._position += 1
                condition = self._expression()
                then = self._block()
                otherwise: tuple[Statement, ...] = ()
                if self._name() == "else":
                    self._position += 1
                    otherwise = self._block()
                return [If(condition, then, otherwise)]
            if token.text == "while":
                self._position += 1
                return [While(self._expression(), self._block())]
            if token.text == "switch":
                return [self._switch()]
            if token.text in _ENDS:
                return [self._end(token)]
        return [self._command(token)]

    def _switch(self) -> Switch:
        self._position += 1
        value = self._expression()
        self._wants("{", "a switch without its braces")
        cases: list[Case] = []
        while self._name() in ("case", "default"):
            label, pattern = self._label()
            cases.append(Case(label, pattern, tuple(self._actions([], ("case", "default")))))
        self._wants("}", "a switch holds cases only, and ends with a brace")
        return Switch(value, tuple(cases))

    def _label(self) -> tuple[str | None, bool]:
        default = self._name() == "default"
        self._position += 1
        pattern = self._sign() == "/"
        start = self._position + pattern
        while self._position < len(self._body) and self._sign() not in (":", ";", "{", "}"):
            self._position += 1
        words = self._body[start : self._position]
        self._wants(":", "a case without its colon")
        return (None if default else "".join(word.text for word in words)), pattern

    def _end(self, token: Token) -> End:
        self._position += 1
        value = None
        if self._sign() == "(" and self._sign(1) == ")":
            self._position += 2
        elif self._sign() not in (";", "}") and self._position < len(self._body):
            value = self._expression() if token.text != "break" else None
        self._wants(";", f"{token.text} without its ;")
        return End(Step("end", token.text, token.file, token.line), value)

    def _command(self, token: Token) -> Statement:
        made: Statement
        if token.kind == "variable" and self._sign(1) == "=":
            self._position += 2
            start = self._position
            value = self._expression()
            argument = _argument(self._body[start : self._position])
            step = Step(
                "set", (variables(token.text) or [token.text])[0], token.file, token.line, (argument,)
            )
            made = Assign(value, step)
        elif token.kind == "name" or token.text in ("%", "@"):
            made = Do(self._expression())
            if self._sign() == "=":
                self._position += 1
                made = Do(self._expression())
        else:
            self._problem(f"{token.text[:20]} begins no command")
            raise _Stuck
        self._wants(";", f"{token.text[:40]} without its ;")
        return made

    def _expression(self, least: int = 0) -> Expression:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            self._problem("parentheses within each other without an end")
            self._depth = 0
            self._position = len(self._body)
            raise _Stuck
        left = self._single()
        while self._position < len(self._body):
            token = self._body[self._position]
            binds = _BINDS.get(token.text, 0) if token.kind in ("sign", "name") else 0
            if token.text == "!" and self._sign(1) == "~":
                self._problem("!~ is no operator of Kamailio's: write !(... =~ ...)")
                raise _Stuck
            if binds <= least:
                break
            self._position += 1
            left = Both(_WORDS.get(token.text, token.text), left, self._expression(binds))
        self._depth -= 1
        return left

    def _single(self) -> Expression:
        if self._position >= len(self._body):
            self._problem("an expression that ends too soon")
            raise _Stuck
        token = self._body[self._position]
        if (token.kind == "sign" and token.text in ("!", "~", "-")) or (
            token.text in ("not", "defined") and token.kind == "name"
        ):
            return self._signed(token)
        if token.kind == "sign" and token.text == "(":
            return self._parenthesis()
        if token.kind == "sign" and token.text not in "@%:[":
            self._problem(f"{token.text} is no value, nor does it begin one")
            raise _Stuck
        if token.kind == "name" and self._sign(1) == "(":
            return self._call(token)
        return self._value()

    def _signed(self, token: Token) -> Expression:
        self._position += 1
        of = self._expression(10)
        if token.text in ("!", "not"):
            return Not(of)
        return (
            Both("!=", of, Leaf((), "$null"))
            if token.text == "defined"
            else Both(token.text, Leaf((), "0"), of)
        )

    def _parenthesis(self) -> Expression:
        if self._sign(2) == ")" and self._body[self._position + 1].text in ("int", "str"):
            self._position += 3
            return self._expression(10)
        self._position += 1
        found = self._expression()
        if self._sign() == "=":  # an assignment in parentheses is a value
            self._position += 1
            found = self._expression()
        self._wants(")", "a parenthesis that is not closed")
        return found

    def _value(self) -> Leaf:
        """One word, or several that make up a host, an address or a select."""
        start = self._position
        token = self._body[start]
        self._position += 1
        if token.kind in ("text", "variable"):
            return Leaf(_reads(token), token.text, token)
        joins = token.kind == "sign"
        while self._position < len(self._body):
            word = self._body[self._position]
            if word.kind == "sign" and word.text in _JOINS:
                joins = True
            elif joins and word.kind in ("name", "number", "text"):
                joins = False
            else:
                break
            self._position += 1
        words = self._body[start : self._position]
        return Leaf((), "".join(word.text for word in words), token if len(words) == 1 else None)

    def _call(self, token: Token) -> Call:
        end = closing(self._body, self._position + 1)
        if end == len(self._body):
            self._problem("a parenthesis that is not closed")
            raise _Stuck
        parts = split(self._body[self._position + 2 : end])
        self._position = end + 1
        arguments = tuple(map(_argument, parts))
        step = Step("call", token.text, token.file, token.line, arguments)
        target = WRITES.get(token.text, len(parts))
        inside: list[Expression] = []
        for at, part in enumerate(parts):
            if at != target or token.text in ADDS:
                inside += _inside(part, self._depth)
        writes = target < len(parts) and token.text not in ADDS  # those leave in it what was there before
        written = variables(arguments[target].text)[:1] if writes else []
        return Call(tuple(inside), step, tuple(Step("set", one, token.file, token.line) for one in written))


def _inside(words: Sequence[Token], depth: int) -> list[Expression]:
    """What an argument reads and calls. Core functions have arguments in a grammar of their own."""
    found: list[Expression] = []
    position = 0
    while position < len(words):
        word = words[position]
        if (
            word.kind == "name"
            and position + 1 < len(words)
            and words[position + 1].text == "("
            and depth < MAX_DEPTH
        ):
            end = closing(words, position + 1)
            parser = _Parser(words[position : end + 1])
            parser._depth = depth + 1
            with contextlib.suppress(_Stuck):
                found.append(parser._expression())
            position = end + 1
            continue
        if word.kind in ("text", "variable"):
            found.append(Leaf(_reads(word), word.text, word))
        position += 1
    return found


def _reads(word: Token) -> tuple[Step, ...]:
    read = tuple(Step("read", name, word.file, word.line) for name in variables(word.text))
    return (Step("text", word.text, word.file, word.line), *read) if word.kind == "text" else read


def _argument(words: Sequence[Token]) -> Argument:
    kinds = {word.kind for word in words}
    text = "".join(word.text for word in words)
    return Argument(text, kinds == {"text"}, len(words) == 1 and kinds == {"variable"}, tuple(words))
