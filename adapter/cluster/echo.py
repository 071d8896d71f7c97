"""What a replica hears of itself over the bus: proof that it hears, and is heard. Pure.

A replica's own beat that comes back tells that everything said on the bus before it has come here, and that
the others have been sent it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from adapter.cluster.view import FOREVER, NEVER

if TYPE_CHECKING:
    from adapter.model.beat import Beat

_SENT: Final = 40
"""Own beats that may be on their way at a time."""
GIVEN_UP: Final = 5.0
"""Leases without any beat that came back after which the bus counts as not there."""


class Echo:
    """``lease``: seconds; an echo counts for half of one. Times are seconds of any one clock."""

    def __init__(self, lease: float) -> None:
        self._lease = lease
        self._sent: dict[int, float] = {}  # by number, when it was said
        self._first_said = NEVER
        self.said_at = NEVER
        """When this replica said something last."""
        self._newest = NEVER  # when the newest that has come back was said
        self._known_at: dict[str, float] = {}  # by node, since when all know that this replica can serve it
        self.claims: frozenset[str] = frozenset()
        """The nodes that this replica claimed as it said last."""
        self.since = NEVER
        """Since when echoes have come without a gap."""

    def said(self, beat: Beat, now: float) -> None:
        """This replica has said so."""
        self.claims = beat.claims
        self._sent[beat.number] = self.said_at = now
        if self._first_said == NEVER:
            self._first_said = now
        for number in list(self._sent)[:-_SENT]:
            del self._sent[number]

    def came(self, beat: Beat, now: float) -> None:
        """A beat of this replica's came back."""
        said = self._sent.get(beat.number)
        if said is None or said <= self._newest:
            return
        if not self.lasts(now):
            self.since = now
            self._known_at.clear()
        self._newest = said
        self._known_at = {node: self._known_at.get(node, now) for node in beat.nodes if beat.serves(node)}

    @property
    def until(self) -> float:
        """Until when the last beat that came back proves that this replica hears and is heard."""
        return self._newest + self._lease / 2

    def lasts(self, now: float) -> bool:
        """Return True if this replica hears and is heard now."""
        return now <= self.until

    def may_miss(self, beat: Beat, at: float) -> bool:
        """Return True if another replica, which lived at that time, may be on the bus unheard. Not one that
        told the store since this one spoke that it has no broker, nor one that would have been heard."""
        if not beat.broker and self.said_at < at:
            return False
        return self.until < at + self._lease

    def known_at(self, node: str) -> float:
        """Return since when all know that this replica can serve a node; FOREVER: they do not."""
        return self._known_at.get(node, FOREVER)

    @property
    def given_up_at(self) -> float:
        """When the bus counts as not working here, for want of rights perhaps, as nothing ever came back;
        FOREVER: something did, or nothing was said."""
        spoke = self._first_said != NEVER and self._newest == NEVER
        return self._first_said + GIVEN_UP * self._lease if spoke else FOREVER

    def stepped(self, by: float) -> None:
        """The clock was set forward by so many seconds."""
        self._newest += by
        self.since += by
        self._first_said += by
        self.said_at += by
        self._known_at = {node: since + by for node, since in self._known_at.items()}
        self._sent = {number: said + by for number, said in self._sent.items()}
