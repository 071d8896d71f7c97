"""What runs against what: each part of the matrix, by name."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from tests.matrix.roots import SUITES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PYTHONS: Final = {"3.11": "bookworm", "3.12": "trixie", "3.13": "trixie", "3.14": "sid", "3.15": "sid"}
"""Each with the suite whose servers it uses, and which has it itself, unless none has."""
PYTEST: Final = ("-m", "pytest", "-p", "no:cacheprovider")
STORE: Final = (
    "tests/inflight",
    *(f"tests/clusters/test_{name}.py" for name in ("redis_cluster", "sentinel", "stores")),
)
BROKER: Final = ("tests/broker", "tests/amqp", "tests/protocols")
CLUSTER: Final = tuple(
    f"tests/clusters/test_{name}.py" for name in ("rabbitmq", "tls", "client_certificates")
)
OPERATOR: Final = (
    "tests/admin",
    *(f"tests/cli/test_{name}.py" for name in ("doctor", "dead_letters", "topology", "services", "inflight")),
)
MONITORING: Final = ("tests/helm/test_rules.py", "tests/helm/test_scraping.py")
PURE: Final = (
    *("tests/wire", "tests/evapi", "tests/amqp", "tests/consumers", "tests/webhook", "tests/simulator"),
    *("tests/relay", "tests/cluster", "tests/model", "tests/observe"),
    *("tests/test_contract.py", "tests/test_settings.py"),
    *("tests/inflight/test_conformance.py", "tests/broker/test_conformance.py", "tests/bench_tool"),
)
"""What tells most of a Python: all that parses, the loop, both ends of a call, every client library."""


@dataclass(frozen=True)
class Part:
    """One command, the versions it is about, and where it runs.

    Args:
        name: what ``ONLY`` selects it by.
        about: the programs whose versions its row shows.
        suite: the root whose servers it starts.
        words: arguments of Python: a module, or pytest with files.
        told: what ran, in the table.
        alone: it measures times, or puts load on: nothing else may run beside it.
        valkey: Valkey in place of Redis.
        python: the version of Python that runs it; empty: that of this machine's virtual environment.
        env: variables beside those of the environment.
    """

    name: str
    about: tuple[str, ...]
    suite: str
    words: tuple[str, ...]
    told: str
    alone: bool = False
    valkey: bool = False
    python: str = ""
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_pytest(self) -> bool:
        """Return True if it counts its tests."""
        return "pytest" in self.words


def _tests(name: str, about: tuple[str, ...], suite: str, files: tuple[str, ...], **more: Any) -> Part:
    return Part(f"{name}-{suite}", about, suite, (*PYTEST, *files), _shown(files), **more)


def _shown(files: tuple[str, ...]) -> str:
    """The folders that these are of, once each."""
    folders = dict.fromkeys("/".join(name.split("/")[:2]) for name in files)
    return ", ".join(f"`{name}`" for name in folders)


def parts() -> Iterator[Part]:
    """All parts, in the order in which they run and stand in the table."""
    demo = ("-m", "tests.demo")
    every = ("Kamailio", "RabbitMQ", "Redis", "SIPp")
    for suite in SUITES:
        yield _tests("kamailio", ("Kamailio", "SIPp"), suite, ("tests/kamailio",))
    for suite in SUITES:
        yield _tests("rabbitmq", ("RabbitMQ",), suite, BROKER)
    for suite in SUITES:
        yield _tests("clusters", ("RabbitMQ",), suite, CLUSTER)
    for suite in SUITES:
        yield _tests("redis", ("Redis",), suite, STORE)
    for suite in ("trixie", "sid"):
        yield _tests("valkey", ("Valkey",), suite, STORE, valkey=True)
    for suite in SUITES:
        yield _tests("operator", ("RabbitMQ", "Redis", "Kamailio"), suite, OPERATOR)
    for suite in SUITES:
        yield _tests("prometheus", ("Prometheus",), suite, MONITORING)
    for python, suite in PYTHONS.items():
        words = (*PYTEST, *PURE)
        strict = {"PYTHONWARNINGS": "error"}
        yield Part(f"python-{python}", ("Python",), suite, words, "pure tests", python=python, env=strict)
        told = "`make demo`, warnings are errors"
        yield Part(f"demo-python-{python}", ("Python",), suite, demo, told, python=python, env=strict)
    for suite in SUITES:
        yield Part(f"demo-{suite}", every, suite, demo, "`make demo`", alone=True)
        quorum = {"EVAPI_QUEUE_TYPE": "quorum"}
        yield Part(
            f"quorum-{suite}", every, suite, demo, "`make demo`, quorum queues", alone=True, env=quorum
        )
        embedded = (*demo, "--embedded")
        yield Part(f"embedded-{suite}", every[::3], suite, embedded, "`make demo EMBEDDED=1`", alone=True)
    for suite in SUITES:
        yield _tests("system", every, suite, ("tests/system",), alone=True)
