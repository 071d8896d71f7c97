"""This replica among the others: beats, who becomes active, what is taken over."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from adapter.cluster.clock import Clock, Timekeeping
from adapter.cluster.drain import Drain
from adapter.cluster.heartbeat import HURRY
from adapter.cluster.rendezvous import choose
from adapter.cluster.takeover import cannot_ask, cannot_write
from adapter.model.beat import Beat
from adapter.relay.ticker import SWEEP_INTERVAL
from tests.cluster.questions import current
from tests.harness.examples import examples
from tests.relay_bench import LEASE, NOW, reply, suspended
from tests.replicas_bench import Group, Replica

NODE = "sbc1"


class TestBeat:
    async def test_it_says_how_this_replica_is_and_sees_the_others(self) -> None:
        group = Group("r1", "r2", nodes=("sbc1", "sbc2"))
        first, second = group.all
        second.broker.ready = False
        second.roles.drain = Drain.ENDING
        second.drop("sbc2")
        second.nodes.late = ["sbc2"]
        with capture_logs() as logs:
            await group.beat()
        said = Beat(
            False, False, frozenset(["sbc1"]), stuck=frozenset(["sbc2"]), identities={"sbc1": "@sbc1"}
        )
        assert second.store.calls[0] == ("beat", said)
        assert first.membership.replicas == second.membership.replicas == ["r1", "r2"]
        assert cannot_ask(first.membership, "sbc1") == {"r2"}
        assert cannot_write(first.membership, "sbc2") == frozenset(), "what it has written may yet come"
        second.nodes.late = []
        await group.beat()
        assert cannot_write(first.membership, "sbc2") == {"r2"}
        ready = [entry["replicas"] for entry in logs if entry["event"] == "in-flight store: ready"]
        assert ready == [["r1"], ["r1", "r2"]]
        assert first.counted("replicas") == 2

    async def test_it_measures_what_is_in_flight(self) -> None:
        first = Replica(nodes=("sbc1", "sbc2"))
        await first.events(suspended(1), suspended(2), suspended(3))
        await first.events(suspended(1), node="sbc2")
        await first.reply(reply(3))
        await first.beat()
        assert first.counted("in_flight", node="sbc1") == 2
        assert first.counted("in_flight", node="sbc2") == 1

    async def test_a_store_that_is_away_is_said_once_and_lived_through(self) -> None:
        first = Replica()
        assert not first.replicas.store_ready
        await first.beat()
        assert first.replicas.store_ready
        first.store.away = True
        with capture_logs() as logs:
            for _ in range(3):
                await first.beat()
        assert not first.replicas.store_ready
        assert first.membership.away
        assert [(entry["event"], entry["log_level"]) for entry in logs] == [
            ("in-flight store: away", "error")
        ]
        first.store.away = False
        await first.beat()
        assert first.replicas.store_ready
        assert not first.membership.away

    async def test_an_answer_that_came_while_the_process_stood_still_is_no_news(self) -> None:
        """The list is old by then, and what is queued may be another's."""
        group = Group("r1", "r2")
        await group.beat()
        first = group["r1"]
        beat = first.store.inner.beat

        async def stopped(state: Beat) -> Any:
            snapshot = await beat(state)
            first.now += 5 * LEASE
            first.trip.tick()
            return snapshot

        first.store.inner.beat = stopped  # type: ignore[assignment, method-assign]
        await first.beat()
        assert not current(first.membership, first.now)
        first.store.inner.beat = beat  # type: ignore[method-assign]
        await first.beat()
        assert current(first.membership, first.now)
        assert first.nodes.forgotten == [NODE]

    async def test_one_that_was_never_there_is_no_news(self) -> None:
        first = Replica()
        first.store.away = True
        with capture_logs() as logs:
            await first.beat()
        assert not first.replicas.store_ready
        assert [entry["event"] for entry in logs] == ["active"]


