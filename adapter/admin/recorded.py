"""Calls of which the journals kept request and decision: those that can be asked about again."""

from __future__ import annotations

import heapq
import json
from collections import Counter, deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from adapter.admin.calls import entries, read_entry
from adapter.model.transaction import Outcome
from adapter.observe.journal_entry import Kind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from adapter.inflight.operator import OperatorStore
    from adapter.model.transaction import TransactionId
    from adapter.observe.journal_entry import Step


@dataclass(frozen=True, slots=True)
class Recorded:
    """A call as the journals have it.

    ``at``: when it was claimed, in epoch seconds; ``request``: the body of the whole request, without what
    former services of a chain had decided; ``decision``: what Kamailio was given.
    """

    id: TransactionId
    call_id: str
    at: float
    request: bytes
    outcome: str = ""
    decision: Any = None


class Recording:
    """Takes the steps of all journals, in order of time, and keeps the latest calls of one event. Pure.

    Args:
        event: its name.
        most: how many calls are kept.
        undecided: also calls that no service decided.
    """

    def __init__(self, event: str, most: int, undecided: bool = False) -> None:
        self.event = event
        self._undecided = undecided
        self._open: dict[TransactionId, Recorded] = {}
        self.calls: deque[Recorded] = deque(maxlen=most)
        """Those to be asked about, the earliest first."""
        self.found = 0
        """Calls of the event in that time."""
        self.without_payload = 0
        """Calls that ended, and of which no request or no decision was kept."""
        self.not_decided = 0
        """Calls that are left out since no service decided them."""
        self.good = 0
        """Calls that can be asked about: ``calls`` are the latest of them."""
        self.others: Counter[str] = Counter()
        """Calls of other events, by event."""

    @property
    def in_flight(self) -> int:
        """Calls of whose end nothing is known."""
        return len(self._open)

    def add(self, step: Step) -> None:
        """Take one step of a call that was claimed in time."""
        if step.kind is Kind.EVENT:
            if step.event != self.event:
                self.others[step.event] += 1
                return
            self.found += step.id not in self._open
            self._open[step.id] = Recorded(step.id, step.call_id, step.at, step.more.get("request", b""))
        elif step.kind is Kind.RESUME:
            call = self._open.pop(step.id, None)
            if call is not None:
                self._end(call, step.more["outcome"], step.more.get("decision"))

    def _end(self, call: Recorded, outcome: str, decision: bytes | None) -> None:
        if outcome != Outcome.DECIDED and not self._undecided:
            self.not_decided += 1
        elif not call.request or decision is None:
            self.without_payload += 1
        else:
            self.good += 1
            self.calls.append(replace(call, outcome=outcome, decision=json.loads(decision)))


async def record(store: OperatorStore, replicas: Sequence[str], since: float, recording: Recording) -> None:
    """Read the journals of replicas from then on (epoch seconds). Raises StoreUnavailable.

    They are read side by side: what one replica has claimed, another may have answered.
    """
    after = f"{max(int(since * 1000) - 1, 1)}"
    readers = [entries(store, [replica], after) for replica in replicas]
    heads: list[tuple[tuple[int, int], int, bytes]] = []
    for number in range(len(readers)):
        await _advance(heads, readers, number)
    while heads:
        _, number, entry = heapq.heappop(heads)
        for step in read_entry(entry):
            if step.at >= since:
                recording.add(step)
        await _advance(heads, readers, number)


async def _advance(
    heads: list[tuple[tuple[int, int], int, bytes]],
    readers: Sequence[AsyncIterator[tuple[str, str, bytes]]],
    number: int,
) -> None:
    found = await anext(readers[number], None)
    if found is not None:
        time, _, part = found[1].partition("-")
        heapq.heappush(heads, ((int(time), int(part or 0)), number, found[2]))
