"""Shadows: services that get the same request, and whose replies are compared with what was decided. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from adapter.model.ladder import Status
from adapter.relay.course import read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from adapter.model.transaction import TransactionId
    from adapter.relay.course import Answer

AFTER_DEADLINE: Final = 1.0
"""Seconds past its call's deadline after which a shadow's reply is late."""
MOST: Final = 10_000
"""Calls that are looked at at a time: of more, shadows are not asked."""


class Result(StrEnum):
    """What came of a shadow's reply."""

    SAME = "same"
    DIFFERENT = "different"
    FAILED = "failed"
    LATE = "late"


@dataclass(slots=True)
class _Call:
    until: float
    open: set[str]
    ended: bool = False
    decision: bytes | None = None
    came: dict[str, Answer] = field(default_factory=dict)


class Shadows:
    """Those that were asked, by call. Times are epoch seconds.

    Args:
        told: is told the call, the service, what came of its reply, what was decided (JSON text, None if
            nobody did) and what it would have decided.
    """

    def __init__(self, told: Callable[[TransactionId, str, Result, bytes | None, bytes], None]) -> None:
        self._told = told
        self._calls: dict[TransactionId, _Call] = {}  # in the order in which they came

    def __len__(self) -> int:
        return len(self._calls)

    def __contains__(self, id_: object) -> bool:
        return id_ in self._calls

    @property
    def full(self) -> bool:
        """Whether no more can be looked at."""
        return len(self._calls) >= MOST

    def asked(self, id_: TransactionId, services: Iterable[str], deadline: float) -> None:
        """These were asked."""
        self._calls[id_] = _Call(deadline + AFTER_DEADLINE, set(services))

    def takes(self, id_: TransactionId, answer: Answer) -> bool:
        """Take in a reply. Return False if it is not a shadow's."""
        call = self._calls.get(id_)
        if call is None or answer.service not in call.open:
            return False
        if answer.status is not Status.EXTENDED:
            call.open.discard(answer.service)
            call.came[answer.service] = answer
            if call.ended:
                self._compare(id_, call)
        return True

    def ended(self, id_: TransactionId, decision: bytes | None) -> None:
        """The call has ended. ``decision``: JSON text; None: nobody decided it."""
        call = self._calls.get(id_)
        if call is not None and not call.ended:
            call.ended, call.decision = True, decision
            self._compare(id_, call)

    def purge(self, now: float) -> None:
        """Give up those that are late."""
        while self._calls:
            id_, call = next(iter(self._calls.items()))
            if call.until > now:
                return
            del self._calls[id_]
            for service in call.open:
                self._told(id_, service, Result.LATE, call.decision, b"")

    def _compare(self, id_: TransactionId, call: _Call) -> None:
        for answer in call.came.values():
            if answer.status is not Status.DECIDED:
                result = Result.FAILED
            else:
                equal = call.decision is not None and read(call.decision) == read(answer.text)
                result = Result.SAME if equal else Result.DIFFERENT
            self._told(id_, answer.service, result, call.decision, answer.text)
        call.came.clear()
        if not call.open:
            del self._calls[id_]
