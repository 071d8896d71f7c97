"""What the scripts in findings/ have in common: servers of their own, which end with the script."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.harness.podman import ROOT
from tests.harness.process import wait_until
from tests.matrix.roots import as_root

FINDINGS = ROOT / "findings"
TIMEOUT = 60.0
IN_A_ROOT = """
source {findings}/root.inc
ROOT=/
as_nobody="setpriv --reuid=nobody --regid=nogroup --clear-groups"
inside $as_nobody sh -c 'echo up; exec sleep {long}' > $FOLDER/log 2>&1 &
SERVER=$!
until [ -s $FOLDER/log ]; do sleep 0.05; done
"""
RABBITMQ = """
source {findings}/rabbit.inc
rabbit
echo $FOLDER
"""


def running(text: str) -> list[str]:
    """The processes whose command line has this text."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue  # it is over
        if any(text in word for word in words[1:]):
            found.append(" ".join(words))
    return found


def run(script: str) -> str:
    done = subprocess.run(
        [*as_root(), "bash", "-c", script], capture_output=True, text=True, timeout=TIMEOUT, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_what_runs_in_a_root_ends_with_the_script() -> None:
    """Though it has become another user meanwhile, as RabbitMQ does."""
    long = "86399.0417"
    run(IN_A_ROOT.format(findings=FINDINGS, long=long))
    wait_until(lambda: running(long) == [], "nothing is left")


def test_a_rabbitmq_ends_with_the_script() -> None:
    folder = run(RABBITMQ.format(findings=FINDINGS))
    assert folder.startswith("/tmp/finding-")
    wait_until(lambda: running(folder) == [], "nothing is left")
    assert not Path(folder).exists()


@pytest.mark.parametrize("script", sorted(FINDINGS.glob("*.sh")), ids=lambda path: path.stem)
def test_a_script_says_what_it_was_seen_with(script: Path) -> None:
    head = script.read_text().split("\nsource ")[0].split("\nset ")[0]
    assert "Seen in output" in head
    assert "Exits 0 if it is as said" in head
    assert any(each.isdigit() for each in head.split("\n")[1]), "versions"
