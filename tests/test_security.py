"""No password comes out anywhere, whatever becomes of its URL; and nobody else is listened to."""

from __future__ import annotations

import contextlib
import ipaddress
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis

from adapter.broker.rabbitmq import AmqpBroker
from adapter.errors import SettingsError
from adapter.inflight.redis import RedisStore
from adapter.settings import NodeAddress, Settings, load, without_password
from consumers import Service
from consumers.amqp import Runner
from tests.harness.process import Process, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.harness.rabbitmq import RabbitServer
    from tests.harness.redis import RedisServer

ADAPTER = (sys.executable, "-m", "adapter.cli", "run")
CONSUMERS = (sys.executable, "-m", "consumers", "consumers.least_cost:service")

# Port of RabbitMQ, of Redis, and one that nobody listens on: what the bridge is told, and where it fails.
TROUBLES = {
    "refused": ("amqp://u:hunter2@127.0.0.1:{closed}", "redis://:hunter2@127.0.0.1:{closed}"),
    "wrong password": ("amqp://guest:hunter2@127.0.0.1:{amqp}", "redis://:hunter2@127.0.0.1:{redis}"),
    "another protocol": ("amqp://u:hunter2@127.0.0.1:{redis}", "redis://:hunter2@127.0.0.1:{amqp}"),
    "no TLS": ("amqps://u:hunter2@127.0.0.1:{amqp}", "rediss://u:hunter2@127.0.0.1:{redis}"),
    "no vhost": ("amqp://u:hunter2@127.0.0.1:{amqp}/no", "redis://127.0.0.1:{redis}/0?password=hunter2"),
    "several": (
        "amqp://u:hunter2@127.0.0.1:{closed},amqp://guest:hunter2@127.0.0.1:{amqp}",
        "redis+sentinel://u:hunter2@127.0.0.1:{closed},127.0.0.1:{redis}/main?sentinel_password=hunter2",
    ),
    "encoded": ("amqp://u:%68unter2%2F@127.0.0.1:{amqp}", "redis+cluster://u:hunter2%40@127.0.0.1:{redis}"),
}
NO_URLS = (
    "{}://u:hunter2@[::1",
    "{}://u:hunter2@h:port",
    "http://u:hunter2@h",
    "u:hunter2@h",
    "{}:u:hunter2@h",
)


@pytest.fixture
def ports(rabbitmq: RabbitServer, redis_server: RedisServer) -> dict[str, int]:
    return {"amqp": rabbitmq.port, "redis": redis_server.port, "closed": free_port()}


