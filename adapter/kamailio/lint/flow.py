"""Follows a request through the routes of a configuration.

Every way is followed at once: where two come together, what is known is what holds on both (see `State`). A
way that ends (exit, drop, a return of the main route) is not followed on. Conditions on what kind of request
it is are decided; all others may be true or false.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from adapter.kamailio.configuration import ROUTE
from adapter.kamailio.lint.compare import number_of, tells_closed, tells_failed, text_of
from adapter.kamailio.lint.names import ASYNC, CALL_ID, CLOSED, SENDS, TRANSACTION, answers
from adapter.kamailio.lint.request import Request, decided
from adapter.kamailio.lint.state import UNLOOKED, Facts, State, join
from adapter.kamailio.statements import Assign, Both, Call, Do, End, If, Leaf, Not, Switch, While

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adapter.kamailio.configuration import Configuration
    from adapter.kamailio.statements import Expression, Statement, Step

    Key = tuple[str, str]

MAX_CALLS: Final = 50
"""Routes that call each other, as in Kamailio (max_recursive_level is 256)."""
MAX_VISITS: Final = 40
"""States in which one step is told apart; a further one is joined with the last."""
_CALL_ID: Final = re.compile(r'"call_id"\s*:')
_MAKES: Final = frozenset({"t_newtran", "t_relay", "t_reply", "t_suspend", "evapi_async_relay", *ASYNC})


@dataclass(frozen=True, slots=True)
class Visit:
    """One step as it is met: what is known before it, and the calls of routes that lead there."""

    step: Step
    state: State
    calls: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class _Ways:
    """How statements may be left: at their end, by ``break``, by a ``return`` that is true or false."""

    on: State | None
    out: State | None = None
    yes: State | None = None
    no: State | None = None

    def beside(self, other: _Ways) -> _Ways:
        """This way or the other."""
        pairs = ((self.on, other.on), (self.out, other.out), (self.yes, other.yes), (self.no, other.no))
        return _Ways(*map(join, pairs))


class Flow:
    """One walk from the head of a route.

    Args:
        configuration: with the routes.
        facts: the bits, shared by all walks of a script.
        gates: variables in which the health gate is kept, as in ``variables``.
        request: what kind of request it is.

    After `walk`, ``visits`` has every step that may be met, and ``ends`` the states in which it is over.
    """

    def __init__(
        self, configuration: Configuration, facts: Facts, gates: frozenset[str], request: Request
    ) -> None:
        self.visits: dict[Step, list[Visit]] = {}
        self.ends: list[State] = []
        self.begun = State()
        self.kind = ""
        self._routes: dict[Key, tuple[Statement, ...]] = {}
        for route in configuration.routes:  # one that is there twice is both
            key = (route.kind, route.name)
            self._routes[key] = self._routes.get(key, ()) + route.statements
        self._facts = facts
        self.gates = set(gates)
        """Variables in which the health gate is kept, and those that were set to it."""
        self._request = request
        self._calls: list[Step] = []
        self._through: list[Key] = []
        self._known: dict[tuple[Key, State], _Ways] = {}

    def walk(self, kind: str, name: str, state: State) -> Flow:
        """Follow the request from the head of this route, in which ``state`` is known. Returns itself."""
        self.begun = state
        self.kind = kind
        ways = self._route((kind, name), state)
        self.ends += [end for end in (ways.on, ways.out, ways.yes, ways.no) if end is not None]
        return self

    @property
    def steps(self) -> list[Visit]:
        """Every visit, by files and lines as they were first met."""
        return [visit for several in self.visits.values() for visit in several]

    def _route(self, key: Key, state: State) -> _Ways:
        body = self._routes.get(key)
        if body is None or key in self._through or len(self._through) >= MAX_CALLS:
            return _Ways(state)
        known = self._known.get((key, state))
        if known is not None:
            return known
        self._through.append(key)
        found = self._statements(body, state)
        self._through.pop()
        self._known[key, state] = found
        return found

    def _statements(self, body: Sequence[Statement], state: State | None) -> _Ways:
        left = _Ways(state)
        for statement in body:
            if left.on is None:
                break
            ways = self._statement(statement, left.on)
            left = replace(left.beside(ways), on=ways.on)
        return left

    def _statement(self, statement: Statement, state: State) -> _Ways:
        match statement:
            case Do(what):
                return _Ways(join(self._expression(what, state)))
            case Assign():
                return _Ways(self._assign(statement, state))
            case If(condition, then, otherwise):
                yes, no = self._expression(condition, state, tested=True)
                return self._statements(then, yes).beside(self._statements(otherwise, no))
            case While():
                return self._while(statement, state)
            case Switch():
                return self._switch(statement, state)
            case End():
                return self._end(statement, state)

    def _assign(self, statement: Assign, state: State) -> State | None:
        value = join(self._expression(statement.value, state))
        if value is None:
            return None
        if isinstance(statement.value, Leaf) and self._is_gate(statement.value):
            self.gates.add(statement.step.name)
        if isinstance(statement.value, Call) and value.unlooked:
            held = frozenset(
                (step, statement.step.name) if step is statement.value.step else (step, name)
                for step, name in value.unlooked
            )
            value = replace(value, unlooked=held)
        return self._step(statement.step, value)

    def _while(self, statement: While, state: State) -> _Ways:
        left = _Ways(None)
        around: State = state
        for _ in range(3):
            yes, no = self._expression(statement.condition, around, tested=True)
            body = self._statements(statement.body, yes)
            left = replace(left.beside(body), on=join((left.on, no, body.out)), out=None)
            again = around if body.on is None else around.joined(body.on)
            if again == around:
                break
            around = again
        return left

    def _switch(self, statement: Switch, state: State) -> _Ways:
        entered = join(self._expression(statement.value, state, tested=True))
        left = _Ways(None)
        default = False
        for case in statement.cases:
            default = default or case.label is None
            here = entered
            if entered is not None and case.label is not None and isinstance(statement.value, Leaf):
                sign = "=~" if case.pattern else "=="
                if self._request.compared(statement.value.text, sign, case.label) is False:
                    here = None
            ways = self._statements(case.body, join((left.on, here)))
            left = replace(left.beside(ways), on=ways.on)
        return replace(left, on=join((left.on, left.out, None if default else entered)), out=None)

    def _end(self, statement: End, state: State) -> _Ways:
        value: State | None = state
        if statement.value is not None:
            value = join(self._expression(statement.value, state))
        if value is None:
            return _Ways(None)
        value = self._step(statement.step, value)
        name = statement.step.name
        number = number_of(statement.value)
        if name in ("exit", "drop") or (name == "return" and number == 0):  # return 0 is the end, too
            self.ends.append(value)
            return _Ways(None)
        if name == "break":
            return _Ways(None, out=value)
        return _Ways(
            None,
            yes=value if number is None or number > 0 else None,
            no=value if number is None or number < 0 else None,
        )

    def _expression(
        self, what: Expression, state: State, *, tested: bool = False
    ) -> tuple[State | None, State | None]:
        """What is known where it is true, and where it is false."""
        match what:
            case Not(of):
                yes, no = self._expression(of, state, tested=tested)
                return no, yes
            case Both("&&" | "||" as sign, left, right):
                yes, no = self._expression(left, state, tested=tested)
                first, going = (no, yes) if sign == "&&" else (yes, no)
                if going is None:
                    return (None, first) if sign == "&&" else (first, None)
                yes, no = self._expression(right, going, tested=tested)
                return (yes, join((first, no))) if sign == "&&" else (join((first, yes)), no)
            case Both():
                return self._compared(what, state, tested)
            case Call():
                return self._call(what, state, tested)
            case Leaf():
                return self._leaf(what, state, tested)

    def _leaf(self, what: Leaf, state: State, tested: bool) -> tuple[State | None, State | None]:
        state = self._read(what, state, tested)
        if what.token is not None and what.token.kind == "number":
            return (None, state) if what.text == "0" else (state, None)
        yes, no = self._looked(what, ">", "0", state)
        return yes, self._closed(no) if no is not None and self._is_gate(what) else no

    def _read(self, what: Leaf, state: State, tested: bool) -> State:
        for step in what.steps:
            state = self._step(step, state)
            if tested and step.kind == "read":
                state = state.having(self._facts.bit(f"test {step.name}"))
        return state

    def _compared(self, what: Both, state: State, tested: bool) -> tuple[State | None, State | None]:
        after = self._operand(what.left, state, tested)
        if after is not None:
            after = self._operand(what.right, after, tested)
        if after is None:
            return None, None
        if isinstance(what.left, Call):
            return self._result(what.left.step, what.sign, text_of(what.right), after)
        if not isinstance(what.left, Leaf):
            return after, after
        known = self._request.compared(what.left.text, what.sign, text_of(what.right))
        if known is not None:
            return (after, None) if known else (None, after)
        yes, no = self._looked(what.left, what.sign, text_of(what.right), after)
        return self._nothing(what, yes, no)

    def _operand(self, what: Expression, state: State, tested: bool) -> State | None:
        if isinstance(what, Leaf):
            return self._read(what, state, tested)
        return join(self._expression(what, state, tested=tested and not isinstance(what, Call)))

    def _nothing(self, what: Both, yes: State | None, no: State | None) -> tuple[State | None, State | None]:
        """A comparison that tells whether there is a transaction, or whether the health gate is closed."""
        left, other = what.left, text_of(what.right)
        if not isinstance(left, Leaf):
            return yes, no
        if "$T(id_" in left.text and other == "$null" and what.sign in ("==", "!="):
            there = self._facts.bit(TRANSACTION)
            if what.sign == "==" and no is not None:
                no = no.having(there)
            elif what.sign == "!=" and yes is not None:
                yes = yes.having(there)
        closed = tells_closed(what.sign, other) if self._is_gate(left) else None
        if closed is True and yes is not None:
            yes = self._closed(yes)
        elif closed is False and no is not None:
            no = self._closed(no)
        return yes, no

    def _is_gate(self, what: Leaf) -> bool:
        return any(step.kind == "read" and step.name in self.gates for step in what.steps)

    def _closed(self, state: State) -> State:
        return replace(state, maybe=state.maybe | self._facts.bit(CLOSED))

    def _looked(self, what: Leaf, sign: str, other: str, state: State) -> tuple[State | None, State | None]:
        """A look at the result of a question, kept in a variable or in $rc."""
        names = {step.name for step in what.steps if step.kind == "read"}
        held = {step for step, name in state.unlooked if name in names}
        if not held:
            return state, state
        yes, no = tells_failed(sign, other)
        failed, worked = state.failed(held), state.worked(held)
        both = failed.joined(worked)
        chosen = {True: failed, False: worked, None: both}
        return chosen[yes], chosen[no]

    def _result(self, step: Step, sign: str, other: str, state: State) -> tuple[State | None, State | None]:
        if not any(one is step for one, _ in state.unlooked):
            return state, state
        yes, no = tells_failed(sign, other)
        failed, worked = state.failed((step,)), state.worked((step,))
        chosen = {True: failed, False: worked, None: failed.joined(worked)}
        return chosen[yes], chosen[no]

    def _call(self, what: Call, state: State, tested: bool) -> tuple[State | None, State | None]:
        after: State | None = state
        for inside in what.inside:
            if after is None:
                return None, None
            after = join(self._expression(inside, after))
        if after is None:
            return None, None
        step = what.step
        known = decided(step, self._request)
        if step.name == "route":
            return self._called(step, after)
        after = self._step(step, after)
        for written in what.written:
            after = self._step(written, after)
        if known is not None:
            return (after, None) if known else (None, after)
        if tested and step.name == "t_newtran":
            return after, replace(after, done=after.done & ~self._facts.bit(TRANSACTION))
        if tested and any(one is step for one, _ in after.unlooked):
            return after.worked((step,)), after.failed((step,))
        return after, after

    def _called(self, step: Step, state: State) -> tuple[State | None, State | None]:
        state = self._step(step, state)
        self._calls.append(step)
        ways = self._route((ROUTE, step.argument(0)), state)
        self._calls.pop()
        return join((ways.on, ways.out, ways.yes)), join((ways.on, ways.out, ways.no))

    def _step(self, step: Step, state: State) -> State:
        """Meet a step: note what was known before it, and return what is known after it."""
        several = self.visits.setdefault(step, [])
        if not any(visit.state == state for visit in several):
            if len(several) < MAX_VISITS:
                several.append(Visit(step, state, tuple(self._calls)))
            else:
                last = several[-1]
                several[-1] = replace(last, state=last.state.joined(state))
        if _names_call(step):
            state = state.having(self._facts.bit(CALL_ID))
        if step.kind != "text":
            state = state.having(self._facts.bit(f"{step.kind} {step.name}"))
        return self._after_call(step, state) if step.kind == "call" else state

    def _after_call(self, step: Step, state: State) -> State:
        name = step.name
        if state.unlooked:
            kept = frozenset((one, "" if held == UNLOOKED else held) for one, held in state.unlooked)
            state = replace(state, unlooked=kept)
        if name == "setflag":
            state = state.having(self._facts.bit(f"flag {step.argument(0)}"))
        if name in _MAKES:
            state = state.having(self._facts.bit(TRANSACTION))
        if name in ("t_set_fr", "t_reset_fr"):
            state = replace(state, timers=frozenset({step}))
        elif name == "t_on_failure":
            state = replace(state, armed=frozenset({step}))
        elif name in ASYNC or (name in SENDS and _suspended(state)):
            state = replace(state, asked=state.asked | {step}, unlooked=state.unlooked | {(step, UNLOOKED)})
        elif name == "t_suspend":
            state = replace(state, asked=state.asked | {step})
        elif state.unsent and answers(step):
            state = replace(state, unsent=frozenset())
        return state


def _names_call(step: Step) -> bool:
    """Whether the data get a ``call_id`` by this."""
    if step.kind == "call" and step.name == "jansson_set":
        return step.argument(1).rsplit(".", 1)[-1] == "call_id"
    return step.kind == "text" and bool(_CALL_ID.search(step.name))


def _suspended(state: State) -> bool:
    return any(step.name == "t_suspend" for step in state.asked)
