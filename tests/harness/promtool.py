"""Prometheus' own tool, which reads rules as Prometheus does (Debian: ``prometheus``)."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from tests.harness.process import HarnessError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

TIMEOUT = 50.0


def check_rules(rules: Path) -> None:
    """Whether Prometheus would load the file. Raises HarnessError with what it says."""
    _promtool("check", "rules", str(rules))


def test_rules(tests: Sequence[Path]) -> None:
    """Run unit tests of rules. Raises HarnessError with what they expected and got."""
    _promtool("test", "rules", *map(str, tests))


test_rules.__test__ = False  # type: ignore[attr-defined]  # not one of pytest's


def check_metrics(text: str) -> None:
    """Whether what ``/metrics`` gave keeps the conventions. Raises HarnessError with what does not."""
    _promtool("check", "metrics", given=text)


def _promtool(*words: str, given: str = "") -> None:
    try:
        done = subprocess.run(
            ["promtool", *words], input=given, capture_output=True, text=True, timeout=TIMEOUT, check=False
        )
    except FileNotFoundError as exc:
        raise HarnessError("promtool is not installed: apt-get install prometheus") from exc
    if done.returncode:
        raise HarnessError(f"promtool {words[0]} {words[1]}: {done.stdout}{done.stderr}")
