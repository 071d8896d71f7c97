"""Events whose requests somebody takes and nobody answers, by what the journals say of the last calls.

Only a reply that is understood counts: one without the correlation id of its request is none. A client
library that acknowledges what it cannot decode (kombu, Celery) is silent in this way, and so is a service
that waits for something for ever.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

import msgpack

from adapter.admin.last_calls import last_entries
from adapter.model.transaction import Outcome
from adapter.observe.journal_entry import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from adapter.ports.inspection import Inspection

LEAST: Final = 3
"""Calls of an event that nobody answered, from which on that is told."""
_ANSWERED: Final = frozenset({Outcome.DECIDED, Outcome.FAILED, Outcome.MALFORMED, Outcome.OVERSIZED})


async def silent_events(store: Inspection) -> dict[str, int]:
    """Look at the last calls of all replicas.

    Args:
        store: has their journals.

    Returns:
        For each event that timed out ``LEAST`` times or more and was never answered, how many times.

    Raises:
        StoreUnavailable: Redis does not answer.
    """
    return dict(unanswered(await last_entries(store)))


def unanswered(entries: Iterable[bytes]) -> Mapping[str, int]:
    """The same, given the entries of journals. What another version wrote otherwise is left out. Pure."""
    timed_out: dict[tuple[str, int, int, int], str] = {}
    replied: set[tuple[str, int, int, int]] = set()
    answered: set[str] = set()
    for entry in entries:
        try:
            # Not ``journal.unpack``, which makes an object of each step: see ``recent``.
            for kind, _, items, *_ in msgpack.unpackb(entry, unicode_errors="surrogatepass", use_list=False):
                if kind == Kind.REPLY:
                    replied.update(item[0] for item in items)
                elif kind == Kind.RESUME:
                    answered.update(item[1] for item in items if item[3] in _ANSWERED)
                    timed_out |= {item[0]: item[1] for item in items if item[3] == Outcome.TIMEOUT}
        except (ValueError, TypeError, LookupError, RecursionError):
            continue
    answered.update(event for id_, event in timed_out.items() if id_ in replied)  # too late, yet answered
    counts = Counter(event for event in timed_out.values() if event not in answered)
    return {event: number for event, number in counts.items() if number >= LEAST}
