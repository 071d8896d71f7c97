"""Requests that were claimed and that the broker did not take, until it does or another replica can. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from adapter.model.transaction import Outcome, Settlement, Transaction
from adapter.ports.broker import Published

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adapter.cluster.roles import Roles


class Sorted(NamedTuple):
    """What to do now: publish again, and answer ``unavailable``."""

    again: list[Transaction]
    refused: list[Settlement]


class RepublishQueue:
    """In the order in which they came. Times in epoch seconds; ``lease`` in seconds."""

    def __init__(self, roles: Roles, lease: float) -> None:
        self._roles = roles
        self._lease = lease
        self._kept: list[tuple[float, Transaction]] = []

    def __bool__(self) -> bool:
        return bool(self._kept)

    def add(self, transaction: Transaction, now: float) -> None:
        """Keep a request that was not taken."""
        self._kept.append((now, transaction))

    def keep(
        self, transactions: Sequence[Transaction], results: Sequence[Published], again: bool, now: float
    ) -> list[Settlement]:
        """Keep what the broker did not take while it is away, and return how the others end.

        Args:
            transactions: what was published.
            results: what became of each.
            again: whether it was not taken before, so that it is not kept once more.
            now: epoch seconds.
        """
        refused: list[Settlement] = []
        for transaction, result in zip(transactions, results, strict=True):
            if result is Published.UNROUTABLE:
                refused.append(Settlement(transaction.id, Outcome.UNROUTABLE))
            elif result is Published.REFUSED or (result is Published.UNAVAILABLE and again):
                refused.append(Settlement(transaction.id, Outcome.UNAVAILABLE))
            elif result is Published.UNAVAILABLE:
                self.add(transaction, now)
        return refused

    def sort(self, now: float, ready: bool) -> Sorted:
        """Publish again once that may be; leave it to a replica that can, which adopts it.

        ``ready``: the broker is there, so that its return need not be waited for.
        """
        kept, self._kept = self._kept, []
        again: list[Transaction] = []
        refused: list[Settlement] = []
        waited = ready or self._roles.waited(now)
        for since, transaction in kept:
            role = self._roles.of(transaction.id.node)
            if role.asks:
                again.append(transaction)
            elif role.served or role.claimable:
                if now < since + 2 * self._lease:  # else it was adopted
                    self._kept.append((since, transaction))
            elif waited:
                refused.append(Settlement(transaction.id, Outcome.UNAVAILABLE))
            else:
                self._kept.append((since, transaction))
        return Sorted(again, refused)
