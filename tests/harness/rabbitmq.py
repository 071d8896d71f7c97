"""A private RabbitMQ node: own ports, own epmd, own data; nothing of it outlives ``close()``."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Self

from tests.harness.process import HarnessError, Process, free_port, listening

SCRIPTS = Path("/usr/lib/rabbitmq/bin")
EPMD = "/usr/bin/epmd"
USER = "rabbitmq"

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


def _as_rabbitmq() -> list[str]:
    """The prefix by which root starts it: the wrapper Debian has for that loses the node's process id."""
    if os.geteuid() != 0:
        return []
    return ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]


class RabbitServer:
    """One node. Output in ``folder``; the data beside it in the system's temporary folder, since
    the user ``rabbitmq`` cannot reach into a folder of root's.

    ``stop()`` and ``kill()`` keep the data for the next ``start()``; ``close()`` removes it.
    """

    def __init__(self, folder: Path, name: str = "rabbitmq") -> None:
        self.port = free_port()
        self._tls_port = free_port()
        self.url = f"amqp://guest:guest@127.0.0.1:{self.port}/"
        self._data = Path(tempfile.mkdtemp(prefix="rabbitmq-"))
        self._certificate, self._key = self._data / "certificate.pem", self._data / "key.pem"
        self.tls_url = f"amqps://guest:guest@localhost:{self._tls_port}/?cafile={self._certificate}"
        self._env = self._environment()
        self._node = Process(name, [*_as_rabbitmq(), str(SCRIPTS / "rabbitmq-server")], folder, self._env)
        epmd = [EPMD, "-port", self._env["ERL_EPMD_PORT"], "-address", "127.0.0.1"]
        self._epmd = Process(f"{name}-epmd", [*_as_rabbitmq(), *epmd], folder)

    def _environment(self) -> dict[str, str]:
        config = self._data / "rabbitmq.conf"
        config.write_text(
            CONFIG.format(
                port=self.port, tls_port=self._tls_port, certificate=self._certificate, key=self._key
            )
        )
        self._make_certificate()
        enabled = self._data / "enabled_plugins"
        enabled.write_text("[].\n")
        # It reads through every plugin there is, for 2 s, even where none is enabled: show it none.
        plugins = self._data / "plugins"
        plugins.mkdir()
        for part in (SCRIPTS / "rabbitmq-server").resolve().parent.parent.glob("plugins/rabbit-*"):
            (plugins / part.name).symlink_to(part)
        if os.geteuid() == 0:
            owner = pwd.getpwnam(USER)
            for path in (self._data, config, enabled, self._certificate, self._key):
                os.chown(path, owner.pw_uid, owner.pw_gid)
        return {
            "HOME": str(self._data),
            "ERL_EPMD_PORT": str(free_port()),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"test-{self.port}@localhost",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_MNESIA_BASE": str(self._data / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self._data / "log"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_CONFIG_FILE": str(config),
            "RABBITMQ_CONF_ENV_FILE": str(self._data / "none"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(enabled),
            "RABBITMQ_PLUGINS_DIR": str(plugins),
            # The script then becomes the node, so that signals sent to our child reach it.
            "RUNNING_UNDER_SYSTEMD": "true",
            "ERL_CRASH_DUMP_SECONDS": "0",
            "LC_ALL": "C.UTF-8",
        }

    def _make_certificate(self) -> None:
        """One that signs itself, for localhost."""
        options = [
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
        ]
        names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
        files = ["-keyout", str(self._key), "-out", str(self._certificate)]
        subprocess.run(["openssl", "req", *options, *names, *files], check=True, capture_output=True)

    def start(self) -> None:
        """Start it and wait until it takes clients."""
        if not self._epmd.running:
            self._epmd.start()
            port = int(self._env["ERL_EPMD_PORT"])
            self._epmd.wait_until(lambda: listening(port), "epmd")
        self._node.start()
        self._node.wait_until(lambda: listening(self.port), f"RabbitMQ on port {self.port}")

    def stop(self) -> None:
        """End it in an orderly way; the data stays."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a crash would; the data stays."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        if self._node.running:
            self._node.resume()
        self._node.stop(how)
        self._epmd.stop()

    def restart(self) -> None:
        """``stop()`` and ``start()``: queues and messages that are durable come back."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Let it hang: connections stay open and nothing is answered, until ``resume()``."""
        self._node.pause()

    def resume(self) -> None:
        """Undo ``pause()``."""
        self._node.resume()

    @property
    def running(self) -> bool:
        """Whether the node's process lives."""
        return self._node.running

    @property
    def log(self) -> Path:
        """The node's own log."""
        return self._node.log

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

    def close(self) -> None:
        """End it for good and remove its data."""
        if self._node.running:
            self.kill()
        self._epmd.stop()
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
