"""A configuration as the rules look at it: its routes with those that they call put in their place."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Final

from adapter.kamailio import INCLUDE
from adapter.kamailio.configuration import EVENT, FAILURE, REQUEST, ROUTE
from adapter.kamailio.lint.steps import Step, steps

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from adapter.kamailio.configuration import Configuration, Route

MAX_STEPS: Final = 20_000
"""Steps of one flow: routes that call each other many times make much of a few lines."""
ASYNC: Final = frozenset({"evapi_async_relay", "evapi_async_multicast", "evapi_async_unicast"})
SENDS: Final = frozenset({"evapi_relay", "evapi_multicast", "evapi_unicast"})
CONTINUES: Final = frozenset({"t_continue", "t_continue_skip_timer"})
REPLIES: Final = frozenset(
    {
        "t_reply",
        "send_reply",
        "sl_send_reply",
        "sl_reply_error",
        "t_relay",
        "t_reply_error",
        "t_forward_nonack",
    }
    | {
        "t_relay_to",
        "t_relay_to_udp",
        "t_relay_to_tcp",
        "forward",
        "t_send_reply",
        "t_load_contacts",
        "t_release",
    }
)
MESSAGE: Final = "evapi:message-received"
CONNECTED: Final = "evapi:connection-new"

_ANSWERS: Final = re.compile(r"reply|relay|forward|redirect|drop")


@dataclass(frozen=True)
class Script:
    """A configuration and what its routes do.

    ``replicas``: of the adapter; ``deadline``: the longest of its policy, in seconds; ``version``:
    Kamailio's, where it is known.
    """

    configuration: Configuration
    replicas: int
    deadline: float
    version: tuple[int, int] | None

    @property
    def included(self) -> bool:
        """Whether it uses the adapter's include."""
        return any(one.text.endswith(INCLUDE) for one in self.configuration.includes)

    def ours(self, file: str) -> bool:
        """Whether a file is the adapter's include."""
        return file.endswith(INCLUDE)

    def users(self, step: Step, before: Sequence[Step]) -> Step:
        """The user's line that leads to ``step``: itself, or the call of the include's route around it."""
        if not self.ours(step.file):
            return step
        return next((one for one in reversed(called(before, "route")) if not self.ours(one.file)), step)

    @cached_property
    def own(self) -> dict[tuple[str, str], list[Step]]:
        """The steps of each route alone; of one that is there twice, both."""
        found: dict[tuple[str, str], list[Step]] = {}
        for route in self.configuration.routes:
            found.setdefault((route.kind, route.name), []).extend(steps(route.body))
        return found

    @cached_property
    def calls(self) -> list[Step]:
        """Every call that stands in any route."""
        return [step for own in self.own.values() for step in own if step.kind == "call"]

    def calls_of(self, *names: str) -> list[Step]:
        """The calls of these functions, wherever they stand."""
        return [step for step in self.calls if step.name in names]

    def flow(self, kind: str, name: str) -> list[Step]:
        """The steps of a route and of those that it calls; empty where there is no such route."""
        found: list[Step] = []
        frames = [0]
        self._expand((kind, name), Step("call", "", "", 0), (), found, frames)
        return found

    def _expand(
        self,
        key: tuple[str, str],
        caller: Step,
        through: tuple[tuple[str, str], ...],
        found: list[Step],
        frames: list[int],
    ) -> None:
        frames[0] += 1
        mine = (*caller.frames, frames[0])
        for step in self.own.get(key, ()):
            here = replace(step, blocks=caller.blocks + step.blocks, frames=mine)
            found.append(here)
            called = (ROUTE, here.argument(0))
            if here.kind != "call" or here.name != "route" or called in through or called == key:
                continue
            if len(found) < MAX_STEPS and len(through) < 50:
                self._expand(called, here, (*through, key), found, frames)

    def route(self, kind: str, name: str) -> Route | None:
        """The route of this kind and name."""
        return self.configuration.route(kind, name)

    @cached_property
    def asking(self) -> list[tuple[Step, list[Step], list[Step]]]:
        """Every suspension with what comes before and after it.

        As far as a request gets there: from the main route, from routes that other modules are told
        the name of, and from failure routes (tried: a question may be asked there, too).
        """
        return [*self.asking_first, *_suspensions(self.failures.values())]

    @cached_property
    def asking_first(self) -> list[tuple[Step, list[Step], list[Step]]]:
        """The same without failure routes."""
        return _suspensions(self.requests)

    @cached_property
    def requests(self) -> list[list[Step]]:
        """The flows in which a request is handled for the first time."""
        return [self.flow(REQUEST, ""), *(self.flow(ROUTE, name) for name in self._elsewhere())]

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
    def continues(self) -> list[Step]:
        """Every t_continue."""
        return self.calls_of(*CONTINUES)

    @cached_property
    def resumed(self) -> set[str]:
        """The routes with which a suspended transaction goes on."""
        return {step.argument(2) for step in self.continues}

    @cached_property
    def received(self) -> list[Step]:
        """What happens with a frame of the adapter's."""
        return self.flow(EVENT, MESSAGE)

    @cached_property
    def resumes(self) -> list[tuple[list[Step], list[Step]]]:
        """For each t_continue that a frame leads to: what comes before it, and the flow of its route."""
        return [
            (self.received[:at], self.flow(ROUTE, step.argument(2)))
            for at, step in enumerate(self.received)
            if step.kind == "call" and step.name in CONTINUES
        ]

    @cached_property
    def failures(self) -> dict[str, list[Step]]:
        """The flow of each failure route."""
        names = [route.name for route in self.configuration.routes if route.kind == FAILURE]
        return {name: self.flow(FAILURE, name) for name in names}


def _suspensions(flows: Iterable[list[Step]]) -> list[tuple[Step, list[Step], list[Step]]]:
    return [
        (step, flow[:at], flow[at + 1 :]) for flow in flows for at, step in enumerate(flow) if suspends(step)
    ]


def suspends(step: Step) -> bool:
    """Whether the transaction is suspended here."""
    return step.kind == "call" and step.name in ASYNC


def answers(step: Step) -> bool:
    """Whether the caller may hear something by this, or the call goes on."""
    return step.kind == "call" and step.name not in SENDS | ASYNC and bool(_ANSWERS.search(step.name))


def called(flow: Sequence[Step], *names: str) -> list[Step]:
    """The calls of these functions."""
    return [step for step in flow if step.kind == "call" and step.name in names]


def comes_first(step: Step, to: Step) -> bool:
    """Whether ``step``, which stands before ``to``, also happens before it, as far as the text tells."""
    return not any(block.for_other_requests for block in step.blocks if block not in to.blocks)
