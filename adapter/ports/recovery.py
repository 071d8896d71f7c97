"""Going on with what is in the store where somebody stopped, as the heartbeat asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from adapter.model.transaction import State


class Recovery(Protocol):
    """Implemented by ``adapter.relay.recovery``. Each verb raises StoreUnavailable if the store is away."""

    async def adopt(self, node: str, owners: Sequence[str], state: State, ask: bool = True) -> int:
        """Go on with what other replicas own: publish what is claimed, resume what is settled.

        Args:
            node: the node whose suspensions they are.
            owners: the replicas that cannot go on themselves; ``NOBODY`` for what such a one has released.
            state: what to adopt: ``CLAIMED`` or ``SETTLED``.
            ask: whether to publish what is claimed; False if all of the node is published anyhow.

        Returns:
            How many were adopted.
        """
        ...

    async def ask_again(self, node: str) -> None:
        """Publish again whatever is claimed of a node: its requests or replies may be lost."""
        ...

    async def give_up(self, node: str) -> None:
        """Answer what this replica has asked if the broker took it with it: no reply will come."""
        ...

    async def recover(self, node: str, theirs: Callable[[str], bool] = ...) -> None:
        """Write the resumes of this replica that a link which is gone has left unread, and what is released.

        Args:
            node: the node to which they go.
            theirs: whether to write those of another owner, too, which cannot.
        """
        ...

    async def forget_node(self, node: str) -> int:
        """Forget what is in flight of a node that is no more. Return how many that were."""
        ...
