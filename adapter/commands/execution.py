"""The execution of one command: what is written to Kamailio when, and what its outcome is. Pure.

States, and what moves them::

    state     what happens                        to        what is done
    HELD      begin                               SENT      the command is written
    SENT      its result                          OVER      that is the outcome
    SENT      "done", of a hang-up by Call-ID     LOOKING   in a moment it is looked whether the call is gone
    LOOKING   it is time to look                  LOOKING   calls, with the Call-ID, is written
    LOOKING   no such call any more               OVER      done
    LOOKING   it is there, at the last look       AGAIN     the hang-up is written once more, and looked after
    AGAIN     it is there, at the last look       OVER      failed
    any       the deadline                        OVER      timeout

A command is written again under the same id by whoever takes it over: the include tells what became of it and
does nothing. The looks and the second hang-up have ids of their own, after a ``#``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from adapter.command_contract import CALLS, HANGUP, CommandOutcome
from adapter.wire import command as wire

if TYPE_CHECKING:
    from adapter.commands.command import Command
    from adapter.wire.command import Result

LOOKS: Final = (0.03, 0.1, 0.3, 0.6)
"""Seconds between two looks for a call that was hung up. The BYE of most is answered within the first; tm
sends one that is lost again after 0.5 s."""

LOST: Final = 1.0
"""Seconds without a result after which it is looked once more."""


class State(IntEnum):
    """Where a command stands; see the table above."""

    HELD = 0
    SENT = 1
    LOOKING = 2
    AGAIN = 3
    OVER = 4


class Verdict(NamedTuple):
    """The outcome of a command."""

    outcome: CommandOutcome
    result: Any = None
    detail: str = ""


@dataclass(slots=True)
class Execution:
    """One command on its way. Each verb gives the frames to write; ``verdict`` is set once it is OVER."""

    command: Command
    state: State = State.HELD
    verdict: Verdict | None = None
    look_at: float | None = None
    """Epoch seconds of the next look."""
    _looks: int = 0  # asked in all
    _left: list[float] = field(default_factory=list)
    _said: Verdict | None = None  # what the hang-up gave

    @property
    def next_at(self) -> float:
        """When ``tick`` has something to do (epoch seconds)."""
        at, deadline = self.look_at, self.command.deadline
        return deadline if at is None or at > deadline else at

    def begin(self) -> list[bytes]:
        """Write the command."""
        self.state = State.SENT
        return [wire.command(self.command.id, self.command.name, self.command.args)]

    def told(self, result: Result, now: float) -> list[bytes]:
        """Take a result of one of its frames."""
        if self.state is State.SENT and result.id == self.command.id:
            self._on_result(result, now)
        elif self.state in (State.LOOKING, State.AGAIN) and result.id == self._look_id:
            return self._on_look(result, now)
        return []

    def tick(self, now: float) -> list[bytes]:
        """Do what is due."""
        if self.state is State.OVER:
            return []
        if now >= self.command.deadline:
            self._over(self._late())
        elif self.look_at is not None and now >= self.look_at:
            return self._look(now)
        return []

    def end(self, outcome: CommandOutcome, detail: str) -> None:
        """End it: it cannot be written."""
        self._over(Verdict(outcome, None, detail))

    @property
    def _look_id(self) -> str:
        return f"{self.command.id}#{self._looks}"

    def _on_result(self, result: Result, now: float) -> None:
        said = Verdict(result.outcome, result.data, result.detail)
        if self.command.name != HANGUP or not self.command.call_id or not result.done:
            self._over(said)
            return
        self.state, self._said = State.LOOKING, said
        self._look_after(now)

    def _on_look(self, result: Result, now: float) -> list[bytes]:
        if result.outcome is CommandOutcome.NOT_FOUND:
            self._over(self._said)
        elif self._left:
            self.look_at = now + self._left.pop(0)
        elif self.state is State.LOOKING:
            self.state = State.AGAIN
            self._look_after(now)
            return [wire.command(f"{self.command.id}#again", HANGUP, self.command.args)]
        else:
            self._over(
                Verdict(CommandOutcome.FAILED, None, "BYE was sent twice, and the call is still there")
            )
        return []

    def _look_after(self, now: float) -> None:
        self._left = list(LOOKS)
        self.look_at = now + self._left.pop(0)

    def _look(self, now: float) -> list[bytes]:
        self.look_at = now + LOST
        self._looks += 1
        args = json.dumps({"call_id": self.command.call_id}).encode()
        return [wire.command(self._look_id, CALLS, args)]

    def _late(self) -> Verdict:
        said = "BYE was sent, and the call was still there" if self._said else "Kamailio has given no result"
        return Verdict(CommandOutcome.TIMEOUT, None, said)

    def _over(self, verdict: Verdict | None) -> None:
        self.state, self.verdict, self.look_at = State.OVER, verdict, None
