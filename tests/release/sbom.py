"""What wheel and image are made of, as CycloneDX (``make sbom``), by cyclonedx-py.

The wheel's list has all that helm/locks/requirements.txt brings; the image's has, beside what is installed
in it, Debian's packages and Python itself, which cyclonedx-py does not know of.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from email.parser import HeaderParser
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from tests.harness import podman
from tests.harness.process import HarnessError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PROJECT = podman.ROOT / "pyproject.toml"
LOCK = podman.ROOT / "helm/locks/requirements.txt"
PLACES = ("/opt/evapi-adapter", "/var/lib/dpkg/status", "/etc/os-release")
"""What is copied out of an image."""


def _program(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise HarnessError(f"{' '.join(command[:4])} ...: {done.stderr or done.stdout}")
    return done.stdout


def listed(python: Path) -> dict[str, Any]:
    """What cyclonedx-py finds at an interpreter or a virtual environment. Raises HarnessError."""
    options = ["--pyproject", str(PROJECT), "--output-reproducible", "--of", "JSON"]
    found: dict[str, Any] = json.loads(_run(_program("cyclonedx-py"), "environment", *options, str(python)))
    return found


def of_wheel(wheel: Path) -> dict[str, Any]:
    """What the wheel brings along, as it is locked. Raises HarnessError."""
    with tempfile.TemporaryDirectory() as folder:
        environment, uv = Path(folder) / "venv", _program("uv")
        _run(uv, "venv", "-q", "--python", sys.executable, str(environment))
        install = [uv, "pip", "install", "-q", "--python", str(environment)]
        _run(*install, "--require-hashes", "-r", str(LOCK))
        _run(*install, "--no-deps", str(wheel))
        return listed(environment)


def of_image(image: str) -> dict[str, Any]:
    """What an image has that is here. Raises HarnessError."""
    with tempfile.TemporaryDirectory() as folder:
        container = podman.podman("create", image).strip()
        try:
            for place in PLACES:
                podman.podman("cp", f"{container}:{place}", f"{folder}/{Path(place).name}")
        finally:
            podman.podman("rm", container)
        release = variables((Path(folder) / "os-release").read_text("utf-8"))
        python, packages = found(Path(folder) / "evapi-adapter")
        bom = listed(_reader(Path(folder), packages))
        status = (Path(folder) / "status").read_text("utf-8")
        more = [system(release), interpreter(python), *debian(status, release)]
    known = {each["bom-ref"] for each in bom["components"]}
    bom["components"] += [each for each in more if each["bom-ref"] not in known]
    bom["dependencies"] += [{"ref": each["bom-ref"]} for each in more if each["bom-ref"] not in known]
    return bom


def found(environment: Path) -> tuple[str, Path]:
    """The version of the Python that a virtual environment is of, and where its packages are."""
    told = dict(line.split(" = ", 1) for line in (environment / "pyvenv.cfg").read_text("utf-8").splitlines())
    (packages,) = environment.glob("lib/python3.*/site-packages")
    return told["version"], packages


def _reader(folder: Path, packages: Path) -> Path:
    """cyclonedx-py asks an interpreter where its packages are; the image's own cannot run here."""
    reader = folder / "python"
    reader.write_text(f"#!/bin/sh\necho '{json.dumps([str(packages)])}'\n", encoding="utf-8")
    reader.chmod(0o755)
    return reader


def variables(text: str) -> dict[str, str]:
    """Those of an os-release."""
    pairs = (line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))
    return {name: value.strip('"') for name, value in pairs}


def system(release: Mapping[str, str]) -> dict[str, Any]:
    """The operating system."""
    name, version = release["ID"], release.get("VERSION_ID", "")
    return {"bom-ref": f"os/{name}", "type": "operating-system", "name": name, "version": version}


def interpreter(version: str) -> dict[str, Any]:
    """Python itself, which in the official images is no package of Debian's."""
    purl = f"pkg:generic/python@{version}"
    return {"bom-ref": purl, "type": "platform", "name": "python", "version": version, "purl": purl}


def debian(status: str, release: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Each package that dpkg's status file tells as installed."""
    distribution = f"{release['ID']}-{release.get('VERSION_ID', '')}"
    for block in status.split("\n\n"):
        told = HeaderParser().parsestr(block.lstrip("\n"))
        if told["Status"] != "install ok installed":
            continue
        name, version = told["Package"], told["Version"]
        qualifiers = f"arch={told['Architecture']}&distro={distribution}"
        purl = f"pkg:deb/{release['ID']}/{quote(name)}@{quote(version)}?{qualifiers}"
        yield {
            "bom-ref": purl,
            "type": "library",
            "name": name,
            "version": version,
            "supplier": {"name": told["Maintainer"]},
            "purl": purl,
        }


def written(bom: Mapping[str, Any], path: Path) -> str:
    """Write a list that keeps to CycloneDX's schema. Returns a line about it; raises HarnessError."""
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    text = json.dumps(bom, indent=2, sort_keys=True) + "\n"
    wrong = JsonStrictValidator(SchemaVersion.from_version(bom["specVersion"])).validate_str(text)
    if wrong is not None:
        raise HarnessError(f"{path.name} is no CycloneDX {bom['specVersion']}: {wrong}")
    path.write_text(text, encoding="utf-8")
    return f"{path}: {len(bom['components'])} components, CycloneDX {bom['specVersion']}"


def main(wheel: Path, image: str) -> int:
    """Write both lists beside the wheel. Returns the exit code."""
    os.environ.pop("PYTHONPATH", None)
    try:
        print(written(of_wheel(wheel), wheel.with_suffix(".whl.cdx.json")), flush=True)
        print(written(of_image(image), wheel.with_name("evapi-adapter-image.cdx.json")))
    except HarnessError as exc:
        print(exc, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
