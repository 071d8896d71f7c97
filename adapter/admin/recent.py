"""What became of the calls of the last minute, by the journals of all replicas. Pure.

Answers are counted where they were written: one that was written again, after a takeover, counts again.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import msgpack

from adapter.errors import CodecError
from adapter.model.ladder import Rung
from adapter.model.transaction import Outcome
from adapter.observe.journal_entry import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable

WINDOW: Final = 60
"""Seconds that are looked back."""
RATE_OVER: Final = 5
"""Seconds over which the present rate is taken."""
LATEST: Final = 1
"""Seconds that are left out of it: what happened in them may not be written yet."""
DECIDED: Final = frozenset({Outcome.DECIDED.value, Outcome.OPERATOR.value})
"""Outcomes that somebody gave; every other is a fallback."""
_FINENESS: Final = math.log(1.01)
"""Latencies are counted in classes, each 1 % longer than the one before."""
_LEAST: Final = 1e-6
_FAULT: Final = 4
"""Where the fault of a reply stands in the journal."""
_FAULTS: Final = 3
"""Of each sort that are told: one mistake must not hide another."""
_RUNGS: Final = frozenset(Rung)


@dataclass(slots=True)
class Second:
    """The answers of one second."""

    outcomes: Counter[str] = field(default_factory=Counter)
    steps: Counter[str] = field(default_factory=Counter)
    classes: Counter[int] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    unroutable: Counter[str] = field(default_factory=Counter)
    longest: float = 0.0


class Recent:
    """Seconds are counted by one clock: that of Redis, which gives each entry its id."""

    def __init__(self) -> None:
        self.covered = 0.0
        """How many seconds are known, up to the last look."""
        self.services: set[str] = set()
        """Those that replied."""
        self._seconds: dict[int, Second] = {}

    def add(self, at: float, entry: bytes) -> None:
        """Take in an entry that was written at that time. Raises CodecError."""
        second = self._seconds.setdefault(int(at), Second())
        # ``journal.unpack`` makes an object of each step, which takes three times as long: too long
        # for the 100,000 and more that a minute may hold.
        try:
            for kind, _, items, *_ in msgpack.unpackb(entry, unicode_errors="surrogatepass"):
                if kind == Kind.RESUME:
                    _count(second, items)
                elif kind == Kind.REPLY:
                    self.services.update(item[1] for item in items if item[1])
                    second.faults.update(
                        _fault(item) for item in items if len(item) > _FAULT and item[_FAULT]
                    )
                elif kind == Kind.STEP:
                    second.steps.update(item[3] for item in items if not item[2] and item[3] in _RUNGS)
        except (ValueError, TypeError, LookupError, RecursionError) as exc:
            raise CodecError("journal", f"no entry of a journal: {type(exc).__name__}: {exc}") from exc

    def look(self, now: float) -> None:
        """Forget what is older than the window; ``covered`` grows no longer than that."""
        self._seconds = {at: second for at, second in self._seconds.items() if at > now - WINDOW - 1}
        self.covered = min(self.covered, float(WINDOW))

    @property
    def outcomes(self) -> Counter[str]:
        """Answers by outcome."""
        return sum((second.outcomes for second in self._seconds.values()), Counter())

    @property
    def steps(self) -> Counter[str]:
        """Of calls that several services decide: how many each step of the ladder gave their answer."""
        return sum((second.steps for second in self._seconds.values()), Counter())

    @property
    def fault(self) -> str:
        """What is wrong with the calls that nobody decided, as far as it is told: empty if it is not.

        The events that no queue gets, and why replies were no decision, with the service; the most frequent.
        """
        nobody, faults = Counter[str](), Counter[str]()
        for second in self._seconds.values():
            nobody += second.unroutable
            faults += second.faults
        told = [f"no queue gets {event}" for event, _ in nobody.most_common(_FAULTS)]
        return "; ".join([*told, *(fault for fault, _ in faults.most_common(_FAULTS))])

    @property
    def calls(self) -> int:
        """Answers in all."""
        return self.outcomes.total()

    @property
    def fallbacks(self) -> float | None:
        """The share of answers that nobody gave; ``None`` of none."""
        outcomes = self.outcomes
        total = outcomes.total()
        if not total:
            return None
        return sum(number for outcome, number in outcomes.items() if outcome not in DECIDED) / total

    def rate(self, now: float) -> float:
        """Answers a second at present."""
        over = min(RATE_OVER, max(math.floor(self.covered) - LATEST, 1))
        return sum(self.per_second(now)[-over:]) / over

    def per_second(self, now: float) -> list[int]:
        """Answers of each second of the window, the latest last."""
        last = int(now) - LATEST
        found = (self._seconds.get(at) for at in range(last - WINDOW + 1, last + 1))
        return [0 if second is None else second.outcomes.total() for second in found]

    def latencies(self, *shares: float) -> list[float | None]:
        """Seconds from event to answer within which these shares of the calls were; within 1 %.

        1.0 gives the longest, exactly. ``None`` where there is no call.
        """
        classes: Counter[int] = sum((each.classes for each in self._seconds.values()), Counter())
        longest = max((each.longest for each in self._seconds.values()), default=0.0)
        ordered, total = sorted(classes.items()), classes.total()
        return [_quantile(ordered, total, longest, share) if total else None for share in shares]


def _fault(item: list[Any]) -> str:
    return f"{item[1]}: {item[_FAULT]}" if item[1] else str(item[_FAULT])


def _count(second: Second, items: Iterable[Any]) -> None:
    for item in items:
        outcome, seconds = item[3], item[4]
        second.outcomes[outcome] += 1
        if outcome == Outcome.UNROUTABLE:
            second.unroutable[item[1]] += 1
        second.classes[math.ceil(math.log(max(seconds, _LEAST)) / _FINENESS)] += 1
        second.longest = max(second.longest, seconds)


def _quantile(ordered: list[tuple[int, int]], total: int, longest: float, share: float) -> float:
    wanted, passed, at = math.ceil(share * total), 0, -1
    while passed < wanted:
        at += 1
        passed += ordered[at][1]
    return min(math.exp(ordered[at][0] * _FINENESS), longest)
