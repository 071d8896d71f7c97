"""What a simulated Kamailio has seen."""

from __future__ import annotations

import collections
from dataclasses import dataclass, field


@dataclass(slots=True)
class Counters:
    """Counts since the start, over all connections."""

    connects: int = 0
    turned_away: int = 0
    """Connections above max_clients: EOF at once."""

    bytes_in: int = 0
    frames_in: int = 0
    """Frames that reached the event route."""
    discards: int = 0
    """Times the reader threw away what it held, for a fault of its own or of the sender."""
    discarded_bytes: int = 0
    lost: int = 0
    """Frames lost on request (``lose_frames``)."""
    too_long: int = 0
    """Connections closed since a frame filled the reader's buffer."""

    suspended: int = 0
    gated: int = 0
    """Requests answered locally since no adapter was ready."""
    resumed: int = 0
    outcomes: collections.Counter[str] = field(default_factory=collections.Counter)
    """The resumed, by the outcome their frame gave."""
    unanswered: int = 0
    """Suspensions that ended by fr_timer."""
    cancelled: int = 0

    duplicates: int = 0
    """A further answer to a question that was answered, dropped by the include's seq check."""
    stale: int = 0
    """An answer to another question of the transaction, dropped by the same check."""
    wrong_question: int = 0
    """The same, without the check: it resumed the transaction."""
    refused: int = 0
    """t_continue of a transaction that is resumed already; each pins shared memory."""
    not_found: int = 0
    """t_continue of a transaction that is over: cancelled, timed out, or never there."""
    bad_ids: int = 0
    """tm_index or tm_label is missing or no JSON integer."""
    not_json: int = 0
    """Frames that jansson refuses."""
    other: int = 0
    """Frames of no known kind. Without the include also each sync and status: ``t_continue``
    was called with the ids of the frame before."""

    receipts: int = 0
    receipts_withheld: int = 0
    statuses: int = 0

    stalls: int = 0
    """Times a client did not read and the dispatcher stood still, and all SIP with it."""
    stalled_seconds: float = 0.0
