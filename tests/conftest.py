"""Real servers for the tests: one of each kind for a session, started when first asked for."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from hypothesis import settings

from tests.harness.examples import examples
from tests.harness.logs_kept import logs_kept
from tests.harness.proxy import Network, Proxy
from tests.harness.rabbitmq import SPEAKS, RabbitServer
from tests.harness.redis import RedisServer
from tests.harness.shared_time import SharedTime
from tests.unit import is_unit

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

# A suite that several test modules take in: its asserts tell as much as theirs.
pytest.register_assert_rewrite("tests.inflight.conformance", "tests.inflight.conformance_time")

# How long an example takes is a matter of what else the machine does, not of the code.
settings.register_profile("evapi-adapter", deadline=None, max_examples=examples(50))
settings.load_profile("evapi-adapter")

# As the adapter's own logs have them. By default rich draws each traceback, and takes half a second for it.
structlog.dev.ConsoleRenderer.get_active().exception_formatter = structlog.dev.plain_traceback

# A shell lets what it starts in the background ignore Ctrl-C, and so would all that we start. We go on
# to ignore it, by a handler: with one, what is started has the default again.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, lambda *_: None)

FIRST = (
    "tests/image/test_image.py",
    "tests/matrix/test_newer.py",
    "tests/clusters/test_rabbitmq.py",
    "tests/test_security.py",
    "tests/helm/test_release.py",
    "tests/cli/test_inflight.py",
    "tests/cli/test_check.py",
    "tests/system/",
    "tests/bench_tool/test_command.py",
    "tests/admin/test_doctor.py",
    "tests/kamailio/test_lint_reading.py",
    "tests/bench_tool/",
    "tests/helm/test_rendering.py",
    "tests/cli/",
    "tests/clusters/",
    "tests/inflight/test_failover_interleavings.py",
)
"""What takes longest: it begins first, so that nothing long is left for the end of a run side by side."""


_configure = structlog.configure


def _configure_for_now(**kept: Any) -> None:
    """Else a logger that is used once while a test has set logs up is as that for all tests after it."""
    _configure(**{**kept, "cache_logger_on_first_use": False})


structlog.configure = _configure_for_now  # type: ignore[assignment]


def pytest_configure(config: pytest.Config) -> None:
    """Give servers that many tests share time of their own to start."""
    config.pluginmanager.register(SharedTime())


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--unit``: what needs no server."""
    parser.addoption(
        "--unit", action="store_true", help="only the tests that need no server and no Debian package"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what needs a server if that is asked for. Put what takes long before the rest; else the
    order stays.
    """
    if config.getoption("unit"):
        left_out = [item for item in items if not is_unit(item)]
        items[:] = [item for item in items if is_unit(item)]
        config.hook.pytest_deselected(items=left_out)

    def place(item: pytest.Item) -> int:
        return next((at for at, name in enumerate(FIRST) if item.nodeid.startswith(name)), len(FIRST))

    items.sort(key=place)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Generator[None, object, object]:
    """Have each test leave logging as it was: else what the next ones log at level debug is lost."""
    with logs_kept():
        return (yield)


@pytest.fixture
def patient_doctor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have doctor wait longer for answers than an operator would: a busy server is not one that is silent."""
    for module, names in (
        ("doctor", ("LIMIT", "WHOLE", "SILENCE", "MANAGEMENT")),
        ("checks_rabbit", ("CONNECT",)),
        ("checks_redis", ("TIMEOUT",)),
        ("checks_http", ("TIMEOUT",)),
    ):
        for name in names:
            monkeypatch.setattr(f"adapter.admin.{module}.{name}", 20.0)


@pytest.fixture(scope="session")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitServer]:
    """One RabbitMQ for the session, which speaks all that it can.

    A test that breaks it puts it right again, or takes its own.
    """
    with RabbitServer(tmp_path_factory.mktemp("rabbitmq"), speaks=tuple(SPEAKS)) as server:
        yield server


@pytest.fixture
def proxy(rabbitmq: RabbitServer) -> Iterator[Proxy]:
    """A way to that RabbitMQ which can be cut."""
    with Network() as network:
        yield network.proxy(rabbitmq.port)


@pytest.fixture(scope="session")
def managed_rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitServer]:
    """One with the management plugin, for what operators' tools ask; each test takes a vhost of its own."""
    with RabbitServer(tmp_path_factory.mktemp("managed"), "managed", management=True) as server:
        yield server


@pytest.fixture
def vhost(managed_rabbitmq: RabbitServer) -> Iterator[str]:
    """The URL of an empty vhost."""
    with managed_rabbitmq.vhost() as url:
        yield url


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One Redis for the session, each test under a prefix of its own. A test that breaks it takes its own."""
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server
