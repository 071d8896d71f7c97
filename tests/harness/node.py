"""Packages of Node.js, installed once and kept: those of the SDK, and of the clients that are tried."""

from __future__ import annotations

import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from tests.harness.process import HarnessError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PACKAGE = Path(__file__).parents[2] / "consumers/node"
CLIENTS = Path(__file__).parents[1] / "clients/node"
"""The client libraries of which consumers/README.md tells."""
_INSTALLED = "node_modules/.installed"


def run(command: Sequence[str], folder: Path, env: Mapping[str, str] | None = None) -> str:
    """Run a program to its end; gives its output. Raises HarnessError with that, if it fails."""
    program = shutil.which(command[0])
    if program is None:
        raise HarnessError(f"no {command[0]}: apt-get install nodejs npm")
    done = subprocess.run(
        [program, *command[1:]],
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if done.returncode:
        raise HarnessError(f"{' '.join(command)}: {done.stdout}{done.stderr}")
    return done.stdout


def install(package: Path = PACKAGE) -> None:
    """Install what ``package-lock.json`` lists, unless it is there. Raises HarnessError."""
    wanted, installed = sha256((package / "package-lock.json").read_bytes()).hexdigest(), package / _INSTALLED
    with FileLock(package / ".installing"):
        if not (installed.exists() and installed.read_text() == wanted):
            run(["npm", "ci", "--no-audit", "--no-fund"], package)
            installed.write_text(wanted)


def main() -> int:
    """Install what is missing. Returns the exit code."""
    try:
        for package in (PACKAGE, CLIENTS):
            install(package)
    except HarnessError as exc:
        print(exc, file=sys.stderr)
        return 1
    return 0


def provide(folder: Path) -> None:
    """Let what is in ``folder`` import the package. Raises HarnessError."""
    install()
    (folder / "node_modules").mkdir()
    (folder / "node_modules/evapi-consumers").symlink_to(PACKAGE)


if __name__ == "__main__":
    sys.exit(main())
