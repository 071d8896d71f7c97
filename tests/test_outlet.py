"""What is written where nothing can be: to a full disk, to a pipe nobody reads, to nobody."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from adapter.outlet import LIMIT, SLOW, Outlet
from tests.harness.process import fill, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def test_what_is_written_comes_out_in_order(pipe: tuple[int, int]) -> None:
    out = Outlet(pipe[1])
    for number in range(1000):
        assert out.write(b"%d\n" % number) == len(b"%d\n" % number)
    assert out.drain(10)
    assert os.read(pipe[0], 1 << 20) == b"".join(b"%d\n" % number for number in range(1000))
    assert (out.lost, out.trouble, out.stuck) == (0, "", False)


def test_a_reader_that_does_not_read_holds_nobody_up(pipe: tuple[int, int]) -> None:
    told: list[tuple[int, str]] = []
    out = Outlet(pipe[1], stuck_after=0.0)
    out.on_lost = lambda *given: told.append(given)
    line = b"x" * 999 + b"\n"
    for _ in range(3 * LIMIT // 1000):
        out.write(line)
    assert out.trouble == SLOW
    lost = out.lost
    assert 2 * LIMIT // 1000 - 100 < lost < 2 * LIMIT // 1000 + 100
    assert not out.drain(0.01)
    assert out.stuck

    def read() -> None:
        while not told:
            os.read(pipe[0], 1 << 20)

    reading = threading.Thread(target=read)
    reading.start()
    wait_until(lambda: told, "it to be told")
    out.write(line)  # the reader may wait for one
    reading.join()
    assert told == [(lost, SLOW)]
    assert out.drain(10)


def test_a_full_disk_is_counted() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    out = Outlet(full)
    for _ in range(3):
        out.write(b"a\nb\n")
    assert out.drain(10)
    assert (out.lost, out.trouble) == (6, "No space left on device")
    os.close(full)


def test_half_a_line_is_ended_before_the_next(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    out, real, room = Outlet(pipe[1]), os.write, [3]

    def write(descriptor: int, data: memoryview) -> int:
        if descriptor != pipe[1] or room[0] < 0:
            return real(descriptor, data)
        if not room[0]:
            room[0] = -1
            raise OSError(28, "No space left on device")
        size, room[0] = room[0], 0
        return real(descriptor, data[:size])

    monkeypatch.setattr(os, "write", write)
    out.write(b"abcdef\n")
    assert out.drain(10)
    out.write(b"next\n")
    assert out.drain(10)
    assert os.read(pipe[0], 100) == b"abc\nnext\n"
    assert out.lost == 1


def test_a_descriptor_that_does_not_block_is_waited_for(pipe: tuple[int, int]) -> None:
    os.set_blocking(pipe[1], False)
    out = Outlet(pipe[1])
    size, found = 200_000, 0
    out.write(b"x" * size)
    while found < size:
        found += len(os.read(pipe[0], 65_536))
    assert out.drain(10)
    assert out.lost == 0


PROGRAM = """
import sys, threading, warnings
from adapter import outlet
outlet.install()
print("printed")
warnings.warn("warned")
threading.Thread(target=lambda: [][0]).start()
class Bad:
    def __del__(self):
        raise ValueError("unraisable")
Bad()
sys.stderr.write("half")
raise SystemExit(7) if sys.argv[1:] else KeyError("uncaught")
"""
ALL = ("warned", "IndexError", "unraisable", "half", "uncaught")


def test_all_that_python_says_goes_through_it() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "printed\n")
    assert [word for word in ALL if word not in done.stderr] == []


@pytest.mark.parametrize("broken", ["full", "gone", "unread", "closed"])
def test_none_of_it_ends_a_process(broken: str, pipe: tuple[int, int], tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, "x"]
    if broken == "closed":
        command = ["sh", "-c", 'exec "$0" "$@" >&- 2>&-', *command]
    if broken == "unread":
        fill(pipe[1])
    to = Path("/dev/full").open("wb") if broken == "full" else os.fdopen(os.dup(pipe[1]), "wb", 0)  # noqa: SIM115
    with to:
        child = subprocess.Popen(command, stdout=to, stderr=to)
        if broken == "gone":
            os.dup2(os.open(os.devnull, os.O_RDONLY), pipe[0])
        assert child.wait(30) == 7
