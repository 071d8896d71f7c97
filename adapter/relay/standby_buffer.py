"""Frames that this replica leaves to another one for now, in case that does not claim them. Pure."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

from adapter.relay import translate

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from adapter.model.transaction import TransactionId
    from adapter.relay.translate import Claimer
    from adapter.wire.event import LazySuspended, Malformed, Suspended

MOST: Final = 20_000
"""Frames of one node; of more the oldest are dropped: 0.3 s of what no Kamailio sends."""


class HeldFrame(NamedTuple):
    """What came at ``arrived`` (epoch seconds), and who would claim it."""

    arrived: float
    claimer: Claimer
    found: Suspended | Malformed | LazySuspended

    @property
    def id(self) -> TransactionId:
        """Of what waits behind it."""
        return translate.id_of(self.found, self.claimer.node)


class StandbyBuffer:
    """Of each node a queue in the order of arrival."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._queues: dict[str, deque[HeldFrame]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    def __iter__(self) -> Iterator[str]:
        """The nodes of which something is held."""
        return iter([node for node, queue in self._queues.items() if queue])

    def put(self, node: str, frame: HeldFrame) -> None:
        """Keep a frame."""
        queue = self._queues.get(node)
        if queue is None:
            queue = self._queues[node] = deque(maxlen=self._most)
        queue.append(frame)

    def put_back(self, node: str, frames: Sequence[HeldFrame]) -> None:
        """Keep frames on, which were taken and came before all others."""
        if frames:
            self._queues[node].extendleft(reversed(frames))

    def take(self, node: str, until: float) -> list[HeldFrame]:
        """Let go of what arrived at or before a time."""
        queue = self._queues[node]
        taken = []
        while queue and queue[0].arrived <= until:
            taken.append(queue.popleft())
        return taken
