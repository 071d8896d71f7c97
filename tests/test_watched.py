from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

import pytest

from adapter.watched import TableError, Watched
from tests.harness.process import wait_until

if TYPE_CHECKING:
    from pathlib import Path


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise TableError(f"{text!r} is no number", 1, "number") from None


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "number"
    path.write_text("1")
    return path


def replace(path: Path, text: str) -> None:
    """In one step, as users are told to."""
    other = path.with_suffix(".new")
    other.write_text(text)
    other.rename(path)


def test_a_change_is_noticed_after_a_second_and_not_before(path: Path) -> None:
    clock = Clock()
    watched = Watched(path, number, clock=clock)
    assert watched.current() == 1
    replace(path, "2")
    clock.now = 0.9
    assert watched.current() == 1
    clock.now = 1.0
    watched.current()
    wait_until(lambda: watched.current() == 2, "the new number")


def test_the_file_is_read_only_when_it_changes(path: Path) -> None:
    clock = Clock()
    read: list[str] = []

    def parse(text: str) -> str:
        read.append(text)
        return text

    watched = Watched(path, parse, clock=clock)
    for clock.now in range(10):
        assert watched.current() == "1"
    assert read == ["1"]
    replace(path, "3")  # the same size; the inode tells
    clock.now = 11
    watched.current()
    wait_until(lambda: watched.current() == "3", "the new text")
    for clock.now in range(12, 20):
        watched.current()
    assert read == ["1", "3"]


def test_a_broken_file_changes_nothing_and_is_told_once(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    watched = Watched(path, number, clock=clock)
    watched.current()
    replace(path, "two")
    for clock.now in range(1, 4):
        assert watched.current() == 1
        wait_until(lambda: caplog.records, "the error")
        wait_until(lambda: not watched.reading, "the reading")
    assert [record.getMessage() for record in caplog.records] == [
        f"{path}, line 1, column number: 'two' is no number; the one before it still counts"
    ]
    replace(path, "22")
    clock.now = 10
    watched.current()
    wait_until(lambda: watched.current() == 22, "the mended number")


def test_a_file_that_is_gone_changes_nothing_and_is_told_once(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    watched = Watched(path, number, clock=clock)
    watched.current()
    path.unlink()
    for clock.now in range(1, 4):
        assert watched.current() == 1
        wait_until(lambda: caplog.records, "the error")
        wait_until(lambda: not watched.reading, "the reading")
    assert len(caplog.records) == 1
    assert "No such file" in caplog.records[0].getMessage()
    assert caplog.records[0].levelno == logging.ERROR


def test_what_cannot_be_read_at_all_is_told_with_its_name(path: Path) -> None:
    watched = Watched(path, number)
    path.write_bytes(b"\xff")
    with pytest.raises(TableError, match=f"{path} is not UTF-8"):
        watched.load()
    path.unlink()
    with pytest.raises(TableError, match=f"{path} cannot be read"):
        watched.current()
    path.write_text("x")
    with pytest.raises(TableError, match=f"{path}, line 1, column number"):
        watched.current()
    path.write_text("\ufeff7")
    assert watched.current() == 7


def test_a_change_during_the_reading_is_not_missed(path: Path) -> None:
    clock = Clock()

    def parse(text: str) -> int:
        if text == "2":
            path.write_text("3")
            os.utime(path, (5, 5))
        return int(text)

    watched = Watched(path, parse, clock=clock)
    watched.current()
    replace(path, "2")
    clock.now = 1
    watched.current()
    wait_until(lambda: not watched.reading, "the reading")
    clock.now = 2
    watched.current()
    wait_until(lambda: watched.current() == 3, "the last number")
