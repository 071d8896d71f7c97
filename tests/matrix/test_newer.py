"""The small share of ``make matrix`` that each ``make test`` runs: one newer Kamailio and RabbitMQ.

A root with no more than these two is made of Debian 13 by the first run, and kept.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.matrix.results import counted
from tests.matrix.roots import as_root, root
from tests.matrix.versions import versions
from tests.matrix.within import PROJECT, command

PACKAGES = ("kamailio", "kamailio-extra-modules", "rabbitmq-server")
SHARE = (
    "tests/kamailio/test_ask.py::test_an_answer_is_applied_once",
    "tests/kamailio/test_types.py::test_anything_in_any_key[include]",
    "tests/broker/test_amqp.py::test_properties_of_a_request",
    "tests/protocols/test_mqtt.py::test_it_decides",
)
TIMEOUT = 300.0

pytestmark = pytest.mark.timeout(2 * TIMEOUT)


def test_debian_13_decides_calls_and_takes_requests(tmp_path: Path) -> None:
    there = root("trixie", PACKAGES)
    found = versions(there)
    assert found["Kamailio"].startswith("6.")
    assert found["RabbitMQ"].startswith("4.")
    report = tmp_path / "report.xml"
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", *SHARE]
    done = subprocess.run(
        command(there, words),
        cwd=PROJECT,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert counted(report) == (len(SHARE), ())


def test_whoever_runs_a_command_in_a_root_leaves_nothing_mounted_here() -> None:
    there = root("trixie", PACKAGES)
    before = Path("/proc/self/mounts").read_text()
    words = [
        sys.executable,
        "-m",
        "tests.matrix.within",
        "--inside",
        str(there),
        "--",
        "cat",
        "/etc/debian_version",
    ]
    told = subprocess.run(
        [*as_root(), *words], cwd=PROJECT, capture_output=True, text=True, check=True
    ).stdout
    assert told.startswith("13.")
    assert Path("/proc/self/mounts").read_text() == before
