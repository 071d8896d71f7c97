"""A configuration as the rules look at it: what its routes do, and on which ways a request comes there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from adapter.kamailio import INCLUDE, includes
from adapter.kamailio.configuration import EVENT, FAILURE, REQUEST, ROUTE
from adapter.kamailio.lint.flow import Flow, Visit
from adapter.kamailio.lint.names import ASYNC, CHECKS, CONNECTED, CONTINUES, MESSAGE, SENDS, TRANSACTION
from adapter.kamailio.lint.request import ANY, CANCEL, INVITE, Request
from adapter.kamailio.lint.state import Facts, State
from adapter.kamailio.lint.steps import alone, every
from adapter.kamailio.statements import Step

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from adapter.kamailio.configuration import Configuration, Route
    from adapter.kamailio.lint.findings import Place

METHODS = (
    "REGISTER",
    "MESSAGE",
    "SUBSCRIBE",
    "PUBLISH",
    "OPTIONS",
    "REFER",
    "NOTIFY",
    "INFO",
    "BYE",
    "UPDATE",
)
"""Requests other than INVITE that may be asked about."""


@dataclass(frozen=True, slots=True)
class Question:
    """A suspension on one way to it. ``first``: not in a failure route."""

    visit: Visit
    flow: Flow
    first: bool

    @property
    def step(self) -> Step:
        """The call that suspends."""
        return self.visit.step

    @property
    def state(self) -> State:
        """What is known before it."""
        return self.visit.state


@dataclass(frozen=True)
class Script:
    """A configuration and what its routes do.

    ``replicas``: of the adapter; ``seen``: they were really seen, not assumed; ``deadline``: the longest of
    its policy, in seconds; ``version``: Kamailio's, where it is known.
    """

    configuration: Configuration
    replicas: int
    deadline: float
    version: tuple[int, int] | None
    seen: bool = False

    @cached_property
    def facts(self) -> Facts:
        """The bits of all states."""
        return Facts()

    @property
    def included(self) -> bool:
        """Whether it uses the adapter's include."""
        return any(one.text.endswith(INCLUDE) for one in self.configuration.includes)

    def ours(self, file: str) -> bool:
        """Whether a file is the adapter's include, or one that this includes itself."""
        return Path(file).name in includes()

    def users(self, visit: Visit) -> Place:
        """The user's line that leads to a step: itself, or the call of the include's route around it."""
        if not self.ours(visit.step.file):
            return visit.step
        return next((one for one in reversed(visit.calls) if not self.ours(one.file)), visit.step)

    @cached_property
    def own(self) -> dict[tuple[str, str], list[Step]]:
        """The steps of each route alone, in the order of the text; of one that is there twice, both."""
        found: dict[tuple[str, str], list[Step]] = {}
        for route in self.configuration.routes:
            found.setdefault((route.kind, route.name), []).extend(every(route.statements))
        return found

    @cached_property
    def calls(self) -> list[Step]:
        """Every call that stands in any route."""
        return [step for own in self.own.values() for step in own if step.kind == "call"]

    def calls_of(self, *names: str) -> list[Step]:
        """The calls of these functions, wherever they stand."""
        return [step for step in self.calls if step.name in names]

    @cached_property
    def unlooked(self) -> set[Step]:
        """The calls whose result nobody looks at."""
        return {step for route in self.configuration.routes for step in alone(route.statements)}

    def route(self, kind: str, name: str) -> Route | None:
        """The route of this kind and name."""
        return self.configuration.route(kind, name)

    @cached_property
    def gates(self) -> frozenset[str]:
        """Shared variables that the event routes of evapi set: the health gate may be kept there."""
        told = {
            step.name
            for route in self.configuration.routes
            if route.kind == EVENT and route.name.startswith("evapi:")
            for step in self._reached(route)
            if step.kind == "set" and step.name.startswith(("sht(", "shv("))
        }
        return frozenset(told)

    def _reached(self, route: Route) -> Iterator[Step]:
        seen = {(route.kind, route.name)}
        waiting = list(seen)
        while waiting:
            for step in self.own.get(waiting.pop(), ()):
                yield step
                called = (ROUTE, step.argument(0))
                if step.kind == "call" and step.name == "route" and called not in seen:
                    seen.add(called)
                    waiting.append(called)

    def flow(self, kind: str, name: str, request: Request = ANY, state: State | None = None) -> Flow:
        """Follow a request from the head of a route."""
        walk = Flow(self.configuration, self.facts, self.gates, request)
        return walk.walk(kind, name, State() if state is None else state)

    @cached_property
    def transaction(self) -> State:
        """What is known where a transaction goes on."""
        return State().having(self.facts.bit(TRANSACTION))

    @cached_property
    def unanswered(self) -> State:
        """What is known where a transaction goes on to which somebody has to reply."""
        somebody = Step("call", "NO_DECISION", "", 0)
        return replace(self.transaction, unsent=frozenset({somebody}))

    @property
    def native(self) -> bool:
        """Whether requests are handled by Kamailio's own language."""
        engine = self.configuration.setting("", "cfgengine")
        return engine is None or engine.value == "native"

    @cached_property
    def requests(self) -> list[Flow]:
        """The flows in which a request is handled for the first time.

        INVITEs outside of a dialog; of the others those that are asked about where no such INVITE comes.
        """
        heads = [(REQUEST, ""), *((ROUTE, name) for name in self._elsewhere())]
        found = [self.flow(*head, INVITE) for head in heads]
        met = {step for flow in found for step in flow.visits}
        missed = {step for step in self.calls if step.name in (*ASYNC, "t_suspend") and step not in met}
        for request in (Request("INVITE", tag=True), *(Request(method) for method in METHODS)):
            if missed and any(
                request.method in one.text for route in self.configuration.routes for one in route.body
            ):
                flows = [self.flow(*head, request) for head in heads]
                useful = [flow for flow in flows if missed & flow.visits.keys()]
                missed -= {step for flow in useful for step in flow.visits}
                found += useful
        return found

    @cached_property
    def _words(self) -> str:
        return " ".join(one.text for route in self.configuration.routes for one in route.body)

    def _elsewhere(self) -> Iterator[str]:
        called = {step.argument(0) for step in self.calls_of("route")}
        told = {
            argument.text
            for step in self.calls
            if step.name != "route" and step.name not in CONTINUES
            for argument in step.arguments
        }
        anything = any(step.argument(0).startswith("$") for step in self.calls_of("route"))
        for route in self.configuration.routes:
            if (
                route.kind == ROUTE
                and route.name not in called | self.resumed
                and (anything or route.name in told)
            ):
                yield route.name

    @cached_property
    def cancel(self) -> Flow:
        """The flow of a CANCEL."""
        return self.flow(REQUEST, "", CANCEL)

    @cached_property
    def continues(self) -> list[Step]:
        """Every t_continue."""
        return self.calls_of(*CONTINUES)

    @cached_property
    def resumed(self) -> set[str]:
        """The routes with which a suspended transaction goes on."""
        return {step.argument(2) for step in self.continues}

    @cached_property
    def received(self) -> Flow:
        """What happens with a frame of the adapter's."""
        return self.flow(EVENT, MESSAGE)

    @cached_property
    def connected(self) -> Flow:
        """What happens when an adapter connects."""
        return self.flow(EVENT, CONNECTED)

    @cached_property
    def resumes(self) -> list[tuple[Visit, Flow]]:
        """For each t_continue that a frame leads to: what is known there, and the flow of its route."""
        armed = frozenset(one for question in self.questions for one in question.state.armed)
        found = []
        for visit in calls_in(self.received, *CONTINUES):
            known = replace(self.transaction, done=visit.state.done | self.transaction.done, armed=armed)
            known = replace(known, maybe=visit.state.maybe | known.done)
            found.append((visit, self.flow(ROUTE, visit.step.argument(2), INVITE, known)))
        return found

    @cached_property
    def failures(self) -> dict[str, Flow]:
        """The flow of each failure route."""
        names = [route.name for route in self.configuration.routes if route.kind == FAILURE]
        return {name: self.flow(FAILURE, name, INVITE, self.transaction) for name in names}

    @cached_property
    def questions(self) -> list[Question]:
        """Every suspension, on each way to it.

        As far as a request gets there: from the main route, from routes that other modules are told the name
        of, and from failure routes (tried: a question may be asked there, too).
        """
        found = [Question(visit, flow, True) for flow in self.requests for visit in _suspensions(flow)]
        for flow in self.failures.values():
            found += [Question(visit, flow, False) for visit in _suspensions(flow)]
        return found

    @cached_property
    def asking_flows(self) -> list[Flow]:
        """The flows in which a question is asked."""
        return list({id(question.flow): question.flow for question in self.questions}.values())

    @cached_property
    def first_questions(self) -> list[Question]:
        """Those that are not asked in a failure route."""
        return [question for question in self.questions if question.first]


def _suspensions(flow: Flow) -> Iterator[Visit]:
    """Suspensions by EVAPI, and by t_suspend if a frame is sent while it lasts."""
    by_hand = {step for visit in calls_in(flow, *SENDS) for step in visit.state.asked}
    for visit in flow.steps:
        name = visit.step.name
        if visit.step.kind == "call" and (name in ASYNC or (name == "t_suspend" and visit.step in by_hand)):
            yield visit


def was_checked(script: Script, question: Question) -> bool:
    """Whether it was looked for a retransmission on every way to a question."""
    checks = sum(script.facts.bit(f"call {name}") for name in CHECKS) | script.facts.bit(TRANSACTION)
    return bool(question.state.done & checks)


def calls_in(flow: Flow, *names: str) -> Iterator[Visit]:
    """The calls of these functions, on each way to them."""
    for visit in flow.steps:
        if visit.step.kind == "call" and visit.step.name in names:
            yield visit


def first_of(visits: Iterable[Visit]) -> list[Visit]:
    """One visit of each step."""
    return list({visit.step: visit for visit in visits}.values())
