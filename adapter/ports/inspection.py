"""What an operator's commands read of the calls: Redis tells it, or the running adapter that has none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from adapter.model.beat import Beat
    from adapter.model.transaction import Transaction, TransactionId


class Inspection(Protocol):
    """Reading alone. Every verb raises StoreUnavailable if nobody answers in time."""

    async def snapshot(self) -> Mapping[str, Beat]:
        """Return the last beat of every replica that is listed, also of silent ones."""
        ...

    async def orders(self) -> Mapping[str, Mapping[str, Any]]:
        """Return the orders that stand, by name (see ``model.beat``)."""
        ...

    async def journals(self) -> list[str]:
        """Return the replicas that have a journal."""
        ...

    async def journal(self, replica: str, after: str = "0", most: int = 1000) -> list[tuple[str, bytes]]:
        """Read a replica's journal.

        Args:
            replica: whose.
            after: the id of the entry after which to begin. "$": no entry, only the id of the last one.
            most: how many entries.

        Returns:
            Ids and entries, the earliest first. An id begins with the milliseconds at which it was written.
        """
        ...

    async def time(self) -> float:
        """Return the time by its clock, in epoch seconds."""
        ...

    async def scan(self, node: str) -> list[Transaction]:
        """Return the records of a node that are in flight."""
        ...

    async def get(self, id: TransactionId) -> Transaction | None:  # noqa: A002
        """Return one record; None if it is not in flight."""
        ...

    async def count(self, node: str) -> int:
        """Return how many of a node's suspensions wait for a decision."""
        ...

    async def close(self) -> None:
        """Disconnect."""
        ...