def told(port: int, path: str) -> str:
    """What is served, whatever its status; nothing while nobody listens."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.read().decode()
    except OSError:
        return ""


def is_secret(text: str) -> bool:
    return "unter2" in text  # the first letter may be written as %68


@pytest.mark.parametrize(
    ("trouble", "form"),
    [*((each, "json") for each in TROUBLES), ("refused", "console"), ("wrong password", "console")],
)
def test_the_bridge_shows_no_password(tmp_path: Path, ports: dict[str, int], trouble: str, form: str) -> None:
    amqp, store = (url.format(**ports) for url in TROUBLES[trouble])
    http = free_port()
    given = ["--amqp-url", amqp, f"--redis-url={store}"] if form == "json" else []
    variables = {} if given else {"EVAPI_AMQP_URL": amqp, "EVAPI_REDIS_URL": store}
    rest = ["--http", f"127.0.0.1:{http}", "--log", f"{form},debug"]
    with Process("bridge", [*ADAPTER, *given, *rest], tmp_path, variables) as bridge:
        for event in ("broker down", "in-flight store"):
            bridge.wait_until(lambda: event in bridge.log.read_text(), event)
        bridge.wait_until(lambda: told(http, "/livez"), "it to listen")
        shown = told(http, "/metrics") + told(http, "/readyz") + told(http, "/livez")
        command = Path(f"/proc/{bridge.pid}/cmdline").read_bytes().decode().split("\0")[1:-1]
        assert command == [*ADAPTER[1:], *rest]
        assert "evapi_broker_ready 0.0" in shown
        assert '"status": "degraded"' in shown
        assert bridge.stop() == 0
    assert not is_secret(shown + bridge.log.read_text())


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_consumer_shows_no_password(tmp_path: Path, ports: dict[str, int], trouble: str) -> None:
    url = TROUBLES[trouble][0].format(**ports)
    with Process(
        "consumer", [*CONSUMERS, "--log", "json,debug"], tmp_path, {"EVAPI_AMQP_URL": url}
    ) as consumer:
        consumer.wait_until(lambda: "trying again" in consumer.log.read_text(), "it to fail")
        assert consumer.stop() == 0
    assert not is_secret(consumer.log.read_text())


@pytest.fixture
def users(rabbitmq: RabbitServer, redis_server: RedisServer) -> Iterator[tuple[str, str]]:
    """The URLs of a user who is let in."""
    client = redis.Redis.from_url(redis_server.url)
    client.execute_command("ACL", "SETUSER", "secretary", "on", ">hunter2", "~*", "+@all")
    rabbitmq.add_user("secretary", "hunter2", ".*", ".*", ".*")
    amqp, store = rabbitmq.url.partition("@")[2], redis_server.url.partition("://")[2]
    yield f"amqp://secretary:hunter2@{amqp}", f"redis://secretary:hunter2@{store}"
    rabbitmq.delete_user("secretary")
    client.execute_command("ACL", "DELUSER", "secretary")
    client.close()


def test_nor_does_either_that_is_let_in(tmp_path: Path, users: tuple[str, str]) -> None:
    """At the level debug the libraries tell what they send."""
    amqp, store = users
    http = free_port()
    bridge = [*ADAPTER, "--amqp-url", amqp, "--redis-url", store, "--http", f"127.0.0.1:{http}"]
    consumer = [*CONSUMERS, "--amqp-url", amqp]
    debug = {"EVAPI_LOG": "json,debug"}
    with (
        Process("bridge", bridge, tmp_path, debug) as one,
        Process("consumer", consumer, tmp_path, debug) as other,
    ):
        for up in ("evapi_broker_ready 1.0", "evapi_store_ready 1.0"):
            one.wait_until(lambda: up in told(http, "/metrics"), up)
        other.wait_until(lambda: "consuming" in other.log.read_text(), "it to consume")
        shown = [Path(f"/proc/{each.pid}/cmdline").read_bytes().decode() for each in (one, other)]
        assert [each.stop() for each in (one, other)] == [0, 0]
    assert not is_secret("".join(shown) + one.log.read_text() + other.log.read_text())


@pytest.mark.parametrize("source", ["flag", "variable", "file"])
@pytest.mark.parametrize("text", NO_URLS)
@pytest.mark.parametrize("name", ["amqp_url", "redis_url"])
def test_a_url_that_is_none_is_not_quoted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str, source: str
) -> None:
    text = text.format("amqp" if name == "amqp_url" else "redis")
    flags: dict[str, Any] = {} if name == "amqp_url" else {"amqp_url": "amqp://h"}
    if source == "flag":
        flags[name] = text
    elif source == "variable":
        monkeypatch.setenv(f"EVAPI_{name.upper()}", text)
    else:
        (tmp_path / "secret").write_text(text)
        monkeypatch.setenv(f"EVAPI_{name.upper()}_FILE", str(tmp_path / "secret"))
    with pytest.raises(SettingsError) as caught:
        use(load(**flags))
    assert f"EVAPI_{name.upper()}: " in str(caught.value)
    assert not is_secret(f"{caught.value} {caught.value!r}")
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def use(settings: Settings) -> list[Any]:
    """What is made of the URLs."""
    assert settings.amqp_url is not None
    made: list[Any] = [settings, AmqpBroker(settings.amqp_url.get_secret_value())]
    if settings.redis_url is not None:
        made.append(RedisStore(settings.redis_url.get_secret_value(), "r1"))
    return made


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_no_repr_shows_one(trouble: str) -> None:
    amqp, store = (url.format(amqp=1, redis=2, closed=3) for url in TROUBLES[trouble])
    made = use(load(amqp_url=amqp, redis_url=store))
    made.append(Runner(Service("s"), amqp.split(",")))
    for each in made:
        assert not is_secret(f"{each!r} {each}")
    await made[2].close()
    assert not is_secret(without_password(amqp) + without_password(store))


def test_what_ends_at_once_shows_none_either(tmp_path: Path) -> None:
    for command in ([*ADAPTER, "--amqp-url", "amqp://u:hunter2@[::1"], [*CONSUMERS, "amqp://u:hunter2@h"]):
        done = subprocess.run(command, capture_output=True, text=True, timeout=50, cwd=tmp_path, check=False)
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1
        assert not is_secret(done.stdout + done.stderr)


# Who is listened to.

LISTEN = "0A"


def listening(pid: int) -> set[str]:
    """The addresses on which a process takes TCP connections, or any UDP datagram, as ``address:port``."""
    inodes = {found[1] for link in _open_files(pid) if (found := re.fullmatch(r"socket:\[(\d+)\]", link))}
    addresses: set[str] = set()
    for table in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *rest = line.split()
            if rest[5] in inodes and (state == LISTEN or table.startswith("udp")):
                addresses.add(_address(local))
    return addresses


def _open_files(pid: int) -> Iterator[str]:
    """What each descriptor of a process leads to; one that is closed meanwhile is passed over."""
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            yield str(path.readlink())


def _address(text: str) -> str:
    """Words of 32 bits, each with its least byte first."""
    raw, port = text.split(":")
    words = [bytes.fromhex(raw[at : at + 8])[::-1] for at in range(0, len(raw), 8)]
    return f"{ipaddress.ip_address(b''.join(words))}:{int(port, 16)}"


def test_every_default_is_loopback() -> None:
    defaults = load(amqp_url="amqp://h")
    assert ipaddress.ip_address(defaults.http.host).is_loopback
    assert all(
        isinstance(node, NodeAddress) and ipaddress.ip_address(node.address.host).is_loopback
        for node in defaults.nodes
    )
    for example in Path("adapter/kamailio").glob("*.cfg"):
        for host in re.findall(r'define EVAPI_BIND "(.*):\d+"', example.read_text()):
            assert ipaddress.ip_address(host).is_loopback


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_the_bridge_listens_where_it_is_told_and_nowhere_else(tmp_path: Path, host: str) -> None:
    port = free_port()
    words = ["--consumer", "consumers.least_cost:service", "--http", f"{host}:{port}", "--log", "json"]
    with Process("bridge", [*ADAPTER, *words], tmp_path) as bridge:
        bridge.wait_until(lambda: "started" in bridge.log.read_text(), "it to start")
        assert listening(bridge.pid) == {f"{host.strip('[]')}:{port}"}
        assert bridge.stop(signal.SIGTERM) == 0


def test_a_consumer_does_not_listen(tmp_path: Path, rabbitmq: RabbitServer) -> None:
    with Process("consumer", CONSUMERS, tmp_path, {"EVAPI_AMQP_URL": rabbitmq.url}) as consumer:
        consumer.wait_until(lambda: "consuming" in consumer.log.read_text(), "it to consume")
        assert listening(consumer.pid) == set()
