"""Clocks that can be put wrong while a program runs, by libfaketime (Debian: ``faketime``).

Only the time of day is put wrong: `FAKETIME_DONT_FAKE_MONOTONIC` leaves the monotonic clock as it is, as
it is with a machine whose clock NTP or an operator sets. Tried with libfaketime 0.9.10, CPython 3.11 with
uvloop (a call of ``time.time`` takes 5 us instead of 0.1) and Redis 7.0.15.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.harness.process import HarnessError

if TYPE_CHECKING:
    from collections.abc import Mapping

LIBRARY: Final = "lib/*/faketime/libfaketimeMT.so.1"
SITE: Final = Path(__file__).with_name("faketime")
"""What Python reads at its start, see there."""


class Clock:
    """The clock of one program, right until it is ``put`` wrong. ``env`` is what the program starts with."""

    def __init__(self, folder: Path, name: str) -> None:
        self._file = folder / f"{name}.clock"
        self.off = 0.0
        self.put(0.0)

    @property
    def env(self) -> Mapping[str, str]:
        """Raises HarnessError if there is no libfaketime."""
        # libc first among those with a malloc: Redis' own, jemalloc, asks for the time before libfaketime
        # can tell it, and both call each other until one gives up.
        return {
            "LD_PRELOAD": f"{library()}:libc.so.6",
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",  # a cached offset lasts for seconds after the file has changed
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            # Else libfaketime cuts short the waits of 5 ms in which CPython hands its lock from thread to
            # thread: a line that a thread writes to the log takes 5,000 us instead of 50.
            "FAKETIME_FORCE_MONOTONIC_FIX": "0",
            "PYTHONPATH": str(SITE),
        }

    def put(self, off: float) -> None:
        """Let it be so many seconds ahead of the true time from now on; negative: behind it."""
        self.off = off
        new = self._file.with_suffix(".new")
        new.write_text(f"{off:+g}\n")
        new.replace(self._file)  # whoever reads it finds the old one or the new one


def library(root: Path = Path("/usr")) -> Path:
    """Find libfaketime. Raises HarnessError if there is none."""
    for found in sorted(root.glob(LIBRARY)):
        return found
    raise HarnessError(f"no {LIBRARY} under {root}: apt-get install faketime")
