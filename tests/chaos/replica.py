"""One adapter of a world, behind a network of its own that can be cut."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from tests.chaos.clocks import Clock
from tests.chaos.servers import Kind
from tests.harness.bridge import Bridge
from tests.harness.rabbitmq import RabbitServer
from tests.harness.redis import RedisServer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.chaos.servers import Servers
    from tests.harness.proxy import Network, Proxy

TOLD: Final = ("warning", "error", "critical")


class Replica:
    """One adapter and its ways: ``evapi`` to Kamailio, ``amqp`` to RabbitMQ, ``redis`` to Redis.

    The last two are None where the servers are several, which know themselves by address. ``name``: of
    its log; ``told_name``: what it is told to be called. ``links``: replicas that connect to each node.
    ``nodes``: each with the number of the Kamailio that it is, to which ``way`` leads. ``clock`` is None
    unless its clock can be put wrong.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        servers: Servers,
        network: Network,
        way: Callable[[int], Proxy],
        policy: Path,
        *,
        told_name: str,
        links: int,
        nodes: dict[str, int],
        clocked: bool,
    ) -> None:
        self.name = name
        self.nodes = nodes
        self.plain = servers.kind is Kind.PLAIN
        # One each, so that one Kamailio with two names has two addresses, too: the same one is refused.
        ways = {node: way(number) for node, number in nodes.items()}
        self.evapi = ways[min(ways)]
        self.amqp: Proxy | None = None
        self.redis: Proxy | None = None
        options = {"amqp_url": servers.amqp_url, "redis_url": servers.redis_url, "policy": str(policy)}
        options["replica"] = told_name  # the last one counts
        if servers.kind.alone:
            assert isinstance(servers.rabbitmq, RabbitServer)
            assert isinstance(servers.redis, RedisServer)
            self.amqp = network.proxy(servers.rabbitmq.port)
            self.redis = network.proxy(servers.redis.port)
            options["amqp_url"] = self.amqp.amqp_url
            options["redis_url"] = f"redis://127.0.0.1:{self.redis.port}/0"
        self.clock = Clock(folder, name) if clocked else None
        env = {
            "EVAPI_QUEUE_TYPE": "quorum" if servers.quorum else "classic",
            "EVAPI_LINKS_PER_NODE": str(links),
        }
        env |= self.clock.env if self.clock else {}
        ports = {node: way.port for node, way in ways.items()}
        self.bridge = Bridge(name, folder, ports, options, env)

    @property
    def alive(self) -> bool:
        """Whether its process runs and answers by HTTP."""
        return self.bridge.process.running and bool(self.bridge.readiness())

    @property
    def linked(self) -> bool:
        """Whether a Kamailio knows that it is ready or, without the include, reads what it writes."""
        metric = "evapi_link_sound" if self.plain else "evapi_gate_open"
        return any(self.bridge.metric(metric, node=node) == 1 for node in self.nodes)

    @property
    def ready(self) -> bool:
        """Whether it says that it is."""
        return self.bridge.readiness().get("status") == "ready"

    @property
    def active(self) -> bool:
        """Whether it says that it is the active one of a node."""
        return any(self.bridge.metric("evapi_active", node=node) == 1 for node in self.nodes)

    @property
    def in_flight(self) -> float:
        """Calls of its nodes that wait, as it knows."""
        return sum(self.bridge.metric("evapi_in_flight", node=node) for node in self.nodes)

    def wait(self) -> None:
        """Return once it is ready."""
        self.bridge.process.wait_until(lambda: self.ready and self.linked, f"{self.name} to be ready")

    def put_clock(self, off: float) -> None:
        """Put its clock so many seconds ahead."""
        assert self.clock is not None, "this replica was not started with a clock of its own"
        self.clock.put(off)

    @property
    def faults(self) -> list[str]:
        """What it logged of its own errors, the text of each once."""
        found: dict[str, None] = {}
        for line in self._lines():
            if ('"level": "error"' in line and '"exception"' in line) or line.startswith("Traceback"):
                found[f"{self.name}: {line[:300]}"] = None
        return list(found)

    @property
    def told(self) -> list[str]:
        """Its warnings and errors, each text once."""
        found: dict[str, None] = {}
        for line in self._lines():
            entry: dict[str, Any] = json.loads(line) if line.startswith("{") else {}
            if entry.get("level") in TOLD:
                found[str(entry.get("event"))] = None
        return list(found)

    def _lines(self) -> list[str]:
        log = self.bridge.process.log
        return log.read_text(errors="replace").splitlines() if log.exists() else []
