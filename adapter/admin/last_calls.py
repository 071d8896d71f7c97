"""What became of the last calls, by event: what the journals of all replicas say of them."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import msgpack

from adapter.model.transaction import BY_SOMEBODY
from adapter.observe.journal_entry import Kind
from adapter.ports.store import NOTE_INTERVAL

if TYPE_CHECKING:
    from collections.abc import Iterable

    from adapter.ports.inspection import Inspection

SPANS: Final = (10.0, 60.0)
"""Seconds of journals that are read: the second only if the first were few bytes."""
FEW: Final = 1_000_000
"""Bytes; some 5,000 calls."""
_Id = tuple[str, int, int, int]


@dataclass(slots=True)
class EventCalls:
    """The last calls of one event.

    ``outcomes``: how many ended with which. ``faults``: how many replies were no decision, by service and
    why.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    faults: Counter[tuple[str, str]] = field(default_factory=Counter)

    @property
    def total(self) -> int:
        """All of them."""
        return self.outcomes.total()

    @property
    def decided(self) -> int:
        """Those that somebody decided."""
        return sum(self.outcomes[outcome] for outcome in BY_SOMEBODY)

    @property
    def fault(self) -> str:
        """The most frequent fault, with the service; empty if none is known."""
        for (service, why), _ in self.faults.most_common(1):
            return f"{service}: {why}" if service else why
        return ""


async def last_entries(store: Inspection) -> list[bytes]:
    """Read the last entries of all journals. Raises StoreUnavailable."""
    now, replicas = await asyncio.gather(store.time(), store.journals())
    read: list[bytes] = []
    for span in SPANS:
        after, most = str(int((now - span) * 1000)), math.ceil(span / NOTE_INTERVAL) + 1
        found = await asyncio.gather(*(store.journal(replica, after, most) for replica in replicas))
        read = [entry for entries in found for _, entry in entries]
        if sum(map(len, read)) > FEW:
            break
    return read


def by_event(entries: Iterable[bytes]) -> dict[str, EventCalls]:
    """Count calls by event. What another version wrote otherwise is left out. Pure."""
    ended: dict[_Id, tuple[str, str]] = {}  # an answer that was written again, after a takeover, counts once
    faults: list[tuple[_Id, tuple[str, str]]] = []
    for entry in entries:
        try:
            for kind, _, items, *_ in msgpack.unpackb(entry, unicode_errors="surrogatepass", use_list=False):
                if kind == Kind.RESUME:
                    ended |= {item[0]: (item[1], item[3]) for item in items}
                elif kind == Kind.REPLY:
                    faults += [(item[0], (item[1] or "", item[4])) for item in items if item[4]]
        except (ValueError, TypeError, LookupError, RecursionError):
            continue
    found: dict[str, EventCalls] = {}
    for event, outcome in ended.values():
        found.setdefault(event, EventCalls()).outcomes[outcome] += 1
    for id_, fault in faults:
        if id_ in ended:
            found[ended[id_][0]].faults[fault] += 1
    return found
