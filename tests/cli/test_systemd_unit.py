"""The units for systemd: systemd reads them, and finds them safe; the adapter works with what they forbid."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from adapter import systemd
from tests.cli.command import environment, evapi_adapter
from tests.harness.process import Process, free_port
from tests.harness.readme import README, block

COMMAND = str(Path(sys.executable).with_name("evapi-adapter"))
INSTALLED = "/opt/evapi-adapter/bin/evapi-adapter"
GOOD = 12
"""Tenths of systemd's exposure level; below 20 it says OK, from 50 on it warns."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The units as they are written, but with the command of this environment."""
    done = evapi_adapter("systemd-unit", str(tmp_path))
    assert (done.code, done.err.startswith("Next: systemctl")) == (0, True)
    assert done.out.split() == [str(tmp_path / name) for name in systemd.names()]
    for path in tmp_path.glob("*.service"):
        assert INSTALLED in path.read_text()
        path.write_text(path.read_text().replace(INSTALLED, COMMAND))
    return tmp_path


def analyse(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", *words], capture_output=True, text=True, timeout=50, check=False
    )


@pytest.mark.parametrize("name", ["evapi-adapter.service", "evapi-consumer@.service"])
def test_systemd_reads_it_and_finds_it_safe(folder: Path, name: str) -> None:
    unit = folder / name
    verified = analyse("verify", "--man=no", str(unit))
    assert (verified.returncode, verified.stderr) == (0, "")
    safe = analyse("security", "--offline=true", f"--threshold={GOOD}", "--json=short", str(unit))
    exposed = {each["name"] for each in json.loads(safe.stdout) if each["set"] is False}
    assert safe.returncode == 0, exposed
    unit.write_text(unit.read_text().replace("SystemCallFilter=@system-service", "Unknown=word"))
    assert "Unknown" in analyse("verify", "--man=no", str(unit)).stderr, "systemd has read it"
    assert analyse("security", "--offline=true", f"--threshold={GOOD}", str(unit)).returncode == 1


def test_the_adapter_runs_with_memory_that_is_never_both_written_and_run(tmp_path: Path) -> None:
    """As MemoryDenyWriteExecute has it: by prctl here, known from Linux 6.3 on, by a filter there."""
    denied = (
        "import ctypes, os, sys; ctypes.CDLL(None).prctl(65, 1, 0, 0, 0); os.execv(sys.argv[1], sys.argv[1:])"
    )
    words = ["run", "--consumer", "consumers.least_cost:service", "--log", "json"]
    words += ["--nodes", f"127.0.0.1:{free_port()}", "--http", f"127.0.0.1:{free_port()}"]
    with Process(
        "adapter", [sys.executable, "-c", denied, COMMAND, *words], tmp_path, environment({})
    ) as run:
        run.wait_until(lambda: "connects to a node" in run.tail(), "the adapter to run")
        assert run.stop() == 0


def test_readme_installs_it_where_the_units_look() -> None:
    lines = block("sh", "systemd-unit /etc/systemd/system")
    for needed in (INSTALLED, "/etc/evapi-adapter/environment", "enable --now evapi-adapter"):
        assert needed in lines
    assert "EnvironmentFile=-/etc/evapi-adapter/environment" in systemd.read("evapi-adapter.service")
    assert "/etc/evapi-adapter/consumers" in systemd.read("evapi-consumer@.service")
    assert "evapi-consumer@my_service:service" in README.read_text()


def test_they_are_listed_and_printed() -> None:
    assert evapi_adapter("systemd-unit").out.split() == systemd.names()
    for name in systemd.names():
        assert evapi_adapter("systemd-unit", name) == (0, systemd.read(name), "")
    assert evapi_adapter("systemd-unit", "x.service").code == 2
