"""What a route's words say: a tree of statements, conditions and calls.

The grammar is that of Kamailio's ``src/core/cfg.y``: ``if`` and ``while`` need no parentheses, ``and``,
``or``, ``not`` are signs, a block is never empty and stands only behind a condition, each command ends
with ``;``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from adapter.kamailio.tokens import Token


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a call. ``quoted``: all of it stands in quotes; ``variable``: it is one variable."""

    text: str
    quoted: bool
    variable: bool
    words: tuple[Token, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One thing that happens.

    ``kind``: ``call`` (``name`` is the function), ``read`` and ``set`` (``name`` as in
    ``lint.steps.variables``), ``text`` (``name`` is a quoted text), or ``end`` (exit, drop, return, break).
    """

    kind: Literal["call", "read", "set", "text", "end"]
    name: str
    file: str
    line: int
    arguments: tuple[Argument, ...] = ()

    def argument(self, position: int) -> str:
        """The text of an argument, "" where there is none."""
        return self.arguments[position].text if position < len(self.arguments) else ""


@dataclass(frozen=True, slots=True, eq=False)
class Leaf:
    """A value: what is read for it. ``text``: as it is written; ``token``: the word, if it is one."""

    steps: tuple[Step, ...]
    text: str
    token: Token | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """A call with what its arguments read; then what it writes."""

    inside: tuple[Expression, ...]
    step: Step
    written: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Not:
    """``!`` or ``not``."""

    of: Expression


@dataclass(frozen=True, slots=True, eq=False)
class Both:
    """Two values with a sign between them: ``&&``, ``||``, a comparison, or one that calculates."""

    sign: str
    left: Expression
    right: Expression


Expression = Leaf | Call | Not | Both


@dataclass(frozen=True, slots=True, eq=False)
class Do:
    """A command."""

    what: Expression


@dataclass(frozen=True, slots=True, eq=False)
class Assign:
    """``variable = expression``."""

    value: Expression
    step: Step
    read: Leaf | None = None


@dataclass(frozen=True, slots=True, eq=False)
class If:
    """``if`` with both of its branches."""

    condition: Expression
    then: tuple[Statement, ...]
    otherwise: tuple[Statement, ...]


@dataclass(frozen=True, slots=True, eq=False)
class While:
    """``while``."""

    condition: Expression
    body: tuple[Statement, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One ``case``; ``label``: its value, None of ``default``; ``pattern``: it is an expression to match."""

    label: str | None
    pattern: bool
    body: tuple[Statement, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Switch:
    """``switch``. A case that does not end goes on with the next."""

    value: Expression
    cases: tuple[Case, ...]


@dataclass(frozen=True, slots=True, eq=False)
class End:
    """``exit``, ``drop``, ``return``, ``break``; ``value``: what is given back."""

    step: Step
    value: Expression | None


Statement = Do | Assign | If | While | Switch | End
