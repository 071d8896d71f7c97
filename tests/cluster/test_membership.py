"""Who is active, who is dead, and what is believed while nobody can be seen."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.cluster.membership import FORMER_FOR, Membership
from adapter.cluster.placement import assignees, carries
from adapter.cluster.rendezvous import choose
from adapter.cluster.takeover import cannot_ask, cannot_write, silenced
from adapter.model.beat import Beat, Snapshot
from tests.cluster.questions import active, current, linked, served, settling, unsure, writer

if TYPE_CHECKING:
    from collections.abc import Mapping
    from random import Random

LEASE = 1.0
NODE = "sbc1"
SERVING = Beat(nodes=frozenset([NODE]))
NO_BROKER = Beat(broker=False, nodes=frozenset([NODE]))
DRAINING = Beat(accepting=False, nodes=frozenset([NODE]))
NO_LINK = Beat(nodes=frozenset(["sbc2"]))

names = st.text(min_size=1, max_size=20)


def old(beat: Beat, age: float) -> Beat:
    return Beat(beat.broker, beat.accepting, beat.nodes, beat.priority, age)


def membership(others: Mapping[str, Beat] | None = None, now: float = 0.0) -> Membership:
    """The membership of r2, which has seen these others; rendezvous hashing prefers r3, r1, r2."""
    found = Membership("r2", LEASE)
    found.update(Snapshot({"r2": SERVING, **(others or {})}, True), now, now)
    return found


class TestAssignees:
    @pytest.mark.parametrize(
        ("count", "first"),
        [(1, ["r3"]), (2, ["r3", "r1"]), (3, ["r3", "r1", "r2"]), (0, ["r3", "r1", "r2"])],
    )
    def test_the_first_by_preference(self, count: int, first: list[str]) -> None:
        found = membership({"r1": NO_LINK, "r3": SERVING})
        assert assignees(found, NODE, count, True) == first

    @pytest.mark.parametrize("beat", [NO_BROKER, DRAINING])
    def test_who_cannot_serve_comes_last(self, beat: Beat) -> None:
        found = membership({"r1": SERVING, "r3": beat})
        assert assignees(found, NODE, 2, True) == ["r1", "r2"]
        assert assignees(found, NODE, 2, False) == ["r1", "r3"], "where nobody can, the preference counts"

    @given(names, st.sets(names, min_size=3, max_size=8), st.integers(1, 3))
    def test_one_that_is_lost_moves_only_its_own_links(
        self, node: str, replicas: set[str], count: int
    ) -> None:
        def chosen(live: set[str]) -> list[str]:
            me, *others = sorted(live)
            found = Membership(me, LEASE)
            found.update(Snapshot(dict.fromkeys(others, SERVING), True), 0.0, 0.0)
            return assignees(found, node, count, True)

        before = chosen(replicas)
        for lost in replicas:
            after = chosen(replicas - {lost})
            assert [each for each in before if each != lost] == after[: len(before) - (lost in before)]

    def test_who_is_active_is_the_first_of_them(self) -> None:
        found = membership({"r1": SERVING, "r3": SERVING})
        assert active(found, NODE, True) == assignees(found, NODE, 2, True)[0]

    def test_who_reads_a_node(self) -> None:
        found = membership({"r1": NO_LINK, "r3": SERVING})
        assert [carries(found, name, NODE) for name in ("r1", "r3", "r9")] == [False, True, False]


class TestChoose:
    @given(names, st.sets(names, min_size=1), st.randoms())
    def test_all_agree_whatever_the_order_in_which_they_know_each_other(
        self, node: str, replicas: set[str], random: Random
    ) -> None:
        shuffled = list(replicas)
        random.shuffle(shuffled)
        assert choose(node, shuffled) == choose(node, sorted(replicas)) in replicas

    @given(names, st.sets(names, min_size=2))
    def test_only_what_the_lost_replica_had_changes_hands(self, node: str, replicas: set[str]) -> None:
        was = choose(node, replicas)
        for lost in replicas - {was}:
            assert choose(node, replicas - {lost}) == was

    def test_nodes_are_spread(self) -> None:
        shares = Counter(choose(f"sbc{number}", ["one", "two", "three", "four"]) for number in range(2000))
        assert len(shares) == 4
        assert min(shares.values()) > 400

    def test_nobody_is_chosen_where_nobody_is(self) -> None:
        assert choose("sbc1", []) is None


class TestActive:
    def test_it_is_chosen_among_those_that_serve_the_node(self) -> None:
        assert choose(NODE, ["r1", "r2", "r3"]) == "r3"
        assert choose(NODE, ["r1", "r2"]) == "r1"
        assert active(membership({"r1": SERVING, "r3": SERVING}), NODE, True) == "r3"
        for unable in (NO_BROKER, DRAINING, NO_LINK):
            assert active(membership({"r1": SERVING, "r3": unable}), NODE, True) == "r1"
            assert active(membership({"r1": unable, "r3": unable}), NODE, True) == "r2"
            assert active(membership({"r1": unable, "r3": unable}), NODE, False) is None

    def test_what_this_replica_can_do_is_told_with_the_question(self) -> None:
        """It knows before its beat does."""
        alone = membership()
        assert active(alone, NODE, True) == "r2"
        assert active(alone, NODE, False) is None
        assert active(membership({"r1": SERVING}), NODE, False) == "r1"
        assert not served(alone, NODE)
        assert served(membership({"r1": SERVING}), NODE)
        assert not served(membership({"r1": NO_BROKER, "r3": NO_LINK}), NODE)

    def test_nodes_are_apart(self) -> None:
        found = membership({"r1": Beat(nodes=frozenset(["sbc2"]))})
        assert active(found, "sbc1", True) == "r2"
        assert active(found, "sbc2", False) == "r1"

    @given(st.dictionaries(st.sampled_from(["a", "b", "c", "d", "e"]), st.booleans(), min_size=2), names)
    def test_all_who_see_the_same_agree(self, serving: Any, node: str) -> None:
        beats = {name: Beat(nodes=frozenset([node] if serves else [])) for name, serves in serving.items()}
        chosen = set()
        for name in beats:
            found = Membership(name, LEASE)
            found.update(Snapshot(beats, True), 0.0, 0.0)
            chosen.add(active(found, node, serving[name]))
        assert len(chosen) == 1
        assert chosen == {choose(node, [name for name, serves in serving.items() if serves])}


class TestLease:
    def test_who_has_not_beaten_for_longer_than_it_is_dead(self) -> None:
        found = membership({"r1": old(SERVING, LEASE), "r3": old(SERVING, LEASE + 0.001)})
        assert found.replicas == ["r1", "r2"]
        assert found.dead == {"r3"}
        assert active(found, NODE, True) == "r1"

    def test_this_one_is_never_dead_to_itself(self) -> None:
        found = Membership("r2", LEASE)
        found.update(Snapshot({"r2": old(SERVING, 60.0)}, True), 0.0, 0.0)
        assert found.replicas == ["r2"]
        assert found.dead == frozenset()

    def test_its_own_ends_without_an_answer(self) -> None:
        found = Membership("r2", LEASE)
        assert not current(found, 0.0)
        found.update(Snapshot({}, False), 5.0, 5.0)
        assert current(found, 5.0)
        assert current(found, 5.0 + LEASE)
        assert not current(found, 5.001 + LEASE)

    def test_who_has_left_is_neither_there_nor_dead(self) -> None:
        found = membership({"r1": SERVING})
        found.update(Snapshot({"r2": SERVING}, True), 0.2, 0.2)
        assert found.replicas == ["r2"]
        assert found.dead == frozenset()


class TestAway:
    def test_the_last_list_holds_for_as_long_as_it_takes(self) -> None:
        found = membership({"r1": SERVING, "r3": old(SERVING, 9.0)})
        assert "live" in repr(found)
        found.lost(0.5)
        assert found.away
        assert "as last seen" in repr(found)
        assert current(found, 1_000.0)
        assert active(found, NODE, True) == "r1"
        assert found.replicas == ["r1", "r2"]
        assert found.dead == {"r3"}

    def test_and_for_one_lease_after_the_return_until_all_have_beaten(self) -> None:
        found = membership({"r1": SERVING})
        found.lost(9.0)
        found.update(Snapshot({"r1": old(SERVING, 10.0), "r2": SERVING}, True), 10.0, 10.0)
        assert not found.away
        assert settling(found, 10.0)
        assert (found.replicas, found.dead) == (["r1", "r2"], frozenset())
        assert active(found, NODE, True) == "r1"
        found.update(Snapshot({"r1": old(SERVING, 10.9), "r2": SERVING}, True), 10.9, 10.9)
        assert settling(found, 10.9)
        assert active(found, NODE, True) == "r1"
        found.update(Snapshot({"r1": old(SERVING, 11.0), "r2": SERVING}, True), 11.0, 11.0)
        assert not settling(found, 11.0)
        assert (found.replicas, found.dead) == (["r2"], frozenset({"r1"}))

    def test_who_has_beaten_meanwhile_is_known_as_it_is_now(self) -> None:
        found = membership({"r1": SERVING})
        found.lost(9.0)
        found.update(Snapshot({"r1": NO_BROKER, "r3": SERVING}, True), 10.0, 10.0)
        assert active(found, NODE, True) == "r3"
        assert cannot_ask(found, NODE) == {"r1"}

    def test_a_second_loss_begins_it_anew(self) -> None:
        found = membership({"r1": SERVING})
        for now in (10.0, 10.5):
            found.lost(now)
            found.update(Snapshot({"r2": SERVING}, True), now, now)
        assert settling(found, 11.4)
        assert not settling(found, 11.5)

    def test_a_store_that_lost_its_memory_is_like_one_that_was_away(self) -> None:
        found = membership({"r1": SERVING})
        found.update(Snapshot({"r2": SERVING}, False), 1.0, 1.0)
        assert settling(found, 1.9)
        assert found.replicas == ["r1", "r2"]
        found.update(Snapshot({"r2": SERVING}, True), 2.0, 2.0)
        assert found.replicas == ["r2"]

    def test_and_has_not_told_that_nobody_else_is_there(self) -> None:
        found = membership({"r1": SERVING})
        found.update(Snapshot({"r2": SERVING}, False), 0.5, 0.5)
        found.update(Snapshot({"r2": SERVING}, True), 0.7, 0.7)
        assert not found.nobody_heard
        found.update(Snapshot({"r2": SERVING}, True), 1.6, 1.6)
        assert found.nobody_heard

    def test_the_first_look_of_a_life_is_no_return(self) -> None:
        found = Membership("r2", LEASE)
        found.update(Snapshot({"r2": SERVING}, False), 1.0, 1.0)
        assert not settling(found, 1.0)

    def test_unless_the_store_was_away_at_its_beginning(self) -> None:
        found = Membership("r2", LEASE)
        found.lost(0.0)
        assert current(found, 0.0)
        found.update(Snapshot({"r2": SERVING}, False), 1.0, 1.0)
        assert settling(found, 1.0)


class TestWoke:
    """A process that stood still may have been taken for dead, and its own calls failed meanwhile."""

    def test_an_answer_to_what_it_asked_before_is_no_news(self) -> None:
        """Neither of the others nor of its own lease: it stood still between the two."""
        found = membership({"r1": SERVING})
        found.woke(5.0)
        found.update(Snapshot({"r1": SERVING}, True), 0.2, 5.0)
        assert unsure(found)
        assert not current(found, 5.0)
        found.update(Snapshot({"r1": SERVING}, True), 5.0, 5.1)
        assert current(found, 5.1)

    def test_its_lease_counts_from_when_it_asked(self) -> None:
        found = Membership("r2", LEASE)
        found.update(Snapshot({}, True), 5.0, 5.4)
        assert current(found, 5.0 + LEASE)
        assert not current(found, 5.001 + LEASE)

    def test_it_is_unsure_until_it_has_heard_of_the_others(self) -> None:
        found = membership({"r1": SERVING})
        assert not unsure(found)
        found.woke(5.0)
        assert unsure(found)
        assert not current(found, 0.1)
        found.update(Snapshot({"r1": SERVING}, True), 5.1, 5.1)
        assert not unsure(found)
        assert current(found, 5.1)

    def test_a_beat_that_was_sent_before_and_failed_says_nothing(self) -> None:
        found = membership({"r1": SERVING})
        found.woke(5.0)
        found.lost(0.2)
        assert found.away
        assert not current(found, 5.0)
        found.lost(5.1)
        assert current(found, 5.1)


class TestWhatIsTakenOver:
    def test_who_cannot_publish(self) -> None:
        beats = {"r1": NO_BROKER, "r3": NO_LINK, "r4": DRAINING, "r5": old(NO_BROKER, 2.0)}
        assert cannot_ask(membership(beats), NODE) == {"r1"}

    def test_who_does_not_consume_a_nodes_replies_serves_the_others(self) -> None:
        deaf = replace(SERVING, nodes=frozenset([NODE, "sbc2"]), deaf=frozenset([NODE]))
        found = membership({"r1": deaf})
        assert not served(found, NODE)
        assert served(found, "sbc2")
        assert active(found, NODE, True) == "r2"
        assert cannot_ask(found, NODE) == {"r1"}
        assert cannot_ask(found, "sbc2") == frozenset()
        assert silenced(found, "r1", NODE)
        assert not silenced(found, "r1", "sbc2")
        assert cannot_write(found, NODE) == frozenset()

    def test_who_cannot_write(self) -> None:
        beats = {"r1": NO_BROKER, "r3": NO_LINK, "r4": DRAINING, "r5": old(NO_LINK, 2.0)}
        assert cannot_write(membership(beats), NODE) == {"r3"}
        assert linked(membership(beats), NODE)
        assert not linked(membership({"r3": NO_LINK, "r5": old(SERVING, 2.0)}), NODE)

    @pytest.mark.parametrize(
        ("beat", "may"),
        [(SERVING, False), (NO_BROKER, True), (DRAINING, False), (NO_LINK, False), (old(SERVING, 2.0), True)],
    )
    def test_who_may_hold_what_will_not_come(self, beat: Beat, may: Any) -> None:
        assert silenced(membership({"r1": beat}), "r1", NODE) is may

    def test_who_is_not_on_the_list_may_and_this_one_never(self) -> None:
        assert silenced(membership(), "r9", NODE)
        assert not silenced(membership(), "r2", NODE)

    def test_who_writes_is_chosen_among_those_with_a_link(self) -> None:
        assert writer(membership({"r1": NO_BROKER, "r3": DRAINING}), NODE, True) == "r3"
        assert writer(membership({"r1": NO_BROKER, "r3": NO_LINK}), NODE, True) == "r1"
        assert writer(membership({"r3": NO_LINK}), NODE, True) == "r2"
        assert writer(membership({"r3": NO_LINK}), NODE, False) is None

    def test_who_may_still_write_what_it_has_written_to_a_link_is_not_taken_over_from(self) -> None:
        assert cannot_write(membership({"r1": Beat(stuck=frozenset([NODE])), "r3": NO_LINK}), NODE) == {"r3"}
        assert cannot_write(membership({"r1": Beat(stuck=frozenset(["sbc2"]))}), NODE) == {"r1"}

    def test_the_highest_priority_that_others_ever_had(self) -> None:
        """Who hangs, or is off the list by now, may consume with it still."""
        found = membership()
        assert found.top_priority == 0
        for beats, top in (
            ({"r1": Beat(priority=7), "r3": Beat(priority=5), "r2": Beat(priority=50)}, 7),
            ({"r1": Beat(priority=7), "r3": Beat(priority=9, age=60.0)}, 9),
            ({"r1": Beat(priority=8)}, 9),
        ):
            found.update(Snapshot(beats, True), 1.0, 1.0)
            assert found.top_priority == top


STEPS = [(what, name) for what in ("beat", "die", "wake", "cut") for name in ("r1", "r2", "r3")]


@given(st.lists(st.sampled_from(["move", "move", "away", "back", *STEPS]), max_size=60))
def test_whatever_happens_of_those_that_have_just_seen_the_same_list_one_is_active(steps: Any) -> None:
    """Three replicas beat, die, wake, lose their broker; the store goes and comes back."""
    memberships = {name: Membership(name, LEASE) for name in ("r1", "r2", "r3")}
    able = dict.fromkeys(memberships, True)
    alive = dict.fromkeys(memberships, True)
    told: dict[str, tuple[float, Beat]] = {}
    now, away = 100.0, False

    def beat(name: str) -> None:
        if away:
            memberships[name].lost(now)
            return
        known = name in told
        told[name] = now, Beat(able[name], nodes=frozenset([NODE]))
        snapshot = {each: old(said, now - at) for each, (at, said) in told.items()}
        memberships[name].update(Snapshot(snapshot, known), now, now)

    for step in steps:
        match step:
            case "move":
                now += 0.25
                for name in sorted(memberships):
                    if alive[name]:
                        beat(name)
            case "away" | "back":
                away = step == "away"
            case ("beat", name) if alive[name]:
                beat(name)
            case ("die", name):
                alive[name] = False
            case ("wake", name):
                alive[name] = True
            case ("cut", name):
                able[name] = not able[name]
    for name in memberships:  # two rounds: the second sees what the first told
        alive[name] = True
    for _ in range(2):
        for name in sorted(memberships):
            beat(name)
    if not away and not any(settling(each, now) for each in memberships.values()):
        chosen = {name for name, each in memberships.items() if active(each, NODE, able[name]) == name}
        assert chosen == (
            {choose(NODE, [name for name in able if able[name]])} if any(able.values()) else set()
        )


class TestFormerBuild:
    """Whose correlation ids have no tag."""

    def test_such_ids_are_good_while_it_beats_and_for_a_while(self) -> None:
        found = membership({"r1": replace(SERVING, tags=False)})
        assert found.untagged_until > 0.0
        assert found.untagged_until > FORMER_FOR - 0.1
        assert found.untagged_until <= FORMER_FOR

    def test_nor_is_one_forgotten_that_was_killed(self) -> None:
        killed = replace(SERVING, tags=False, age=20.0)
        found = membership({"r1": killed})
        assert found.untagged_until > FORMER_FOR - 20.1
        assert found.untagged_until <= FORMER_FOR - 20.0

    def test_among_this_build_none_is(self) -> None:
        assert membership({"r1": SERVING, "r3": DRAINING}).untagged_until <= 0.0
        assert membership().untagged_until <= 0.0


class TestAges:
    """A beat is as old as this process's clock says, whatever the store's clock does."""

    @pytest.mark.parametrize("jump", [30.0, -30.0])
    def test_a_store_whose_clock_jumps_makes_nobody_look_dead(self, jump: float) -> None:
        found = Membership("r2", LEASE)
        found.update(Snapshot({"r1": replace(SERVING, number=1, age=0.1)}, True), 0.0, 0.0)
        age = max(0.2 + jump, 0.0)  # the store leaves no beat in its future
        found.update(Snapshot({"r1": replace(SERVING, number=2, age=age)}, True), 0.25, 0.25)
        assert found.replicas == ["r1", "r2"]
        assert found.dead == frozenset()

    def test_one_that_hands_back_for_long_says_the_same_number_later(self) -> None:
        found = Membership("r2", LEASE)
        for now in (0.0, 0.6, 1.2, 1.8):
            found.update(Snapshot({"r1": replace(SERVING, number=1, at=100.0 + now)}, True), now, now)
        assert found.replicas == ["r1", "r2"]

    @pytest.mark.parametrize("jump", [30.0, -30.0])
    def test_nor_does_it_make_the_dead_look_alive(self, jump: float) -> None:
        found = Membership("r2", LEASE)
        for now in (0.0, 0.25, 0.5, 0.75, 1.0):
            age = max(now + jump, 0.0) if now else 0.0
            found.update(Snapshot({"r1": replace(SERVING, number=1, age=age)}, True), now, now)
            assert found.replicas == ["r1", "r2"]
        found.update(Snapshot({"r1": replace(SERVING, number=1, age=0.0)}, True), 1.01, 1.01)
        assert found.replicas == ["r2"]
        assert found.dead == {"r1"}
