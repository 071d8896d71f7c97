"""The policy may change while calls are under way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from adapter.model.transaction import Transaction
from adapter.relay.policy import KEPT, LivePolicy, Policy, parse, parse_text, read
from adapter.relay.policy_file import PolicyFile
from tests.harness.until import until
from tests.relay_bench import Bench, id_of, suspended

if TYPE_CHECKING:
    from pathlib import Path

OLD = {"action": "reject", "code": 503, "reason": "Old"}
NEW = {"action": "reject", "code": 480, "reason": "New"}


def told(deadline: float, fallback: dict[str, Any]) -> Policy:
    return parse({"default": {"deadline": deadline, "fallback": fallback}})


async def test_calls_under_way_keep_theirs() -> None:
    bench = Bench(told(1.0, OLD))
    await bench.events(suspended(1))
    bench.now += 0.5
    bench.policy.replace(told(2.0, NEW))
    await bench.events(suspended(2))
    bench.now += 0.6
    await bench.trip.expire("sbc1")
    await bench.trip.idle()
    bench.now += 1.5
    await bench.trip.expire("sbc1")
    await bench.trip.idle()
    assert [frame["decision"] for frame in bench.links.frames] == [OLD, NEW]


def test_the_revision_is_that_of_the_plan() -> None:
    now = [5.0]
    live = LivePolicy(parse_text("# old"), lambda: now[0])
    old = live.now.revision
    live.replace(parse_text("# new"))
    claimed = [Transaction(id_of(1), "e", 9.0, at, b"", "r1") for at in (4.0, 6.0)]
    assert [live.revision_of(each) for each in claimed] == [old, live.now.revision]


def test_the_longest_deadline_is_that_of_any_call_under_way() -> None:
    now = [0.0]
    live = LivePolicy(told(9.0, OLD), lambda: now[0])
    live.replace(told(1.0, NEW))
    assert live.longest_deadline == 9.0
    now[0] = KEPT + 1
    live.replace(told(2.0, NEW))
    assert live.longest_deadline == 2.0


class File:
    """A policy's file that is followed."""

    def __init__(self, path: Path, text: str, most: float = 4.0) -> None:
        self.path = path
        path.write_text(text)
        self.counted: list[Policy] = []
        self.follower = PolicyFile(path, read(path), most, self.counted.append)
        self.follower.look()

    def write(self, text: str) -> None:
        """In one step, as Kubernetes does."""
        other = self.path.with_suffix(".new")
        other.write_text(text)
        other.replace(self.path)

    async def looked(self) -> None:
        """Look until the change was read."""
        self.follower._file._next_check = 0.0
        before = len(self.counted), self.follower.problem

        def read_on() -> bool:
            self.follower.look()
            return (len(self.counted), self.follower.problem) != before

        await until(read_on)


@pytest.fixture
def file(tmp_path: Path) -> File:
    return File(tmp_path / "policy.toml", "[default]\ndeadline = 2.0\n")


async def test_a_change_counts(file: File) -> None:
    file.write("[default]\ndeadline = 1.5\n")
    with capture_logs() as logs:
        await file.looked()
    (policy,) = file.counted
    assert policy.plan("any").deadline == 1.5
    assert policy.revision == read(file.path).revision != "built-in"
    assert [entry["event"] for entry in logs] == ["policy: read again"]
    assert file.follower.problem == ""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[default]\ndeadline = 'x'\n", "default.deadline"),
        ("[default\n", "is no TOML"),
        ("[events.a]\ndeadline = 9.0\n", "restart the adapter"),
    ],
)
async def test_a_wrong_one_changes_nothing_and_is_told(file: File, text: str, said: str) -> None:
    file.write(text)
    with capture_logs() as logs:
        await file.looked()
        for _ in range(3):
            file.follower.look()
    assert file.counted == []
    assert said in file.follower.problem
    assert [entry["event"] for entry in logs] == ["policy: not taken"]
    file.write("[default]\ndeadline = 1.0\n")
    await file.looked()
    assert [policy.plan("any").deadline for policy in file.counted] == [1.0]
    assert file.follower.problem == ""


async def test_the_link_of_a_configmap_is_followed(tmp_path: Path) -> None:
    for name, deadline in (("one", 1.0), ("two", 2.0)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "policy.toml").write_text(f"[default]\ndeadline = {deadline}\n")
    (tmp_path / "..data").symlink_to("one")
    (tmp_path / "policy.toml").symlink_to("..data/policy.toml")
    counted: list[Policy] = []
    path = tmp_path / "policy.toml"
    follower = PolicyFile(path, read(path), 4.0, counted.append)
    follower.look()
    (tmp_path / "..next").symlink_to("two")
    (tmp_path / "..next").replace(tmp_path / "..data")
    follower._file._next_check = 0.0

    def taken() -> bool:
        follower.look()
        return bool(counted)

    await until(taken)
    assert counted[0].plan("any").deadline == 2.0


def test_one_that_became_wrong_between_start_and_first_look(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text("")
    follower = PolicyFile(path, read(path), 4.0, lambda policy: None)
    path.write_text("deadline")
    follower.look()
    assert "is no TOML" in follower.problem


def test_the_revision_is_of_the_text(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    revisions = set()
    for text in ("", "[default]\n", "[default]\ndeadline = 2.0\n"):
        path.write_text(text)
        revisions.add(read(path).revision)
    assert len(revisions) == 3
