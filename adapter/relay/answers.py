"""Whether an answer may still be written, and a suspension still be claimed: one table. Pure.

What is settled is answered by who settled it, once. It is in doubt if another replica, or this one before its
link or its lease was lost, may have answered it already. Kamailio drops a second answer if its configuration
has the include; a plain one takes it for the answer to its next question, and so it is written only if nobody
can have written it. (What is queued for a node is written while ``Decision.may_write`` of the role holds.)

| the answer, by the first row that fits                                    | is                            |
|---------------------------------------------------------------------------|-------------------------------|
| is to an earlier incarnation, to which another replica is linked          | left to that replica          |
| is to an earlier incarnation                                              | forgotten                     |
| cannot have been written                                                  | written                       |
| may have been, and Kamailio drops a second one                            | written, if it still waits    |
| may have been: another replica had settled it                             | withheld                      |
| may have been: the store has not been asked yet                           | looked at after its next beat |
| may have been: the store may have forgotten it                            | withheld                      |
| may have been: another replica may have answered it without the store     | withheld                      |
| may have been, and was not                                                | written                       |
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, NamedTuple

from adapter.cluster.role import READ_PAUSE
from adapter.model.transaction import State

if TYPE_CHECKING:
    from adapter.model.transaction import Transaction


class Verdict(enum.Enum):
    """What becomes of an answer; of one that is withheld: why."""

    WRITE = "it is written"
    REPEAT = "it is written once Kamailio has said that its suspension still waits"
    ASK = "it is looked at again once the store has answered a beat"
    LEAVE = "another replica, which is linked to that incarnation, writes it"
    FORGET = "its Kamailio is no more"
    ADOPTED = "another replica had settled it"
    FORGOTTEN = "the store may have forgotten it"
    UNTRACED = "another replica may have answered it without the store"

    @property
    def withholds(self) -> bool:
        """Return True if it is left to Kamailio's own timer."""
        return self in (Verdict.ADOPTED, Verdict.FORGOTTEN, Verdict.UNTRACED)


class Answer(NamedTuple):
    """What the verdict rests on.

    Attributes:
        stale: its suspension is of an earlier incarnation of its Kamailio.
        linked_elsewhere: another replica is linked to that incarnation.
        again: it may have been written before.
        drops_repeats: Kamailio drops a second answer.
        adopted: another replica had settled it.
        remembered: the store has forgotten nothing since the claim; None: it was not asked yet.
        untraced: another replica may have answered it without a trace in the store.
    """

    stale: bool
    linked_elsewhere: bool
    again: bool
    drops_repeats: bool
    adopted: bool = False
    remembered: bool | None = None
    untraced: bool = False


def verdict(answer: Answer) -> Verdict:
    """Say what becomes of an answer."""
    stale, linked_elsewhere, again, drops_repeats, adopted, remembered, untraced = answer
    if stale:
        return Verdict.LEAVE if linked_elsewhere else Verdict.FORGET
    if not again:
        return Verdict.WRITE
    if drops_repeats:
        return Verdict.REPEAT
    if adopted:
        return Verdict.ADOPTED
    if remembered is None:
        return Verdict.ASK
    if not remembered:
        return Verdict.FORGOTTEN
    return Verdict.UNTRACED if untraced else Verdict.WRITE


def is_untraced(arrived: float, untraced_until: float) -> bool:
    """Return True if another replica may have answered a suspension without a trace in the store.

    Args:
        arrived: when it came here, in epoch seconds: a standby reads late.
        untraced_until: until when another may have answered what came to it.
    """
    return arrived <= untraced_until + READ_PAUSE


def is_left_unwritten(record: Transaction, ours: bool, under_way: bool, now: float) -> bool:
    """Return True if a record in the store is to be looked at for an answer that was not read.

    Args:
        record: as the store has it.
        ours: whether this replica is to write it, as its owner or in place of that.
        under_way: whether Kamailio will read it, or has read it and the store does not know it yet.
        now: epoch seconds.
    """
    waited_for = now < record.written_until
    return ours and record.state is State.SETTLED and not under_way and waited_for
