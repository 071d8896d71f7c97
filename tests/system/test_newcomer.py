"""README's way from nothing to an own decision, typed from the top to its end, as it stands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.demo import NEXT
from tests.harness.newcomer import blocks, script
from tests.harness.readme import README
from tests.matrix.within import PATH

if TYPE_CHECKING:
    from pathlib import Path

ROOT = README.parent
ALONE = """
import os, sys
from tests.matrix.within import raise_loopback
raise_loopback()
os.execvp(sys.argv[1], sys.argv[1:])
"""
UNSHARE = ("unshare", "--net", "--pid", "--mount", "--fork", "--kill-child", "--mount-proc")
STUBS = {
    # Packages are there already: make test has installed them. A name that Debian does not know fails.
    "apt-get": '[ "$1" = update ] || shift 2; [ $# = 1 ] || dpkg-query -W "$@"',
    "service": '[ "$1 $2" = "kamailio stop" ]',
    # The environment is one without pip, and what README's line installs is the tree itself.
    "python3": """\
[ "$1 $2" = "-m venv" ] || exec {python} "$@"
{python} -m venv --without-pip "$3"
printf '#!/bin/sh\\n[ "$1 $2" = "install ." ] && ls pyproject.toml\\n' > "$3/bin/pip"
printf '#!/bin/sh\\nexec {python} -P -m adapter.cli "$@"\\n' > "$3/bin/evapi-adapter"
chmod +x "$3/bin/pip" "$3/bin/evapi-adapter"
""",
}
LONGEST = 110
"""Seconds for all of it: 8 on an idle machine."""


def alone(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    """Run it as a newcomer's shell in namespaces of its own: ports are free, what it starts ends with it."""
    stubs = folder / "stubs"
    stubs.mkdir()
    for name, body in STUBS.items():
        (stubs / name).write_text(f"#!/bin/bash -e\n{body.replace('{python}', sys.executable)}\n")
        (stubs / name).chmod(0o755)
    unshare = UNSHARE if os.geteuid() == 0 else (*UNSHARE, "--map-root-user")
    return subprocess.run(
        [*unshare, sys.executable, "-c", ALONE, "bash", "-c", text],
        cwd=ROOT,
        env={
            "HOME": str(folder),
            "PATH": f"{stubs}:{PATH}",
        },
        capture_output=True,
        text=True,
        timeout=LONGEST,
        check=False,
    )


@pytest.mark.timeout(120)
def test_readme_leads_from_nothing_to_a_call_that_own_code_decides(tmp_path: Path) -> None:
    way = blocks()
    done = alone(tmp_path, script(way))
    logs = "\n".join(path.read_text() for path in sorted(tmp_path.glob("terminal-*.log")))
    assert done.returncode == 0, done.stdout + done.stderr + logs
    typed = re.split(r"^\+ (.*)\n", done.stdout, flags=re.MULTILINE)
    told = list(zip(typed[1::2], typed[2::2], strict=True))
    called = [text for line, text in told if line == "evapi-adapter call 4420"]
    refused = [text for line, text in told if line == "evapi-adapter call 9990 --expect 403"]
    assert len(called) == len(refused) == 2, "through the proxy that comes along, and through one's own"
    for text in called:
        assert "answered: 200 OK after" in text
        assert re.search(r"\| +\|-- INVITE .*->\|$", text, re.MULTILINE), "the gateway was called"
    for text in refused:
        assert "refused: 403 Forbidden after" in text, "the consumer's code and reason"
    assert "none of" in dict(told)["evapi-adapter doctor --kamailio-cfg proxy/own.cfg"], "no fault"


def test_a_call_of_ones_own_takes_eleven_commands() -> None:
    lines = [line for block in blocks() for line in block.commands]
    assert lines.index("evapi-adapter call 4420") <= 10


def test_make_demo_ends_with_what_readme_types_next() -> None:
    typed = {part.strip() for block in blocks() for line in block.commands for part in line.split("&&")}
    shown = [line.strip() for line in NEXT.splitlines() if line.startswith("  ")]
    assert len(shown) == 3
    assert {part.strip() for line in shown for part in line.split("&&")} <= typed
