"""What is known at one place of a flow: what was done on every way to it, and what on any."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from adapter.kamailio.statements import Step

UNLOOKED: Final = "rc"
"""Where the result of a call stands until the next call."""


class Facts:
    """Gives each fact, a text such as ``call t_newtran``, a bit of its own."""

    def __init__(self) -> None:
        self._bits: dict[str, int] = {}

    def bit(self, fact: str) -> int:
        """The bit of a fact."""
        found = self._bits.get(fact)
        if found is None:
            found = self._bits[fact] = 1 << len(self._bits)
        return found

    def names(self, bits: int, prefix: str) -> set[str]:
        """The facts among ``bits`` that begin with ``prefix``, without it."""
        return {
            name.removeprefix(prefix)
            for name, bit in self._bits.items()
            if bits & bit and name.startswith(prefix)
        }


@dataclass(frozen=True, slots=True)
class State:
    """What is known at one place.

    ``done``: bits of what happened on every way to it; ``maybe``: on any. ``timers``, ``armed``: the last
    t_set_fr or t_on_failure, None if there was none. ``asked``: questions that may be open; ``unsent``:
    those that could not be sent, with nothing replied since; ``unlooked``: those whose result nobody has
    looked at so far, each with the variable that holds it.
    """

    done: int = 0
    maybe: int = 0
    timers: frozenset[Step | None] = frozenset({None})
    armed: frozenset[Step | None] = frozenset({None})
    asked: frozenset[Step] = frozenset()
    unsent: frozenset[Step] = frozenset()
    unlooked: frozenset[tuple[Step, str]] = frozenset()

    def having(self, bits: int) -> State:
        """The state after these facts."""
        if self.done & bits == bits and self.maybe & bits == bits:
            return self
        return replace(self, done=self.done | bits, maybe=self.maybe | bits)

    def joined(self, other: State) -> State:
        """What is known where both may have led."""
        if self is other or self == other:
            return self
        return State(
            self.done & other.done,
            self.maybe | other.maybe,
            self.timers | other.timers,
            self.armed | other.armed,
            self.asked | other.asked,
            self.unsent | other.unsent,
            self.unlooked | other.unlooked,
        )

    def failed(self, steps: Iterable[Step]) -> State:
        """The state where these questions could not be sent."""
        gone = frozenset(steps)
        left = frozenset(one for one in self.unlooked if one[0] not in gone)
        waiting = frozenset(one for one in self.asked - gone if one.name != "t_suspend")
        return replace(self, asked=waiting, unsent=self.unsent | gone, unlooked=left)

    def worked(self, steps: Iterable[Step]) -> State:
        """The state where these questions are on their way."""
        sent = frozenset(steps)
        left = frozenset(one for one in self.unlooked if one[0] not in sent)
        return replace(self, unlooked=left)


def join(states: Iterable[State | None]) -> State | None:
    """What is known where each of these may have led; None where none does."""
    found: State | None = None
    for state in states:
        if state is not None:
            found = state if found is None else found.joined(state)
    return found
