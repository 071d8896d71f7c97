"""The processes of a measurement: started, watched, ended by process id."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import random
import select
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Self

from adapter.bench.usage import forget_peak, usage
from adapter.errors import AdapterError
from adapter.settings import PREFIX, Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from adapter.bench.load import Usage

ADAPTER: Final = (sys.executable, "-m", "adapter.cli", "run", "--log", "json,warning")
CONSUMER: Final = (sys.executable, "-m", "consumers", "adapter.bench.service:service")
START: Final = 15.0
"""Seconds that adapter and consumers have until a call is answered."""
STOP: Final = 5.0
"""Seconds that a process has to end, and then it is killed: nothing it holds matters."""
LOOK: Final = 0.2
"""Seconds between two looks at the processes while something is waited for."""
_PR_SET_PDEATHSIG: Final = 1


class BenchError(AdapterError):
    """A measurement could not be made; the text says why."""


class Child:
    """One process. Its output goes to ``log``; of the environment's settings it gets those of ``env``."""

    def __init__(self, name: str, command: Sequence[str], log: Path, env: Mapping[str, str]) -> None:
        self.name = name
        self.log = log
        kept = {key: value for key, value in os.environ.items() if not key.startswith(PREFIX)}
        with log.open("wb") as output:
            self.process = _start(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**kept, **env},
            )

    @property
    def usage(self) -> Usage:
        """What it has used. Raises BenchError where it has ended."""
        try:
            return usage(self.process.pid)
        except OSError:
            raise self.ended() from None

    def ended(self) -> BenchError:
        """What to raise where it has."""
        code = self.process.poll()
        how = "" if code is None else f" with {code}"
        return BenchError(f"{self.name} has ended{how}; it said last:\n{tail(self.log)}")

    def stop(self) -> None:
        """End it."""
        stop([self])


def stop(children: Iterable[Child]) -> None:
    """End them, all at the same time."""
    until = monotonic() + STOP
    for child in children:
        child.process.terminate()
    for child in children:
        try:
            child.process.wait(max(0.0, until - monotonic()))
        except subprocess.TimeoutExpired:
            child.process.kill()
            child.process.wait()


def tail(log: Path, lines: int = 15) -> str:
    """The end of an output."""
    said = log.read_text(errors="replace").splitlines()[-lines:]
    return "\n".join(said) or "(nothing)"


def _start(command: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
    """A process that Ctrl-C in the terminal does not reach, and that ends when this one does."""
    libc = ctypes.CDLL(None)

    def end_with_parent() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)

    return subprocess.Popen(command, process_group=0, preexec_fn=end_with_parent, **options)


def _free_port() -> int:
    """Below those from which the kernel takes the ports of clients: none of these may take it first."""
    while True:
        port = random.randrange(10_240, 32_768)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


