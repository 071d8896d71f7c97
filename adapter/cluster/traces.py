"""Which suspensions another replica may have answered without a trace in the store. Pure.

A replica that has not got the store answers by its own memory, and gives back what it did once the store is
there. So of each other replica a mark is kept: until when it may have answered what came. The mark goes once
that replica says that the store has answered a beat of its own (``Beat.whole``) which came to the store after
all that: what it had answered is in the store by then, and who is in doubt looks there again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from adapter.cluster.view import NEVER

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from adapter.model.beat import Beat


@dataclass(slots=True)
class _Mark:
    """``until``: when it may have answered last; ``passed``: the number of its last beat that the store had
    after that, None: it was not asked since; ``cleared``: until when it has given back what it did."""

    until: float = NEVER
    passed: int | None = None
    cleared: float = NEVER


class Traces:
    """Times are seconds of any one clock."""

    def __init__(self) -> None:
        self._marks: dict[str, _Mark] = {}
        self.late_until = NEVER
        """What came until then may have left its trace in the store after it was answered."""

    @property
    def until(self) -> float:
        """Until when another replica may have answered what came, without any trace yet."""
        return max((mark.until for mark in self._marks.values()), default=NEVER)

    def mark(self, replica: str, until: float) -> None:
        """A replica may have answered what came until then."""
        mark = self._marks.setdefault(replica, _Mark())
        if until > max(mark.until, mark.cleared):
            mark.until, mark.passed = until, None

    def stored(self, beats: Mapping[str, Beat], asked: float) -> None:
        """The store was asked at that time, and has got these beats."""
        for replica, mark in self._marks.items():
            if mark.passed is None and mark.until <= asked and replica in beats:
                mark.passed = beats[replica].number

    def said(self, replica: str, beat: Beat) -> None:
        """A replica has beaten, over whichever way."""
        mark = self._marks.get(replica)
        if mark is not None and mark.passed is not None and beat.whole > mark.passed:
            self.late_until = max(self.late_until, mark.until)
            self._marks[replica] = _Mark(cleared=mark.until)

    def may_clear(self, arrived: float, live: Collection[str]) -> bool:
        """Return True if all who may have answered what arrived then live, and give back what they did."""
        return all(replica in live for replica, mark in self._marks.items() if mark.until >= arrived)
