"""Ends a process whose event loop stands still: Kamailio blocks all SIP on a client that does not read.

Closing the socket frees Kamailio, and the end of the process does that whatever hangs in it.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import sysconfig
import threading
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from adapter import outlet

if TYPE_CHECKING:
    import asyncio

log = structlog.get_logger()

EXIT_CODE: Final = 1
"""As of everything that fails while running."""
TICKS: Final = 6
"""Looks in a row that must find the loop where it was."""
LAST_WORDS: Final = 0.5
"""Seconds that a log which may be stuck itself has for the stacks, and then stderr."""
_STDERR: Final = 2
_DO: Final = (
    "what waits or computes for long must not run in the event loop: await it, asyncio.to_thread it, or run "
    "the service as a process of its own (python -m consumers)"
)
_OURS: Final = (str(Path(__file__).parent.parent), sysconfig.get_path("stdlib"))
"""Folders whose code is not what a handler is."""


class Watchdog:
    """Ends the process when ``loop`` has not turned for ``limit`` seconds.

    A thread looks ``TICKS`` times within the limit whether the loop has turned. It counts its own
    looks and not the time, so a process that was stopped, or a machine that slept, goes on when it
    wakes. The end is a log line with the stack of every thread, and exit code 1.

    No thread of Python runs while C code holds the interpreter's lock (a regular expression that
    backtracks for ever does). So each look also sets a timer of twice the limit that counts the
    processor time of this process (ITIMER_PROF), and the kernel ends it: stacks on stderr, then
    death by SIGPROF. Nothing ends a process whose C code sleeps with that lock held.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, limit: float = 3.0, last_words: float = LAST_WORDS
    ) -> None:
        self._loop = loop
        self._limit = limit
        self._last_words = last_words
        self._tick = limit / TICKS
        self._turns = 0
        self._thread_id = 0  # the loop's
        self._beat: asyncio.TimerHandle | None = None
        self._stacks_to: int | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def start(self) -> None:
        """Begin, once. To be called in the loop."""
        self._stacks_to = _not_blocking(_STDERR)
        faulthandler.register(signal.SIGPROF, self._stacks_to, all_threads=True, chain=True)
        self._thread_id = threading.get_ident()
        self._turn()
        self._thread.start()

    def stop(self) -> None:
        """End the watching, not the process. To be called in the loop."""
        if self._beat is not None:
            self._beat.cancel()
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()
        signal.setitimer(signal.ITIMER_PROF, 0)
        faulthandler.unregister(signal.SIGPROF)
        if self._stacks_to not in (None, _STDERR):
            os.close(self._stacks_to)
            self._stacks_to = None

    def _turn(self) -> None:
        self._turns += 1
        self._beat = self._loop.call_later(self._tick / 2, self._turn)

    def _watch(self) -> None:
        seen, still = -1, 0
        while still < TICKS:
            signal.setitimer(signal.ITIMER_PROF, 2 * self._limit)
            if self._stopped.wait(self._tick):
                return
            turns = self._turns
            still = still + 1 if turns == seen else 0
            seen = turns
        self._end()

    def _end(self) -> None:
        """Never returns. A helper thread for each word, since what hangs may hold the log's lock or be
        a reader of stderr that is stuck."""
        said = threading.Event()
        stacks, blocked_by = _stacks(), _blocked_by(self._thread_id)

        def to_log() -> None:
            about = {"seconds": self._limit, "blocked_by": blocked_by, "do": _DO}
            log.critical("the event loop stands still: ended", **about, threads=stacks)
            if outlet.drain(self._last_words):
                said.set()

        def to_stderr() -> None:
            text = "".join(f"Thread {name}:\n{''.join(stack)}\n" for name, stack in stacks.items())
            head = f"the event loop stands still for {self._limit} s, in {blocked_by}: ended; {_DO}"
            os.write(_STDERR, f"{head}\n{text}".encode())

        try:
            threading.Thread(target=to_log, daemon=True).start()
            if not said.wait(self._last_words):
                last = threading.Thread(target=to_stderr, daemon=True)
                last.start()
                last.join(self._last_words)
        finally:
            os._exit(EXIT_CODE)


def _not_blocking(descriptor: int) -> int:
    """A descriptor for the same file that never waits: the kernel's signal must not hang over a pipe that
    nobody reads. The same one where there can be none (a socket, or a file of another user)."""
    try:
        return os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK)
    except OSError:
        return descriptor


def _stacks() -> dict[str, list[str]]:
    """The stack of every thread, the innermost call last. No local variables: passwords are among them."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    return {
        f"{names.get(ident, 'unknown')} ({ident})": traceback.format_stack(frame)
        for ident, frame in sys._current_frames().items()
    }


def _blocked_by(ident: int) -> str:
    """The innermost call in the loop's thread that is of somebody's own code; else the innermost of all."""
    frame = sys._current_frames().get(ident)
    stack = traceback.extract_stack(frame) if frame is not None else []
    own = [
        each for each in stack if not each.filename.startswith(_OURS) and "site-packages" not in each.filename
    ]
    for each in reversed(own or stack):
        return f"{each.name} at {each.filename}, line {each.lineno}"
    return "nobody knows what"
