"""The calls of this replica that wait for a decision, and since when a consumer is asked. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

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

    def answered(self, now: float, ids: Iterable[TransactionId]) -> Iterator[float]:
        """For how long each was the consumer's: 0 where its reply was quicker than the broker's confirm.
        A second reply, and what is not known here, give nothing."""
        calls, asked = self._calls, self._asked
        for id_ in ids:
            since = asked.get(id_, now)
            if since != _ANSWERED and id_ in calls:
                asked[id_] = _ANSWERED
                yield max(now - since, 0.0)

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
