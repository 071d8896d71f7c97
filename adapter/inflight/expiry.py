"""What is past its deadline: the remote store is asked, and where that takes long this process goes on alone.

Else a fallback is late by what the store takes. Measured with Redis on two cores that have more to do than
they can, as 400 replies come at once: 74 ms, in three round trips.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from adapter.inflight.local import LocalStore
    from adapter.inflight.write_behind import WriteBehind
    from adapter.model.transaction import Transaction

PATIENCE: Final = 0.005
"""Seconds for which the remote store is waited for: on an idle machine it takes 1 to 3 ms."""
REMOTE_LOOK: Final = 0.1
"""Seconds between two questions what is due of others' records: the dead ones', until they are adopted."""
OVERDUE: Final = 5.0
"""Seconds past its deadline after which a record that is claimed here is out of date: while Redis was there,
some replica has settled it."""
NEVER: Final = float("-inf")


class Expiry:
    """Looks for what of a node is past its deadline.

    ``ask`` asks the remote store, is given a node and a limit, and raises nothing. ``patience`` in seconds.
    """

    def __init__(
        self,
        ask: Callable[[str, int], Coroutine[Any, Any, list[Transaction]]],
        local: LocalStore,
        behind: WriteBehind,
        clock: Callable[[], float],
        patience: float,
    ) -> None:
        self._ask, self._local, self._behind = ask, local, behind
        self._clock, self._patience = clock, patience
        self._unheard: dict[str, asyncio.Task[list[Transaction]]] = {}  # by node: answers not waited for
        self._asked_at: dict[str, float] = {}  # by node, when the last question was asked
        self._heard: dict[str, float] = {}  # by node, when the last question that has an answer was asked

    def due_here(self, node: str, forget_after: float) -> bool:
        """Return True if a record is past its deadline. Forgets those that must be settled elsewhere."""
        while (record := self._local.first_due(node)) is not None:
            if self._clock() < record.deadline + forget_after or record.id in self._behind:
                return True
            self._local.disown(record.id)
        return False

    def due_there(self, node: str) -> bool:
        """Return True if it is time to look for what this replica does not own, or to take in an answer."""
        unheard = self._unheard.get(node)
        if unheard is not None:
            return unheard.done()
        return self._clock() >= self._asked_at.get(node, NEVER) + REMOTE_LOOK

    async def expire(self, node: str, limit: int, write_behind: bool) -> list[Transaction]:
        """Return what was settled as timeout.

        With ``write_behind``, which one at a time may ask, by this process alone if the remote store takes
        longer than ``patience``. What that has settled then is returned when it is asked next.
        """
        asked = self._unheard.pop(node, None)
        if asked is None:
            self._asked_at[node] = self._clock()
            asked = asyncio.create_task(self._ask(node, limit))
        at, hurries = self._asked_at[node], write_behind and self._is_own(node)
        try:
            await asyncio.wait([asked], timeout=self._patience if hurries else None)
        except asyncio.CancelledError:
            asked.cancel()
            raise
        if not asked.done():
            self._unheard[node] = asked
            return await self._behind.expire(node, limit)
        self._heard[node] = at
        return asked.result()

    def _is_own(self, node: str) -> bool:
        """Return True if the remote store was not asked yet for the first that is due. If it was, and has not
        settled it, somebody else has, or has moved its deadline.
        """
        first = self._local.first_due(node)
        return first is not None and first.deadline > self._heard.get(node, NEVER)

    async def close(self) -> None:
        """Wait for no answer any more."""
        for asked in self._unheard.values():
            asked.cancel()
        await asyncio.gather(*self._unheard.values(), return_exceptions=True)
