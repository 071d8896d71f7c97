"""The way to Kamailio, as the relay sees it. Implemented by ``nodes.Nodes``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from adapter.model.transaction import TransactionId


class Links(Protocol):
    """The way to Kamailio."""

    def send(
        self,
        node: str,
        payload: bytes,
        wait: float,
        id: TransactionId | None,  # noqa: A002
        again: bool = False,
    ) -> bool:
        """Queue a payload, of use for ``wait`` seconds; ``again``: it may have been written before.

        False: there is no link to the node now.
        """
        ...

    def max_payload(self, node: str) -> int:
        """Bytes of the longest payload that the node can make use of; 0: no such node here."""
        ...

    def drops_repeats(self, node: str) -> bool:
        """Whether the node's configuration drops a second answer to a question. Not known counts as no."""
        ...

    def in_time(self, node: str, size: int, seconds: float) -> bool:
        """Whether a payload of so many bytes would be written within so many seconds."""
        ...

    def unread(self, node: str) -> set[TransactionId]:
        """The resumes of a node that are queued, or written and not known to be read."""
        ...

    def waiting(self, node: str) -> int:
        """How many frames for the node are queued, or written and not known to be read."""
        ...

    def sound(self, node: str) -> bool:
        """Whether what is written to the node is read."""
        ...

    def missed(self, node: str, ago: float) -> None:
        """Take in that another replica read an event of the node, and claimed it, so many seconds ago."""
        ...

    def incarnation(self, node: str) -> str:
        """Which incarnation of the node's Kamailio the link is to; empty where it does not say."""
        ...

    def takes_commands(self, node: str) -> bool:
        """Whether the node is up and its configuration tells frames that are pushed from resumes."""
        ...

    def refuses_commands(self, node: str) -> str:
        """Why a command cannot be written to the node, in words; empty if it can."""
        ...
