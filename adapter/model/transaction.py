"""What is in flight: the identity, the record and the states of one suspension. Pure.

States and what moves them (verbs of ``ports.store.Store``)::

    verb      from       to         done by
    claim     (nothing)  CLAIMED    the first replica that asks; everybody else loses
    claim     (nothing)  SETTLED    the same, where the outcome is known at once (overload, ...)
    settle    CLAIMED    SETTLED    the first reply, failure or operator
    expire    CLAIMED    SETTLED    the deadline, outcome ``timeout``
    progress  CLAIMED    CLAIMED    one of several services has answered, or has asked for more time
    adopt     CLAIMED    CLAIMED    a live replica takes over from a dead one: publish again
    adopt     SETTLED    SETTLED    the same: write the resume again
    release   SETTLED    SETTLED    for certain its owner has not written the resume, and will not: it is
                                    nobody's, and whoever adopts it next writes it
    resumed   SETTLED    RESUMED    Kamailio has read the resume; only the id is remembered

There is no other way. CLAIMED -> SETTLED is the licence to resume: it happens once for each
suspension, and whoever made it happen writes the resume. RESUMED ids are remembered for the
retention, so that a copy of the event that arrives late is not claimed again.
"""

from __future__ import annotations

from dataclasses import field
from enum import IntEnum, StrEnum
from typing import Final, NamedTuple

from adapter.records import record

RESEND_FOR: Final = 2.0
"""Seconds past its deadline, or past now if that is later, for which a resume is written again
while no receipt has come. Kamailio's own timer should end the wait no earlier."""


class State(IntEnum):
    """Where a suspension stands; see the table above. RESUMED has no record any more."""

    CLAIMED = 1
    SETTLED = 2


class Outcome(StrEnum):
    """How a suspension ended. Every value but ``decided`` and ``operator`` carries the fallback."""

    DECIDED = "decided"
    TIMEOUT = "timeout"
    UNROUTABLE = "unroutable"
    UNAVAILABLE = "unavailable"
    OVERLOAD = "overload"
    MALFORMED = "malformed"
    FAILED = "failed"
    OVERSIZED = "oversized"
    OPERATOR = "operator"


NOBODY: Final = ""
"""The owner of what was released."""
BY_SOMEBODY: Final = frozenset({Outcome.DECIDED, Outcome.OPERATOR})
"""The outcomes that carry somebody's decision, not the fallback."""


class TransactionId(NamedTuple):
    """One suspension of one transaction of one node.

    Kamailio suspends a transaction again under the same index and label, so ``seq`` counts
    its suspensions from 1. ``str()`` is the correlation id: ``<node>:<index>:<label>:<seq>``.

    A tuple, since it is the key of every table: a dataclass' hash costs four times as much.
    """

    node: str
    index: int  # type: ignore[assignment]  # tuple has a method of that name, which nobody calls
    label: int
    seq: int

    def __str__(self) -> str:
        node, index, label, seq = self
        return f"{node}:{index}:{label}:{seq}"

    @property
    def member(self) -> str:
        """The id without the node: what names it inside the keys of that node."""
        _, index, label, seq = self
        return f"{index}:{label}:{seq}"

    @classmethod
    def of_member(cls, node: str, member: str) -> TransactionId:
        """Undo ``member``. Raises ValueError where it is none."""
        index, label, seq = member.split(":")
        return cls(node, int(index), int(label), int(seq))

    @classmethod
    def parse(cls, correlation_id: str) -> TransactionId:
        """Read a correlation id (the node may hold colons). Raises ValueError where it is none."""
        node, index, label, seq = correlation_id.rsplit(":", 3)
        found = cls(node, int(index), int(label), int(seq))
        if not node or str(found) != correlation_id or min(found.index, found.label, found.seq) < 0:
            raise ValueError(f"not a correlation id: {correlation_id!r}")
        return found


@record
class Transaction:
    """The in-flight record: enough for any replica to publish, answer or resume.

    ``deadline`` and ``claimed_at`` are epoch seconds by the claimer's clock, for people and
    for the time left; what decides over expiry is the store's own clock. ``request`` is the
    encoded body as published, empty once settled. ``decision`` is JSON text; ``None`` stands
    for the fallback that the policy of whoever writes the resume gives. ``incarnation`` names the life of
    the node's Kamailio that suspended it, where that is known: a later one knows nothing of it.
    ``call_id``: of the SIP dialog, where the event told it, for people.
    ``course``: what services have answered so far, where one reply does not decide (``relay.course``).
    ``again``: another replica had it before this one, and may have answered it and died before it told
    the store; not part of what is stored.
    """

    id: TransactionId
    event: str
    deadline: float
    claimed_at: float
    request: bytes
    owner: str
    state: State = State.CLAIMED
    outcome: Outcome | None = None
    decision: bytes | None = None
    incarnation: str = ""
    call_id: str = ""
    again: bool = field(default=False, compare=False)
    course: bytes = b""

    @property
    def written_until(self) -> float:
        """Until when its answer is written, and again while no receipt has come; epoch seconds."""
        return self.deadline + RESEND_FOR


@record
class Part:
    """What a reply is beside its decision, if it is one of several that a call needs.

    ``service``: who was asked. ``extend``: seconds more that it asks for, instead of deciding. ``cache``:
    seconds for which its decision holds. ``untaken``: nobody took the request.
    """

    service: str
    extend: float = 0.0
    cache: float = 0.0
    untaken: bool = False


@record
class Settlement:
    """An answer that asks for the licence: ``settle`` grants it once for each suspension.

    ``part``: set for one of several replies that a call needs.
    """

    id: TransactionId
    outcome: Outcome
    decision: bytes | None = None
    part: Part | None = None


@record
class Progress:
    """What is added to a suspension that goes on waiting.

    ``course``: is appended (``relay.course``). ``deadline``: the new one in epoch seconds, which counts if
    it is later; None: as it was.
    """

    id: TransactionId
    course: bytes
    deadline: float | None = None
