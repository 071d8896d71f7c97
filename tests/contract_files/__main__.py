"""``make contract`` writes the contract's files; ``make contract-diff`` compares them with a revision's."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.contract_files.changes import changes
from tests.contract_files.files import DOCUMENT, FOLDER, files, write

if TYPE_CHECKING:
    from pathlib import Path

ROOT = FOLDER.parents[1]
WITHIN = FOLDER.relative_to(ROOT).as_posix()


def main() -> int:
    """Exit 0: all the same, or nothing breaks. 1: files were written anew, or a change breaks. 2: no base."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", help="compare with the files of this revision, and write nothing")
    base = parser.parse_args().base
    return _write() if base is None else compare(base)


def _write() -> int:
    changed = write(files())
    for name in changed:
        print(f"{WITHIN}/{name}: was not what the code makes of it, and is written anew")
    if changed:
        print("the contract has changed: see make contract-diff, and commit these files with the code")
    return 1 if changed else 0


def compare(base: str, root: Path = ROOT) -> int:
    """Say what has changed since the revision ``base`` of the repository ``root``. Returns the exit code."""
    listed = _git(root, "ls-tree", "-r", "--name-only", base, f"{WITHIN}/")
    names = [] if listed is None else [line for line in listed.splitlines() if _is_compared(line)]
    if not names:
        print(
            f"{base} has no {WITHIN}/, or is no revision: there is nothing to compare with", file=sys.stderr
        )
        return 2
    texts = {name: _git(root, "show", f"{base}:{name}") or "" for name in names}
    old = {name.removeprefix(f"{WITHIN}/"): json.loads(text) for name, text in texts.items()}
    new = {name: json.loads(text) for name, text in files().items() if _is_compared(f"{WITHIN}/{name}")}
    found = changes(old, new)
    for change in found:
        print(change)
    breaking = sum(change.breaks for change in found)
    print(f"{breaking} of {len(found)} changes since {base} break consumers that hold to it")
    return 1 if breaking else 0


def _is_compared(name: str) -> bool:
    return name.startswith(f"{WITHIN}/schemas/") or name == f"{WITHIN}/{DOCUMENT}"


def _git(root: Path, *arguments: str) -> str | None:
    found = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)
    return found.stdout if found.returncode == 0 else None


if __name__ == "__main__":
    sys.exit(main())