class TestActive:
    async def test_the_one_that_hashing_prefers_and_the_next_where_it_cannot(self) -> None:
        group = Group("r1", "r2", "r3")
        await group.beat()
        assert group.active() == ["r3"]
        for change, active in (
            (lambda: setattr(group["r3"].broker, "ready", False), "r1"),
            (lambda: group["r1"].drop(NODE), "r2"),
            (lambda: setattr(group["r3"].broker, "ready", True), "r3"),
            (lambda: setattr(group["r3"].roles, "drain", Drain.ENDED), "r2"),
        ):
            change()
            await group.beat()
            assert group.active() == [active]
            shown = {each.name: each.counted("active", node=NODE) for each in group.all}
            assert shown == {name: float(name == active) for name in shown}

    async def test_the_next_once_its_lease_is_over_and_it_again_when_it_is_back(self) -> None:
        group = Group("r1", "r2")
        await group.beat()
        assert group.active() == ["r1"]
        group.move(LEASE)
        await group.beat("r1")
        assert group.active() == ["r1"]
        group.move(0.001)
        await group.beat("r1")
        assert group.active() == ["r2"]
        await group.beat()
        assert group.active() == ["r1"]

    async def test_changes_are_told(self) -> None:
        group = Group("r1", "r2")
        with capture_logs() as logs:
            await group.beat()
            group["r1"].drop(NODE)
            await group.beat()
        told = [(entry["event"], entry.get("instead_of"), entry.get("active")) for entry in logs]
        assert [each for each in told if each[0] in ("active", "standby")] == [
            ("active", None, None),
            ("standby", None, "r2"),
            ("active", "r1", None),
        ]

    @given(
        st.lists(
            st.sampled_from(
                [
                    "move",
                    *(
                        (what, name)
                        for what in ("beat", "die", "return", "broker", "link", "drain")
                        for name in ("r1", "r2", "r3")
                    ),
                ]
            ),
            max_size=40,
        )
    )
    @settings(max_examples=examples(60), deadline=None)
    async def test_never_two_of_those_that_see_the_same_list(self, steps: list[Any]) -> None:
        group = Group("r1", "r2", "r3")
        dead: set[str] = set()
        seen: dict[str, tuple[Any, ...]] = {}

        async def beat(name: str) -> None:
            await group[name].beat()
            able = group[name].roles.of(NODE).can_serve
            others = tuple((each, beat.serves(NODE)) for each, beat in group[name].membership.others.items())
            seen[name] = tuple(sorted([*others, (name, able)]))

        for step in steps:
            match step:
                case "move":
                    group.move(LEASE / 4)
                    for name in ("r1", "r2", "r3"):
                        if name not in dead:
                            await beat(name)
                case ("beat", name) if name not in dead:
                    await beat(name)
                case ("die", name):
                    dead.add(name)
                case ("return", name):
                    dead.discard(name)
                case ("broker", name):
                    group[name].broker.ready = not group[name].broker.ready
                case ("link", name):
                    group[name].links.unsound ^= {NODE}
                case ("drain", name):
                    group[name].roles.drain = Drain.ENDED
            seen = {  # what one can do itself it knows at once
                name: tuple(
                    (each, group[name].roles.of(NODE).can_serve if each == name else able)
                    for each, able in told
                )
                for name, told in seen.items()
            }
            active = [seen[name] for name in group.active() if name not in dead and name in seen]
            assert len(active) == len(set(active))
        await group.beat()
        able = [each.name for each in group.all if each.roles.of(NODE).can_serve]
        assert group.active() == ([choose(NODE, able)] if able else [])


