"""A real Kamailio of a test or demo: its own ports, its own folder, ended with everything it forked."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import adapter.kamailio
from tests.harness.process import START_TIMEOUT, HarnessError, Process, free_port, listening, wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping

MODULES = ("lib/*/kamailio/modules", "lib*/kamailio/modules")
"""Under /usr. Debian puts the modules into a folder named after the architecture."""


def modules_folder() -> Path:
    """Where this machine keeps Kamailio's modules. Raises HarnessError where there are none."""
    for pattern in MODULES:
        for folder in sorted(Path("/usr").glob(pattern)):
            if (folder / "evapi.so").exists():
                return folder
    raise HarnessError(
        "no Kamailio with evapi.so under /usr: apt-get install kamailio kamailio-extra-modules"
    )


@cache
def version() -> tuple[int, ...]:
    """Which Kamailio is first in PATH: (5, 6, 3). Raises HarnessError where there is none."""
    told = subprocess.run(["kamailio", "-v"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"version: kamailio (\d+)\.(\d+)\.(\d+)", told)
    if found is None:
        raise HarnessError(f"kamailio -v: {told}")
    return tuple(map(int, found.groups()))


def takes_clients(port: int) -> bool:
    """Whether EVAPI listens. The client leaves in order: Kamailio logs a reset as an error."""
    with socket.socket() as client, contextlib.suppress(TimeoutError):
        client.settimeout(1)
        if client.connect_ex(("127.0.0.1", port)) != 0:
            return False
        client.shutdown(socket.SHUT_WR)
        while client.recv(4096):
            pass
    return True


class KamailioServer:
    """One Kamailio in the foreground, with one of our configurations or a file of the test.

    ``cfg``: a path, or the name of a packaged configuration (``kamailio.cfg``, ``plain.cfg``).
    ``defines``: what ``-A NAME=VALUE`` sets beside ports and addresses; ``None`` as the value
    defines the bare name. ``gateway_port``: where calls go by default, else a free port that the
    attribute of this name tells. ``shared_memory`` in MB: a suspended call takes about 14 KB.

    Every configuration must answer OPTIONS and take ``SIP_LISTEN``, ``SIP_WORKERS``,
    ``EVAPI_BIND`` and, where it sends calls on, ``GATEWAY``.
    """

    def __init__(
        self,
        folder: Path,
        cfg: Path | str = "kamailio.cfg",
        defines: Mapping[str, str | int | None] | None = None,
        *,
        gateway_port: int | None = None,
        workers: int = 2,
        shared_memory: int = 256,
        name: str = "kamailio",
    ) -> None:
        self.sip_port = free_port(socket.SOCK_DGRAM)
        self.evapi_port = free_port()
        self.gateway_port = gateway_port or free_port(socket.SOCK_DGRAM)
        self.pid_file = folder / f"{name}.pid"
        self._cfg = cfg if isinstance(cfg, Path) else adapter.kamailio.path(cfg)
        run = folder / f"{name}.run"
        run.mkdir(parents=True, exist_ok=True)
        command = ["kamailio", "-f", str(self._cfg), "-DD", "-E", "--debug=1", "-m", str(shared_memory)]
        command += ["-b", "4000000"]  # bytes of a socket's receive buffer: a burst must not be lost
        command += ["-Y", str(run), "-P", str(self.pid_file), "-L", str(modules_folder())]
        settings: dict[str, str | int | None] = {
            "SIP_LISTEN": f"udp:127.0.0.1:{self.sip_port}",
            "EVAPI_BIND": f'"127.0.0.1:{self.evapi_port}"',
            "SIP_WORKERS": workers,
            "GATEWAY": f'"sip:127.0.0.1:{self.gateway_port}"',
        }
        for key, value in {**settings, **(defines or {})}.items():
            command += ["-A", key if value is None else f"{key}={value}"]
        self.command = command
        self._process = Process(name, command, folder)

    @property
    def evapi_address(self) -> str:
        """``host:port`` to which the adapter connects."""
        return f"127.0.0.1:{self.evapi_port}"

    @property
    def log(self) -> str:
        """Everything it has logged so far."""
        return self._process.log.read_text(errors="replace")

    @property
    def running(self) -> bool:
        """Whether its main process lives."""
        return self._process.running

    def start(self, timeout: float = START_TIMEOUT) -> KamailioServer:
        """Start it; returns once it answers OPTIONS and takes EVAPI connections."""
        self._process.start()
        try:
            self._process.wait_until(lambda: answers_options(self.sip_port), "SIP", timeout)
            self._process.wait_until(lambda: takes_clients(self.evapi_port), "EVAPI", timeout)
        except HarnessError:
            self._process.kill()
            raise
        return self

    def stop(self) -> int:
        """End it in order. Gives the exit code."""
        self.resume()
        for _ in range(20):
            if not self.running:
                break
            # Its main process keeps the last signal only: a SIGCHLD just after a pause hides a SIGTERM.
            self._process.signal(signal.SIGTERM)
            with contextlib.suppress(HarnessError):
                wait_until(lambda: not self.running, "its end", 1.0)
        return self._process.stop()

    def kill(self) -> None:
        """End all its processes as a crash of the machine would; returns once its ports are free."""
        self._process.kill()
        wait_until(
            lambda: not (listening(self.evapi_port) or udp_bound(self.sip_port)), "its ports to be free"
        )

    def restart(self) -> None:
        """End it in order and start it on the same ports."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Stand still, every one of its processes."""
        self._process.pause()

    def resume(self) -> None:
        """Undo ``pause``."""
        self._process.resume()

    def __enter__(self) -> KamailioServer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


def udp_bound(port: int) -> bool:
    """Whether a process has this UDP port of 127.0.0.1."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
        return False


def answers_options(port: int, timeout: float = 0.2) -> bool:
    """Whether a SIP server on 127.0.0.1:port answers an OPTIONS with anything within ``timeout`` seconds."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        probe.settimeout(timeout)
        me = probe.getsockname()[1]
        text = (
            f"OPTIONS sip:ping@127.0.0.1:{port} SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP 127.0.0.1:{me};branch=z9hG4bK-{os.urandom(6).hex()}\r\n"
            f"Max-Forwards: 5\r\nFrom: <sip:probe@127.0.0.1>;tag=1\r\nTo: <sip:ping@127.0.0.1>\r\n"
            f"Call-ID: {os.urandom(6).hex()}@probe\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
        )
        try:
            probe.sendto(text.encode(), ("127.0.0.1", port))
            return bool(probe.recv(4096))
        except OSError:
            return False  # nothing came in time, or nobody listens yet: asked again
