"""Who may claim when: replicas whose store, broker or process comes and goes, on a plain configuration.

Two that claim at one moment are no matter where both have the store, which gives each suspension to one of
them. Otherwise both would answer, and Kamailio would take both.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace

import pytest

from adapter.cluster.membership import Membership
from adapter.cluster.rendezvous import choose
from adapter.cluster.role import RETURN_WAIT
from adapter.cluster.roles import Roles
from adapter.cluster.seen import YIELDS_AFTER
from adapter.model.beat import Beat, Snapshot

LEASE = 1.0
NODE = "sbc1"
LONGEST = 2.0
STEP = 0.05
HANDOVER = 1.0
"""Seconds within which a node changes hands once it may."""
LATENCY = 2
"""Steps that a beat takes over the bus, at most."""


class Broker:
    def __init__(self) -> None:
        self.ready = True
        self.unheard: dict[str, str] = {}

    def takes_replies(self, node: str) -> bool:
        return True


class Links:
    def __init__(self) -> None:
        self.up = True

    def incarnation(self, node: str) -> str:
        return ""

    def sound(self, node: str) -> bool:
        return self.up

    def drops_repeats(self, node: str) -> bool:
        return False


@dataclass
class World:
    """``store`` and ``bus`` may be away for all, or for one replica."""

    seed: int
    now: float = 1_000.0
    store: bool = True
    bus: bool = True
    beats: dict[str, tuple[float, Beat]] = field(default_factory=dict)
    replicas: list[Replica] = field(default_factory=list)
    claims: list[tuple[float, str]] = field(default_factory=list)
    lives: int = 0

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)

    def start(self) -> Replica:
        self.lives += 1
        self.replicas.append(Replica(self, f"r{self.lives}"))
        return self.replicas[-1]

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds / STEP)):
            self.now += STEP
            for each in self.random.sample(self.replicas, len(self.replicas)):
                each.step()
            self.check()

    def active(self) -> list[Replica]:
        return [each for each in self.replicas if not each.stopped and each.roles.of(NODE).is_active]

    def answering(self) -> list[Replica]:
        """Those that claim what comes, or answer themselves that they cannot, with no store to ask."""
        return [each for each in self.replicas if not each.stopped and each.answers()]

    def check(self) -> None:
        active = self.answering()
        alone = [each for each in active if not each.has_store]
        assert not alone or len(active) == 1, (self.seed, self.now, active)
        for each in alone:
            self.claims.append((self.now, each.name))
        for each in active:
            if each.membership.away:
                shadow = each.membership.untraced_until(self.now)
                held = self.now - LONGEST  # what came before that nobody waits for
                others = [at for at, who in self.claims if who != each.name and at > held]
                assert max(others, default=shadow) <= shadow + STEP, (self.seed, self.now, each, shadow)


class Replica:
    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.membership = Membership(name, LEASE, bus=True)
        self.broker, self.links = Broker(), Links()
        clock, longest = (lambda: world.now), LONGEST
        self.roles = Roles(self.membership, self.broker, self.links, clock, lambda: longest)  # type: ignore[arg-type]
        self.store_link = self.bus_link = True
        self.stopped = False
        self.late = False  # what comes over the bus is not looked at
        self.mute = False  # it says nothing there
        self.number = self.answered = self.whole = 0
        self.inbox: list[tuple[float, str, Beat]] = []
        self.beat_at = self.say_at = world.now + world.random.random() * LEASE / 4
        self.last: Beat | None = None

    def __repr__(self) -> str:
        return f"<{self.name} store {self.has_store} bus {self.bus_link} away {self.membership.away}>"

    @property
    def has_store(self) -> bool:
        return self.world.store and self.store_link

    def answers(self) -> bool:
        role = self.roles.of(NODE)
        alone = self.membership.away and role.alone  # see ARCHITECTURE: not covered
        knows = self.membership.away or self.has_store  # what it claims there finds out
        return role.is_active or (knows and not alone and role.wait <= RETURN_WAIT)

    def said(self) -> Beat:
        active, yields = self.roles.of(NODE).is_active, self.roles.of(NODE).yields
        return Beat(
            broker=self.broker.ready,
            nodes=frozenset([NODE] if self.links.up else []),
            claims=frozenset([NODE] if active else []),
            yields=frozenset([NODE] if yields else []),
        )

    def numbered(self, beat: Beat) -> Beat:
        self.number += 1
        contact = self.membership.contact_age(self.world.now)
        return replace(beat, number=self.number, contact=contact, whole=self.whole)

    def step(self) -> None:
        if self.stopped:
            return
        now = self.world.now
        self.broker.ready = self.world.bus and self.bus_link
        self.roles.refresh(now)
        if self.broker.ready and not self.late:
            due = [each for each in self.inbox if each[0] <= now]
            self.inbox = self.inbox[len(due) :]
            for _, name, beat in due:
                self.membership.heard(name, beat, now)
        if now >= self.beat_at:
            self.beat_at = now + LEASE / 4
            self.beat(now)
        said = self.said()
        if self.broker.ready and (now >= self.say_at or said != self.last):
            self.say_at, self.last = now + LEASE / 4, said
            self.say(self.numbered(said), now)

    def beat(self, now: float) -> None:
        if not self.broker.ready:
            self.membership.mute_at = now
        if not self.has_store:
            self.membership.lost(now)
            self.membership.refresh(now)
            self.answered = 0
            return
        known = self.name in self.world.beats
        self.world.beats[self.name] = now, self.numbered(self.said())
        self.whole, self.answered = self.answered or self.whole, self.number
        snapshot = {name: replace(beat, age=now - at) for name, (at, beat) in self.world.beats.items()}
        self.membership.update(Snapshot(snapshot, known), now, now)

    def say(self, beat: Beat, now: float) -> None:
        self.membership.said(beat, now)
        if self.mute:
            return
        for each in self.world.replicas:
            last = each.inbox[-1][0] if each.inbox else now
            at = now + self.world.random.randint(0, LATENCY) * STEP
            each.inbox.append((max(last, at), self.name, beat))  # a queue keeps its order


def fault(world: World) -> None:
    """One thing goes, or comes back."""
    random = world.random
    one = random.choice(world.replicas) if world.replicas else None
    what = random.randrange(9)
    if what == 0:
        world.store = not world.store
    elif what == 1 and random.random() < 0.5:
        world.bus = not world.bus
    elif what == 2:
        world.beats.clear()
    elif what == 3 and len(world.replicas) < 3:
        world.start()
    elif one is None:
        return
    elif what == 4:
        one.stopped = not one.stopped
    elif what == 5:
        one.store_link = not one.store_link
    elif what == 6:
        one.bus_link = not one.bus_link
    elif what == 7:
        one.links.up = not one.links.up
    else:
        world.replicas.remove(one)


@pytest.mark.parametrize("seed", range(60))
def test_no_two_answer_one_call(seed: int) -> None:
    world = World(seed)
    for _ in range(2):
        world.start()
    world.run(3.0)
    for _ in range(14):
        fault(world)
        world.run(world.random.choice((0.05, 0.3, 0.7, 1.2, 2.5)))
    world.store = world.bus = True
    for each in world.replicas:
        each.stopped, each.store_link, each.bus_link, each.links.up = False, True, True, True
    if not world.replicas:
        world.start()
    world.run(LEASE + LONGEST + HANDOVER)
    assert len(world.active()) == 1, "and somebody does, once all is well"


def world_of(number: int) -> World:
    world = World(7)
    for _ in range(number):
        world.start()
    world.run(3.0)
    assert len(world.active()) == 1
    return world


class TestWithoutTheStore:
    @pytest.mark.parametrize("number", [2, 3])
    def test_another_goes_on_where_the_active_one_dies(self, number: int) -> None:
        world = world_of(number)
        (first,) = world.active()
        world.store = False
        world.run(1.5)
        assert world.active() == [first], "nothing changes hands without need"
        world.replicas.remove(first)
        world.run(LEASE + 3 * STEP)
        assert len(world.active()) == 1
        world.run(2.0)
        world.store = True
        world.run(1.0)
        assert len(world.active()) == 1

    def test_one_that_is_seen_by_nobody_stops_first(self) -> None:
        world = world_of(2)
        (first,) = world.active()
        world.store = False
        world.run(1.0)
        first.bus_link = False
        world.run(LEASE / 2 + LATENCY * STEP)
        assert world.active() == []
        assert not first.roles.of(NODE).may_write
        world.run(LEASE / 2 + LATENCY * STEP)
        assert world.active() == [each for each in world.replicas if each is not first]

    def test_one_without_broker_is_not_alone_where_the_store_forgets_the_other(self) -> None:
        """It is given back what it forgot, which takes a moment: until then it counts as away."""
        world = world_of(2)
        (first,) = world.active()
        first.bus_link = False
        world.run(3.0)
        assert world.active() == [each for each in world.replicas if each is not first]
        world.beats.clear()
        first.beat(world.now)
        first.membership.lost(float("-inf"))
        first.roles.refresh(world.now)
        role = first.roles.of(NODE)
        assert (role.alone, role.wait) == (False, LONGEST)

    def test_a_store_that_forgets_again_and_again_keeps_nobody_alive(self) -> None:
        """Who says nothing over the bus any more is dead, whatever the store may have forgotten."""
        world = world_of(2)
        (first,) = world.active()
        first.stopped = True
        for _ in range(6):
            world.beats.clear()
            world.run(LEASE / 2)
        assert world.active() == [each for each in world.replicas if each is not first]

    def test_who_slept_while_the_store_forgot_leaves_the_node_until_all_is_given_back(self) -> None:
        """Of what came in between it could not say who has answered it."""
        world = world_of(2)
        (first,) = world.active()
        (second,) = (each for each in world.replicas if each is not first)
        first.stopped = True
        world.run(2.0)
        world.beats.clear()
        world.run(LEASE / 2)
        assert world.active() == [second]
        first.stopped = False
        first.membership.woke(world.now)
        for _ in range(round(0.9 * LEASE / STEP)):
            world.run(STEP)
            assert world.active() == [second]
        world.run(2 * LEASE)
        assert world.active() == [first]

    def test_one_that_starts_alone_serves_after_a_lease(self) -> None:
        world = World(1, store=False)
        (only,) = [world.start()]
        world.run(LEASE)
        assert world.active() == []
        world.run(LEASE)
        assert world.active() == [only]

    def test_one_that_starts_beside_another_leaves_it_the_node(self) -> None:
        world = world_of(1)
        (first,) = world.active()
        world.store = False
        world.run(1.0)
        for _ in range(3):
            world.start()
            world.run(2.0)
            assert world.active() == [first]

    def test_who_has_lost_the_store_alone_leaves_the_node_to_one_that_has_it(self) -> None:
        world = world_of(2)
        (first,) = world.active()
        first.store_link = False
        world.run((YIELDS_AFTER - 0.5) * LEASE)
        assert world.active() == [first], "a moment is nothing"
        world.run(LEASE)
        assert world.active() == [each for each in world.replicas if each is not first]

    @pytest.mark.parametrize("number", [2, 3])
    def test_a_store_that_is_back_for_others_a_moment_sooner_changes_nothing(self, number: int) -> None:
        world = world_of(number)
        (first,) = world.active()
        for _ in range(3):
            world.store = False
            world.run(3.0)
            world.store, first.store_link = True, False
            world.run((YIELDS_AFTER - 0.5) * LEASE)
            assert world.active() == [first]
            first.store_link = True
            world.run(1.0)
            assert world.active() == [first]

    def test_nor_where_none_has_ever_seen_it(self) -> None:
        world = World(1, store=False)
        first = world.start()
        world.run(2.5)
        world.start()
        world.run(2.0)
        assert world.active() == [first]
        world.store, first.store_link = True, False
        world.run((YIELDS_AFTER - 0.5) * LEASE)
        assert world.active() == [first]

    @pytest.mark.parametrize("claims_first", [True, False])
    def test_whoever_it_is_back_for_first_who_claims_goes_on_until_all_is_given_back(
        self, claims_first: bool
    ) -> None:
        """And until what came meanwhile is over: if it changed hands, nobody could answer that."""
        world = World(1, store=False)
        first = world.start()
        world.run(2.5)
        while choose(NODE, [first.name, f"r{world.lives + 1}"]) == first.name:
            world.lives += 1
        second = world.start()
        world.run(2.0)
        assert world.active() == [first]
        world.store, (second if claims_first else first).store_link = True, False
        world.run(2 * STEP)
        for each in world.replicas:
            each.store_link = True
        for _ in range(round((0.9 * LEASE + LONGEST) / STEP)):
            world.run(STEP)
            assert world.active() == [first]
        world.run(2 * LEASE)
        assert world.active() == [second], "whom hashing picks"

    def test_one_of_the_former_build_is_not_heard_and_counts_as_alive(self) -> None:
        world = World(3)
        first, former = world.start(), world.start()
        former.mute = True
        world.run(3.0)
        world.store = False
        world.run(3.0)
        assert first.membership.echo.lasts(world.now)
        assert first.membership.replicas == [first.name, former.name]


class TestOneWithEachAlone:
    @pytest.mark.parametrize("lease_between", [0.0, 0.5, 3.0])
    def test_who_has_rabbitmq_alone_claims_and_who_has_the_store_alone_is_silent(
        self, lease_between: float
    ) -> None:
        for first_cut in (0, 1):
            world = world_of(2)
            (first,) = world.active()
            (other,) = (each for each in world.replicas if each is not first)
            cuts = [lambda first=first: setattr(first, "bus_link", False)]
            cuts.insert(first_cut, lambda other=other: setattr(other, "store_link", False))
            cuts[0]()
            world.run(lease_between * LEASE)
            cuts[1]()
            world.run(2 * LEASE)
            assert world.answering() == [other]
            first.bus_link = other.store_link = True
            world.run(3 * LEASE)
            assert len(world.active()) == 1

    def test_what_came_up_to_a_lease_after_the_store_was_lost_is_left(self) -> None:
        world = world_of(2)
        (first,) = world.active()
        (other,) = (each for each in world.replicas if each is not first)
        first.bus_link = other.store_link = False
        began = world.now
        world.run(2 * LEASE)
        assert world.active() == [other]
        assert began + LEASE / 2 < other.membership.untraced_until(world.now) <= began + LEASE + STEP

    def test_without_rabbitmq_for_all_one_whose_fellow_dies_says_so_itself(self) -> None:
        world = world_of(2)
        first, other = world.replicas
        world.bus = False
        world.run(LEASE)
        world.replicas.remove(other)
        world.run(3 * LEASE)
        assert world.answering() == [first], "the dead one had told that it has no broker"

    def test_one_that_has_told_so_claims_without_the_store_only_beside_those_that_it_hears(self) -> None:
        world = world_of(2)
        first, other = world.replicas
        world.bus = False
        world.run(LEASE)
        other.store_link = False
        world.run(3 * LEASE)
        assert world.answering() == [first]
        world.bus, first.bus_link = True, False
        world.run(3 * LEASE)
        assert world.answering() == [first], "which goes by what was told"
        first.bus_link = True
        world.run(3 * LEASE)
        assert len(world.active()) == 1
        first.bus_link = False
        world.run(3 * LEASE)
        assert world.answering() == [other], "heard by now"

    def test_one_that_dies_with_rabbitmq_may_go_on_by_it_as_far_as_the_other_knows(self) -> None:
        world = world_of(2)
        first, other = world.replicas
        world.bus = False
        world.replicas.remove(other)
        world.run(3 * LEASE)
        assert world.answering() == []
        del world.beats[other.name]
        world.run(LEASE)
        assert world.answering() == [], "nor once the store has forgotten it"
        world.bus = True
        world.run(3 * LEASE)
        assert world.active() == [first]
        world.bus = False
        world.run(LEASE)
        assert world.answering() == [first], "it would have been heard"

    def test_one_that_left_is_not_there(self) -> None:
        world = world_of(2)
        first, other = world.replicas
        world.replicas.remove(other)
        del world.beats[other.name]
        world.run(LEASE + 5 * STEP)
        world.bus = False
        world.run(2 * LEASE)
        assert world.answering() == [first]


class TestWithTheStore:
    def test_who_claims_goes_on_though_its_echo_is_late(self) -> None:
        world = world_of(2)
        (first,) = world.active()
        for each in world.replicas:
            each.late = True
        world.run(3.0)
        assert not first.membership.echo.lasts(world.now)
        assert world.active() == [first]
        assert first.roles.of(NODE).may_write

    def test_but_not_where_the_store_goes_away_then(self) -> None:
        world = world_of(2)
        for each in world.replicas:
            each.late = True
        world.run(3.0)
        world.store = False
        world.run(LEASE)
        assert world.active() == []

    def test_one_that_stood_still_for_less_than_a_lease_has_answered_nothing_without_a_trace(self) -> None:
        world = world_of(2)
        (first,) = world.active()
        began = world.now
        first.stopped = True
        world.run(0.9 * LEASE)
        first.stopped = False
        world.run(LEASE)
        assert world.active() == [first]
        assert all(each.membership.untraced_until(world.now) <= began for each in world.replicas), (
            "all that came is answered"
        )
