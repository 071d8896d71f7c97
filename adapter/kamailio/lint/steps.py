"""The steps of a route's statements, in the order of the text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adapter.kamailio.statements import Assign, Both, Call, Do, End, If, Leaf, Not, Switch, While

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from adapter.kamailio.statements import Expression, Statement, Step


def every(body: Sequence[Statement]) -> Iterator[Step]:
    """Every step of these statements, whatever its conditions."""
    for statement in body:
        match statement:
            case Do(what):
                yield from _of(what)
            case Assign(value, step):
                yield from _of(value)
                yield step
            case If(condition, then, otherwise):
                yield from _of(condition)
                yield from every(then)
                yield from every(otherwise)
            case While(condition, inside):
                yield from _of(condition)
                yield from every(inside)
            case Switch(value, cases):
                yield from _of(value)
                for case in cases:
                    yield from every(case.body)
            case End(step, back):
                yield from () if back is None else _of(back)
                yield step


def alone(body: Sequence[Statement]) -> Iterator[Step]:
    """The calls whose result nobody looks at: each is a statement of its own."""
    for statement in body:
        match statement:
            case Do(Call(_, step, _)):
                yield step
            case If(_, then, otherwise):
                yield from alone(then)
                yield from alone(otherwise)
            case While(_, inside):
                yield from alone(inside)
            case Switch(_, cases):
                for case in cases:
                    yield from alone(case.body)
            case _:
                pass


def _of(what: Expression) -> Iterator[Step]:
    match what:
        case Leaf():
            yield from what.steps
        case Call(inside, step, written):
            for one in inside:
                yield from _of(one)
            yield step
            yield from written
        case Not(of):
            yield from _of(of)
        case Both(_, left, right):
            yield from _of(left)
            yield from _of(right)
