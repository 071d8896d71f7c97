"""What processes and the machine have used, as Linux tells it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

from adapter.bench.load import Usage

_TICK: Final = 1 / os.sysconf("SC_CLK_TCK")


def usage(pid: int) -> Usage:
    """What a process has used. Raises OSError where it has ended."""
    process = Path(f"/proc/{pid}")
    user, system = (process / "stat").read_text().rpartition(")")[2].split()[11:13]
    ticks = (int(user) + int(system)) * _TICK
    status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines() if ":" in line)
    if "VmRSS" not in status:
        raise ProcessLookupError(f"process {pid} has ended")
    now, peak = (int(status[key].split()[0]) * 1024 for key in ("VmRSS", "VmHWM"))
    # In steps of 10 ms that is, and rounded down; exact is the sum of the threads that are still there.
    return Usage(max(ticks, _threads(process)), now, peak)


def _threads(process: Path) -> float:
    spent = 0
    for thread in process.glob("task/*/schedstat"):
        with contextlib.suppress(OSError):  # a thread that has just ended
            spent += int(thread.read_text().split()[0])
    return spent / 1e9


def forget_peak(pid: int) -> None:
    """Begin anew with the most memory that a process ever had, where that is allowed."""
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/clear_refs").write_text("5")


def busy() -> float:
    """CPU seconds that the machine's cores have worked since its start."""
    with Path("/proc/stat").open() as stat:
        user, nice, system, _idle, _wait, irq, softirq, steal, *_ = map(int, stat.readline().split()[1:])
    return (user + nice + system + irq + softirq + steal) * _TICK


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0))
