"""``make bare SUITE=trixie``: README, as typed from its top, on a Debian that has nothing but git and make.

A new root is made by mmdebstrap, and what is committed is cloned into it. There the way from nothing to a
call that own code decides is typed first (``newcomer``), in a root of its own; then ``make demo`` and ``make
test``, which install what they miss. A root has this machine's network, and goes afterwards.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.harness.newcomer import blocks, script
from tests.harness.process import HarnessError
from tests.matrix.roots import SUITES, kept_folder, root
from tests.matrix.within import PATH, PROJECT, REACHING_OUT, UNSHARE

if TYPE_CHECKING:
    from collections.abc import Sequence

TOOLS: Final = ("git", "make")
COMMANDS: Final = ("make demo", "make test")
NEWCOMER: Final = "newcomer"
HOME: Final = "root"
SCRIPT: Final = """\
set -eu
mount --bind {root} {root}
mount -t tmpfs none {root}/tmp
mount --rbind /proc {root}/proc
mount --rbind /sys {root}/sys
mount --rbind /dev {root}/dev
{reaching_out}
cd {root}
mkdir -p .before
pivot_root . .before
umount --lazy /.before
exec /usr/bin/env -i -C /{home}/evapi-adapter HOME=/{home} PATH={path} {given} bash -c "$0"
"""
"""By pivot_root: in a chroot that is no mount point mmdebstrap mounts nothing, and podman starts nothing."""


def prepared(suite: str) -> Path:
    """Return a root of ``suite`` of its own, with a clone of what is committed in its home."""
    kept = root(suite, TOOLS)
    folder = Path(tempfile.mkdtemp(prefix=f"{suite}-", dir=kept_folder()))
    subprocess.run(["cp", "--archive", f"{kept}/.", str(folder)], check=True)
    policy = folder / "usr/sbin/policy-rc.d"  # as images of Debian have it: no package starts its servers
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    clone = folder / HOME / "evapi-adapter"
    subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", str(PROJECT), str(clone)], check=True)
    return folder


def run(folder: Path, command: str) -> int:
    """Run a command line in the clone; return its exit code."""
    here = [each for each in REACHING_OUT if each.exists()]
    for each in here:
        there = folder / each.relative_to("/")
        if each.is_dir():
            there.mkdir(parents=True, exist_ok=True)
        else:
            there.parent.mkdir(parents=True, exist_ok=True)
            there.touch()
    mounted = SCRIPT.format(
        root=folder,
        home=HOME,
        path=PATH,
        given=" ".join(f"{name}={value}" for name, value in os.environ.items() if name.startswith("PIP_")),
        reaching_out="\n".join(f"mount --rbind {each} {folder}{each}" for each in here),
    )
    return subprocess.run([*UNSHARE, "sh", "-c", mounted, command], check=False).returncode


def typed(command: str) -> tuple[str, str]:
    """Return what a command is called in the result, and what bash gets to do."""
    if command != NEWCOMER:
        return command, command
    way = blocks()
    count = sum(len(block.commands) for block in way)
    return f"README's way to a call, {count} commands", script(way)


def _all_done(suite: str, commands: Sequence[str], told: list[str]) -> bool:
    """Run commands in a root of their own; add what came of each to ``told``."""
    folder = prepared(suite)
    good = True
    try:
        for command in commands:
            name, text = typed(command)
            begun = time.monotonic()
            code = run(folder, text)
            told.append(f"{SUITES[suite]}: {name}: exit {code}, {time.monotonic() - begun:.0f} s")
            print(told[-1], file=sys.stderr, flush=True)
            good = good and code == 0
    finally:
        shutil.rmtree(folder)
    return good


def main() -> int:
    """Run everything in each suite that is named; 1 if any of it failed."""
    parser = argparse.ArgumentParser(prog="make bare", description=__doc__)
    parser.add_argument("suites", nargs="*", default=list(SUITES), help=", ".join(SUITES))
    parser.add_argument(
        "--command", action="append", help=f"in place of {NEWCOMER}, {' and '.join(COMMANDS)}"
    )
    given = parser.parse_args()
    told: list[str] = []
    good = True
    for suite in given.suites:
        wanted = given.command or [NEWCOMER, *COMMANDS]
        # What the newcomer installs would hide what the two commands do not.
        for commands in (
            [NEWCOMER] if NEWCOMER in wanted else [],
            [each for each in wanted if each != NEWCOMER],
        ):
            if commands:
                good = _all_done(suite, commands, told) and good
    print("\n".join(told))
    return 0 if good else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except HarnessError as exc:
        sys.exit(f"bare: {exc}")
