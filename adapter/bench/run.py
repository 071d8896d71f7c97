"""A measurement from its beginning to its end: what it needs is started, loaded and ended."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from adapter.bench import servers
from adapter.bench.ground import BenchError, Ground, node_names
from adapter.bench.measure import measure
from adapter.bench.names import SERVICE, WAIT
from adapter.errors import SettingsError
from adapter.relay import policy
from adapter.settings import PREFIX, load

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from adapter.bench.load import Load, Result
    from adapter.settings import Settings

SPARE: Final = 2.0
"""Seconds that a decision has beside the time it takes, as by default."""


@dataclass(frozen=True, slots=True)
class Site:
    """What is measured. Without a URL the part is the embedded one. ``batch``: most requests in one message.
    ``settings``: more of the adapter's.
    """

    amqp_url: str | None = None
    redis_url: str | None = None
    nodes: int = 1
    replicas: int = 1
    consumers: int = 1
    batch: int = 1
    settings: Mapping[str, str] = field(default_factory=dict)

    def variables(self, rules: Path) -> dict[str, str]:
        """The environment of its adapters and consumers; ``rules``: the policy, unless they name one."""
        found: dict[str, str] = {}
        if self.amqp_url is None:
            found["consumer"] = "adapter.bench.service:service"
        else:
            found |= {"amqp_url": self.amqp_url, "results_expires": str(servers.EXPIRES)}
        if self.redis_url is not None:
            found |= {"redis_url": self.redis_url, "redis_prefix": servers.REDIS_PREFIX}
        found |= {"policy": str(rules), **self.settings}
        return {f"{PREFIX}{name.upper()}": value for name, value in found.items()}

    def rules(self, deadline: float) -> str:
        """The text of its policy. ``deadline``: seconds of the event whose decision takes time."""
        found = f"[events.{WAIT}]\ndeadline = {deadline}\n"
        if self.batch > 1:
            found += f'\n[default]\nservices = ["{SERVICE}"]\n\n[services.{SERVICE}]\nbatch = {self.batch}\n'
        return found

    def check(self) -> Settings:
        """The settings that its adapters will have. Raises SettingsError where one of them is wrong."""
        if self.replicas > 1 and self.redis_url is None:
            raise SettingsError("--replicas", "several replicas share their calls by Redis: give --redis-url")
        taken = {"nodes", "http", "replica", "log", "consumer", "amqp_url", "redis_url", "redis_prefix"}
        if self.batch > 1 and "policy" in self.settings:
            raise SettingsError("--batch", "the policy that --set policy names says how large batches are")
        for name in taken & set(self.settings):
            raise SettingsError("--set", f"{name} is set by the measurement itself")
        flags: dict[str, Any] = dict(self.settings)
        flags |= {"amqp_url": self.amqp_url, "redis_url": self.redis_url}
        if self.amqp_url is None:
            flags["consumer"] = ("adapter.bench.service:service",)
        nodes = enumerate(node_names(self.nodes), 1)  # where they listen is known once they do
        found = load(nodes=",".join(f"{name}=127.0.0.1:{port}" for port, name in nodes), **flags)
        if found.policy is not None:
            policy.read(found.policy)
        return found

    def about(self) -> dict[str, Any]:
        """For machines."""
        return {
            "broker": "embedded" if self.amqp_url is None else "rabbitmq",
            "store": "embedded" if self.redis_url is None else "redis",
            "nodes": self.nodes,
            "replicas": self.replicas,
            "consumers": 0 if self.amqp_url is None else self.consumers,
            **({"batch": self.batch} if self.batch > 1 else {}),
        }

    def __str__(self) -> str:
        """In words."""
        broker = "embedded broker" if self.amqp_url is None else "RabbitMQ"
        store = "embedded store" if self.redis_url is None else "Redis"
        counts = [_count(self.nodes, "Kamailio"), _count(self.replicas, "adapter")]
        if self.amqp_url is not None:
            counts.append(_count(self.consumers, "consumer"))
        if self.batch > 1:
            counts.append(f"batches of up to {self.batch}")
        return f"{broker}, {store}; {', '.join(counts)}"


def run(
    site: Site,
    loads: Sequence[Load],
    say: Callable[[str], object],
    tell: Callable[[Load, float], object],
    done: Callable[[Result], object],
) -> None:
    """Measure one load after the other.

    ``say`` is told what is done, ``tell`` the load under way and its seconds left, ``done`` what came
    of each. Raises BenchError where one cannot be measured, SettingsError.
    """
    if not Path("/proc/self/stat").exists():
        raise BenchError("CPU and memory are read from /proc: this runs on Linux alone")
    say("looking for RabbitMQ and Redis" if site.amqp_url or site.redis_url else "starting")
    if site.redis_url is not None:
        servers.check_redis(site.redis_url)
    if site.amqp_url is not None:
        servers.prepare_rabbitmq(site.amqp_url, site.nodes)
    try:
        with tempfile.TemporaryDirectory(prefix="evapi-bench-") as folder:
            rules = Path(folder) / "policy.toml"
            longest = max(each.decision for each in loads)
            rules.write_text(site.rules(longest + SPARE))
            say(f"starting: {site}")
            # An embedded broker has its consumer inside.
            consumers = site.consumers if site.amqp_url is not None else 0
            with Ground(
                Path(folder),
                site.nodes,
                site.variables(rules),
                replicas=site.replicas,
                consumers=consumers,
            ) as ground:
                for each in loads:
                    done(measure(ground, each, partial(tell, each)))
    finally:
        if site.amqp_url is not None:
            _clear(site, say)


def _clear(site: Site, say: Callable[[str], object]) -> None:
    assert site.amqp_url is not None
    try:
        servers.clear_rabbitmq(site.amqp_url, site.nodes)
    except BenchError as exc:
        say(f"its queues go by themselves in {servers.EXPIRES:g} s; they could not be deleted: {exc}")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
