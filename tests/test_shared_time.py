"""The time limit of a test, and a server that takes longer than that to start."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = """
from tests.harness.shared_time import SharedTime

def pytest_configure(config):
    config.pluginmanager.register(SharedTime(20.0))
"""
TESTS = """
import time
import pytest

@pytest.fixture(scope="session")
def server():
    time.sleep(1.0)

@pytest.fixture(scope="module")
def site(server):
    time.sleep(1.0)

@pytest.fixture
def own():
    time.sleep(20.0)

def test_shared(site):
    pass

def test_too_long(site):
    time.sleep(20.0)

def test_not_shared(own):
    pass
"""


@pytest.mark.server
def test_what_is_shared_is_not_the_first_tests_and_each_test_has_its_limit(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_it.py").write_text(TESTS)
    words = ["-q", "-p", "no:cloudcoil", "-p", "no:cacheprovider", "--timeout", "0.5", "--tb", "line"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words, "--rootdir", str(tmp_path), str(tmp_path)],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "1 passed, 1 error" in done.stdout.replace("1 failed, ", ""), done.stdout + done.stderr
    assert done.stdout.count("Timeout (>0.5s)") >= 2
