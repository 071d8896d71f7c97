"""The replicas and consumers of one run, each replica behind a network of its own that can be cut."""

from __future__ import annotations

import contextlib
import random
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

from tests.chaos import service
from tests.chaos.servers import NODE, Kind
from tests.harness.bridge import Bridge, Consumer
from tests.harness.process import HarnessError, wait_until
from tests.harness.proxy import Network

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.chaos.servers import Servers
    from tests.harness.proxy import Proxy

DEADLINE: Final = 3.0
QUEUE: Final = f"evapi.decide.{service.service.name}"
POLICY: Final = """\
[default]
deadline = {deadline}
fallback = {{ action = "reject", code = 480 }}
[limits]
in_flight = {in_flight}
emergency = 0
"""


@dataclass(frozen=True, slots=True)
class Setup:
    """How many there are. ``takes``: seconds of a decision; ``prefetch``: of a consumer."""

    replicas: int = 2
    consumers: int = 2
    takes: float = 0.02
    prefetch: int = 500
    in_flight: int = 10_000


class Replica:
    """One adapter and its ways: ``evapi`` to Kamailio, ``amqp`` to RabbitMQ, ``redis`` to Redis.

    The last two are None where the servers are several, which know themselves by address.
    """

    def __init__(self, name: str, folder: Path, servers: Servers, network: Network, policy: Path) -> None:
        self.name = name
        self.evapi = network.proxy(servers.kamailio.evapi_port)
        self.amqp: Proxy | None = None
        self.redis: Proxy | None = None
        options = {"amqp_url": servers.amqp_url, "redis_url": servers.redis_url, "policy": str(policy)}
        if servers.kind is Kind.ALONE:
            self.amqp = network.proxy(servers.rabbitmq.port)
            self.redis = network.proxy(servers.redis.port)
            options["amqp_url"] = f"amqp://guest:guest@127.0.0.1:{self.amqp.port}/"
            options["redis_url"] = f"redis://127.0.0.1:{self.redis.port}/0"
        env = {"EVAPI_QUEUE_TYPE": "quorum" if servers.quorum else "classic"}
        self.bridge = Bridge(name, folder, {NODE: self.evapi.port}, options, env)

    @property
    def ready(self) -> bool:
        """Whether it says that it is, and Kamailio knows."""
        ready = self.bridge.readiness().get("status") == "ready"
        return ready and self.bridge.metric("evapi_gate_open", node=NODE) == 1

    @property
    def active(self) -> bool:
        """Whether it says that it is the active one."""
        return self.bridge.metric("evapi_active", node=NODE) == 1

    def wait(self) -> None:
        """Return once it is ready."""
        self.bridge.process.wait_until(lambda: self.ready, f"{self.name} to be ready")

    @property
    def faults(self) -> list[str]:
        """What it logged of its own errors, the text of each once."""
        found: dict[str, None] = {}
        log = self.bridge.process.log
        for line in log.read_text(errors="replace").splitlines() if log.exists() else ():
            if ('"level": "error"' in line and '"exception"' in line) or line.startswith("Traceback"):
                found[f"{self.name}: {line[:300]}"] = None
        return list(found)


