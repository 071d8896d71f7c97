"""Test questions to the services in this process, and what an operator is told of them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from adapter.contract import service_queue
from adapter.ports.broker import Publication, Published

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from adapter.broker.embedded.queues import Queue
    from adapter.ports.broker import DeadLetter, Reply


class Questions:
    """Those that wait for their reply: it goes to whoever asks, and to no node.

    Args:
        publish: publishes one at a time (epoch seconds).
        queues: of the services.
        letters: the dead letters.
        clock: gives epoch seconds.
    """

    def __init__(
        self,
        publish: Callable[[Publication, float], Published],
        queues: Sequence[Queue],
        letters: Collection[DeadLetter],
        clock: Callable[[], float],
    ) -> None:
        self._publish = publish
        self._queues = queues
        self._letters = letters
        self._clock = clock
        self.waiting: dict[str, asyncio.Future[Reply]] = {}
        """By the correlation id; empty, mostly: then no reply needs to be looked at."""

    def takes(self, reply: Reply) -> bool:
        """Return True if a reply is one to a question; the first is its answer."""
        waiting = self.waiting.get(reply.correlation_id)
        if waiting is None:
            return False
        if not waiting.done():
            waiting.set_result(reply)
        return True

    async def ask(self, event: str, node: str, id_: str, body: bytes, within: float) -> Reply | str | None:
        """Ask the services about an event without a call.

        Args:
            event: its name.
            node: which seems to ask.
            id_: of the question.
            body: of the request.
            within: seconds that they have.

        Returns:
            The reply; None if none came in time; how it was not published, else.
        """
        now = self._clock()
        self.waiting[id_] = waiting = asyncio.get_running_loop().create_future()
        try:
            published = self._publish(Publication(event, node, body, id_, now + within), now)
            if published is not Published.CONFIRMED:
                return published.name.lower()
            await asyncio.wait([waiting], timeout=within)
            return waiting.result() if waiting.done() else None
        finally:
            del self.waiting[id_]
            waiting.cancel()

    def seen(self) -> dict[str, Any]:
        """Return what an operator is told: each service, and how many dead letters there are."""
        services = [
            {
                "name": queue.core.name,
                "queue": service_queue(queue.core.name),
                "messages": len(queue.waiting),
                "in_hand": queue.in_hand,
                "events": sorted(queue.core.events),
            }
            for queue in self._queues
        ]
        return {"services": services, "dead_letters": len(self._letters)}
