"""The remote store fails at any call, before or after its work, forgets, and comes back at any point: each
suspension is resumed once all the same."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st

from adapter.errors import StoreUnavailable
from adapter.inflight.failover import FailoverStore
from adapter.model.transaction import State
from adapter.ports.store import Claim
from tests.harness.examples import examples
from tests.inflight.faulty import Fault, FaultyStore
from tests.inflight.steps import IDS, MADE, Step, lines
from tests.inflight.worlds import LIVE, LocalWorld

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adapter.model.transaction import TransactionId

NODES = {id_.node for id_ in IDS}
VERBS = (*MADE, "unclaimed", "answered")
SETTLED = ("claim settled behind", "settle behind", "settle behind")
BEHIND = ("claim behind", "claim behind", "progress behind", "progress behind", *SETTLED)


@dataclass(frozen=True)
class Move:
    """The remote store goes, comes, or starts again empty, or there is a beat."""

    what: str
    replica: str = "one"


def steps(replicas: Sequence[str], verbs: Sequence[str]) -> st.SearchStrategy[Step]:
    # Adoption takes the state from the limit, see Step.
    return st.builds(
        Step,
        st.sampled_from(verbs),
        st.sampled_from(replicas),
        st.sampled_from(IDS),
        st.sampled_from([-1.0, 1000.0]),
        st.sampled_from([1, 10]),
    )


def moves(replicas: Sequence[str], what: Sequence[str]) -> st.SearchStrategy[Move]:
    return st.builds(Move, st.sampled_from(what), st.sampled_from(replicas))


faults = st.lists(
    st.builds(Fault, st.integers(0, 3), st.integers(0, 3), st.sampled_from(["", "", "", "before", "after"])),
    max_size=25,
)
alone = st.lists(
    st.one_of(
        # A store that has lost its memory is noticed by the next beat.
        st.just([Move("forget")]),
        st.lists(
            st.one_of(steps(["one"], [*VERBS, *BEHIND]), moves(["one"], ["beat", "go", "come"])),
            min_size=1,
            max_size=6,
        ),
    ),
    max_size=10,
)
# An adopted answer is written again; so only what waits for one is adopted here.
steps_of_both = steps(["one", "two"], [*VERBS, *BEHIND, "adopt"]).filter(
    lambda step: step.verb != "adopt" or step.limit == 1
)
both = st.lists(
    st.lists(
        st.one_of(
            steps_of_both,
            moves(["one", "two"], ["beat", "go", "come"]),
        ),
        min_size=1,
        max_size=6,
    ),
    max_size=10,
)


class Run:
    """Replicas on one remote store, to which each has its own way."""

    def __init__(self, replicas: Sequence[str]) -> None:
        self.world = LocalWorld()
        self.ways = {name: FaultyStore(self.world.store(name)) for name in replicas}
        self.stores = {
            name: FailoverStore(way, still=0.0, clock=self.world.now) for name, way in self.ways.items()
        }
        self.taken: Counter[tuple[str, TransactionId]] = Counter()
        self.granted: Counter[tuple[str, TransactionId]] = Counter()
        self.added: defaultdict[tuple[str, TransactionId], Counter[bytes]] = defaultdict(Counter)
        self.known: dict[tuple[str, TransactionId], Counter[bytes]] = {}

    async def through(self, ticks: Sequence[Sequence[Step | Move]], faults: Sequence[Fault]) -> None:
        """Each tick's at the same time; then everything is mended, answered and expired."""
        for replica, way in self.ways.items():
            await self.take(Move("beat", replica))
            way.faults = iter(faults)
        for tick in ticks:
            await asyncio.gather(*(self.take(each) for each in once(tick)))
        for way in self.ways.values():
            way.mend()
        for store in self.stores.values():
            await store.flushed()
        for replica in self.stores:
            await self.take(Move("beat", replica))
            assert not self.stores[replica].away
        for replica in self.stores:
            for id_ in IDS:
                await self.take(Step("settle", replica, id_, 0, 0))
                await self.take(Step("expire", replica, id_, 0, 0))
            await self.stores[replica].flushed()

    async def take(self, what: Step | Move) -> None:
        if isinstance(what, Move):
            await self.move(what, self.ways[what.replica])
            return
        if what.verb == "resumed" and not any(self.granted[name, what.id] for name in self.stores):
            return  # Kamailio can read only what somebody wrote
        result = await what.carry_out(self.stores[what.replica], self.world)
        if what.verb.startswith("claim"):
            self.taken[what.replica, what.id] += result != [Claim.LOST]
            over = result == [Claim.FULL] or (what.verb.startswith("claim settled") and result == [Claim.WON])
            self.granted[what.replica, what.id] += over
        elif what.verb.startswith(("settle", "expire")):
            records = [record for record in result if record is not None]
            self.granted.update((what.replica, record.id) for record in records)
            self.known.update(((what.replica, record.id), lines(record)) for record in records)
        elif what.verb.startswith("progress"):
            added = what.progress(self.world).course
            self.added[what.replica, what.id].update([added] * (result != [None]))

    @property
    def lost(self) -> set[tuple[str, TransactionId]]:
        """What was answered by somebody who did not know of each answer that it had added."""
        return {key for key, known in self.known.items() if self.added[key] - known}

    async def move(self, what: Move, way: FaultyStore) -> None:
        match what.what:
            case "go":
                way.away = True
            case "come":
                way.away = False
            case "forget":
                way.forget(self.world)
        if what.what in ("beat", "forget"):
            try:
                await self.stores[what.replica].beat(LIVE)
            except StoreUnavailable:
                assert self.stores[what.replica].away


def once(tick: Sequence[Step | Move]) -> list[Step | Move]:
    """Of the claims of one suspension by one process the first: a frame comes to it once."""
    found: dict[Any, Step | Move] = {}
    for number, each in enumerate(tick):
        claims = isinstance(each, Step) and each.verb.startswith("claim")
        found.setdefault((each.replica, each.id) if claims else number, each)  # type: ignore[union-attr]
    return list(found.values())


@settings(max_examples=examples(200), deadline=None)
@given(alone, faults)
def test_alone_each_suspension_is_resumed_once(ticks: list[list[Any]], faults: list[Fault]) -> None:
    run = Run(["one"])

    async def all_of_it() -> None:
        await run.through(ticks, faults)
        # The remote store knows all of it.
        remote = run.ways["one"].inner
        assert await remote.unclaimed([id_ for _, id_ in +run.taken]) == []
        for node in NODES:
            for record in await remote.scan(node):
                assert record.state is State.SETTLED
                assert run.stores["one"]._local.was_granted(record.id)

    asyncio.run(all_of_it())
    assert all(number <= 1 for number in run.taken.values()), "claimed twice"
    assert all(number <= 1 for number in run.granted.values()), "answered twice"
    assert not run.lost
    # One more where a claim is settled before its own answer comes, and that is lost.
    assert (+run.granted).keys() >= (+run.taken).keys()


@settings(max_examples=examples(200), deadline=None)
@given(both, faults)
def test_of_two_each_gives_a_licence_once_at_most_and_one_is_given(
    ticks: list[list[Any]], faults: list[Fault]
) -> None:
    """Cut off, one cannot know what the other does; but no process answers twice, and none is forgotten."""
    run = Run(["one", "two"])
    asyncio.run(run.through(ticks, faults))
    assert all(number <= 1 for number in run.granted.values()), "answered twice by one process"
    assert not run.lost
    assert {id_ for _, id_ in +run.granted} >= {id_ for _, id_ in +run.taken}
