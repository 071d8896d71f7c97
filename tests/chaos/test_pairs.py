"""Pairs of faults: drawn by seed and number, and what they excuse."""

from __future__ import annotations

import shlex
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from adapter.cluster.role import STANDBY_DELAY
from tests.chaos import __main__ as command
from tests.chaos import jobs, pairs, run
from tests.chaos.clocks import LIBRARY, Clock, library
from tests.chaos.faults_together import TAKES_OVER
from tests.chaos.ingredients import INGREDIENTS, Ingredient
from tests.chaos.report import Report
from tests.chaos.row import served_from, told
from tests.chaos.rows import ROWS
from tests.chaos.run import Load
from tests.chaos.servers import Kind
from tests.chaos.testimony import asked, logged, resumed
from tests.chaos.world import DEADLINE
from tests.harness.process import HarnessError

if TYPE_CHECKING:
    from pathlib import Path

BY_NAME = {each.name: each for each in INGREDIENTS}


def test_a_pair_is_known_by_its_seed_and_number() -> None:
    first = [pairs.draw(7, number) for number in range(60)]
    assert first == [pairs.draw(7, number) for number in range(60)]
    assert first != [pairs.draw(8, number) for number in range(60)]
    assert {kind for kind, _ in first} == {Kind.CLOCKS, Kind.PLAIN}
    for kind, pair in first:
        assert pair.outer.of != pair.inner.of
        assert 0 <= pair.begins < pair.ends <= pair.lasts
        assert kind is Kind.CLOCKS or not (pair.outer.clocked or pair.inner.clocked)
    assert {True, False} == {bool(pair.begins) for _, pair in first}
    assert {each for _, pair in first for each in (pair.outer.name, pair.inner.name)} == set(BY_NAME)


def spans(*found: tuple[str, float, float]) -> list[tuple[Ingredient, float, float]]:
    return [(BY_NAME[name], begin, end) for name, begin, end in found]


def test_two_faults_that_leave_somebody_excuse_nothing() -> None:
    for first, second in (
        ("SIGKILL active", "RabbitMQ killed"),
        ("SIGKILL active", "standby cut off from RabbitMQ"),
        ("Redis killed", "RabbitMQ hangs"),
        ("Redis killed", "active cut off from RabbitMQ"),
        ("active cut off from Redis", "standby cut off from RabbitMQ"),
        ("Kamailio killed", "SIGKILL active"),
        ("clock of active +30 s", "SIGKILL standby"),
    ):
        assert pairs.excuses(spans((first, 100, 105), (second, 101, 103))) == []


def test_both_replicas_gone_excuse_until_one_is_back() -> None:
    found = pairs.excuses(spans(("SIGKILL active", 100, 105), ("standby cut off from Kamailio", 101, 103)))
    assert found == [(101 - DEADLINE, 103 + pairs.STARTS)]


def test_without_the_include_a_node_that_changes_hands_while_redis_forgets_excuses_silence() -> None:
    both = spans(("SIGSTOP standby", 100, 105), ("Redis emptied", 101, 103))
    assert pairs.excuses(both, plain=True) == [
        (100 - DEADLINE, 101 + TAKES_OVER),
        (105 - STANDBY_DELAY, 105 + TAKES_OVER),
    ]
    mute = spans(("active cut off from RabbitMQ", 100, 105), ("Redis emptied", 103, 104))
    assert pairs.excuses(mute, plain=True) == [(105 - STANDBY_DELAY, 105 + TAKES_OVER)]
    assert pairs.excuses(mute) == []
    hangs = spans(("active cut off from RabbitMQ", 100, 105), ("Redis hangs", 101, 104))
    assert pairs.excuses(hangs, plain=True) == []


def test_without_the_include_redis_and_rabbitmq_both_gone_excuse_silence() -> None:
    both = spans(("RabbitMQ killed", 100, 105), ("Redis hangs", 101, 103))
    assert pairs.excuses(both, plain=True) == [(101 - STANDBY_DELAY, 103 + TAKES_OVER)]
    one = spans(("active cut off from Redis", 100, 105), ("RabbitMQ killed", 101, 105))
    assert pairs.excuses(one, plain=True) == [(101 - STANDBY_DELAY, 105 + TAKES_OVER)]
    apart = spans(("RabbitMQ killed", 100, 102), ("Redis hangs", 103, 104))
    assert pairs.excuses(apart, plain=True) == []


def test_without_the_include_one_with_redis_and_one_with_rabbitmq_excuse_until_that_one_claims() -> None:
    found = spans(("active cut off from RabbitMQ", 100, 105), ("standby cut off from Redis", 101, 103))
    assert pairs.excuses(found, plain=True) == [(101 - STANDBY_DELAY, 101 + TAKES_OVER)]
    assert pairs.excuses(found) == []


