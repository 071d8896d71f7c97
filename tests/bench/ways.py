"""The ways to let a service decide a call, each with a Kamailio of its own, started and stopped."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench.service import TAKES
from tests.harness.bridge import Bridge, Consumer
from tests.harness.kamailio import KamailioServer, modules_folder
from tests.harness.process import Process, free_port, listening
from tests.harness.rabbitmq import RabbitServer
from tests.harness.redis import RedisServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

SIP_WORKERS = 4
SHARED_MEMORY = 1024
"""MB: for all the calls of a run, should none end before the last begins."""
HERE = Path(__file__).parent
SERVICE = "tests.bench.service:service"
QUEUE = "bench"
MODULES = {
    "http_client": ("http_client.so", "kamailio-utils-modules"),
    "rabbitmq": ("rabbitmq.so", "kamailio-rabbitmq-modules"),
}
"""What a way needs beside what the tests need: Kamailio's module, and Debian's package of it."""


@dataclass
class Servers:
    """RabbitMQ and Redis, started when they are first asked for; ``started`` ends them."""

    folder: Path
    started: contextlib.ExitStack
    _rabbitmq: RabbitServer | None = field(default=None, init=False)
    _redis: RedisServer | None = field(default=None, init=False)

    @property
    def rabbitmq(self) -> RabbitServer:
        """The RabbitMQ of all measurements."""
        if self._rabbitmq is None:
            self._rabbitmq = self.started.enter_context(RabbitServer(self.folder))
        return self._rabbitmq

    @property
    def redis(self) -> RedisServer:
        """The Redis of all measurements."""
        if self._redis is None:
            self._redis = self.started.enter_context(RedisServer(self.folder))
        return self._redis


@dataclass
class Ground:
    """What one measurement is made on: an empty folder, the decision's time, and the servers.

    RabbitMQ and Redis serve all measurements, which get a ``node`` each so that none sees what
    the one before it left behind. Everything else is started anew.
    """

    folder: Path
    decision_ms: int
    node: str
    servers: Servers

    @property
    def env(self) -> dict[str, str]:
        """The environment of the service."""
        return {TAKES: str(self.decision_ms)}

    def kamailio(self, cfg: Path | str, defines: Mapping[str, str] | None = None) -> KamailioServer:
        """One with as many SIP workers as each way gets."""
        return KamailioServer(self.folder, cfg, defines, workers=SIP_WORKERS, shared_memory=SHARED_MEMORY)


@contextlib.contextmanager
def http_client(ground: Ground) -> Iterator[int]:
    """Kamailio's module http_client asks an aiohttp server."""
    port = free_port()
    command = [sys.executable, "-m", "tests.bench.http_service", str(port)]
    url = {"SERVICE_URL": f'"http://127.0.0.1:{port}/"'}
    with Process("service", command, ground.folder, ground.env) as service:
        service.wait_until(lambda: listening(port), "the HTTP service")
        with ground.kamailio(HERE / "http_client.cfg", url) as kamailio:
            yield kamailio.sip_port


@contextlib.contextmanager
def rabbitmq(ground: Ground) -> Iterator[int]:
    """Kamailio's module rabbitmq asks a consumer and waits for its reply."""
    url = ground.servers.rabbitmq.url
    command = [sys.executable, "-m", "tests.bench.rabbitmq_service", url, QUEUE]
    # The module takes the path for the virtual host's name, which is "/".
    defines = {"SERVICE_URL": f'"{url}%2F"', "SERVICE_QUEUE": f'"{QUEUE}"'}
    with Process("service", command, ground.folder, ground.env) as service:
        service.wait_until(lambda: "consuming" in service.tail(), "the consumer")
        with ground.kamailio(HERE / "rabbitmq_module.cfg", defines) as kamailio:
            yield kamailio.sip_port


@contextlib.contextmanager
def adapter(ground: Ground) -> Iterator[int]:
    """One adapter, RabbitMQ, Redis, and one consumer process."""
    servers = ground.servers
    urls = {"amqp_url": servers.rabbitmq.url, "redis_url": servers.redis.url}
    with Consumer("service", ground.folder, [SERVICE], servers.rabbitmq.url, ground.env) as service:
        service.wait_until(lambda: "consuming" in service.tail(), "the consumer")
        with bridged(ground, urls) as port:
            yield port


@contextlib.contextmanager
def embedded(ground: Ground) -> Iterator[int]:
    """One adapter with the service inside; neither RabbitMQ nor Redis."""
    with bridged(ground, {"consumer": SERVICE}) as port:
        yield port


@contextlib.contextmanager
def bridged(ground: Ground, options: Mapping[str, str]) -> Iterator[int]:
    """Kamailio with the include, and an adapter that it relies on."""
    with ground.kamailio("kamailio.cfg") as kamailio:
        nodes = {ground.node: kamailio.evapi_port}
        with Bridge("adapter", ground.folder, nodes, options, ground.env) as bridge:
            bridge.wait_for_gate()
            yield kamailio.sip_port


WAYS: dict[str, Callable[[Ground], contextlib.AbstractContextManager[int]]] = {
    "http_client": http_client,
    "rabbitmq": rabbitmq,
    "adapter": adapter,
    "embedded": embedded,
}
"""By name, in the order of the table. Each gives the SIP port to call."""

TITLES = {
    "http_client": "`http_client` module",
    "rabbitmq": "`rabbitmq` module",
    "adapter": "evapi-adapter",
    "embedded": "evapi-adapter, embedded",
}


def missing(ways: Sequence[str]) -> dict[str, str]:
    """Kamailio modules that these ways need and this machine lacks, with Debian's package of each.

    Raises HarnessError where there is no Kamailio at all.
    """
    folder = modules_folder()
    needed = [MODULES[way] for way in ways if way in MODULES]
    return {module: package for module, package in needed if not (folder / module).exists()}
