"""The replicas and consumers of one run, each replica behind a network of its own that can be cut."""

from __future__ import annotations

import contextlib
import os
import random
import re
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

from tests.chaos import service
from tests.chaos.clocks import Clock
from tests.chaos.replica import Replica
from tests.chaos.servers import NODE
from tests.chaos.tally import Tally
from tests.harness.bridge import Consumer
from tests.harness.process import HarnessError, wait_until
from tests.harness.proxy import Network, Proxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.chaos.servers import Servers

DEADLINE: Final = 3.0
QUEUE: Final = f"evapi.decide.{service.service.name}"
POLICY: Final = """\
[limits]
in_flight = {in_flight}
emergency = 0
[default]
deadline = {deadline}
fallback = {{ action = "reject", code = 480 }}
"""


BATCH: Final = "CHAOS_BATCH"
"""How many requests may be in one message: the environment says it, as it does for the service."""
_STALE: Final = re.compile(rf"^{service.STALE} \S+ (\d+\.\d+)$", re.MULTILINE)
LINKS: Final = 2
"""Replicas that connect to a Kamailio, by default."""


@dataclass(frozen=True, slots=True)
class Setup:
    """How many there are. ``takes``: seconds of a decision; ``prefetch``: of a consumer; ``pad``: bytes
    more of each decision.

    ``names``: what each replica calls its Kamailio, in turn, with commas between several. ``one_name``:
    all replicas are called the same. ``links``: replicas that connect to each node; 0: all. ``odd``:
    names are wrong somewhere, so that it is not known who is to be ready. ``one_address``: all
    replicas find a Kamailio at one address. ``clocked``: replicas and consumers have clocks that can be
    put wrong.
    """

    replicas: int = 2
    consumers: int = 2
    takes: float = 0.02
    prefetch: int = 500
    in_flight: int = 10_000
    pad: int = 0
    names: tuple[str, ...] = (NODE,)
    one_name: bool = False
    links: int = LINKS
    odd: bool = False
    one_address: bool = False
    clocked: bool = False


def _batches() -> str:
    """What a policy says of them; nothing if there are to be none."""
    name, most = service.service.name, int(os.environ.get(BATCH, "1"))
    return f'services = ["{name}"]\n[services.{name}]\nbatch = {most}\n' if most > 1 else ""


class World:
    """Started by ``with``. ``rate``: of the calls that it gets; ``seed``: of every choice.

    ``marks``: when what happened, by the epoch's clock. ``leader``: the number of the RabbitMQ node
    that leads the service's queue. ``surged``: ends of calls beyond the usual ones, by status.
    ``excuses``: from when to when calls were asked that nobody may have been able to answer.
    ``after``: what is still to be healed once the calls are over.
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
        self.kamailio_away: list[float] = []
        """Seconds, of each time that it was."""
        self.surged: Counter[int] = Counter()
        self.leader = 0
        self.claimed_at_kill: set[str] = set()
        self.excuses: list[tuple[float, float]] = []
        self.after: list[Callable[[], object]] = []
        self.tally = Tally()
        self._pinned: Replica | None = None
        self._stack = contextlib.ExitStack()
        self._network = self._stack.enter_context(Network())
        self._ways: dict[int, Proxy] = {}  # the last one made, by Kamailio
        self._policy = folder / "policy.toml"
        self._policy.write_text(POLICY.format(deadline=DEADLINE, in_flight=setup.in_flight) + _batches())
        self.replicas = [self._replica(number) for number in range(setup.replicas)]
        env = {
            service.TAKES: f"{setup.takes * 1000:.0f}",
            service.PREFETCH: str(setup.prefetch),
            service.QUEUE: "quorum" if servers.quorum else "classic",
            service.PAD: str(setup.pad),
        }
        self.consumer_clock = Clock(folder, "consumers") if setup.clocked else None
        if self.consumer_clock is not None:
            env |= self.consumer_clock.env
        self.consumers = [
            Consumer(f"consumer-{number}", folder, ["tests.chaos.service:service"], servers.amqp_url, env)
            for number in range(1, setup.consumers + 1)
        ]

    def _replica(self, number: int) -> Replica:
        setup, name = self.setup, f"adapter-{number + 1}"
        kamailio = number % len(self.servers.kamailios)
        return Replica(
            name,
            self.folder,
            self.servers,
            self._network,
            self._way,
            self._policy,
            told_name="adapter-1" if setup.one_name else name,
            links=setup.links,
            nodes=dict.fromkeys(setup.names[number % len(setup.names)].split(","), kamailio),
            clocked=setup.clocked,
        )

    def _way(self, kamailio: int) -> Proxy:
        """A way to a Kamailio: of its own for each link, unless all are to find one address."""
        if kamailio not in self._ways or not self.setup.one_address:
            port = self.servers.kamailios[kamailio].evapi_port
            self._ways[kamailio] = self._network.proxy(port, self.tally.tap)
        return self._ways[kamailio]

    def add_replica(self) -> Replica:
        """Start one more; it is not waited for."""
        made = self._replica(len(self.replicas))
        self.replicas.append(made)
        self._begin(made)
        return made

    def _begin(self, replica: Replica) -> None:
        process = replica.bridge.process
        self._stack.callback(self._stop, process.stop, process.resume)
        process.start()

    def mark(self, what: str) -> None:
        """Remember that this happens now."""
        self.marks[what] = time.time()

    def sleep(self, seconds: float) -> None:
        """Let the calls go on. The length of a fault is what a row is about."""
        time.sleep(seconds)

    def excuse(self, begin: float, end: float) -> None:
        """Calls that were asked between may have no answer."""
        self.excuses.append((begin, end))

    @contextlib.contextmanager
    def pinned(self) -> Iterator[None]:
        """Let the active replica be the one that is it now, whatever happens."""
        self._pinned = self.active
        try:
            yield
        finally:
            self._pinned = None

    @property
    def active(self) -> Replica:
        """The active replica."""
        if self._pinned is not None:
            return self._pinned
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
                lambda: self._consuming(consumer) > before[consumer.name],
                f"{consumer.name} to consume",
            )

    @staticmethod
    def _consuming(consumer: Consumer) -> int:
        return consumer.log.read_text().count("consuming") if consumer.log.exists() else 0

    def all_ready(self, timeout: float = 30.0) -> None:
        """Return once every replica is ready, as many as can be are linked, and one is active.

        Where names are odd: once every replica answers, and one is ready.
        """
        wanted, enough = (
            (1, 1)
            if self.setup.odd
            else (len(self.replicas), min(self.setup.links or len(self.replicas), len(self.replicas)))
        )

        def settled() -> bool:
            return (
                all(replica.alive for replica in self.replicas)
                and sum(replica.ready for replica in self.replicas) >= wanted
                and sum(replica.linked for replica in self.replicas) >= enough
            )

        wait_until(settled, "every replica to be ready", timeout)
        assert self.setup.odd or self.active

    def recovered(self) -> bool:
        """Wait until all are back to normal with nothing in flight; whether they are. Notes what is not."""
        try:
            self.all_ready(15)
            wait_until(
                lambda: not any(replica.in_flight for replica in self.replicas),
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
            # A consumer that is killed may leave the beginning of a line.
            found += map(float, _STALE.findall(consumer.log.read_text(errors="replace")))
        return found

    def __enter__(self) -> Self:
        try:
            for replica in self.replicas:
                self._begin(replica)
            for consumer in self.consumers:
                self._stack.callback(self._stop, consumer.stop, consumer.resume)
            self.start_consumers()
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
