"""What the figures are measured on: private servers, and one ground after the other on them."""

from __future__ import annotations

import contextlib
import datetime
import importlib.metadata
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pika

from adapter import contract
from adapter.bench.ground import Ground
from adapter.bench.measure import measure
from tests.bench.fan_services import NAMES
from tests.bench.ways import Servers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from adapter.bench.load import Load, Result

OURS: Final = "adapter"
PLAIN: Final = "plain"
EMBEDDED: Final = "embedded"
PLAIN_COMMAND: Final = (sys.executable, "-m", "tests.bench.plain_bridge")
SERVICE: Final = "adapter.bench.service:service"
LATE: Final = 5_000
"""Microseconds by which one of 100 calls may begin late before that is worth a word."""
MOST_NODES: Final = 20
LONG_POLICY: Final = "[default]\ndeadline = 30.0\n\n[limits]\nin_flight = 50000\n"
"""For decisions that take long, and many of them at a time."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How thoroughly is measured. ``seconds`` of each load, ``repeats`` of each where loads are compared."""

    seconds: float = 8.0
    warm_up: float = 2.0
    repeats: int = 3
    quick: bool = False
    soak: float = 30.0  # minutes


QUICK: Final = Effort(seconds=2.0, warm_up=1.0, repeats=1, quick=True)


class Stage:
    """The servers, and the grounds made on them, one at a time. ``started`` ends the servers."""

    def __init__(
        self, folder: Path, started: contextlib.ExitStack, say: Callable[[str], object] = lambda _: None
    ) -> None:
        self.folder = folder
        self.say = say
        self.servers = Servers(folder, started)
        self._numbers = count(1)

    def own(self, name: str) -> Path:
        """An empty folder."""
        folder = self.folder / f"{next(self._numbers)}-{name}"
        folder.mkdir()
        return folder

    @contextlib.contextmanager
    def ground(
        self, who: str = OURS, *, nodes: int = 1, policy: str = "", **options: Any
    ) -> Iterator[Ground]:
        """One that nothing was done on before. Raises BenchError where it does not come to life.

        ``who``: OURS, PLAIN or EMBEDDED; ``policy``: its text; ``options`` as Ground has them.
        """
        folder = self.own(who)
        if who == EMBEDDED:
            env, options["consumers"] = {"EVAPI_CONSUMER": SERVICE}, 0
        else:
            servers = self.servers
            self._clean()
            env = {"EVAPI_AMQP_URL": servers.rabbitmq.url, "EVAPI_REDIS_URL": servers.redis.url}
            options["others"] = {"RabbitMQ": servers.rabbitmq.pid, "Redis": servers.redis._process.pid}
        if who == PLAIN:
            options["adapter"] = PLAIN_COMMAND
        if policy:
            file = folder / "policy.toml"
            file.write_text(policy)
            env["EVAPI_POLICY"] = str(file)
        with Ground(folder, nodes, env, **options) as ground:
            yield ground

    def measure(self, ground: Ground, load: Load, what: str) -> Result:
        """Put a ground under a load, and say what came of it. Raises BenchError."""
        found = measure(ground, load)
        behind = f"; the source was late by {found.lag.p99 / 1000:.1f} ms" if found.lag.p99 > LATE else ""
        cpu = ", ".join(f"{name} {value:.0f}" for name, value in found.cpu.items())
        self.say(
            f"  {what}: {found.throughput:,.0f}/s, {found.decided:.1%} decided, added p50 / p99 "
            f"{found.added.p50 / 1000:.1f} / {found.added.p99 / 1000:.1f} ms; us per call: {cpu}{behind}"
        )
        return found

    def _clean(self) -> None:
        """Forget what the ground before this one left in the servers."""
        nodes = [f"bench{number}" for number in range(1, MOST_NODES + 1)]
        names = [contract.service_queue(each) for each in ("bench", *NAMES)]
        names += [kind(node) for node in nodes for kind in (contract.results_queue, contract.commands_queue)]
        with contextlib.closing(
            pika.BlockingConnection(pika.URLParameters(self.servers.rabbitmq.url))
        ) as bus:
            channel = bus.channel()
            for name in names:
                channel.queue_delete(name)  # one that is not there is as good as deleted
        self.servers.redis.ask("FLUSHALL")


def preface(command: str, stage: Stage, load: float) -> str:
    """By what command, on what machine, with what versions the figures were taken."""
    packages = ("uvloop", "aio-pika", "aiormq", "redis", "hiredis", "msgpack")
    versions = [f"Python {platform.python_version()}"]
    versions += [f"RabbitMQ {stage.servers.rabbitmq.ctl('version').strip()}"]
    versions += [
        _version("redis-server", "--version", "Redis", "v="),
        _version("kamailio", "-v", "Kamailio", "kamailio "),
    ]
    versions += [f"{name} {importlib.metadata.version(name)}" for name in packages]
    cores = len(os.sched_getaffinity(0))
    day = datetime.datetime.now(datetime.UTC).date()
    return (
        f"`{command}`, {day}, on {cores} cores of {cpu_model()}, which also run the source of calls, "
        f"RabbitMQ, Redis and the consumers; load average before it {load:.2f}. {', '.join(versions)}."
    )


def cpu_model(info: Path = Path("/proc/cpuinfo")) -> str:
    """The name of the machine's processor."""
    for line in info.read_text().splitlines() if info.exists() else ():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return platform.machine()


def _version(program: str, option: str, name: str, before: str) -> str:
    try:
        told = subprocess.run([program, option], capture_output=True, text=True, check=False).stdout
    except OSError:
        return f"no {name}"
    words = told.partition(before)[2].split()
    return f"{name} {words[0]}" if words else f"{name} of unknown version"
