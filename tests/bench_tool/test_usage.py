"""What Linux tells of a process."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
import time

import pytest

from adapter.bench.usage import busy, cores, forget_peak, usage

FINER = """
import os, time
from adapter.bench.usage import usage
before, spent = usage(os.getpid()).cpu, time.process_time()
while time.process_time() - spent < 0.004:  # less than half a tick
    pass
print(before, usage(os.getpid()).cpu, time.process_time())
"""


def test_it_is_finer_than_the_clock_tick() -> None:
    # In a process of its own: of threads that have ended, as this one has had many, only ticks are known.
    told = subprocess.run([sys.executable, "-c", FINER], capture_output=True, text=True, check=True).stdout
    before, after, whole = map(float, told.split())
    assert 0.003 < after - before < 0.2
    assert after == pytest.approx(whole, abs=0.03)


def test_memory_and_its_peak() -> None:
    pid = os.getpid()
    with mmap.mmap(-1, 64 << 20) as block:  # the allocator may keep what is given back
        for page in range(0, len(block), mmap.PAGESIZE):
            block[page] = 1
        large = usage(pid)
    small = usage(pid)
    assert large.peak >= large.memory > small.memory
    assert small.peak > large.memory - (4 << 20)  # Linux counts pages in lots
    forget_peak(pid)
    assert usage(pid).peak < large.memory - (32 << 20)


def test_a_process_that_has_ended() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # ended, though still in the table
        with pytest.raises(OSError, match="has ended"):
            usage(child.pid)
    with pytest.raises(OSError):
        usage(child.pid)
    forget_peak(child.pid)  # nothing to forget


def test_the_machine() -> None:
    before = busy()
    spent = time.process_time()
    while time.process_time() - spent < 0.05:
        pass
    assert busy() > before > 0
    assert 1 <= cores() <= (os.cpu_count() or 1)
