"""The calls that several services decide, as this replica knows them. Pure."""

from __future__ import annotations

from heapq import heappop, heappush
from itertools import count
from typing import TYPE_CHECKING, Final, NamedTuple

from adapter.relay import course

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from adapter.model.ladder import Rung
    from adapter.model.transaction import Transaction, TransactionId
    from adapter.ports.cache import Kept
    from adapter.relay.course import Answer, Done
    from adapter.relay.plan import Plan, Service

KEPT: Final = 5.0
"""Seconds past its deadline after which a call that another replica must have ended is forgotten."""


class Asked(NamedTuple):
    """Who is waited for, since when and until when, in epoch seconds."""

    service: Service
    at: float
    due: float


class Call:
    """A call under way.

    ``answers``: those that the record holds. ``waiting``: who was asked, by name. ``caches``: for how many
    seconds a service lets its decision be kept. ``key``, ``kept``: under which the decision is kept, and what
    was decided of an equal call.
    """

    __slots__ = ("answers", "caches", "done", "ending", "kept", "key", "plan", "record", "size", "waiting")

    def __init__(self, record: Transaction, plan: Plan) -> None:
        self.record = record
        self.plan = plan
        self.answers = course.lines(record.course) if record.course else []
        self.size = len(record.course)
        self.waiting: dict[str, Asked] = {}
        self.caches: dict[str, float] = {}
        self.key: str | None = None
        self.kept: Kept | None = None
        self.done: Done | None = None
        self.ending: Rung | None = None

    def follow(self, record: Transaction, answer: Answer, size: int) -> None:
        """Take over the record to which an answer of so many bytes was added; others may have added, too."""
        self.record = record
        if len(record.course) == self.size + size:
            self.answers.append(answer)
        else:
            self.answers = course.lines(record.course)
        self.size = len(record.course)

    def take(self, record: Transaction) -> None:
        """Take over a record to which others have added."""
        self.record, self.answers, self.size = record, course.lines(record.course), len(record.course)
        left = {each.name for each in course.next_step(self.plan, self.answers).ask}
        self.waiting = {name: each for name, each in self.waiting.items() if name in left}

    def move(self, deadline: float) -> None:
        """Wait until another deadline for whom the former one was the end."""
        for name, each in self.waiting.items():
            if each.due >= self.record.deadline:
                self.waiting[name] = each._replace(due=deadline)


class Note(NamedTuple):
    """An answer to be added to a call. ``deadline``: the new one, in epoch seconds."""

    call: Call
    answer: Answer
    deadline: float | None = None


class Calls:
    """Those under way, by id, and when to look at which.

    Args:
        plan_of: gives the plan by which a suspension was claimed.
    """

    def __init__(self, plan_of: Callable[[Transaction], Plan]) -> None:
        self._plan_of = plan_of
        self._calls: dict[TransactionId, Call] = {}
        self._timers: list[tuple[float, int, TransactionId]] = []
        self._numbers = count()

    def __len__(self) -> int:
        return len(self._calls)

    def __contains__(self, id_: object) -> bool:
        return id_ in self._calls

    def get(self, id_: TransactionId) -> Call | None:
        """Return the call, if it is known here."""
        return self._calls.get(id_)

    def open(self, record: Transaction) -> Call:
        """Return the call of a record, which may be new here."""
        call = self._calls.get(record.id)
        if call is None:
            call = self._calls[record.id] = Call(record, self._plan_of(record))
            self.wake(record.deadline + KEPT, record.id)
        return call

    def close(self, id_: TransactionId) -> Call | None:
        """Forget a call."""
        return self._calls.pop(id_, None)

    def wake(self, at: float, id_: TransactionId) -> None:
        """Have a call looked at then, in epoch seconds."""
        heappush(self._timers, (at, next(self._numbers), id_))

    def due(self, now: float) -> Iterator[Call]:
        """Yield those to be looked at now, and forget those that another replica must have ended."""
        while self._timers and self._timers[0][0] <= now:
            id_ = heappop(self._timers)[2]
            call = self._calls.get(id_)
            if call is not None and now >= call.record.deadline + KEPT:
                del self._calls[id_]
            elif call is not None:
                yield call

    def waiting_for(self, name: str) -> Sequence[Call]:
        """Return the calls that wait for a service."""
        return [call for call in self._calls.values() if name in call.waiting]
