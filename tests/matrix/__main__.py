"""``make matrix``: run every part, or those that are named, and write COMPATIBILITY.md."""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from fnmatch import fnmatch
from typing import TYPE_CHECKING, Final

from tests.harness.process import HarnessError
from tests.matrix.parts import Part, parts
from tests.matrix.pythons import Python, python
from tests.matrix.results import Result, Results, counted
from tests.matrix.roots import SUITES, kept_folder, packages, root
from tests.matrix.table import document, outcome
from tests.matrix.versions import versions
from tests.matrix.within import PROJECT, command

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

DOCUMENT: Final = PROJECT / "COMPATIBILITY.md"
BESIDE: Final = 2
"""How many parts run at a time, of those that may: there are two cores."""
WHOLE: Final = "whole.txt"
"""What is told of the last run of all parts."""
PART_TIMEOUT: Final = 1800.0
"""Seconds after which a part is ended and has failed."""


def tell(text: str) -> None:
    """Say to whoever waits how far it is."""
    print(f"{datetime.now(UTC):%H:%M:%S} {text}", file=sys.stderr, flush=True)


class Matrix:
    """One run: the roots, what is in them, and what came of the parts."""

    def __init__(self, folder: Path, chosen: Sequence[Part], fresh: bool) -> None:
        self._folder = folder
        self._chosen = chosen
        self._fresh = fresh
        self._results = Results(folder / "results.json")
        self._roots: dict[str, Path] = {}
        self._versions: dict[str, dict[str, str]] = {}
        self._pythons: dict[str, Python | None] = {}
        self._lock = threading.Lock()
        self._revision = _revision()
        (folder / "logs").mkdir(parents=True, exist_ok=True)

    def run(self) -> bool:
        """Run the chosen parts; return whether all of them passed."""
        begun = time.monotonic()
        self._prepare()
        prepared = time.monotonic() - begun
        beside = [part for part in self._chosen if not part.alone]
        alone = [part for part in self._chosen if part.alone]
        with ThreadPoolExecutor(BESIDE) as pool:
            good = list(pool.map(self._run, beside))
        good += map(self._run, alone)
        took = time.monotonic() - begun
        told = (
            f"The last whole run: {len(good)} parts in {took / 60:.0f} minutes, {prepared / 60:.0f} of them "
            f"to make roots and install Pythons; {datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores."
        )
        if len(good) == len(list(parts())):
            (self._folder / WHOLE).write_text(told)
        self._write()
        tell(f"{sum(good)} of {len(good)} parts are good; {took / 60:.1f} minutes; see {DOCUMENT.name}")
        return all(good)

    def _prepare(self) -> None:
        """Make the roots that are needed, see what is in them, and make the Pythons."""
        suites = sorted({part.suite for part in self._chosen}, key=list(SUITES).index)
        with ThreadPoolExecutor(BESIDE) as pool:
            made = pool.map(lambda suite: root(suite, packages(suite), fresh=self._fresh), suites)
            self._roots = dict(zip(suites, made, strict=True))
        for suite, folder in self._roots.items():
            self._versions[suite] = versions(folder)
            shown = ", ".join(f"{name} {version}" for name, version in self._versions[suite].items())
            tell(f"{SUITES[suite]}: {shown}")
        for part in self._chosen:
            if part.python and part.python not in self._pythons:
                self._pythons[part.python] = python(part.python, self._roots[part.suite])

    def _run(self, part: Part) -> bool:
        tell(f"{part.name} begins")
        result = self._result(part)
        with self._lock:
            self._results.put(part.name, result)
        tell(f"{part.name}: {outcome(result)}, {result.seconds:.0f} s")
        return result.good

    def _result(self, part: Part) -> Result:
        found = dict(self._versions[part.suite])
        empty = Result(found, False, 0, (), 0.0, f"{datetime.now(UTC):%Y-%m-%d}", self._revision)
        if not part.python:
            return self._ran(part, [sys.executable], False, empty)
        chosen = self._pythons[part.python]
        if chosen is None:
            unknown = {**found, "Python": part.python}
            return replace(empty, versions=unknown, note="not to be had where this ran")
        found["Python"] = chosen.version
        return self._ran(part, [chosen.program], chosen.inside, empty)

    def _ran(self, part: Part, program: Sequence[str], inside: bool, empty: Result) -> Result:
        log = self._folder / "logs" / f"{part.name}.log"
        report = self._folder / "logs" / f"{part.name}.xml"
        report.unlink(missing_ok=True)
        words = [*program, *part.words, *([f"--junitxml={report}"] if part.is_pytest else [])]
        where = command(self._roots[part.suite], words, inside=inside, valkey=part.valkey, binds=[log.parent])
        begun = time.monotonic()
        with log.open("wb") as output:
            child = subprocess.Popen(
                where,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=PROJECT,
                env={**os.environ, **part.env},
            )
            try:
                code = child.wait(PART_TIMEOUT)
            finally:
                child.kill()  # unshare passes SIGTERM on to nobody; its namespace ends with it
                child.wait()
        passed, failed = counted(report)
        took = time.monotonic() - begun
        return replace(empty, good=code == 0, passed=passed, failed=failed, seconds=took)

    def _write(self) -> None:
        whole = self._folder / WHOLE
        told = whole.read_text() if whole.exists() else "The parts were run by name; never all in one run."
        before = DOCUMENT.read_text() if DOCUMENT.exists() else ""
        rows = [(part, self._results.get(part.name)) for part in parts()]
        DOCUMENT.write_text(document(before, rows, told))


def _revision() -> str:
    with contextlib.suppress(OSError):  # no git: a tree from an archive
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--exclude=*"],
            cwd=PROJECT,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout.strip()
    return ""


def main() -> int:
    """Run what the command line asks for; 1 if any part failed, 2 if it could not be run."""
    parser = argparse.ArgumentParser(prog="make matrix", description=__doc__)
    parser.add_argument("--only", default="*", help="names of parts, such as 'kamailio-*,demo-sid'")
    parser.add_argument("--fresh", action="store_true", help="make the roots anew")
    parser.add_argument("--list", action="store_true", help="name the parts and end")
    options = parser.parse_args()
    wanted = options.only.split(",")
    chosen = [part for part in parts() if any(fnmatch(part.name, each) for each in wanted)]
    if options.list or not chosen:
        print("\n".join(part.name for part in parts()))
        return 0 if options.list else 2
    folder = kept_folder()
    try:
        return 0 if Matrix(folder, chosen, options.fresh).run() else 1
    except HarnessError as exc:
        print(f"the matrix could not run: {exc}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