class TestPriority:
    async def test_who_takes_over_consumes_before_all_others(self) -> None:
        group = Group("r1", "r2")
        await group.beat()
        assert group["r1"].nodes.priorities == [(NODE, group["r1"].priority)]
        assert group["r1"].priority > NOW
        assert group["r2"].nodes.priorities == []
        was = group["r1"].priority
        group["r1"].drop(NODE)
        await group.beat()
        assert group["r2"].priority > was
        was = group["r2"].priority
        group["r1"].links.unsound.clear()
        await group.beat()
        assert group["r1"].priority > was
        assert group["r2"].nodes.priorities == [(NODE, was), (NODE, 0)], "it gives way"

    async def test_replicas_that_are_active_for_a_node_each_leave_each_other_alone(self) -> None:
        other = next(f"sbc{n}" for n in range(2, 100) if choose(f"sbc{n}", ["r1", "r2"]) == "r2")
        group = Group("r1", "r2", nodes=(NODE, other))
        await group.beat()
        priorities = [list(each.nodes.priorities) for each in group.all]
        assert (group.active(NODE), group.active(other)) == (["r1"], ["r2"])
        await group.beat(rounds=5)
        assert [each.nodes.priorities for each in group.all] == priorities

    async def test_also_before_one_whose_clock_is_ahead(self) -> None:
        group = Group("r1", "r2")
        group["r2"].now += 3600
        await group["r2"].beat()
        group["r2"].now -= 3600
        await group["r2"].beat()  # which tells what priority it took
        ahead = group["r2"].priority
        await group.beat()
        assert group["r1"].priority > ahead

    async def test_also_where_it_stood_still_and_never_knew_that_another_was(self) -> None:
        """What comes for it would go to the other, and be stuck there if that stood still next."""
        group = Group("r1", "r2")
        await group.beat()
        group.move(LEASE * 2)
        await group.beat("r1")
        assert group["r2"].priority > group["r1"].priority
        group.move(0.1)
        await group.beat()
        assert group.active() == ["r1"]
        assert group["r1"].priority > group["r2"].priority

    async def test_it_is_told_at_once(self) -> None:
        """Else another might take the same: then the broker would spread the replies over both."""
        group = Group("r1", "r2")
        await group["r2"].beat()
        await group["r1"].beat()
        assert group["r1"].priority > group["r2"].priority
        beats = [call[1] for call in group["r2"].store.calls if call[0] == "beat"]
        assert [beat.priority for beat in beats] == [0, group["r2"].priority]
        await group["r2"].beat()
        assert group["r2"].store.called("beat") == 3, "once"
        assert group.active() == ["r1"]

    async def test_a_store_that_goes_just_then_is_told_with_the_next_beat(self) -> None:
        first = Replica()
        count = first.store.inner.count

        async def goes(node: str) -> int:
            first.store.away = True
            return await count(node)

        first.store.inner.count = goes  # type: ignore[method-assign]
        await first.beat()
        first.store.inner.count = count  # type: ignore[method-assign]
        assert first.priority
        assert first.store.called("beat") == 2
        first.store.away = False
        await first.beat()
        assert first.store.calls[-2] == ("beat", first.beats.state)


class TestServes:
    """What the health gate is told."""

    async def test_with_broker_and_store(self) -> None:
        first = Replica()
        assert not first.replicas.serves(NODE), "not before the first beat"
        await first.beat()
        assert first.replicas.serves(NODE)
        first.broker.ready = False
        assert not first.replicas.serves(NODE)
        first.broker.ready = True
        first.roles.drain = Drain.ENDING
        assert not first.replicas.serves(NODE)

    async def test_without_the_store_the_active_one_by_the_last_list(self) -> None:
        group = Group("r1", "r2")
        await group.beat()
        for each in group.all:
            each.store.away = True
        await group.beat()
        assert [each.replicas.serves(NODE) for each in group.all] == [True, False]
        group.move(60.0)
        assert [each.replicas.serves(NODE) for each in group.all] == [True, False]

    async def test_without_a_store_that_was_never_there_who_hears_nobody_else_over_the_bus(self) -> None:
        first = Replica()
        first.membership.bus = True
        first.store.away = True
        first.broker.say = first.beats.on_said  # type: ignore[attr-defined]
        served = []
        for _ in range(8):
            await first.beat()
            first.replicas.tick(first.now)
            served.append(first.replicas.serves(NODE))
            first.now += first.membership.lease / 4
        await first.replicas.stop()
        assert served == [False] * 4 + [True] * 4

    async def test_a_store_that_was_never_there_makes_nobody_ready(self) -> None:
        first = Replica()
        first.store.away = True
        await first.beat()
        assert not first.replicas.serves(NODE)


