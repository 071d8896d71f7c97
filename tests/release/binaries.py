"""Whether the wheel installs on each Python with nothing built from source (``make binaries WHEEL``).

pip itself resolves for each version, takes wheels alone, and needs no such Python to be there.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

PYTHONS: Final = ("3.11", "3.12", "3.13", "3.14", "3.15")


def fetch(wheel: Path, python: str, folder: Path) -> tuple[list[str], str]:
    """Fetch the wheel's dependencies, those of its extras for users too, for one version of Python.

    Returns the names of the files, and what pip says where it does not find them all, else "".
    """
    options = ["--only-binary=:all:", "--python-version", python, "--implementation", "cp"]
    command = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", *options]
    done = subprocess.run(
        [*command, "-d", str(folder), f"{wheel}[otel]"], capture_output=True, text=True, check=False
    )
    errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
    return sorted(path.name for path in folder.iterdir()), "\n".join(errors) if done.returncode else ""


def main(wheel: Path) -> int:
    """Print a line for each Python. Returns the exit code."""
    failed = 0
    for python in PYTHONS:
        with tempfile.TemporaryDirectory() as folder:
            files, wrong = fetch(wheel, python, Path(folder))
        compiled = sum("-none-any" not in name for name in files)
        failed += bool(wrong)
        told = wrong or f"{len(files)} wheels, {compiled} of them compiled; nothing is built from source"
        print(f"Python {python}: {told}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
