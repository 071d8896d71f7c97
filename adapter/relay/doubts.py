"""What the store can tell of an answer in doubt, where Kamailio would take a second one for another's.

The rules stand in ``adapter/ARCHITECTURE.md``, "Answers in doubt on a plain node".
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NamedTuple

from adapter.cluster.role import READ_PAUSE
from adapter.model.transaction import State
from adapter.relay.answers import is_untraced

if TYPE_CHECKING:
    from collections.abc import Callable

    from adapter.cluster.membership import Membership
    from adapter.model.transaction import TransactionId
    from adapter.ports.store import Store

LOOK_EACH: Final = 0.02
"""Seconds between two looks at what has been heard."""
LOOK_LAST: Final = 0.16
"""Seconds between the later ones: each look is twice as long after the one before."""
WAITS: Final = 2.0
"""Leases after which a doubt remains."""


class Doubt(NamedTuple):
    """``remembered``: the store has forgotten nothing since the suspension came. ``untraced``: all the same
    another replica may have answered it."""

    remembered: bool
    untraced: bool

    @property
    def gone(self) -> bool:
        """Whether it is certain that nobody has answered."""
        return self.remembered and not self.untraced


class Doubts:
    """Asks the store, once it can know.

    Args:
        inflight: tells what has become of a suspension.
        membership: what others may have done without the store.
        clock: gives epoch seconds, by which the membership goes, too.
    """

    def __init__(self, inflight: Store, membership: Membership, clock: Callable[[], float]) -> None:
        self._inflight = inflight
        self._membership = membership
        self._clock = clock

    @property
    def now(self) -> float:
        """Epoch seconds, by which frames are held."""
        return self._clock()

    def untraced(self, arrived: float) -> bool:
        """Return True if another replica may have answered what arrived then, without a trace yet."""
        return is_untraced(arrived, self._membership.untraced_until(self._clock()))

    def may_clear(self, arrived: float) -> bool:
        """Return True if all who may have answered it live, and will give back what they did."""
        return self._membership.may_clear(arrived - READ_PAUSE, self._clock())

    def may_clear_in_time(self, arrived: float) -> bool:
        """Return True if that may be soon enough to be waited for."""
        return self.may_clear(arrived) and self._clock() < arrived + WAITS * self._membership.lease

    async def wait(self, arrived: float) -> Doubt:
        """Return what is known of what arrived then, once the store has answered a beat that is sent from now
        on, and all others have given back what they did; or what is left of the doubt after ``WAITS``."""
        asked = self._clock()
        pause = LOOK_EACH
        give_up_at = asked + WAITS * self._membership.lease
        while self._clock() < give_up_at:
            answered = self._membership.updated_since(asked)
            found = self._judge(arrived)
            hopeless = not found.remembered or (found.untraced and not self.may_clear(arrived))
            if answered and (found.gone or hopeless):
                return found
            await asyncio.sleep(pause)
            pause = min(2 * pause, LOOK_LAST)  # there may be hundreds of them
        found = self._judge(arrived)
        return found._replace(remembered=found.remembered and self._membership.updated_since(asked))

    async def of_settled(self, id_: TransactionId, arrived: float) -> Doubt:
        """Return what is known of what this replica has settled: what others give back may show only now that
        they had answered it."""
        found = await self.wait(arrived)
        if not found.gone or not is_untraced(arrived, self._membership.traces.late_until):
            return found
        record = await self._inflight.get(id_)
        found = self._judge(arrived)
        if record is None or (record.owner, record.state) != (self._inflight.replica, State.SETTLED):
            return found._replace(untraced=True)
        return found

    def _judge(self, arrived: float) -> Doubt:
        return Doubt(self._membership.remembers_from <= arrived, self.untraced(arrived))
