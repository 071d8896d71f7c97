"""The versions of a root's programs, as the programs themselves tell them."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
from typing import TYPE_CHECKING, Final

from tests.harness.process import HarnessError
from tests.matrix.within import command

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

ASKED: Final = {
    "Kamailio": (("kamailio", "-v"), r"version: kamailio (\S+)"),
    "RabbitMQ": (("rabbitmqctl", "version"), r"^(\d\S+)$"),
    "Redis": (("redis-server", "--version"), r"Redis server v=(\S+)"),
    "Valkey": (("valkey-server", "--version"), r"(?:Valkey|Server) server v=(\S+)"),
    "SIPp": (("sipp", "-v"), r"SIPp v(\d[\d.]*)"),
    "Prometheus": (("promtool", "--version"), r"promtool, version (\d[\d.]*)"),
    "Python": (("python3", "--version"), r"Python (\S+)"),
}
"""The command by which each tells it, and where it stands in what it says."""
KEPT: Final = "versions.json"


def versions(root: Path) -> dict[str, str]:
    """Return the version of each program that this root has, by the program's name.

    They are asked once: rabbitmqctl takes seconds, and a root stays as it was made.
    """
    kept = root / KEPT
    if kept.exists():
        return dict(json.loads(kept.read_text()))
    found = {}
    for name, (words, pattern) in ASKED.items():
        if any((root / place / words[0]).exists() for place in ("usr/bin", "usr/sbin")):
            found[name] = _told(command(root, words, inside=True), pattern)
    with contextlib.suppress(PermissionError):  # the root belongs to root: asked again
        kept.write_text(json.dumps(found))
    return found


def python_version(words: Sequence[str]) -> str:
    """Return the version of this Python."""
    return _told([*words, "--version"], ASKED["Python"][1])


def _told(words: Sequence[str], pattern: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    said = done.stdout + done.stderr
    version = re.search(pattern, said, re.MULTILINE)
    if version is None:
        raise HarnessError(f"{' '.join(words)} tells no version: {said[-500:]}")
    return version[1]
