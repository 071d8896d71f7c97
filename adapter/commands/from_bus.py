"""What comes from the bus: replies are the trip's, commands have a way of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from adapter.commands.commands import Commands
    from adapter.ports.broker import Reply


class TakesReplies(Protocol):
    """Settles calls; ``adapter.relay.trip.Trip`` does."""

    @property
    def on_replies(self) -> Callable[[Sequence[Reply]], Coroutine[Any, Any, None]]:
        """Take a batch."""
        ...


class FromBus:
    """See ``ports.broker.Receiver``. No call of its own stands between the broker and the trip."""

    def __init__(self, trip: TakesReplies, commands: Commands) -> None:
        self.on_replies = trip.on_replies
        self.on_command = commands.on_command