class SourceProcess:
    """The simulated Kamailios, see ``source``."""

    def __init__(self, nodes: Sequence[str], log: Path) -> None:
        self._log = log
        self._standby = b""
        with log.open("wb") as output:
            command = [sys.executable, "-m", "adapter.bench.source", *nodes]
            self.process = _start(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=output, bufsize=0
            )
        try:
            self.addresses: dict[str, str] = self.ask({})
        except BaseException:
            self.stop()
            raise

    def ask(self, what: Mapping[str, Any], meanwhile: Callable[[], object] = lambda: None) -> dict[str, Any]:
        """Ask for something; the first line of the answer, as ``hear``."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(what).encode() + b"\n")
        except BrokenPipeError:
            raise self._ended() from None
        return self.hear(meanwhile)

    def hear(self, meanwhile: Callable[[], object] = lambda: None) -> dict[str, Any]:
        """The next line; ``meanwhile`` is called now and then until it comes.

        Raises BenchError where the source has ended.
        """
        assert self.process.stdout is not None
        pipe = self.process.stdout.fileno()
        while b"\n" not in self._standby:
            if not select.select([pipe], [], [], LOOK)[0]:
                meanwhile()
                continue
            data = os.read(pipe, 1 << 16)
            if not data:
                raise self._ended()
            self._standby += data
        line, _, self._standby = self._standby.partition(b"\n")
        found: dict[str, Any] = json.loads(line)
        return found

    def _ended(self) -> BenchError:
        return BenchError(f"the source of calls has ended; it said last:\n{tail(self._log)}")

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


class Ground:
    """What a measurement is made on; use as ``with``.

    ``env``: settings of adapters and consumers, which get none of this process's own. ``adapter``: the
    command of the process that is measured, given the nodes as EVAPI_NODES has them. ``consumer``:
    that of each of the ``consumers``. ``others``: process ids by name whose CPU is told, too.
    """

    def __init__(
        self,
        folder: Path,
        nodes: int,
        env: Mapping[str, str],
        *,
        adapter: Sequence[str] = ADAPTER,
        replicas: int = 1,
        consumers: int = 1,
        consumer: Sequence[str] = CONSUMER,
        others: Mapping[str, int] | None = None,
    ) -> None:
        self._folder = folder
        self._nodes = node_names(nodes)
        self._env = dict(env)
        self._adapter, self._replicas = adapter, replicas
        self._consumer, self._consumers = consumer, consumers
        self._others = dict(others or {})
        self._started = ExitStack()
        self.source: SourceProcess
        self.adapters: list[Child] = []
        self._adapters_ever = 0
        self.consumers: list[Child] = []

    def __enter__(self) -> Self:
        with self._started as started:
            self.source = SourceProcess(self._nodes, self._folder / "source.log")
            started.callback(self.source.stop)
            started.callback(lambda: stop(self._children))
            for number in range(1, self._consumers + 1):
                self.consumers.append(self._child("consumer", number, self._consumer, {}))
            for _ in range(self._replicas):
                self.add_adapter()
            self._until_ready()
            self._started = started.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._started.close()

    @property
    def _children(self) -> list[Child]:
        return [*self.adapters, *self.consumers]

    def _child(self, kind: str, number: int, command: Sequence[str], settings: Mapping[str, str]) -> Child:
        env = {**self._env, **{f"{PREFIX}{name}": value for name, value in settings.items()}}
        return Child(f"{kind} {number}", command, self._folder / f"{kind}-{number}.log", env)

    def _until_ready(self) -> None:
        default = Settings.model_fields["links_per_node"].default
        most = int(self._env.get(f"{PREFIX}LINKS_PER_NODE", default)) or self._replicas
        clients = min(self._replicas, most)
        if self.source.ask({"ready": START, "clients": clients}, self.check)["ready"]:
            return
        said = "".join(f"\n{child.name} said last:\n{tail(child.log)}" for child in self._children)
        raise BenchError(f"no call was answered within {START:g} s.{said}")

    def add_adapter(self) -> None:
        """Start one more."""
        self._adapters_ever += 1
        nodes = ",".join(f"{name}={address}" for name, address in self.source.addresses.items())
        number, http = self._adapters_ever, f"127.0.0.1:{_free_port()}"
        env = {"NODES": nodes, "HTTP": http, "REPLICA": f"bench-{number}"}
        self.adapters.append(self._child("adapter", number, self._adapter, env))

    def take_adapter(self) -> Child:
        """The last one, which is no longer watched: whoever takes it ends it."""
        return self.adapters.pop()

    def check(self) -> None:
        """Raises BenchError where a process has ended."""
        for child in self._children:
            if child.process.poll() is not None:
                raise child.ended()

    def forget_peaks(self) -> None:
        """Begin anew with the most memory that each has had, where Linux allows that."""
        for child in self._children:
            forget_peak(child.process.pid)

    def usages(self) -> dict[str, Usage]:
        """What every process has used, by name. Raises BenchError where one has ended."""
        found = {child.name: child.usage for child in self._children}
        for name, pid in self._others.items():
            try:
                found[name] = usage(pid)
            except OSError:
                raise BenchError(f"{name} has ended") from None
        return found


def node_names(number: int) -> list[str]:
    """What the Kamailios of a measurement are called."""
    return [f"bench{each}" for each in range(1, number + 1)]
