"""A store that fails as it is told: before or after it has done the work, now or later."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from adapter.errors import StoreUnavailable
from adapter.inflight.failover import FailoverStore
from adapter.inflight.local import LocalStore
from tests.inflight.worlds import LIVE, LocalWorld, claimed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from adapter.model.beat import Snapshot
    from adapter.model.transaction import Transaction, TransactionId


@dataclass(frozen=True)
class Fault:
    """What one call meets: so many turns of others before and after its work, and where it fails."""

    before: int = 0
    after: int = 0
    fails: str = ""  # "before", "after", "late" (its work is done once it has failed), or not


class FaultyStore:
    """In front of a local store. ``away``: every verb fails; ``refused``: these do, before their
    work, ``lost``: after it; ``broken``: they raise what nobody foresees. ``faults`` are met by
    the next calls, one each.
    """

    def __init__(self, inner: LocalStore) -> None:
        self.inner = inner
        self.replica = inner.replica
        self.retention = inner.retention
        self.away = False
        self.refused: set[str] = set()
        self.lost: set[str] = set()
        self.broken: set[str] = set()
        self.held: dict[str, asyncio.Event] = {}  # verbs whose answers wait
        self.calls: Counter[str] = Counter()
        self.closed = False
        self.late: list[asyncio.Task[None]] = []
        self.faults: Iterator[Fault] = iter(())

    def __repr__(self) -> str:
        return f"<FaultyStore {self.replica}>"

    def forget(self, world: LocalWorld) -> None:
        """Start again, empty."""
        self.inner = LocalStore(self.replica, clock=world.now)

    def mend(self) -> None:
        """Fail no more."""
        self.away = False
        self.refused, self.lost, self.broken, self.faults = set(), set(), set(), iter(())

    def __getattr__(self, verb: str) -> Any:
        async def call(*args: Any) -> Any:
            self.calls[verb] += 1
            fault = next(self.faults, Fault())
            await _turns(fault.before)
            if self.away or verb in self.refused or fault.fails == "before":
                raise StoreUnavailable(f"no {verb}")
            if verb in self.broken:
                raise ValueError(f"broken {verb}")
            if fault.fails == "late":
                self.late.append(asyncio.create_task(self._later(fault.after, verb, args)))
                raise StoreUnavailable(f"{verb}: no answer yet")
            answer = await getattr(self.inner, verb)(*args)
            if verb in self.held:
                await self.held[verb].wait()
            await _turns(fault.after)
            if self.away or verb in self.lost or fault.fails == "after":
                raise StoreUnavailable(f"{verb}: no answer")
            return answer

        return call

    async def _later(self, turns: int, verb: str, args: Any) -> None:
        await _turns(10 * turns)
        await getattr(self.inner, verb)(*args)

    async def close(self) -> None:
        self.closed = True


async def _turns(number: int) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


class Bench:
    """Replica ``one`` outlives the outages of its way to the store on which ``two`` works, too."""

    def __init__(self) -> None:
        self.world = LocalWorld()
        self.ways: dict[str, FaultyStore] = {}
        self.replicas: dict[str, FailoverStore] = {}
        self.one = self.failover("one")
        self.remote = self.ways["one"]
        self.two = self.world.store("two")

    def failover(self, replica: str) -> FailoverStore:
        way = self.ways[replica] = FaultyStore(self.world.store(replica))
        store = FailoverStore(way, clock=self.world.now)
        self.replicas[replica] = store
        return store

    def claim(self, id_: TransactionId, left: float = 60.0) -> Transaction:
        return claimed(id_, self.one, self.world, left)

    @property
    def here(self) -> list[TransactionId]:
        """The ids of which replica ``one`` holds a record itself."""
        return [record.id for record in self.one._local.records()]

    async def goes(self, replica: str = "one") -> None:
        """The store goes away for a replica, and it notices."""
        self.ways[replica].away = True
        await self.replicas[replica].count("sbc1")
        assert self.replicas[replica].away

    async def returns(self, replica: str = "one") -> Snapshot:
        self.ways[replica].mend()
        return await self.replicas[replica].beat(LIVE)
