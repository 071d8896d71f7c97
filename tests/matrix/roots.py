"""Roots: a whole Debian of another suite in a folder, made once by mmdebstrap and kept between runs."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from filelock import FileLock

from tests.harness.process import HarnessError

KEPT: Final = "EVAPI_MATRIX"
"""The environment variable that names the folder for what is kept between runs."""
SERVERS: Final = (
    *("kamailio", "kamailio-extra-modules", "kamailio-python3-modules", "kamailio-utils-modules"),
    *("rabbitmq-server", "redis-server", "sip-tester", "prometheus", "openssl"),
)
PYTHON: Final = ("python3", "python3-venv")
ADDED: Final = {"trixie": ("valkey-server",), "sid": ("valkey-server", "python3.15-venv")}
"""What a suite has and the others have not."""
SUITES: Final = {"bookworm": "Debian 12", "trixie": "Debian 13", "sid": "Debian sid"}
TIMEOUT: Final = 900.0
"""Seconds to make one: 25 with a near mirror and idle cores."""
NOTHING_STARTS: Final = (
    'printf "#!/bin/sh\\nexit 101\\n" > "$1/usr/sbin/policy-rc.d"; chmod 755 "$1/usr/sbin/policy-rc.d"'
)
"""Packages of servers start them when they are installed, unless this says no."""


def as_root() -> list[str]:
    """Return the prefix by which root runs a command: empty for root."""
    return [] if os.geteuid() == 0 else ["sudo", "--preserve-env"]


def kept_folder() -> Path:
    """The folder for roots, wheels and results: ``EVAPI_MATRIX``, or one in the user's cache."""
    if named := os.environ.get(KEPT):
        return Path(named).absolute()
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "evapi-adapter" / "matrix"


def packages(suite: str) -> tuple[str, ...]:
    """All packages that the matrix needs of this suite."""
    return (*SERVERS, *PYTHON, *ADDED.get(suite, ()))


def root(suite: str, wanted: tuple[str, ...], *, fresh: bool = False) -> Path:
    """Return the root of ``suite`` that has these packages, and make it if it is missing.

    Args:
        suite: Debian's name of it, such as ``trixie``.
        wanted: names of packages.
        fresh: make it anew although it is there: sid changes each day.

    Returns:
        Its folder, which belongs to root.

    Raises:
        HarnessError: mmdebstrap failed; the text ends with what it said.
    """
    key = hashlib.sha256(" ".join(sorted(wanted)).encode()).hexdigest()[:8]
    folder = kept_folder() / "roots" / f"{suite}-{key}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock", timeout=TIMEOUT):
        if fresh and folder.exists():
            _remove(folder)
        if not folder.exists():
            _make(suite, wanted, folder)
    return folder


def _remove(folder: Path) -> None:
    mounts = (line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines())
    for left in sorted((each for each in mounts if each.startswith(f"{folder}/")), reverse=True):
        subprocess.run([*as_root(), "umount", left], check=True)  # by a mmdebstrap that was ended
    subprocess.run([*as_root(), "rm", "-rf", "--one-file-system", str(folder)], check=True)


def _make(suite: str, wanted: tuple[str, ...], folder: Path) -> None:
    print(f"making a root of {SUITES[suite]} in {folder}", file=sys.stderr, flush=True)
    begun = time.monotonic()
    part = folder.with_suffix(".part")
    _remove(part)  # of a run that was ended
    command = [
        *as_root(),
        "mmdebstrap",
        "--quiet",
        "--variant=minbase",
        f"--include=ca-certificates,{','.join(wanted)}",
    ]
    command += ['--aptopt=Acquire::Check-Valid-Until "false"', f"--customize-hook={NOTHING_STARTS}"]
    try:
        done = subprocess.run(
            [*command, suite, str(part)], capture_output=True, text=True, timeout=TIMEOUT, check=False
        )
    except FileNotFoundError as exc:
        raise HarnessError("mmdebstrap is not installed: apt-get install mmdebstrap") from exc
    if done.returncode:
        raise HarnessError(f"mmdebstrap {suite}: {done.stderr[-2000:]}")
    part.rename(folder)
    print(f"made in {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
