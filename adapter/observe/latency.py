"""The calls of this replica that wait for a decision, and since when a consumer is asked. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from adapter.model.transaction import Transaction, TransactionId

OVERDUE: Final = 5.0
"""Seconds past its deadline after which another replica must have answered a call that was asked here."""
_ANSWERED: Final = float("-inf")


class ConsumerLatency:
    """Times are epoch seconds. Another replica may answer a call: then it is forgotten here ``OVERDUE``
    after its deadline.
    """

    def __init__(self) -> None:
        self._calls: dict[TransactionId, tuple[float, float]] = {}  # when claimed, and the deadline
        self._asked: dict[TransactionId, float] = {}

    def __len__(self) -> int:
        return len(self._calls)

    def add(self, transactions: Iterable[Transaction]) -> None:
        """These wait from now on."""
        self._calls.update({t.id: (t.claimed_at, t.deadline) for t in transactions})

    def asked(self, now: float, ids: Iterable[TransactionId]) -> None:
        """A consumer was asked. What is answered already, before the broker confirmed it, is left out."""
        calls, asked = self._calls, self._asked
        asked.update({id_: now for id_ in ids if id_ in calls and asked.get(id_) != _ANSWERED})

    def answered(self, now: float, id_: TransactionId) -> tuple[float, float] | None:
        """Take in a reply.

        Returns:
            For how many seconds the call was the consumer's, 0 if its reply was quicker than the broker's
            confirm, and for how many it is claimed. None for a second reply, and for a call not known here.
        """
        since, call = self._asked.get(id_, now), self._calls.get(id_)
        if since == _ANSWERED or call is None:
            return None
        self._asked[id_] = _ANSWERED
        return max(now - since, 0.0), max(now - call[0], 0.0)

    def over(self, id_: TransactionId) -> None:
        """It is answered."""
        if self._calls.pop(id_, None) is not None:
            self._asked.pop(id_, None)

    def oldest(self, now: float) -> dict[str, float]:
        """Seconds since the oldest call was claimed, by node. Looks at each: 1 ms for 10,000."""
        since: dict[str, float] = {}
        for id_, (claimed_at, deadline) in self._calls.items():
            if claimed_at < since.get(id_.node, now) and now <= deadline + OVERDUE:
                since[id_.node] = claimed_at
        return {node: now - when for node, when in since.items()}

    def purge(self, now: float) -> None:
        """Forget what is overdue: in the order of claims, so that a long deadline keeps what follows."""
        while self._calls:
            id_, (_, deadline) = next(iter(self._calls.items()))
            if now <= deadline + OVERDUE:
                return
            self.over(id_)