@pytest.mark.parametrize("broker", ["RabbitMQ hangs", "active cut off from RabbitMQ"])
def test_without_the_include_one_that_goes_with_rabbitmq_excuses_until_that_is_back(broker: str) -> None:
    found = spans((broker, 100, 105), ("SIGKILL standby", 101, 103))
    assert pairs.excuses(found, plain=True) == [(101 - STANDBY_DELAY, 105 + TAKES_OVER)]
    assert pairs.excuses(found) == []
    later = spans((broker, 100, 107), ("SIGKILL standby", 103, 105))
    assert pairs.excuses(later, plain=True) == [], (
        "it had told by then that it has no RabbitMQ, or taken over"
    )
    there = spans((broker, 100, 105), ("standby cut off from Kamailio", 101, 103))
    assert pairs.excuses(there, plain=True) == []


@pytest.mark.parametrize("store", ["Redis killed", "Redis emptied", "standby cut off from Redis"])
def test_a_replica_that_goes_without_a_store_excuses_until_the_other_answers(store: str) -> None:
    first = pairs.excuses(spans((store, 100, 107), ("SIGKILL active", 102, 104)))
    assert first == [(100 - DEADLINE, 102 + TAKES_OVER)]
    later = pairs.excuses(spans(("SIGKILL active", 100, 107), (store, 101, 104)))
    assert later == [(100 - DEADLINE, 101 + TAKES_OVER)]
    assert pairs.excuses(spans(("SIGKILL active", 100, 107), (store, 103, 104))) == []  # taken over by then


def test_only_what_was_asked_meanwhile_is_excused() -> None:
    found = logged(asked("a@h", 99, "1:1"), asked("b@h", 101, "2:2"), asked("c@h", 104, "3:3"))
    world: Any = SimpleNamespace(excuses=[(100, 103)], kamailio_killed=[])
    report = Report(found, {})
    report.excused = run._excused(world, report)
    assert [call.key for call in report.unanswered] == ["1:1", "3:3"]
    assert report.lost == 1


def listed(*arguments: str) -> list[jobs.Job]:
    options = command.parser().parse_args(arguments)
    return jobs.listed(options, Load(options.rate, options.seconds, options.at), options.seed or 5, print)


def test_what_runs_a_job_again_runs_that_job() -> None:
    every = [*listed("--pairs", "3", "--random", "60"), *listed("--pair", "9", "--seed", "5")]
    assert [job.name for job in every[: len(ROWS)]] == [row.name for row in ROWS]
    for job in every:
        arguments = shlex.split(job.again)[3:]
        assert [(each.name, each.kind, each.again) for each in listed(*arguments)] == [
            (job.name, job.kind, job.again)
        ]


def test_rows_are_chosen_by_a_part_of_their_name_or_the_whole() -> None:
    assert [job.name for job in listed("--row", "nothing")] == ["nothing"]
    assert len(listed("--only", "Redis away")) == 3
    assert [job.name for job in listed("--no-rows", "--pairs", "1")] == [pairs.row(5, 0).name]
    assert len({row.name for row in ROWS}) == len(ROWS)


def test_the_long_form_goes_on_for_its_time() -> None:
    found = {kind: next(made) for kind, made in jobs.endless(60, 200, 3, print)}
    assert set(found) == set(jobs.LONG)
    assert all(job.kind is kind for kind, job in found.items())
    assert [list(made) for _, made in jobs.endless(0, 200, 3, print)] == [[], [], []]


def test_bounds_that_look_at_when_and_at_words() -> None:
    found = logged(
        asked("a@h", 100, "1:1"),
        resumed("a@h", 100.5, "timeout", key="1:1"),
        asked("b@h", 101, "2:2"),
        "witness local b@h 2:2 101.000000",
        asked("c@h", 105, "3:3"),
    )
    report = Report(found, {"started": 99, "back": 104}, told=["two Kamailios are called sbc1"])
    assert report.by_adapter == pytest.approx(1 / 3)
    assert served_from("started", 0.5)(report) is None
    assert served_from("started", 0.9)(report) == "answered by adapters from started on: 50.0% < 90%"
    assert told("are called", "name")(report) is None
    assert told("nothing")(report) == "not told (nothing)"


def test_a_clock_is_put_wrong_by_a_file(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="apt-get install faketime"):
        library(tmp_path)
    place = tmp_path / LIBRARY.replace("*", "here")
    place.parent.mkdir(parents=True)
    place.touch()
    assert library(tmp_path) == place
    clock = Clock(tmp_path, "one")
    file = tmp_path / "one.clock"
    for off, text in ((0, "+0"), (30, "+30"), (-3, "-3")):
        clock.put(off)
        assert (file.read_text(), clock.off) == (f"{text}\n", off)
