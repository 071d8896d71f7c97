"""A private Prometheus (Debian: ``prometheus``) that scrapes its targets each half second."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import urlopen

import yaml

from tests.harness.process import Process, free_port

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

COMPLAINT = re.compile(r'level="?(WARN|ERROR|warn|error)\b')
"""In a line of its log: 2.x writes it small, 3.x in capitals."""


class PrometheusServer:
    """One server that scrapes the ports of ``targets``, by job, on 127.0.0.1 and evaluates ``rules``.

    It evaluates each half second, also a group that asks for an interval of its own: else it would take
    a minute for the first time.
    """

    def __init__(self, folder: Path, targets: Mapping[str, int], rules: Sequence[Path]) -> None:
        self._port = free_port()
        copies = [folder / path.name for path in rules]
        for path, copy in zip(rules, copies, strict=True):
            copy.write_text(re.sub(r"(?m)^    interval: \w+\n", "", path.read_text("utf-8")))
        config = folder / "prometheus.yml"
        told = {
            "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "500ms"},
            "rule_files": [str(copy.absolute()) for copy in copies],
            "scrape_configs": [
                {"job_name": job, "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
                for job, port in targets.items()
            ],
        }
        config.write_text(yaml.safe_dump(told))
        command = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder / 'tsdb'}"]
        self._process = Process(
            "prometheus", [*command, f"--web.listen-address=127.0.0.1:{self._port}"], folder
        )

    def ask(self, path: str, **parameters: str) -> dict[str, Any]:
        """Return what the HTTP API says; ``path`` follows ``/api/v1/``."""
        url = f"http://127.0.0.1:{self._port}/api/v1/{path}?{urlencode(parameters)}"
        with urlopen(url, timeout=20) as answer:
            return json.load(answer)

    def targets(self) -> list[dict[str, Any]]:
        """Return what it knows of its targets."""
        return self.ask("targets")["data"]["activeTargets"]

    def complaints(self) -> list[str]:
        """Return the warnings and errors of its log."""
        return [line for line in self._process.log.read_text().splitlines() if COMPLAINT.search(line)]

    def _is_ready(self) -> bool:
        try:
            with urlopen(f"http://127.0.0.1:{self._port}/-/ready", timeout=5):
                return True
        except HTTPError as exc:
            exc.close()
        except OSError:
            pass  # it does not listen yet
        return False

    def __enter__(self) -> PrometheusServer:
        self._process.start()
        self._process.wait_until(self._is_ready, "Prometheus")
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()  # it has nothing to keep
