"""The nodes that there are, and those that this replica is linked to. Implemented by ``evapi.nodes``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class NodeView(Protocol):
    """What the cluster sees of the nodes, and does with the links to them."""

    @property
    def known(self) -> tuple[str, ...]:
        """Every node that there is."""
        ...

    @property
    def names(self) -> Sequence[str]:
        """Every node that this replica connects to."""
        ...

    @property
    def readers(self) -> Sequence[str]:
        """The nodes that read what is written to them."""
        ...

    @property
    def unsound(self) -> Sequence[str]:
        """The nodes whose link stands and that do not read."""
        ...

    @property
    def gone(self) -> Sequence[str]:
        """The nodes that are no more, and whose link has ended."""
        ...

    @property
    def identities(self) -> Mapping[str, str]:
        """Which Kamailio each linked node is, as far as known."""
        ...

    def idle(self, node: str) -> bool:
        """Return True if the node has read all that was written for it."""
        ...

    def reset(self, node: str, reason: str) -> None:
        """Give the connection to a node up, with what Kamailio has not taken of it."""
        ...

    def forget(self, node: str) -> None:
        """Give up the resumes that are not written yet."""
        ...


class Connecting(Protocol):
    """Who connects to nodes, and has their replies consumed. Implemented by ``evapi.nodes.Connector``."""

    def connect(self, node: str) -> None:
        """Connect to a known node, and stay connected."""
        ...

    def disconnect(self, node: str) -> None:
        """Leave a node to other replicas, or forget one that is gone."""
        ...

    def set_priority(self, node: str, priority: int) -> None:
        """Consume the node's replies before all other replicas that have a lower consumer priority."""
        ...

    def refresh(self) -> None:
        """Consume a node's replies while it reads what is written to it, and only then."""
        ...
