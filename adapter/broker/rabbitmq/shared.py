"""What the parts of one broker have in common."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from adapter.broker.rabbitmq.limits import Counters, Limits
from adapter.broker.rabbitmq.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import Callable

    from adapter.broker.rabbitmq.lookup import Lookup
    from adapter.ports.broker import DeadLetter, Receiver


@dataclass
class Shared:
    """``receiver`` and ``dead_letter`` are set before anything is consumed.

    ``mqtt``: replies may come by MQTT, too.
    """

    limits: Limits
    counters: Counters = field(default_factory=Counters)
    mqtt: bool = False
    without_queue: set[str] = field(default_factory=set)
    """Services to whose queue a request went that is not there."""
    supervisor: Supervisor = field(init=False)
    receiver: Receiver = field(init=False)
    """Is given replies and commands."""
    lookup: Lookup = field(init=False)
    """Tells whether a queue is there."""
    dead_letter: Callable[[DeadLetter], None] = field(init=False)
    """Keeps what could not be understood."""

    def __post_init__(self) -> None:
        """Make what looks after the parts."""
        self.supervisor = Supervisor(self.limits)
