"""The watchdog, in processes of its own: which of them it ends, and what they leave to read."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from structlog.testing import capture_logs

from adapter.runtime.watchdog import EXIT_CODE, TICKS, Watchdog
from tests.harness.process import Process, fill, wait_until

if TYPE_CHECKING:
    from pathlib import Path

LIMIT = 0.3
PROGRAM = """
import asyncio, os, re, sys, threading, time
import structlog, uvloop
from adapter.runtime import logs
from adapter.runtime.watchdog import Watchdog

def asleep_in_c():
    time.sleep(60)

def busy_in_python():
    while True:
        pass

def busy_in_c():
    re.match(r"(a*)*b", "a" * 64)  # holds the interpreter's lock, nearly for ever

def stuck_on_stderr():
    while True:
        os.write(2, b"x" * 100_000)

def stuck_in_the_log():
    structlog.configure(processors=[lambda *entry: time.sleep(60)])
    time.sleep(60)

async def main(todo):
    loop = asyncio.get_running_loop()
    dog = Watchdog(loop, %s)
    dog.start()
    threading.Thread(target=time.sleep, args=(60,), name="bystander", daemon=True).start()
    if todo != "turn":
        loop.call_later(0.05, globals()[todo])
    for turn in range(1_000_000):
        print(turn, flush=True)
        await asyncio.sleep(0.02)

logs.configure("json", "info")
with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    runner.run(main(sys.argv[1]))
"""


def command(todo: str) -> list[str]:
    return [sys.executable, "-c", PROGRAM % LIMIT, todo]


def ended(todo: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(todo), capture_output=True, text=True, timeout=50, check=False)


@pytest.mark.parametrize("todo", ["asleep_in_c", "busy_in_python"])
def test_a_loop_that_stands_still_ends_with_the_stack_of_every_thread_in_one_line(todo: str) -> None:
    done = ended(todo)
    assert done.returncode == EXIT_CODE
    (entry,) = map(json.loads, done.stderr.splitlines())
    assert (entry["event"], entry["level"]) == ("the event loop stands still: ended", "critical")
    stacks = {name.partition(" (")[0]: "".join(stack) for name, stack in entry["threads"].items()}
    assert f"in {todo}\n" in stacks["MainThread"]
    assert entry["blocked_by"].startswith(f"{todo} at "), "it is named"
    assert "asyncio.to_thread" in entry["do"]
    assert {"bystander", "watchdog"} <= set(stacks)


def test_c_code_that_holds_the_lock_of_python_is_ended_by_the_kernel() -> None:
    done = ended("busy_in_c")
    assert done.returncode == -signal.SIGPROF
    assert "in busy_in_c\n" in done.stderr
    assert "in _watch\n" in done.stderr


def test_a_log_that_is_stuck_does_not_keep_it_from_ending() -> None:
    done = ended("stuck_in_the_log")
    assert done.returncode == EXIT_CODE
    assert "the event loop stands still" in done.stderr
    assert "in stuck_in_the_log\n" in done.stderr


def test_nor_does_a_stderr_that_nobody_reads() -> None:
    with subprocess.Popen(
        command("stuck_on_stderr"), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as it:
        assert it.wait(50) == EXIT_CODE


def test_nor_does_it_keep_the_kernel_from_ending_c_code() -> None:
    reads, writes = os.pipe()
    fill(writes)
    with subprocess.Popen(command("busy_in_c"), stdout=subprocess.DEVNULL, stderr=writes) as it:
        assert it.wait(50) == -signal.SIGPROF
    os.close(reads)
    os.close(writes)


def turns(process: Process) -> int:
    return len(process.log.read_text().splitlines())


def test_a_process_that_was_stopped_goes_on(tmp_path: Path) -> None:
    with Process("watched", command("turn"), tmp_path) as process:
        for _ in range(2):
            seen = turns(process)
            process.wait_until(lambda: turns(process) > seen, "it to turn")
            process.pause()
            until = time.monotonic() + 2 * LIMIT
            wait_until(lambda: time.monotonic() > until, "the limit to pass twice")
            seen = turns(process)
            process.resume()
            # As many turns as take longer than the limit: whoever counts the time is dead by then.
            process.wait_until(lambda: turns(process) > seen + 3 * LIMIT / 0.02, "it to go on")
        assert process.running


class Loop:
    """One that turns once and never again."""

    def call_later(self, delay: float, role: Any) -> asyncio.TimerHandle | None:
        return None


def test_it_looks_as_often_as_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    codes: list[int] = []

    monkeypatch.setattr(os, "_exit", codes.append)
    dog = Watchdog(Loop(), limit=0.06)  # type: ignore[arg-type]
    looks: list[float] = []
    wait = dog._stopped.wait

    def noted(seconds: float) -> bool:
        looks.append(seconds)
        return wait(seconds)

    monkeypatch.setattr(dog._stopped, "wait", noted)
    with capture_logs() as logs:
        dog.start()
        dog._thread.join()
    dog.stop()
    assert codes == [EXIT_CODE]
    assert looks == [0.01] * (TICKS + 1)
    assert [entry["event"] for entry in logs] == ["the event loop stands still: ended"]


def test_what_cannot_be_logged_is_written(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    freed = threading.Event()
    monkeypatch.setattr(os, "_exit", lambda code: freed.set())
    structlog.configure(processors=[lambda *_: str(freed.wait())])
    before = set(threading.enumerate())
    try:
        Watchdog(Loop(), 1.0, last_words=0.05)._end()  # type: ignore[arg-type]
    finally:
        for thread in set(threading.enumerate()) - before:
            thread.join()  # else the log's would go on in the next test
        structlog.reset_defaults()
    assert "in test_what_cannot_be_logged_is_written\n" in capfd.readouterr().err


async def test_once_it_is_stopped_nothing_is_left_of_it() -> None:
    dog = Watchdog(asyncio.get_running_loop(), limit=1.2)  # of this process: it must not end it
    dog.start()
    seen = dog._turns
    while dog._turns < seen + 3:
        await asyncio.sleep(0.001)
    assert signal.getitimer(signal.ITIMER_PROF)[0] > 0
    dog.stop()
    assert not dog._thread.is_alive()
    assert signal.getitimer(signal.ITIMER_PROF) == (0.0, 0.0)
    assert dog._beat is not None
    assert dog._beat.cancelled()


async def test_one_that_was_never_started_can_be_stopped() -> None:
    Watchdog(asyncio.get_running_loop()).stop()
