"""Child processes of a test or demo: started on free ports, waited for, ended by process id."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import signal as signals
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

START_TIMEOUT = 60.0
"""Seconds within which a daemon must be up: RabbitMQ takes 8 on an idle machine."""


def _ports() -> Iterator[int]:
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _SHARES
    room = (32_768 - 10_240) // _SHARES
    begin = random.SystemRandom().randrange(room)  # others may run tests on this machine
    return itertools.cycle(10_240 + worker * room + (begin + at) % room for at in range(room))


_SHARES = 8
_PORTS = _ports()


class HarnessError(Exception):
    """A daemon did not do what it was started for; the text ends with the tail of its log."""


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """A port of 127.0.0.1 that nobody listens on, and that no other test will be given meanwhile.

    Below those from which the kernel takes the ports of clients: a server that is killed finds its
    port free when it starts again. No port is given twice before all others of this process were, and
    those that run tests side by side have ports of their own: seconds pass until a server has its own.
    """
    for port in _PORTS:
        with socket.socket(socket.AF_INET, kind) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue  # taken: another one
            return port
    raise AssertionError


def wait_until(condition: Callable[[], object], what: str, timeout: float = START_TIMEOUT) -> None:
    """Return once the condition holds. Raises HarnessError where it does not in time."""
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            raise HarnessError(f"waited {timeout:.0f} s in vain for {what}")
        time.sleep(0.02)


def listening(port: int) -> bool:
    """Whether a TCP connection to 127.0.0.1:port is taken."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def fill(pipe: int) -> None:
    """Write to a pipe until nothing more goes in."""
    os.set_blocking(pipe, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(pipe, b"x" * 4096)
    os.set_blocking(pipe, True)


def _all_stopped(group: int) -> bool:
    for stat in Path("/proc").glob("[0-9]*/task/*/stat"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            state, _, found, *_ = stat.read_text().rpartition(")")[2].split()
            if int(found) == group and state not in "TZ":
                return False
    return True


class Process:
    """One child, its output in ``<folder>/<name>.log``. Use as a context manager or call stop()."""

    def __init__(
        self, name: str, command: Sequence[str], folder: Path, env: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self._command = list(command)
        self._env = {**os.environ, **(env or {})}
        self._child: subprocess.Popen[bytes] | None = None
        self.output: int | None = None
        """A descriptor for its stdout and stderr, in place of the log."""

    def start(self) -> None:
        """Start it (again); the log is appended to."""
        with self.log.open("ab") as log:
            self._child = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log if self.output is None else self.output,
                stderr=subprocess.STDOUT,
                env=self._env,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._child is not None, "not started"
        return self._child.pid

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._child is not None and self._child.poll() is None

    def wait_until(self, condition: Callable[[], object], what: str, timeout: float = START_TIMEOUT) -> None:
        """As the function of this name, but also over when the child ends; the error quotes the log."""

        def over() -> bool:
            if not self.running:
                raise HarnessError(f"{self.name} ended while waited for {what}\n{self.tail()}")
            return bool(condition())

        try:
            wait_until(over, what, timeout)
        except HarnessError as exc:
            raise HarnessError(f"{exc}\n{self.tail()}") from None

    def signal(self, number: signals.Signals) -> None:
        """Send a signal to the child alone."""
        os.kill(self.pid, number)

    def pause(self) -> None:
        """Stand still, with all of its process group; returns once every thread does."""
        os.killpg(self.pid, signals.SIGSTOP)
        # A thread that runs on another core goes on for a moment after the signal.
        wait_until(lambda: _all_stopped(self.pid), f"{self.name} to stand still")

    def resume(self) -> None:
        """Undo ``pause``."""
        if self.running:
            os.killpg(self.pid, signals.SIGCONT)

    def stop(self, how: signals.Signals = signals.SIGTERM, timeout: float = 20.0) -> int:
        """End it, and after ``timeout`` seconds its whole process group by force. Gives the exit code."""
        if self._child is None:
            return 0
        if self.running:
            self.signal(how)
        try:
            code = self._child.wait(timeout)
        except subprocess.TimeoutExpired:
            code = -signals.SIGKILL
        with contextlib.suppress(ProcessLookupError):  # the usual case: nobody of the group is left
            os.killpg(self._child.pid, signals.SIGKILL)
        self._child.wait()
        return code

    def kill(self) -> None:
        """End it as a crash would."""
        self.stop(signals.SIGKILL)

    def tail(self, lines: int = 30) -> str:
        """The end of its output."""
        if not self.log.exists():
            return "(no output)"
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def __enter__(self) -> Process:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
