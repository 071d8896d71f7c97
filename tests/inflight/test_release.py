"""What its owner had no link for is written once, by whoever adopts it, though the store fails at any call,
before, after or long before its work is done, and nothing drops a second answer."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st

from adapter.errors import StoreUnavailable
from adapter.inflight.failover import FailoverStore
from adapter.model.transaction import NOBODY, State
from adapter.ports.store import Claim
from tests.harness.examples import examples
from tests.inflight.faulty import Fault, FaultyStore
from tests.inflight.worlds import LIVE, LocalWorld, claimed, decided, suspension

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adapter.model.transaction import TransactionId

NODE = "sbc1"
IDS = (suspension(1), suspension(2))
Move = tuple[str, str]
"""What happens, and to which replica."""

# Who settles while another may is a matter of roles (tests/cluster): here it is one.
moves = st.one_of(
    st.tuples(st.sampled_from(["claim", "reply", "reply"]), st.just("one")),
    st.tuples(st.sampled_from(["link", "no link", "look", "look", "beat"]), st.sampled_from(["one", "two"])),
)
ticks = st.lists(st.lists(moves, min_size=1, max_size=5), max_size=12)
# Answers come in the order of the work (inflight.pipeline), and work that is late so many turns after.
faults = st.lists(
    st.one_of(
        st.builds(Fault, st.integers(0, 3), st.just(0), st.sampled_from(["", "", "", "before", "after"])),
        st.builds(Fault, st.integers(0, 3), st.integers(0, 3), st.just("late")),
    ),
    max_size=20,
)


class Replica:
    """Answers as the relay does on a node that drops nothing: ``relay.resumes``, ``relay.recovery``."""

    def __init__(self, world: LocalWorld, name: str, written: Counter[TransactionId]) -> None:
        self.world = world
        self.way = FaultyStore(world.store(name))
        self.store = FailoverStore(self.way, still=0.0, clock=world.now)
        self.written = written
        self.linked = True
        self.leaving: set[TransactionId] = set()
        self.mine: set[TransactionId] = set()  # what it has written

    async def write(self, id_: TransactionId) -> None:
        if self.linked:
            self.written[id_] += 1
            self.mine.add(id_)
            return
        self.leaving.add(id_)
        await self.store.release([id_])
        self.leaving.discard(id_)

    async def take(self, what: str) -> None:
        store = self.store
        if what == "claim":
            for id_ in IDS:
                if await store.claim([claimed(id_, store, self.world)], 10) == [Claim.FULL]:
                    await self.write(id_)
        elif what == "reply":
            for record in await store.settle([decided(id_) for id_ in IDS]):
                if record is not None:
                    await self.write(record.id)
        elif what.endswith("link"):
            self.linked = what == "link"
        elif what == "beat":
            try:
                await store.beat(LIVE)
            except StoreUnavailable:
                assert store.away
        elif self.linked:
            await self.look()

    async def look(self) -> None:
        """Its link is there: write what was left."""
        under_way = self.leaving | self.mine
        found = await self.store.scan(NODE)
        under_way |= self.leaving | self.mine
        for record in found:
            own = record.owner == self.store.replica and record.state is State.SETTLED
            if own and record.id not in under_way and not self.store.away:
                await self.write(record.id)
        for record in await self.store.adopt(NODE, [NOBODY], State.SETTLED):
            await self.write(record.id)


async def play(ticks: Sequence[Sequence[Move]], faults: Sequence[Fault]) -> Counter[TransactionId]:
    """Return how often each was written. In the end all is mended."""
    world, written = LocalWorld(), Counter[Any]()
    replicas = {name: Replica(world, name, written) for name in ("one", "two")}
    await replicas["one"].take("claim")
    replicas["one"].way.faults = iter(faults)  # the other has the store
    for tick in ticks:
        await asyncio.gather(*(replicas[name].take(what) for what, name in tick))
    for each in replicas.values():
        await asyncio.gather(*each.way.late)
        each.way.mend()
        await each.take("beat")
        await each.take("link")
    for each in replicas.values():
        await each.take("look")
    return written


@settings(max_examples=examples(300), deadline=None)
@given(ticks, faults)
def test_each_answer_is_written_once_at_most(ticks: list[list[Move]], faults: list[Fault]) -> None:
    written = asyncio.run(play(ticks, faults))
    assert all(number <= 1 for number in written.values()), "written twice"


@settings(max_examples=examples(100), deadline=None)
@given(ticks)
def test_and_none_is_left_while_the_store_is_there(ticks: list[list[Move]]) -> None:
    written = asyncio.run(play([*ticks, [("reply", "one")]], []))
    assert written == Counter(IDS)


def test_a_release_that_is_carried_out_late_is_still_one() -> None:
    """Redis hung, gave no answer, and does it once this replica has looked at what is its own."""

    async def whole() -> Counter[TransactionId]:
        world, written = LocalWorld(), Counter[Any]()
        one, two = (Replica(world, name, written) for name in ("one", "two"))
        for what in ("beat", "claim", "no link"):
            await one.take(what)
        one.way.faults = iter([Fault(), Fault(after=100, fails="late")])
        for what in ("reply", "beat", "link", "look"):
            await one.take(what)
        (release,) = one.way.late
        assert not release.done()
        await release
        await two.take("look")
        return written

    assert asyncio.run(whole()) == Counter(IDS)
