"""Private RabbitMQ nodes, alone or clustered: own ports, epmd and data; nothing outlives ``close()``."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import pwd
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from tests.harness.certificates import Authority
from tests.harness.process import HarnessError, Process, free_port, listening, wait_until

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

ROOT = Path(os.environ.get("RABBITMQ_ROOT", "/"))
"""Where RabbitMQ and Erlang are: another Debian's root folder, for another version. There /tmp, /proc and
/dev must be this system's."""
SCRIPTS = Path("/usr/lib/rabbitmq/bin")
EPMD = "/usr/bin/epmd"
USER = "rabbitmq"
START_TIMEOUT = 240.0
"""Seconds: three nodes that start at once on two cores that do ten other things."""

CONFIG = """\
listeners.tcp.1 = 127.0.0.1:{port}
listeners.ssl.1 = 127.0.0.1:{tls_port}
ssl_options.certfile = {certificate}
ssl_options.keyfile = {key}
disk_free_limit.absolute = 1MB
log.console = true
log.console.level = info
log.file = false
"""
MANAGEMENT_CONFIG = """\
management.tcp.ip = 127.0.0.1
management.tcp.port = {port}
"""
MANAGEMENT = (
    *("rabbitmq_management", "rabbitmq_management_agent", "rabbitmq_web_dispatch"),
    *("amqp_client", "cowboy", "cowlib"),
)
"""The plugin, and those that it needs."""
SPEAKS: Final = {
    "amqp10": ("rabbitmq_amqp1_0", "amqp10_common", "amqp_client"),
    "mqtt": ("rabbitmq_mqtt", "amqp10_common", "amqp_client"),
    "stomp": ("rabbitmq_stomp", "amqp_client"),
}
"""Likewise, by protocol. RabbitMQ 4 speaks AMQP 1.0 without."""
SPEAKS_CONFIG: Final = {
    "mqtt": "mqtt.listeners.tcp.1 = 127.0.0.1:{port}\n",
    "stomp": "stomp.listeners.tcp.1 = 127.0.0.1:{port}\n",
}
CLUSTER_CONFIG = """\
cluster_formation.peer_discovery_backend = classic_config
cluster_formation.discovery_retry_limit = {retries}
cluster_formation.discovery_retry_interval = 100
cluster_partition_handling = pause_minority
net_ticktime = 5
"""
"""Of those that start at once, one has the lock: it need not look for the others, as they wait for it. From
4.3 on none waits for another: each looks for them, until they are there.
A node that hangs holds up every change of bindings until the others call it dead: after 5 s, not 60."""


RETURN_SOON: Final = (
    *("set_policy", "evapi", "^evapi\\.", '{"consumer-disconnected-timeout":1000}'),
    *("--apply-to", "quorum_queues"),
)
"""As README has it: what a dead node's clients had in hand comes back after 1 s, not 60 (4.3 and later)."""
_ACTING = '<<"test">>'
"""Whom the node notes for a change."""


def _binary(*texts: str) -> str:
    """Erlang's binaries for these texts, as arguments."""
    return ", ".join(f"<<{json.dumps(text)}>>" for text in texts)


@cache
def version() -> tuple[int, ...]:
    """Which RabbitMQ is under ``ROOT``: (3, 10, 8). Raises HarnessError where there is none."""
    for folder in (ROOT / "usr/lib/rabbitmq/lib").glob("rabbitmq_server-*"):
        return tuple(map(int, folder.name.partition("-")[2].split(".")))
    raise HarnessError(f"no RabbitMQ under {ROOT}: apt-get install rabbitmq-server")


def _as_rabbitmq() -> list[str]:
    """The prefix by which root starts it: the wrapper Debian has for that loses the node's process id."""
    if os.geteuid() != 0:
        return []
    if Path("/") != ROOT:
        owner = pwd.getpwnam(USER)  # its name may have another number there
        return ["chroot", f"--userspec={owner.pw_uid}:{owner.pw_gid}", str(ROOT)]
    return ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]


def _give(*paths: Path) -> None:
    """Let the user whom root starts it as own these files."""
    if os.geteuid() == 0:
        owner = pwd.getpwnam(USER)
        for path in paths:
            os.chown(path, owner.pw_uid, owner.pw_gid)


