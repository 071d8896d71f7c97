"""The project's own processes: ``evapi-adapter run`` and ``python -m consumers``."""

from __future__ import annotations

import json
import signal
import sys
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any, Final

from tests.harness.process import Process, free_port

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


PATIENT: Final = {"EVAPI_CONFIRM_TIMEOUT": "10"}
"""For an adapter: a RabbitMQ that is slow, as all are on a busy machine, is not one that is gone."""


class Bridge:
    """One adapter replica. ``options``: flags of ``evapi-adapter run`` by name, without dashes."""

    def __init__(
        self,
        name: str,
        folder: Path,
        nodes: Mapping[str, int],
        options: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
        log: str = "json,info",
    ) -> None:
        self.name = name
        self.http_port = free_port()
        command = [sys.executable, "-m", "adapter.cli", "run", "--replica", name]
        command += ["--http", f"127.0.0.1:{self.http_port}", "--log", log]
        command += ["--nodes", ",".join(f"{node}=127.0.0.1:{port}" for node, port in nodes.items())]
        for option, value in (options or {}).items():
            for one in value.split(",") if option == "consumer" else [value]:
                command += [f"--{option.replace('_', '-')}", one]
        self.process = Process(name, command, folder, env)

    def start(self) -> None:
        """Start it and wait until it is ready."""
        self.process.start()
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        """Wait until it serves."""
        self.process.wait_until(lambda: self.readiness().get("status") == "ready", f"{self.name} to be ready")

    def wait_for_gate(self) -> None:
        """Wait until Kamailio asks it about calls."""
        self.process.wait_until(lambda: self.metric("evapi_gate_open"), f"the gate of {self.name} to open")

    def readiness(self) -> dict[str, Any]:
        """What ``/readyz`` says; empty while nobody answers."""
        found: dict[str, Any] = json.loads(self._get("/readyz") or "{}")
        return found

    def metric(self, name: str, **labels: str) -> float:
        """The sum over all series of a metric which have these labels."""
        total = 0.0
        for line in self._get("/metrics").splitlines():
            series, _, value = line.rpartition(" ")
            found, _, labelled = series.partition("{")
            if found == name and all(f'{key}="{label}"' in labelled for key, label in labels.items()):
                total += float(value)
        return total

    def logged(self, event: str) -> list[dict[str, Any]]:
        """The log entries of one event."""
        lines = self.process.log.read_text().splitlines() if self.process.log.exists() else []
        entries = [json.loads(line) for line in lines if line.startswith("{")]
        return [entry for entry in entries if entry.get("event") == event]

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """End it; gives the exit code."""
        return self.process.stop(how)

    def _get(self, path: str) -> str:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}{path}", timeout=5) as answer:
                return str(answer.read(), "utf-8")
        except urllib.error.HTTPError as exc:
            with exc:  # its connection is open, and Python 3.14 says so where it is left to be found
                return exc.read().decode()
        except OSError:
            return ""

    def __enter__(self) -> Bridge:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class Consumer(Process):
    """One consumer process."""

    def __init__(
        self,
        name: str,
        folder: Path,
        services: Sequence[str],
        amqp_url: str,
        env: Mapping[str, str] | None = None,
    ) -> None:
        command = [sys.executable, "-m", "consumers", *services]
        super().__init__(name, command, folder, {"EVAPI_AMQP_URL": amqp_url, **(env or {})})
