"""Pythons of other versions, each with all that the project needs, installed from wheels alone."""

from __future__ import annotations

import shutil
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.harness.process import HarnessError
from tests.matrix.roots import kept_folder
from tests.matrix.versions import python_version
from tests.matrix.within import PROJECT, command

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

VENV: Final = Path("/opt/evapi-adapter")
"""Within a root."""
HOMES: Final = (".pyenv/versions", ".local/share/uv/python")
"""Under the user's home: where pyenv and uv keep the Pythons they install."""
TIMEOUT: Final = 600.0
FINDS: Final = (
    "import pathlib, sys, sysconfig; "
    "pathlib.Path(sysconfig.get_path('purelib'), 'tests.pth').write_text(sys.argv[1] + '\\n')"
)
"""A program that has the environment which runs it find the packages of a folder, too."""


@dataclass(frozen=True, slots=True)
class Python:
    """One that can run the tests: ``inside`` a root, or one of this machine."""

    version: str
    program: str
    inside: bool


def python(wanted: str, root: Path) -> Python | None:
    """Return a Python of the version ``wanted``, ready to run the tests, or None if there is none to be had.

    Args:
        wanted: such as ``3.12``.
        root: the root whose servers the tests are to use. If it has that Python, it is taken.

    Raises:
        HarnessError: a dependency has no wheel for it, or the wheels cannot be installed.
    """
    wheel = _wheel()
    program = f"python{wanted}"
    if (root / "usr/bin" / program).exists():
        venv = VENV / wanted

        def within(words: Sequence[str]) -> list[str]:
            return command(root, words, inside=True, network=True, binds=[wheel.parent])

        _install(within, program, venv, wheel)
        return Python(python_version(within([program])), str(venv / "bin/python"), inside=True)
    if (found := _found(wanted)) is None:
        return None
    venv = kept_folder() / "pythons" / wanted
    _install(list, str(found), venv, wheel)
    return Python(python_version([str(found)]), str(venv / "bin/python"), inside=False)


def _found(wanted: str) -> Path | None:
    """One of this machine: in PATH, or where pyenv and uv keep them."""
    kept = [path for home in HOMES for path in (Path.home() / home).glob(f"*{wanted}.*/bin/python{wanted}")]
    named = shutil.which(f"python{wanted}")
    for path in (*kept, *([Path(named)] if named else [])):
        with suppress(HarnessError, OSError):  # a shim of pyenv is there for a version that is not chosen
            if python_version([str(path)]).startswith(f"{wanted}."):
                return path
    return None


def _wheel() -> Path:
    """The project's wheel, made of the tree as it is."""
    folder = kept_folder() / "wheels"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("evapi_adapter-*.whl"):
        old.unlink()
    _run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder), str(PROJECT)])
    (made,) = folder.glob("evapi_adapter-*.whl")
    return made


def _install(within: Callable[[Sequence[str]], list[str]], program: str, venv: Path, wheel: Path) -> None:
    """Install the wheel and all it needs into a virtual environment, and build nothing from source."""
    _run(within([program, "-m", "venv", str(venv)]))
    pip = [str(venv / "bin/python"), "-m", "pip", "--disable-pip-version-check", "install", "-q"]
    _run(within([*pip, "--only-binary=:all:", f"{wheel}[dev]"]))
    # What is there already by that version is of another tree, and pip would keep it.
    _run(within([*pip, "--no-deps", "--force-reinstall", str(wheel)]))
    # The tests are in no wheel: processes that they start find them as in an editable installation.
    _run(within([str(venv / "bin/python"), "-c", FINDS, str(PROJECT)]))


def _run(words: Sequence[str]) -> None:
    done = subprocess.run(words, capture_output=True, text=True, timeout=TIMEOUT, cwd=PROJECT, check=False)
    if done.returncode:
        raise HarnessError(f"{' '.join(words)}: {(done.stdout + done.stderr)[-2000:]}")
