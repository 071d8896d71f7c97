"""The image: built, and built twice to see that both are the same (``make image``, ``make reproducible``)."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import tomllib
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from tests.harness import podman
from tests.harness.process import HarnessError

if TYPE_CHECKING:
    from collections.abc import Mapping

VERSION = tomllib.loads((podman.ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]

NAME = f"localhost/evapi-adapter:{VERSION}"


def revision() -> str:
    """The commit, or "" outside of a repository."""
    command = ["git", "-C", str(podman.ROOT), "rev-parse", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def packages(folder: Path, tree: Path = podman.ROOT) -> dict[str, str]:
    """Build wheel and source archive of ``tree``. Returns the SHA-256 of each file, by its name."""
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)
    if done.returncode:
        raise HarnessError(f"hatchling: {done.stderr}")
    return {path.name: sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def built(tag: str, base: str, *, fresh: bool = False) -> str:
    """Build the image on this base. Returns the name that it has; raises HarnessError."""
    return podman.build(tag, f"VERSION={VERSION}", f"REVISION={revision()}", base=base, fresh=fresh)


def layers(image: str) -> dict[str, str]:
    """The digest of the whole image and of each of its layers."""
    found = podman.inspect("image", image)
    return {"image": found["Id"], **{f"layer {n}": each for n, each in enumerate(found["RootFS"]["Layers"])}}


def compared(first: Mapping[str, str], second: Mapping[str, str]) -> list[str]:
    """A line for each name: its digest, or that the two differ."""
    names = sorted({*first, *second})
    return [
        f"{name}: {first[name]}, twice the same"
        if first.get(name) == second.get(name)
        else f"{name}: {first.get(name)} and then {second.get(name)}: NOT THE SAME"
        for name in names
    ]


def twice(base: str) -> list[str]:
    """Build everything twice, with nothing kept from the first time."""
    made = []
    for number in (1, 2):
        with tempfile.TemporaryDirectory() as folder:
            images = layers(built(f"twice-{number}", base, fresh=True))
            made.append({**packages(Path(folder)), **images})
    return compared(*made)


def main() -> int:
    """Do what the command line says. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["build", "name", "twice"])
    parser.add_argument("--base", default="", help="instead of the one in helm/Dockerfile; debian: made here")
    given = parser.parse_args()
    try:
        if given.what == "name":
            told = [NAME]
        else:
            base = podman.base_image() if given.base == "debian" else given.base or podman.DOCKERFILES_OWN
            told = twice(base) if given.what == "twice" else [built(NAME, base)]
    except HarnessError as exc:
        print(exc, file=sys.stderr)
        return 1
    print("\n".join(told))
    return 1 if any("NOT THE SAME" in line for line in told) else 0


if __name__ == "__main__":
    sys.exit(main())
