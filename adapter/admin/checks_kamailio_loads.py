"""What this machine's Kamailio itself says of a configuration: ``kamailio -c``."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

from adapter.admin.checks_finding import Finding, Group, Status

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

KAMAILIO: Final = Group("kamailio")
PROGRAM: Final = "kamailio"
CHECK: Final = "loads"
LONGEST: Final = 2.5
"""Seconds that it has: 0.1 is usual, but it looks up this machine's addresses by DNS."""
MOST: Final = 10
"""Faults that are told: one wrong line makes more of them."""
_PLACE: Final = re.compile(r"parse error in config file (.+?), line (\d+), column [\d-]+: (.*)")
_FAULT: Final = re.compile(r"(?:ERROR|CRITICAL): (?:<\w+> \[[^\]]*\]: )?(?:\w+\(\): )?(.*)")
_WHY: Final = "This machine's Kamailio does not start with it."


def check(file: str, defines: Mapping[str, str]) -> list[Finding]:
    """Have Kamailio read a configuration, without starting.

    Args:
        file: its path.
        defines: what Kamailio gets by ``-A NAME=VALUE``.

    Returns:
        A finding for each fault that Kamailio tells, or that there is none; nothing where no Kamailio is
        installed.
    """
    program = shutil.which(PROGRAM)
    if program is None:
        return []
    command = [program, "-c", "-f", file]
    for name, value in defines.items():
        command += ["-A", f"{name}={value}" if value else name]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
            timeout=LONGEST, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        shown = " ".join(command)
        return [KAMAILIO.unknown(CHECK, f"{shown}: no result within {LONGEST:g} s", "", shown)]
    except OSError as exc:
        return [KAMAILIO.unknown(CHECK, f"{program} cannot be run: {exc.strerror}")]
    if done.returncode == 0:
        # It does not look for the routes that are called: that is done at the start (missing-route).
        return [KAMAILIO.ok(CHECK, f"{file}: {_version(program)} -c finds nothing wrong")]
    return _faults(file, done.stderr.splitlines(), " ".join(command))


def _version(program: str) -> str:
    told = subprocess.run([program, "-v"], capture_output=True, text=True, timeout=LONGEST, check=False)
    found = re.search(r"version: (kamailio \S+)", told.stdout)
    return found[1] if found else "this Kamailio"


def _faults(file: str, lines: Sequence[str], command: str) -> list[Finding]:
    """Make a finding of each place that is named; of what was said just before it, the reason."""
    found: dict[tuple[str, int], Finding] = {}
    before: list[str] = []
    for line in lines:
        place = _PLACE.search(line)
        fault = _FAULT.search(line)
        if place is None:
            before += [fault[1]] if fault else []
            continue
        where, number = _path(place[1], file), int(place[2])
        said = "; ".join([*before[-1:], place[3].strip()])
        before = []
        seen = f"{where}:{number}: {said}"
        todo = f"mend line {number} of {where}"
        fault_there = Finding(KAMAILIO.name, CHECK, Status.ERROR, seen, _WHY, todo, file=where, line=number)
        found.setdefault((where, number), fault_there)
    if found:
        return list(found.values())[:MOST]
    said = before[0] if before else (lines[-1] if lines else "it says nothing")
    return [Finding(KAMAILIO.name, CHECK, Status.ERROR, f"{file}: {said}", _WHY, command, file=file)]


def _path(told: str, file: str) -> str:
    """Return the path of an included file, which Kamailio names as it stands in ``include_file``."""
    beside = Path(file).parent / told
    return str(beside) if not Path(told).exists() and beside.exists() else told
