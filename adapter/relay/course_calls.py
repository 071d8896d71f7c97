"""The calls that several services decide, as this replica knows them. Pure."""

from __future__ import annotations

from dataclasses import dataclass
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


@dataclass(slots=True, eq=False)
class Asked:
    """A request to a service: ``at`` epoch seconds, and until when it is waited for; None: until the call's
    deadline, which may be moved."""

    service: Service
    at: float
    due: float | None = None


class Call:
    """A call under way.

    ``answers``: those that the record holds. ``waiting``: who was asked, by name. ``telling``: whose answer
    the store is being told, with what was asked. ``extending``: whether it is being told of more time.
    ``caches``: for how many seconds a service lets its decision be kept. ``key``, ``kept``: under which the
    decision is kept, and what was decided of an equal call. ``until``: when it is looked at last.
    """

    __slots__ = (
        *("answers", "caches", "done", "ending", "extending", "kept", "key", "plan", "record", "telling"),
        *("until", "waiting"),
    )

    def __init__(self, record: Transaction, plan: Plan) -> None:
        self.record = record
        self.plan = plan
        self.answers = course.lines(record.course) if record.course else []
        self.waiting: dict[str, Asked] = {}
        self.telling: dict[str, Asked | None] = {}
        self.extending = False
        self.caches: dict[str, float] = {}
        self.key: str | None = None
        self.kept: Kept | None = None
        self.done: Done | None = None
        self.ending: Rung | None = None
        self.until = record.deadline + KEPT

    @property
    def is_stuck(self) -> bool:
        """Whether it waits for nobody, and has not ended: the store was away when it was to go on."""
        return self.done is not None or not (self.waiting or self.telling)

    def follow(self, record: Transaction, line: bytes = b"", answer: Answer | None = None) -> None:
        """Take over the record as it is now: with a line that was added here, or with those of others."""
        if len(record.course) < len(self.record.course):
            return  # it is older
        if answer is not None and record.course == self.record.course + line:
            self.answers.append(answer)
        elif record.course != self.record.course:
            self.answers = course.lines(record.course)
            self._leave_out_answered()
        self.record = record

    def _leave_out_answered(self) -> None:
        """Wait no longer for services whose replies other replicas had."""
        if self.waiting:
            over = course.ends(self.answers, self.plan.retry)
            for name in [name for name in self.waiting if name in over]:
                del self.waiting[name]

    def answers_of(self, record: Transaction) -> list[Answer]:
        """Return those that a record of this call holds, which may be another than the one known here."""
        return self.answers if record.course == self.record.course else course.lines(record.course)

    def told(self, name: str, heard: bool) -> None:
        """The store was told what a service did. If it has not ``heard`` it, the reply may come again."""
        asked = self.telling.pop(name, None)
        if asked is not None and not heard:
            self.waiting.setdefault(name, asked)


class Note(NamedTuple):
    """An answer to be added to a call. ``deadline``: the new one, in epoch seconds."""

    call: Call
    answer: Answer
    deadline: float | None = None


class _Ended(NamedTuple):
    """Who was still asked when a call ended. ``until``: when that is forgotten."""

    waiting: dict[str, Asked]
    deadline: float
    until: float


class Calls:
    """Those under way, by id, and when to look at which. Of those that have ended: who may still answer.

    Args:
        plan_of: gives the plan by which a suspension was claimed.
    """

    def __init__(self, plan_of: Callable[[Transaction], Plan]) -> None:
        self._plan_of = plan_of
        self._calls: dict[TransactionId, Call] = {}
        self._ended: dict[TransactionId, _Ended] = {}
        self._timers: list[tuple[float, int, TransactionId]] = []
        self._numbers = count()

    def __len__(self) -> int:
        return len(self._calls)

    def __contains__(self, id_: object) -> bool:
        return id_ in self._calls or id_ in self._ended

    @property
    def kept(self) -> int:
        """How many calls are remembered, and timers of calls: nothing of them is left in the end."""
        return len(self._calls) + len(self._ended) + len(self._timers)

    def get(self, id_: TransactionId) -> Call | None:
        """Return the call, if it is under way as far as is known here."""
        return self._calls.get(id_)

    def open(self, record: Transaction) -> Call:
        """Return the call of a record, which may be new here, or hold more than is known here."""
        call = self._calls.get(record.id)
        if call is None:
            call = self._calls[record.id] = Call(record, self._plan_of(record))
            self._ended.pop(record.id, None)
            self.wake(call.until, record.id)
        elif len(record.course) > len(call.record.course):
            call.follow(record)
        return call

    def close(self, id_: TransactionId) -> Call | None:
        """Forget a call that has ended, but for those who have not answered."""
        call = self._calls.pop(id_, None)
        if call is not None and call.waiting:
            self._ended[id_] = _Ended(call.waiting, call.record.deadline, call.until)
        return call

    def late(self, id_: TransactionId, name: str, now: float) -> Service | None:
        """Return the service whose reply came in its time to a call that others have ended; else None."""
        ended = self._ended.get(id_)
        asked = None if ended is None else ended.waiting.pop(name, None)
        if ended is None or asked is None or now >= ended.deadline:
            return None
        return asked.service if asked.due is None or now < asked.due else None

    def wake(self, at: float, id_: TransactionId) -> None:
        """Have a call looked at then, in epoch seconds."""
        heappush(self._timers, (at, next(self._numbers), id_))

    def due(self, now: float) -> Iterator[Call]:
        """Yield those to be looked at now, and forget those that another replica must have ended."""
        while self._timers and self._timers[0][0] <= now:
            at, _, id_ = heappop(self._timers)
            call, ended = self._calls.get(id_), self._ended.get(id_)
            if ended is not None and at >= ended.until:
                del self._ended[id_]
            if call is None:
                continue
            if now >= call.record.deadline + KEPT:
                del self._calls[id_]
                continue
            if at >= call.until:  # its deadline was moved
                call.until = call.record.deadline + KEPT
                self.wake(call.until, id_)
            yield call

    def waiting_for(self, name: str) -> Sequence[Call]:
        """Return the calls that wait for a service."""
        return [call for call in self._calls.values() if name in call.waiting]
