"""Looks on while a row runs: does Kamailio answer OPTIONS, and how much memory do the adapters take?"""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from tests.harness.kamailio import answers_options

if TYPE_CHECKING:
    from tests.chaos.world import World

INTERVAL: Final = 0.1
PATIENCE: Final = 2.0
_PEAK = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)


class Probe:
    """In a thread, while in its ``with``. ``options``: seconds of the longest wait for an answer to
    OPTIONS, at most PATIENCE. ``memory``: bytes, the highest resident size of any adapter.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="probe", daemon=True)
        self.options = 0.0
        self.memory = 0

    def _run(self) -> None:
        while not self._over.wait(INTERVAL):
            began = time.monotonic()
            answers_options(self._world.servers.kamailio.sip_port, PATIENCE)
            self.options = max(self.options, time.monotonic() - began)
            for replica in self._world.replicas:
                if replica.bridge.process.running:
                    self.memory = max(self.memory, peak(replica.bridge.process.pid))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def peak(pid: int) -> int:
    """Bytes: the highest resident size that a process has had; 0 of one that is gone."""
    try:
        found = _PEAK.search(Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0
    return int(found[1]) * 1024 if found else 0
