"""``make fuzz``: every fuzzer for its share of the time, one after the other, and one table."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

TARGETS = ("events", "contract", "replies")
FOLDER = Path(".fuzz")
ROW = "{:<10} {:>8} {:>12} {:>10} {:>8} {:>10} {:>8} {:>9}"


class Found(NamedTuple):
    """What a fuzzer says at its end."""

    seconds: int
    executions: int
    per_second: int
    edges: int
    features: int
    corpus: int
    failed: list[str]


def fuzz(target: str, seconds: int, folder: Path) -> Found:
    """Run one fuzzer, as a process that gives way to others."""
    folder.mkdir(parents=True, exist_ok=True)
    before = set(folder.iterdir())
    log = folder / "log"
    command = [sys.executable, "-m", f"tests.fuzz.fuzz_{target}", str(folder), f"-max_total_time={seconds}"]
    with log.open("wb") as out:
        done = subprocess.run(
            command, stdout=out, stderr=out, check=False, preexec_fn=lambda: os.nice(10) and None
        )
    text = log.read_text(errors="replace")
    failed = [str(path) for path in sorted(set(folder.iterdir()) - before) if "-" in path.name]
    if done.returncode and not failed:
        failed = [f"exit code {done.returncode}, see {log}"]
    status = re.findall(r"cov: (\d+) ft: (\d+) corp: (\d+)", text)
    edges, features, corpus = map(int, status[-1]) if status else (0, 0, 0)
    return Found(
        seconds,
        _number(text, "number_of_executed_units"),
        _number(text, "average_exec_per_sec"),
        edges,
        features,
        corpus,
        failed,
    )


def _number(text: str, name: str) -> int:
    found = re.search(rf"stat::{name}:\s+(\d+)", text)
    return int(found[1]) if found else 0


def main() -> int:
    """0: nothing was found; 1: something was."""
    options = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    options.add_argument("--seconds", type=int, default=600, help="for all of them together")
    options.add_argument("targets", nargs="*", choices=[*TARGETS, []], help=f"of {', '.join(TARGETS)}")
    chosen = options.parse_args()
    targets = chosen.targets or TARGETS
    print(
        ROW.format("target", "seconds", "executions", "per second", "edges", "features", "corpus", "findings")
    )
    found = []
    for target in targets:
        one = fuzz(target, max(chosen.seconds // len(targets), 1), FOLDER / target)
        print(ROW.format(target, *one[:-1], len(one.failed)), flush=True)
        found += [f"{target}: {path}" for path in one.failed]
    print(*found, sep="\n", end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
