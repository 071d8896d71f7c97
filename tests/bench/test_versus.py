"""Two builds in turn: what is paired with what, and whose code runs."""

from __future__ import annotations

import math
import subprocess
import sys
from itertools import chain
from typing import TYPE_CHECKING

import pytest

from tests.bench import versus
from tests.bench.versus import CPU, FLAT_OUT, IDLE, Build, Compared
from tests.harness.process import HarnessError

if TYPE_CHECKING:
    from pathlib import Path


def test_builds_are_measured_in_turn_and_compared_round_by_round(tmp_path: Path) -> None:
    ours, base = Build("this tree", tmp_path), Build("base", tmp_path)
    order: list[str] = []
    values = iter([100.0, 110.0, 120.0, 150.0, 200.0, 206.0])  # base, ours, ours, base, base, ours

    def one(build: Build) -> dict[str, tuple[float, str]]:
        order.append(build.name)
        return {CPU: (next(values), "90 % decided" if build is base else "")}

    (row,) = versus.rounds([ours, base], 3, one)
    assert order == ["base", "this tree", "this tree", "base", "base", "this tree"]
    assert row.ratios == [1.1, 0.8, 1.03]
    assert row.cells == (
        "CPU per call at 2,000 calls/s",
        *("120.0 us", "150.0 us", "1.030", "0.800 to 1.100", "base: 90 % decided"),
    )


def test_a_build_that_decided_nothing_is_no_measure() -> None:
    for ours, base in ((100.0, 0.0), (math.inf, 100.0), (math.inf, math.inf), (100.0, math.inf)):
        assert Compared(CPU, [ours], [base]).ratio == math.inf > versus.MOST


def test_the_base_runs_its_own_code(tmp_path: Path) -> None:
    for package in ("adapter", "consumers"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text(f"print('base {package}')")
    for package in ("adapter", "consumers"):
        command = Build("base", tmp_path).command([sys.executable, "-m", package])
        told = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        assert told.startswith(f"base {package}")


def test_a_revision_that_git_has_not_got_is_told(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="no-such-revision"):
        versus.unpack("no-such-revision", tmp_path / "base")


def test_the_command_line() -> None:
    assert versus.options(["--base", "abc"]).only[:4] == [CPU, "saturation", FLAT_OUT, IDLE]
    assert set(versus.WHAT) == {
        CPU,
        "saturation",
        FLAT_OUT,
        IDLE,
        versus.IN_FLIGHT,
        versus.FASTEST,
        *chain(*versus.BATCHES.values()),
    }
    for bad in ([], ["--base", "x", "--rounds", "0"], ["--base", "x", "--only", "nothing"]):
        with pytest.raises(SystemExit):
            versus.options(bad)