class Epmd:
    """Erlang's port mapper, by which the nodes of one cluster find each other."""

    def __init__(self, folder: Path, name: str) -> None:
        self.port = free_port()
        command = [EPMD, "-port", str(self.port), "-address", "127.0.0.1"]
        self._process = Process(f"{name}-epmd", [*_as_rabbitmq(), *command], folder)

    def start(self) -> None:
        """Start it where it does not run."""
        if not self._process.running:
            self._process.start()
            self._process.wait_until(lambda: listening(self.port), "epmd")

    def stop(self) -> None:
        """End it."""
        self._process.stop()


class RabbitServer:
    """One node. Output in ``folder``; the data beside it in the system's temporary folder, since
    the user ``rabbitmq`` cannot reach into a folder of root's.

    Its certificate is for ``localhost``, by an authority of its own: ``ca``. ``stop()`` and
    ``kill()`` keep the data for the next ``start()``; ``close()`` removes it. A node of a cluster
    shares its ``epmd`` and ``cookie`` with the others. With ``management`` its HTTP API is at ``api``;
    it takes longer to start then. ``speaks``: protocols beside AMQP 0.9.1, of ``SPEAKS``. Each has a port of
    its own in ``ports``, but AMQP 1.0, which is spoken on the same one.
    """

    def __init__(
        self,
        folder: Path,
        name: str = "rabbitmq",
        epmd: Epmd | None = None,
        cookie: str | None = None,
        management: bool = False,
        speaks: Collection[str] = (),
    ) -> None:
        self._speaks = tuple(speaks)
        self.ports = {each: free_port() for each in self._speaks if each in SPEAKS_CONFIG}
        self.port = free_port()
        self.tls_port = free_port()
        self.url = f"amqp://guest:guest@127.0.0.1:{self.port}/"
        self.node = f"test-{self.port}@localhost"
        self._data = Path(tempfile.mkdtemp(prefix="rabbitmq-"))
        self._config = self._data / "rabbitmq.conf"
        authority = Authority(self._data)
        self._identity = authority.issue("localhost")
        self.ca = authority.certificate
        self.tls_url = f"amqps://guest:guest@localhost:{self.tls_port}/?cafile={self.ca}"
        self._api_port = free_port() if management else 0
        self.api = f"http://guest:guest@127.0.0.1:{self._api_port}" if management else ""
        self._own_epmd = epmd is None
        self._epmd = epmd or Epmd(folder, name)
        self._env = self._environment(cookie)
        self._process = Process(name, [*_as_rabbitmq(), str(SCRIPTS / "rabbitmq-server")], folder, self._env)

    def _environment(self, cookie: str | None) -> dict[str, str]:
        certificate, key = self._identity.certificate, self._identity.key
        self._config.write_text(
            CONFIG.format(port=self.port, tls_port=self.tls_port, certificate=certificate, key=key)
        )
        enabled = self._data / "enabled_plugins"
        shown, used = ["rabbit"], []
        if self._api_port:
            self.configure(MANAGEMENT_CONFIG.format(port=self._api_port))
            shown += MANAGEMENT
            used.append(MANAGEMENT[0])
        for each in self._speaks:
            shown += SPEAKS[each]
            used.append(SPEAKS[each][0])
        for each, port in self.ports.items():
            self.configure(SPEAKS_CONFIG[each].format(port=port))
        enabled.write_text(f"[{','.join(used)}].\n")
        # It reads through every plugin there is, for 2 s, even where none is enabled: show it none.
        plugins = self._data / "plugins"
        plugins.mkdir()
        for part in (ROOT / "usr/lib/rabbitmq/lib").glob("*/plugins/*-*"):
            if part.name.partition("-")[0] in shown:
                (plugins / part.name).symlink_to("/" / part.relative_to(ROOT))
        _give(self._data, self._config, enabled, certificate, key)
        if cookie is not None:
            kept = self._data / ".erlang.cookie"
            kept.write_text(cookie)
            kept.chmod(0o400)  # Erlang takes no other
            _give(kept)
        return {
            "HOME": str(self._data),
            "ERL_EPMD_PORT": str(self._epmd.port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": self.node,
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_MNESIA_BASE": str(self._data / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self._data / "log"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_CONFIG_FILE": str(self._config),
            "RABBITMQ_CONF_ENV_FILE": str(self._data / "none"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(enabled),
            "RABBITMQ_PLUGINS_DIR": str(plugins),
            # The script then becomes the node, so that signals sent to our child reach it.
            "RUNNING_UNDER_SYSTEMD": "true",
            "ERL_CRASH_DUMP_SECONDS": "0",
            "LC_ALL": "C.UTF-8",
        }

    @property
    def version(self) -> tuple[int, ...]:
        """Its version, such as (4, 3, 6)."""
        (home,) = (ROOT / "usr/lib/rabbitmq/lib").glob("rabbitmq_server-*")
        return tuple(map(int, home.name.partition("-")[2].split(".")[:3]))

    @property
    def amqp10_queues(self) -> str:
        """What stands before a queue's name in an address of AMQP 1.0."""
        return "/queues/" if self.version >= (4,) else "/amq/queue/"

    def configure(self, lines: str) -> None:
        """Add to its configuration, for its next start."""
        with self._config.open("a") as config:
            config.write(lines)

    def start(self) -> None:
        """Start it and wait until it takes clients."""
        self.begin()
        self.wait()

    def begin(self) -> None:
        """Start it; ``wait()`` for it is still to come."""
        self._epmd.start()
        self._process.start()

    def wait(self) -> None:
        """Return once it takes clients."""
        self._process.wait_until(lambda: listening(self.port), f"RabbitMQ on port {self.port}", START_TIMEOUT)
        if self._api_port:
            self._process.wait_until(lambda: listening(self._api_port), "its management", START_TIMEOUT)
        for each, port in self.ports.items():
            self._process.wait_until(partial(listening, port), f"its {each}", START_TIMEOUT)

    def stop(self) -> None:
        """End it in an orderly way; the data stays."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a crash would; the data stays."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        if self._process.running:
            self._process.resume()
        self._process.stop(how)
        if self._own_epmd:
            self._epmd.stop()

    def restart(self) -> None:
        """``stop()`` and ``start()``: queues and messages that are durable come back."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Let it hang: connections stay open and nothing is answered, until ``resume()``."""
        self._process.pause()

    def resume(self) -> None:
        """Undo ``pause()``."""
        self._process.resume()

    @property
    def running(self) -> bool:
        """Whether the node's process lives."""
        return self._process.running

    @property
    def pid(self) -> int:
        """The node's process id."""
        return self._process.pid

    @property
    def log(self) -> Path:
        """The node's own log."""
        return self._process.log

    def ctl(self, *args: str) -> str:
        """Run rabbitmqctl on this node and give its output (about 1 s). Raises HarnessError."""
        done = subprocess.run(
            [*_as_rabbitmq(), str(SCRIPTS / "rabbitmqctl"), "--quiet", *args],
            env={**os.environ, **self._env},
            cwd=self._data,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if done.returncode:
            raise HarnessError(f"rabbitmqctl {' '.join(args)}: {done.stdout}{done.stderr}")
        return done.stdout

    def eval(self, code: str) -> str:
        """Have the node evaluate Erlang; gives the result as text. Raises HarnessError.

        It takes some milliseconds, where rabbitmqctl takes a second of CPU, and ten on a busy machine.
        """
        done = self._call(code)
        if "failed to connect" in done.stderr and self._process.running:
            done = self._call(code)  # a busy node shakes hands late; it was not asked anything yet
        if done.returncode or not done.stdout.startswith("{ok, "):
            raise HarnessError(f"{code}: {done.stdout}{done.stderr}")
        return done.stdout.removeprefix("{ok, ").rstrip()[:-1]

    def _call(self, code: str) -> subprocess.CompletedProcess[str]:
        cookie = (self._data / ".erlang.cookie").read_text().strip()
        return subprocess.run(
            ["erl_call", "-sname", self.node, "-c", cookie, "-e"],
            input=f"{code}.\n",
            env={**os.environ, **self._env},
            cwd=self._data,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def add_user(self, name: str, password: str, configure: str, write: str, read: str) -> str:
        """Add a user with these rights to the vhost ``/``; gives its URL."""
        self.eval(f"rabbit_auth_backend_internal:add_user({_binary(name, password)}, {_ACTING})")
        self.permit(name, configure, write, read)
        return self.url.replace("guest:guest@", f"{name}:{password}@")

    def permit(self, name: str, configure: str, write: str, read: str, vhost: str = "/") -> None:
        """Give a user these rights to a vhost."""
        rights = _binary(name, vhost, configure, write, read)
        self.eval(f"rabbit_auth_backend_internal:set_permissions({rights}, {_ACTING})")

    def delete_user(self, name: str) -> None:
        """Remove a user."""
        self.eval(f"rabbit_auth_backend_internal:delete_user({_binary(name)}, {_ACTING})")

    def memory_alarm(self, on: bool) -> None:
        """Let it be short of memory, or not any more; returns once its alarm tells so."""
        self.eval(f"vm_memory_monitor:set_vm_memory_high_watermark({0.0 if on else 0.4})")
        wait_until(lambda: ("memory" in self.eval("rabbit_alarm:get_alarms()")) is on, "the alarm")

    def call(self, method: str, path: str, body: object = None) -> None:
        """Have the management API do something; ``path`` follows ``/api/``. Raises HarnessError."""
        client = http.client.HTTPConnection("127.0.0.1", self._api_port, timeout=20)
        credentials = base64.b64encode(b"guest:guest").decode()
        headers = {"Authorization": f"Basic {credentials}", "Content-Type": "application/json"}
        client.request(method, f"/api/{path}", None if body is None else json.dumps(body), headers)
        answer = client.getresponse()
        told = answer.read()
        client.close()
        if answer.status >= 300:
            raise HarnessError(f"{method} {path}: {answer.status} {told!r}")

    @contextlib.contextmanager
    def vhost(self) -> Iterator[str]:
        """A vhost that is there while this is open; gives its URL."""
        name = f"test-{secrets.token_hex(4)}"
        self.eval(f"rabbit_vhost:add({_binary(name)}, {_ACTING})")
        self.permit("guest", ".*", ".*", ".*", name)
        try:
            yield f"{self.url}{name}"
        finally:
            self.eval(f"rabbit_vhost:delete({_binary(name)}, {_ACTING})")

    def close(self) -> None:
        """End it for good and remove its data."""
        self.kill()
        shutil.rmtree(self._data, ignore_errors=True)  # the node's last writes may race with it

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class RabbitCluster:
    """Several nodes in one cluster, known by their numbers from 0. They start at the same time.

    A node that was ended keeps its data and is a member again once started.
    """

    def __init__(self, folder: Path, nodes: int = 3) -> None:
        self._epmd = Epmd(folder, "rabbitmq")
        cookie = secrets.token_hex(16)
        self.nodes: Sequence[RabbitServer] = [
            RabbitServer(folder, f"rabbitmq{number}", self._epmd, cookie) for number in range(nodes)
        ]
        members = "".join(
            f"cluster_formation.classic_config.nodes.{number} = {node.node}\n"
            for number, node in enumerate(self.nodes, 1)
        )
        for node in self.nodes:
            node.configure(CLUSTER_CONFIG.format(retries=300 if version() >= (4, 0) else 1) + members)

    @property
    def urls(self) -> str:
        """Every node's URL, separated by commas."""
        return ",".join(node.url for node in self.nodes)

    def start(self, number: int | None = None) -> None:
        """Start a node (or each that does not run), and wait until it sees every other that runs."""
        wanted = self.nodes if number is None else [self.nodes[number]]
        starting = [node for node in wanted if not node.running]
        for node in starting:
            node.begin()
        for node in starting:
            node.wait()
        if starting:
            expected = {node.node for node in self.nodes if node.running}
            wait_until(lambda: self._seen_by(starting[-1]) >= expected, f"{expected} to be one cluster")
        if number is None and version() >= (4, 3):
            self.ctl(*RETURN_SOON)

    def kill(self, number: int) -> None:
        """End a node as a crash would."""
        self.nodes[number].kill()

    def stop(self, number: int) -> None:
        """End a node in an orderly way."""
        self.nodes[number].stop()

    def pause(self, number: int) -> None:
        """Let a node hang."""
        self.nodes[number].pause()

    def resume(self, number: int) -> None:
        """Undo ``pause()``."""
        self.nodes[number].resume()

    def ctl(self, *args: str) -> str:
        """Run rabbitmqctl on the first node that runs. Raises HarnessError."""
        return self._any().ctl(*args)

    def queues(self) -> dict[str, Any]:
        """What is known of each queue, by its name: ``type``, ``leader``, ``members``."""
        found = self.ctl("list_queues", "name", "type", "leader", "members", "--formatter", "json")
        return {each["name"]: each for each in json.loads(found)}

    def _any(self) -> RabbitServer:
        return next(node for node in self.nodes if node.running)

    @staticmethod
    def _seen_by(node: RabbitServer) -> set[str]:
        try:
            return set(re.findall(r"[\w-]+@\w+", node.eval("rabbit_nodes:all_running()")))
        except HarnessError:  # 4.3 takes clients before other Erlang nodes find it
            return set()

    def close(self) -> None:
        """End every node for good and remove the data."""
        for node in self.nodes:
            node.close()
        self._epmd.stop()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