class TestRun:
    async def run(self, replica: Replica, seconds: float, at: Any = None) -> None:
        """Run for a while of the replica's own clock. ``at``: what happens when."""
        begun = replica.now
        happens = dict(at or {})

        while replica.now < begun + seconds:
            replica.replicas.tick(replica.now)
            while replica.replicas._beat is not None and not replica.replicas._beat.done():
                await asyncio.sleep(0)
            replica.now += SWEEP_INTERVAL
            for when in [when for when in happens if replica.now >= begun + when]:
                happens.pop(when)()

    def beats(self, replica: Replica) -> int:
        return replica.store.called("beat")

    async def test_it_beats_four_times_a_lease(self) -> None:
        first = Replica()
        await self.run(first, 1.0)  # after which its beginning is told
        before = self.beats(first)
        await self.run(first, LEASE * 10)
        assert 36 <= self.beats(first) - before <= 42

    async def test_a_change_is_told_at_once_and_again_while_others_may_change_too(self) -> None:
        first = Replica()
        await self.run(first, 1.0)
        said: list[tuple[float, bool]] = []
        beat = first.store.inner.beat

        async def told(state: Beat) -> Any:
            said.append((round(first.now - began, 3), state.broker))
            return await beat(state)

        first.store.inner.beat = told  # type: ignore[assignment, method-assign]
        began = first.now
        await self.run(first, 1.0, {0.5: lambda: setattr(first.broker, "ready", False)})
        without = [when for when, broker in said if not broker]
        assert 0.5 <= without[0] <= 0.5 + SWEEP_INTERVAL + 0.001
        hurried = [when for when in without if when < without[0] + HURRY - 0.001]
        assert len(hurried) == pytest.approx(HURRY / SWEEP_INTERVAL, abs=1)
        assert len(without) - len(hurried) <= 2, "then as before"

    async def test_one_beat_at_a_time_and_none_after_the_stop(self) -> None:
        first = Replica()
        answers = asyncio.Event()
        beat = first.store.inner.beat

        async def slow(state: Beat) -> Any:
            await answers.wait()
            return await beat(state)

        first.store.inner.beat = slow  # type: ignore[assignment, method-assign]
        for second in range(3):
            first.replicas.tick(float(second))
            await asyncio.sleep(0)
        assert self.beats(first) == 1
        await first.replicas.stop()
        answers.set()
        assert not first.replicas.store_ready
        await Replica().replicas.stop()

    async def test_what_ends_a_beat_is_raised(self) -> None:
        first = Replica()
        first.store.inner.beat = None  # type: ignore[method-assign, assignment]
        first.replicas.tick(0.0)
        await asyncio.sleep(0)
        with pytest.raises(TypeError):
            first.replicas.tick(1.0)


class TestClock:
    """One whose clock is wrong leaves its nodes to one whose clock is not."""

    def pair(self, off: float) -> tuple[Group, Any]:
        """r1, which hashing prefers, could not set its clock when it started, and is off Redis'."""
        group = Group("r1", "r2")
        first = group["r1"]
        clock = Clock(lambda: first.now, lambda: first.now)
        first.clocks._timekeeping = Timekeeping(clock)
        inner = first.store.inner.beat

        async def beat(state: Beat) -> Any:
            snapshot = await inner(state)
            others = {name: replace(each, at=1.0, off=0.01) for name, each in snapshot.beats.items()}
            return snapshot._replace(at=first.now - off, beats=others)

        first.store.inner.beat = beat  # type: ignore[assignment, method-assign]
        return group, first

    async def test_it_leaves_its_nodes_and_says_so(self) -> None:
        group, first = self.pair(30.0)
        with capture_logs() as logs:
            await group.beat(rounds=3)
        assert group.active() == ["r2"]
        assert not first.beats.state.accepting
        (told,) = [entry for entry in logs if entry["event"].startswith("clock wrong")]
        assert told["log_level"] == "error"
        assert abs(told["seconds_ahead"]) > 29

    async def test_where_nobody_else_can_it_goes_on(self) -> None:
        group, _ = self.pair(30.0)
        group["r2"].broker.ready = False
        await group.beat(rounds=3)
        assert group.active() == ["r1"]
        group["r2"].broker.ready = True
        await group.beat(rounds=3)
        assert group.active() == ["r2"]

    async def test_within_a_second_nothing_happens(self) -> None:
        group, _ = self.pair(0.8)
        await group.beat(rounds=3)
        assert group.active() == ["r1"]
