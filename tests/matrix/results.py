"""What came of each part, kept between runs so that one part can be run again alone."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from filelock import FileLock

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True)
class Result:
    """What came of one part.

    Args:
        versions: of the programs that the part is about, by their names.
        good: whether everything passed.
        passed: tests that did; 0 for what is no test.
        failed: names of the tests that did not.
        seconds: how long it took.
        day: when, as ``2026-11-28``.
        revision: of the tree, short.
        note: why it could not run, in words for the table; empty if it ran.
    """

    versions: Mapping[str, str]
    good: bool
    passed: int
    failed: tuple[str, ...]
    seconds: float
    day: str
    revision: str
    note: str = ""


def counted(report: Path) -> tuple[int, tuple[str, ...]]:
    """Return how many tests of a JUnit report passed, and the names of those that did not.

    Both are empty if there is no report: pytest itself ended before.
    """
    if not report.exists():
        return 0, ()
    passed, failed = 0, []
    for case in ET.parse(report).iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            failed.append(f"{case.get('name')}")
        elif case.find("skipped") is None:
            passed += 1
    return passed, tuple(dict.fromkeys(failed))


class Results:
    """All results by the part's name, in a file."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def get(self, name: str) -> Result | None:
        """Return what came of a part, or None if it never ran."""
        one = self._read().get(name)
        return None if one is None else Result(**{**one, "failed": tuple(one["failed"])})

    def put(self, name: str, result: Result) -> None:
        """Keep what came of a part; another run may keep some at the same time."""
        with FileLock(f"{self._file}.lock"):
            kept = {**self._read(), name: asdict(result)}
            part = self._file.with_suffix(".part")
            part.write_text(json.dumps(kept, indent=1))
            part.rename(self._file)

    def _read(self) -> dict[str, Any]:
        return json.loads(self._file.read_text()) if self._file.exists() else {}