class World:
    """Started by ``with``. ``rate``: of the calls that it gets; ``seed``: of every choice.

    ``marks``: when what happened, by the epoch's clock. ``leader``: the number of the RabbitMQ node
    that leads the service's queue. ``surged``: ends of calls beyond the usual ones,
    by status.
    """

    def __init__(self, servers: Servers, folder: Path, setup: Setup, rate: float, seed: int) -> None:
        self.servers = servers
        self.folder = folder
        self.rate = rate
        self.setup = setup
        self.marks: dict[str, float] = {}
        self.notes: list[str] = []
        self.random = random.Random(seed)
        self.kamailio_killed: list[float] = []
        self.surged: Counter[int] = Counter()
        self.leader = 0
        self.claimed_at_kill: set[str] = set()
        self._stack = contextlib.ExitStack()
        self._network = self._stack.enter_context(Network())
        policy = folder / "policy.toml"
        policy.write_text(POLICY.format(deadline=DEADLINE, in_flight=setup.in_flight))
        self.replicas = [
            Replica(f"adapter-{number}", folder, servers, self._network, policy)
            for number in range(1, setup.replicas + 1)
        ]
        env = {
            service.TAKES: f"{setup.takes * 1000:.0f}",
            service.PREFETCH: str(setup.prefetch),
            service.QUEUE: "quorum" if servers.quorum else "classic",
        }
        self.consumers = [
            Consumer(f"consumer-{number}", folder, ["tests.chaos.service:service"], servers.amqp_url, env)
            for number in range(1, setup.consumers + 1)
        ]

    def mark(self, what: str) -> None:
        """Remember that this happens now."""
        self.marks[what] = time.time()

    def sleep(self, seconds: float) -> None:
        """Let the calls go on. The length of a fault is what a row is about."""
        time.sleep(seconds)

    @property
    def active(self) -> Replica:
        """The active replica."""
        found: list[Replica] = []

        def one() -> bool:
            found[:] = [
                replica for replica in self.replicas if replica.bridge.process.running and replica.active
            ]
            return len(found) == 1

        wait_until(one, "one active replica", 20)
        return found[0]

    @property
    def standby(self) -> Replica:
        """One that is not active."""
        active = self.active
        return next(replica for replica in self.replicas if replica is not active)

    def claimed(self) -> set[str]:
        """Index and label of what is in flight, by Redis."""
        redis: Any = self.servers.redis
        members = redis.ask("ZRANGE", f"evapi:{{{NODE}}}:deadlines", 0, -1)
        return {member.decode().rpartition(":")[0] for member in members}

    def start_consumers(self) -> None:
        """Start those that do not run, and wait until each consumes."""
        before = {consumer.name: self._consuming(consumer) for consumer in self.consumers}
        started = [consumer for consumer in self.consumers if not consumer.running]
        for consumer in started:
            consumer.start()
        for consumer in started:
            consumer.wait_until(
                lambda c=consumer: self._consuming(c) > before[c.name], f"{consumer.name} to consume"
            )

    @staticmethod
    def _consuming(consumer: Consumer) -> int:
        return consumer.log.read_text().count("consuming") if consumer.log.exists() else 0

    def all_ready(self, timeout: float = 30.0) -> None:
        """Return once every replica is ready and one of them is active."""
        wait_until(
            lambda: all(replica.ready for replica in self.replicas), "every replica to be ready", timeout
        )
        assert self.active

    def recovered(self) -> bool:
        """Wait until all are back to normal with nothing in flight; whether they are. Notes what is not."""
        try:
            self.all_ready(15)
            wait_until(
                lambda: not any(r.bridge.metric("evapi_in_flight", node=NODE) for r in self.replicas),
                "nothing to be in flight",
                8,
            )
        except HarnessError as exc:
            self.notes += [str(exc), *(f"{r.name}: {r.bridge.readiness()}" for r in self.replicas)]
            return False
        return True

    def stale(self) -> list[float]:
        """Seconds past its deadline of each request that reached a consumer too late."""
        found: list[float] = []
        for consumer in self.consumers:
            lines = consumer.log.read_text(errors="replace").splitlines()
            found += [float(line.split()[-1]) for line in lines if line.startswith(service.STALE)]
        return found

    def __enter__(self) -> Self:
        try:
            for replica in self.replicas:
                self._stack.callback(self._stop, replica.bridge.process.stop, replica.bridge.process.resume)
                replica.bridge.process.start()
            for consumer in self.consumers:
                self._stack.callback(self._stop, consumer.stop, consumer.resume)
            self.start_consumers()
            for replica in self.replicas:
                replica.wait()
            self.all_ready()
            if self.servers.quorum:
                self.leader = self.servers.leader(QUEUE)
        except BaseException:
            self._stack.close()
            raise
        return self

    @staticmethod
    def _stop(stop: Callable[[], object], resume: Callable[[], None]) -> None:
        resume()
        stop()

    def __exit__(self, *_: object) -> None:
        self._stack.close()
