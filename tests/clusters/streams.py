"""A stream of verbs, while what they go to breaks and comes back."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from adapter.errors import StoreUnavailable
from adapter.ports.store import Claim
from tests.inflight.worlds import claimed, decided, suspension

if TYPE_CHECKING:
    from collections.abc import Callable

    from adapter.model.transaction import TransactionId
    from adapter.ports.store import Store
    from tests.inflight.worlds import RedisWorld

TIMEOUT = 1.5
"""Seconds that a verb may take."""
HANGS = 10.0
"""Seconds after which one hangs, however busy the machine is."""
ENOUGH = 20
"""Trips in a row, after which it works."""

numbers = itertools.count(1)


@dataclass(slots=True)
class Stream:
    """Claims, settles and ends one suspension after the other."""

    world: RedisWorld
    store: Store
    node: str = "sbc1"
    in_a_row: int = 0
    failures: list[str] = field(default_factory=list)

    async def run(self, until: Callable[[], bool]) -> None:
        """Go on until the condition holds. Raises TimeoutError where a verb hangs, or all takes too long."""
        async with asyncio.timeout(30):
            while not until():
                try:
                    await self._trip()
                    self.in_a_row += 1
                except StoreUnavailable as exc:
                    self.in_a_row = 0
                    self.failures.append(str(exc))
                    await asyncio.sleep(0.02)

    async def until_it_works(self) -> None:
        self.in_a_row = 0
        await self.run(lambda: self.in_a_row >= ENOUGH)

    async def until_it_fails(self) -> None:
        before = len(self.failures)
        await self.run(lambda: len(self.failures) > before)

    async def _trip(self) -> None:
        id_ = suspension(next(numbers), self.node)
        async with asyncio.timeout(HANGS):
            won = await self.store.claim([claimed(id_, self.store, self.world)], 1_000_000)
            assert won == [Claim.WON]
            await self._settle(id_)

    async def _settle(self, id_: TransactionId) -> None:
        (record,) = await self.store.settle([decided(id_)])
        # A master that died may take with it what its replica had not heard of.
        assert record is not None or self.failures
        await self.store.resumed([id_])
