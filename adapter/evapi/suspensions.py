"""Which suspension of its transaction an event is, where the frame does not say. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from adapter.model.transaction import TransactionId

MAX_COUNTED: Final = 100_000
"""Transactions whose suspensions are counted; the one suspended longest ago is forgotten first."""


class SuspensionCounter:
    """Counts the suspensions of each transaction of one node."""

    def __init__(self) -> None:
        self._last: dict[tuple[int, int], int] = {}  # by index and label: the number of the last one

    def count(self, index: int, label: int) -> int:
        """Return the number of this suspension of a transaction, from 1."""
        seq = self._last.pop((index, label), 0) + 1
        self._last[index, label] = seq  # at the end: ordered by the last suspension
        if len(self._last) > MAX_COUNTED:
            del self._last[next(iter(self._last))]
        return seq

    def is_over(self, id: TransactionId) -> bool:  # noqa: A002
        """Return True if its transaction waits for a later answer by now.

        Nothing in a plain configuration tells that answer from this one.
        """
        return id.seq < self._last.get((id.index, id.label), 0)
