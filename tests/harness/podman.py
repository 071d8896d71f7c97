"""Images and containers without a Docker engine: built by buildah, run by podman as a cluster would.

The base stands for ``python:3-slim``, which no test fetches: Debian's own Python, by mmdebstrap.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Final

from tests.harness.process import HarnessError

ROOT: Final = Path(__file__).parents[2]
PACKAGES: Final = "python3-minimal,python3-pip,python3-venv,ca-certificates"
SUITE: Final = "bookworm"
MIRRORS: Final = ("/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list")
CONFIGURATION: Final = Path(__file__).with_name("containers.conf")
DOCKERFILES_OWN: Final = "the Dockerfile's own"
SAME: Final = ("--timestamp", "315532800")
"""So that an image that is built twice is the same: no file and no layer has the time of its making."""
BUILD_TIMEOUT: Final = 240.0
"""Seconds: the base takes 30 on an idle machine, the image 20."""


def podman(*words: str, given: str | None = None, timeout: float = 60.0) -> str:
    """Run podman, with ``given`` as its input; what it says. Raises HarnessError."""
    return _run("podman", *words, given=given, timeout=timeout)


def base_image() -> str:
    """An image with Python, made where it is missing and kept for the next run. Raises HarnessError."""
    key = hashlib.sha256(f"{SUITE} {PACKAGES}".encode()).hexdigest()[:12]
    image = f"localhost/evapi-adapter-test-base:{key}"
    if _exists(image):
        return image
    mirror = next((found for found in MIRRORS if Path(found).exists()), "")
    with tempfile.TemporaryDirectory() as folder:
        archive = str(Path(folder) / "base.tar")
        # This machine's own suite, whichever it is: its sources, and its keys, are here.
        whence = ["", archive, mirror] if mirror else [SUITE, archive]
        made = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={PACKAGES}"]
        made += ['--aptopt=Acquire::Check-Valid-Until "false"']
        _run(*made, *whence, timeout=BUILD_TIMEOUT)
        container = _run("buildah", "from", "scratch").strip()
        try:
            _run("buildah", "add", "--quiet", container, archive, "/", timeout=BUILD_TIMEOUT)
            _run("buildah", "commit", "--quiet", container, image, timeout=BUILD_TIMEOUT)
        finally:
            _run("buildah", "rm", container)
    return image


def build(tag: str, *arguments: str, base: str = "", fresh: bool = False) -> str:
    """Build the project's image; gives its name. Raises HarnessError.

    Args:
        tag: of the image; or its whole name, with a registry.
        arguments: of the Dockerfile, ``NAME=value``.
        base: the image that it stands on; "" for one of Debian's own Python, DOCKERFILES_OWN for the one
            that the Dockerfile names, which is pulled.
        fresh: nothing is taken from an earlier build.
    """
    image = tag if "/" in tag else f"localhost/evapi-adapter-test:{tag}"
    command = ["buildah", "bud", "--quiet", "--isolation", "chroot", "--network", "host", *SAME]
    command += ["-v", "/etc/ssl/certs:/etc/ssl/certs:ro"]
    if base != DOCKERFILES_OWN:
        command += ["--pull-never", "--build-arg", f"BASE_IMAGE={base or base_image()}"]
    if fresh:
        command += ["--no-cache"]
    command += [each for one in arguments for each in ("--build-arg", one)]
    _run(*command, "-f", str(ROOT / "helm" / "Dockerfile"), "-t", image, str(ROOT), timeout=BUILD_TIMEOUT)
    return image


def run(image: str, *words: str, entrypoint: str | None = None, user: str = "65532:65532") -> str:
    """What a container says, run as the chart has it run. Raises HarnessError."""
    hardened = ["--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", f"--user={user}"]
    inside = ["--entrypoint", entrypoint] if entrypoint else []
    return podman("run", "--rm", "--network=host", *hardened, *inside, image, *words)


def inspect(kind: str, name: str) -> dict[str, Any]:
    """What podman knows of an image, a container or a pod. Raises HarnessError."""
    found = json.loads(podman(kind, "inspect", name))
    return found[0] if isinstance(found, list) else found


def logs(container: str) -> str:
    """All that it said. Raises HarnessError."""
    said = subprocess.run(
        ["podman", "logs", container],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        env=_environment(),
    )
    if said.returncode:
        raise HarnessError(said.stdout)
    return said.stdout


def _exists(image: str) -> bool:
    return (
        subprocess.run(["podman", "image", "exists", image], env=_environment(), check=False).returncode == 0
    )


def _environment() -> dict[str, str]:
    return {**os.environ, "CONTAINERS_CONF": str(CONFIGURATION)}


def _run(*command: str, given: str | None = None, timeout: float = 60.0) -> str:
    if shutil.which(command[0], path=f"{os.environ['PATH']}:/usr/sbin") is None:
        raise HarnessError(f"there is no {command[0]}: make test installs it")
    done = subprocess.run(
        command,
        input=given,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env=_environment(),
    )
    if done.returncode:
        raise HarnessError(f"{' '.join(command[:6])} ...: {(done.stderr or done.stdout)[-3000:]}")
    return done.stdout
