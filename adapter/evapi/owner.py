"""What a link tells whoever it belongs to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adapter.evapi.link import Link
    from adapter.model.transaction import TransactionId
    from adapter.wire import event


class LinkOwner(Protocol):
    """What a link tells: called from the event loop; none of it may block."""

    def may_write(self, node: str) -> bool:
        """Whether what is queued is still this replica's to write."""
        ...

    def on_events(self, link: Link, events: Sequence[event.Handed]) -> None:
        """What one read of the socket held, in order. Every ``Suspended`` has its ``seq``. ``LazySuspended``
        are those that another replica is to claim."""
        ...

    def on_read(self, link: Link, ids: Sequence[TransactionId]) -> None:
        """Kamailio has read these resumes."""
        ...

    def on_result(self, link: Link, result: event.Result) -> None:
        """What became of a command: told to every link."""
        ...

    def on_link(self, link: Link) -> None:
        """The link went up, is known what configuration it is to, or went down."""
        ...
