"""The Dockerfile, read by hadolint."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.harness.podman import ROOT


def hadolint(file: Path) -> str:
    """What it finds."""
    program = Path(sys.executable).with_name("hadolint")
    return subprocess.run([program, str(file)], capture_output=True, text=True, check=False).stdout


def test_the_dockerfile_is_clean() -> None:
    assert hadolint(ROOT / "helm" / "Dockerfile") == ""


def test_a_bad_one_would_be_found(tmp_path: Path) -> None:
    file = tmp_path / "Dockerfile"
    file.write_text("FROM debian\nRUN cd /x && apt-get install gcc\n")
    assert "DL3006" in hadolint(file)
