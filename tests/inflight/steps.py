"""Steps that replicas take at a store, drawn at random."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from adapter.model.transaction import Outcome, Progress, State
from tests.inflight.worlds import claimed, decided, suspension

if TYPE_CHECKING:
    from adapter.model.transaction import Transaction, TransactionId
    from adapter.ports.store import Store
    from tests.inflight.worlds import World

REPLICAS = ("one", "two", "three")
IDS = (suspension(1), suspension(2), suspension(1, seq=2), suspension(1, node="sbc2"))
ASKED = ("unclaimed", "answered")
MADE = ("claim", "claim", "claim settled", "progress", "progress", "settle", "settle", "resumed", "expire")
VERBS = (*MADE, "adopt", *ASKED)


def lines(record: Transaction) -> Counter[bytes]:
    """The answers that a record knows, and how often."""
    return Counter(record.course.splitlines(keepends=True))


@dataclass(frozen=True)
class Step:
    verb: str
    replica: str
    id: TransactionId
    left: float
    limit: int

    def progress(self, world: World) -> Progress:
        """What it adds: often the same as another, as of a service that is asked again."""
        later = round(world.now() + self.left, 3) if self.limit == 1 else None
        return Progress(self.id, f'["{self.replica}",{self.limit}]\n'.encode(), later)

    async def carry_out(self, store: Store, world: World) -> Any:
        """What came of it; for a claim with the id, for what gives records the records."""
        verb, behind = self.verb.removesuffix(" behind"), self.verb.endswith(" behind")
        match verb:
            case "claim":
                return await store.claim([claimed(self.id, store, world, self.left)], self.limit, behind)
            case "claim settled":
                asked = claimed(self.id, store, world, self.left)
                asked = replace(asked, state=State.SETTLED, outcome=Outcome.MALFORMED)
                return await store.claim([asked], self.limit, behind)
            case "settle":
                return await store.settle([decided(self.id, self.replica.encode())], behind)
            case "progress":
                return await store.progress([self.progress(world)], behind)
            case "resumed":
                return await store.resumed([self.id])
            case "expire":
                return await store.expire(self.id.node)
            case "unclaimed":
                return await store.unclaimed(IDS)
            case "answered":
                return await store.answered(IDS)
            case _:
                others = [replica for replica in REPLICAS if replica != self.replica]
                state = State.CLAIMED if self.limit == 1 else State.SETTLED
                return await store.adopt(self.id.node, others[:1], state)
