"""What waits for one service, and what is taken off before its deadline as nobody took it."""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from adapter.broker.embedded.cores import Core, Delivery

SLACK: Final = 0.005
"""Seconds by which one may wait too long, so that many are taken off at once."""


@dataclass(slots=True, eq=False)
class Queue:
    """What waits for one service.

    ``expires``: until when, in epoch seconds, for those that are to be told of if nobody takes them; by the
    identity of the delivery.
    """

    core: Core
    waiting: deque[Delivery] = field(default_factory=deque)
    in_hand: int = 0
    scheduled: bool = False
    expires: dict[int, float] = field(default_factory=dict)

    def remove(self, delivery: Delivery) -> None:
        """Take one off that waits. The first is the one, as a rule."""
        waiting = self.waiting
        if waiting[0] is delivery:
            waiting.popleft()
        else:
            self.waiting = deque([each for each in waiting if each is not delivery])


class Untaken:
    """Takes requests off their queues that nobody took in time. One timer, for the first of them.

    Args:
        clock: gives epoch seconds.
        on_untaken: is given each that was taken off, and its queue.
    """

    def __init__(self, clock: Callable[[], float], on_untaken: Callable[[Queue, Delivery], None]) -> None:
        self._clock = clock
        self._on_untaken = on_untaken
        self._heap: list[tuple[float, int, Queue, Delivery]] = []
        self._numbers = count()
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0  # when the timer looks, in epoch seconds

    def add(self, queue: Queue, delivery: Delivery, expires: float) -> None:
        """Look after one that waits in a queue, until it is taken or the time is over."""
        queue.expires[id(delivery)] = expires
        heapq.heappush(self._heap, (expires, next(self._numbers), queue, delivery))
        if self._timer is None or expires < self._due:
            self._wake_at(expires)

    def end(self) -> None:
        """Look after none any more."""
        self._heap.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wake_at(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._due = due
        wait = max(due - self._clock(), SLACK)
        self._timer = asyncio.get_running_loop().call_later(wait, self._look)

    def _look(self) -> None:
        """Those that were taken are passed over: they cost no timer of their own."""
        self._timer = None
        heap, now = self._heap, self._clock()
        while heap:
            expires, _, queue, delivery = heap[0]
            waits = id(delivery) in queue.expires
            if waits and expires > now:
                self._wake_at(expires)
                return
            heapq.heappop(heap)
            if waits:
                del queue.expires[id(delivery)]
                queue.remove(delivery)
                self._on_untaken(queue, delivery)
