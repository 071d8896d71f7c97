"""What is asked of an installation, and what came of it. Pure."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

SHARES: Final = (0.5, 0.95, 0.99, 0.999, 1.0)
"""Of the calls: those whose slowest one a `Latency` tells."""
UNANSWERED: Final = "unanswered"
"""Beside the outcomes: a call that got no answer at all."""


@dataclass(frozen=True, slots=True)
class Load:
    """``rate``: calls a second over all nodes, begun on time whatever becomes of them; ``None``: as
    many as are answered while ``window`` of each node wait. ``decision``: seconds that a consumer
    takes. ``payload``: bytes of the event's data. ``warm_up``: seconds before what counts; at least
    as long as a decision, or the cost of a call is told too low. ``notices``: how many are told of each call
    after its answer, one after the other.
    """

    rate: float | None
    seconds: float = 10.0
    decision: float = 0.0
    payload: int = 500
    window: int = 200
    warm_up: float = 2.0
    notices: int = 0

    def told(self) -> dict[str, Any]:
        """As the source reads it."""
        return asdict(self)

    @property
    def name(self) -> str:
        """For people."""
        return f"saturation, {self.window:,} at a time" if self.rate is None else f"{self.rate:,g} calls/s"


@dataclass(frozen=True, slots=True)
class Latency:
    """How long calls took, in microseconds: the slowest of each of the `SHARES`."""

    p50: int
    p95: int
    p99: int
    p999: int
    longest: int

    @classmethod
    def of(cls, counts: Mapping[int, int]) -> Latency:
        """Return the percentiles of these calls, exactly.

        Args:
            counts: for each number of microseconds, how many calls took that long. One below 0, of a clock
                that was set, counts as 0.

        Returns:
            For each share, the shortest time within which at least that share ended; 0 if there are no calls.
        """
        total, seen, found = sum(counts.values()), 0, list[int]()
        for latency in sorted(counts):
            seen += counts[latency]
            while len(found) < len(SHARES) and seen >= math.ceil(SHARES[len(found)] * total):
                found.append(max(latency, 0))
        return cls(*found) if found else cls(0, 0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process has used: CPU seconds, bytes now and at most."""

    cpu: float
    memory: int
    peak: int


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a load. Calls that were due after the warm-up count.

    ``offered``: calls; ``outcomes``: what became of them, ``unanswered`` among it. ``seconds``: for
    which they were offered. ``latency``: from when a call was due to its answer; ``added``: without
    the time that the consumer took. ``cpu``: microseconds of CPU per call, by process; ``before`` and
    ``after``: what the first adapter used. ``answered``: answers within the seconds, whatever call
    they are for (not known: those of the calls). ``lag``: from when a call was due until the source
    began it. ``peaks``: bytes at most, by process. ``busy``: cores of the machine at work, for
    anybody.
    """

    load: Load
    offered: int
    outcomes: Mapping[str, int]
    seconds: float
    latency: Latency
    added: Latency
    cpu: Mapping[str, float]
    before: Usage
    after: Usage
    answered: int | None = None
    lag: Latency = Latency(0, 0, 0, 0, 0)
    peaks: Mapping[str, int] = field(default_factory=dict)
    busy: float = 0.0

    @property
    def decided(self) -> float:
        """The share that a consumer decided."""
        return self.outcomes.get("decided", 0) / self.offered if self.offered else 0.0

    @property
    def throughput(self) -> float:
        """Answers a second."""
        answered = self.answered
        if answered is None:
            answered = sum(self.outcomes.values()) - self.outcomes.get(UNANSWERED, 0)
        return answered / self.seconds if self.seconds else 0.0

    @property
    def machine(self) -> float:
        """Microseconds of CPU per call of the whole machine, but for the source: whoever worked there."""
        whole = self.busy * self.seconds * 1e6 / self.offered if self.offered else 0.0
        return max(whole - self.cpu.get("source", 0.0), 0.0)

    def cores(self, *names: str) -> float:
        """Cores that these processes took; without a name, all of them together."""
        spent = sum(cost for name, cost in self.cpu.items() if not names or name in names)
        return spent * self.offered / 1e6 / self.seconds if self.seconds else 0.0
