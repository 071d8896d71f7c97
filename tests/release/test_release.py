"""What is handed on: locked, twice the same, and listed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import version
from typing import TYPE_CHECKING

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.harness.podman import ROOT
from tests.release import image, sbom

if TYPE_CHECKING:
    from pathlib import Path

LEFT = shutil.ignore_patterns("__pycache__", "node_modules", "types")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
STATUS = """Package: libc6
Status: install ok installed
Maintainer: Somebody <a@b.example>
Architecture: amd64
Version: 2.36-9+deb12u14
Description: GNU C Library
 Two lines: of it.

Package: gone
Status: deinstall ok config-files
Maintainer: Somebody <a@b.example>
Architecture: all
Version: 1
"""


def locked(name: str) -> dict[str, str]:
    """The versions that a lock has; each has hashes."""
    found: dict[str, str] = {}
    for block in re.split(r"\n(?=\S)", (ROOT / "helm/locks" / name).read_text("utf-8")):
        if told := re.match(r"([A-Za-z0-9._-]+)==([^ ;\\\n]+)", block):
            assert "--hash=sha256:" in block, told[1]
            found[canonicalize_name(told[1])] = told[2]
    return found


def loose(needed: list[str], lock: dict[str, str]) -> list[str]:
    """What is needed and not locked, or locked in a version that will not do."""
    asked = [Requirement(each) for each in needed]
    return [
        str(each)
        for each in asked
        if not each.specifier.contains(lock.get(canonicalize_name(each.name), "0"), prereleases=True)
    ]


def test_the_locks_have_what_the_project_needs() -> None:
    """Where this fails: `make lock`."""
    needed = [*PROJECT["project"]["dependencies"], *PROJECT["project"]["optional-dependencies"]["otel"]]
    assert loose(needed, locked("requirements.txt")) == []
    assert loose(PROJECT["build-system"]["requires"], locked("build.txt")) == []
    tools = [
        line for line in (ROOT / "helm/locks/tools.in").read_text("utf-8").splitlines() if line[0] != "#"
    ]
    assert loose(tools, locked("tools.txt")) == []


def test_a_lock_that_lags_behind_would_be_found() -> None:
    assert loose(["a>=2", "B_b<3", "c"], {"a": "1.9", "b-b": "2", "c": "1"}) == ["a>=2"]
    assert loose(["a>=2"], {}) == ["a>=2"]


def test_wheel_and_archive_are_twice_the_same(tmp_path: Path) -> None:
    """From another folder, with other times of its files."""
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("adapter", "consumers", "helm/locks", "LICENSE", "README.md", "pyproject.toml"):
        place = ROOT / name
        if place.is_dir():
            shutil.copytree(place, copy / name, ignore=LEFT)
        else:
            shutil.copyfile(place, copy / name)
    first = image.packages(tmp_path / "1", copy)
    os.utime(copy / "README.md", (1, 1))
    second = image.packages(tmp_path / "2", copy.rename(tmp_path / "moved"))
    assert first == second
    assert sorted(name.rpartition(".")[2] for name in first) == ["gz", "whl"]
    assert image.compared(first, {**second, "x": "1"})[-1].endswith("NOT THE SAME")


def test_the_wheel_brings_its_own_packages_and_no_others(tmp_path: Path) -> None:
    """A package of a common name, such as ``tests``, would be in every user's way."""
    wheel = ("hatchling", "build", "-t", "wheel", "-d", str(tmp_path))
    subprocess.run([sys.executable, "-m", *wheel], cwd=ROOT, check=True, capture_output=True)
    (made,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(made) as files:
        brought = {each.split("/")[0] for each in files.namelist()}
    about = f"{made.name.split('-py3')[0]}.dist-info"
    assert brought == {"adapter", "consumers", about}


def test_debians_packages_are_listed() -> None:
    release = sbom.variables('NAME="Debian"\nID=debian\nVERSION_ID="12"\n')
    (package,) = sbom.debian(STATUS, release)
    assert package["purl"] == "pkg:deb/debian/libc6@2.36-9%2Bdeb12u14?arch=amd64&distro=debian-12"
    assert (package["name"], package["supplier"]) == ("libc6", {"name": "Somebody <a@b.example>"})
    assert sbom.system(release)["version"] == "12"


def test_the_python_of_an_environment_is_known(tmp_path: Path) -> None:
    (tmp_path / "pyvenv.cfg").write_text("home = /usr/bin\nversion = 3.13.15\n")
    (tmp_path / "lib/python3.13/site-packages").mkdir(parents=True)
    python, packages = sbom.found(tmp_path)
    assert (python, packages.name) == ("3.13.15", "site-packages")


def test_the_base_is_named_by_its_digest() -> None:
    dockerfile = (ROOT / "helm/Dockerfile").read_text("utf-8")
    (base,) = re.findall(r"^ARG BASE_IMAGE=(.+)$", dockerfile, re.MULTILINE)
    assert re.fullmatch(r"\S+:\S+@sha256:[0-9a-f]{64}", base)
    assert f"ARG VERSION={version('evapi-adapter')}\n" in dockerfile


@pytest.mark.parametrize("name", ["requirements.txt", "build.txt"])
def test_locks_name_no_index(name: str) -> None:
    assert "://" not in (ROOT / "helm/locks" / name).read_text("utf-8")
