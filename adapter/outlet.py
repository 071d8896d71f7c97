"""stdout and stderr that hold nobody up and never fail: what they cannot take is dropped and counted.

The disk of a log may be full (ENOSPC), its reader gone (EPIPE), or alive without reading: then a write to
the pipe blocks, and an event loop that blocks is the end of all calls. So what is written only goes into a
queue of at most ``LIMIT`` bytes, and a thread writes it out.

All that comes by Python goes this way: logs, warnings, uncaught exceptions, ``print`` in a handler.
"""

from __future__ import annotations

import atexit
import contextlib
import io
import os
import queue
import select
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

LIMIT: Final = 1 << 20
"""Bytes that wait to be written; what comes beyond them is dropped."""
AT_ONCE: Final = 65_536
"""Bytes of one write, about."""
LAST: Final = 0.5
"""Seconds that the last lines have to be written when the process ends."""
TELL_EACH: Final = 5.0
"""Seconds between two lines that tell how many were lost."""
STUCK: Final = 5.0
"""Seconds after which a write that does not return is told of."""
SLOW: Final = "its reader does not keep up"


_installed: list[Outlet] = []


class Outlet(io.RawIOBase):
    """A file descriptor that is written to by a thread.

    ``lost``: lines that were dropped; ``trouble``: why, in the words of the system; empty before the first.
    ``on_lost``: called in the thread once lines can be written again, with their number and the trouble.
    """

    def __init__(self, descriptor: int, stuck_after: float = STUCK) -> None:
        super().__init__()
        self._stuck_after = stuck_after
        self.lost = 0
        self.trouble = ""
        self.on_lost: Callable[[int, str], None] = _ignore
        self._descriptor = descriptor
        self._queue: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        # Reentrant, since a warning may be written by a destructor in the middle of anything.
        self._lock = threading.RLock()
        self._waiting = 0
        self._told = 0
        self._tell_at = float("-inf")
        self._cut = False
        self._writing_since: float | None = None
        self._thread: threading.Thread | None = None
        self._over = False

    @property
    def stuck(self) -> bool:
        """Whether the reader is there and does not read."""
        since = self._writing_since
        return since is not None and time.monotonic() - since > self._stuck_after

    def writable(self) -> bool:
        """It is."""
        return True

    def fileno(self) -> int:
        """The descriptor itself, for code that writes past this."""
        return self._descriptor

    def isatty(self) -> bool:
        """Whether somebody looks on."""
        return os.isatty(self._descriptor)

    def write(self, data: Any) -> int:
        """Have it written, or drop it as a whole; never waits, never fails."""
        chunk = bytes(data)
        with self._lock:
            if self._waiting + len(chunk) > LIMIT:
                self._lose(chunk, SLOW)
                return len(chunk)
            self._waiting += len(chunk)
            self._queue.put(chunk)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="log", daemon=True)
                self._thread.start()
        if self._over:
            self._put_out_now()
        return len(chunk)

    def drain(self, seconds: float) -> bool:
        """Wait until all is written; whether it is."""
        until = time.monotonic() + seconds
        while self._waiting:
            if time.monotonic() > until:
                return False
            time.sleep(0.002)
        return True

    def end(self) -> None:
        """Give the last lines their time."""
        self.drain(LAST)
        self._over = True

    def _run(self) -> None:
        while True:
            self._put_out(self._gathered(self._queue.get()))
            self._tell()

    def _put_out_now(self) -> None:
        """What comes while the interpreter ends: no thread may run any more."""
        with contextlib.suppress(queue.Empty):
            while select.select([], [self._descriptor], [], 0)[1]:
                self._put_out(self._queue.get_nowait())

    def _gathered(self, first: bytes) -> bytes:
        chunks, size = [first], len(first)
        with contextlib.suppress(queue.Empty):
            while size < AT_ONCE:
                chunks.append(self._queue.get_nowait())
                size += len(chunks[-1])
        return b"".join(chunks)

    def _put_out(self, data: bytes) -> None:
        size, at = len(data), 0
        self._writing_since = time.monotonic()
        try:
            if self._cut:
                data = b"\n" + data
            while at < len(data):
                at += self._written(memoryview(data)[at:])
            self._cut = False
        except OSError as exc:
            with self._lock:
                self._lose(data[at:], exc.strerror or repr(exc))
            self._cut = self._cut or (at > 0 and data[at - 1 : at] != b"\n")
        finally:
            self._writing_since = None
            with self._lock:
                self._waiting -= size

    def _written(self, data: memoryview) -> int:
        try:
            return os.write(self._descriptor, data)
        except BlockingIOError:  # somebody who shares the descriptor made it so
            select.select([], [self._descriptor], [])
            return 0

    def _lose(self, data: bytes, trouble: str) -> None:
        self.lost += data.count(b"\n") or 1
        self.trouble = trouble

    def _tell(self) -> None:
        now = time.monotonic()
        if self.lost > self._told and now >= self._tell_at and not self._queue.qsize() and not self._cut:
            number, self._told, self._tell_at = self.lost - self._told, self.lost, now + TELL_EACH
            self.on_lost(number, self.trouble)


def _ignore(_: int, __: str) -> None:
    pass


def install() -> tuple[Outlet, ...]:
    """Have the process write to stdout and stderr this way, until it ends; gives both outlets.

    Streams that are not the process's own (a test has put its own there) stay as they are, and nothing is
    given. A descriptor that is closed is given to /dev/null, so that no socket ever has the number of stderr.
    """
    _hold_descriptors()
    if sys.stdout is not sys.__stdout__ or sys.stderr is not sys.__stderr__:
        return ()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # as it is where it was closed from the start
            with contextlib.suppress(OSError):
                stream.flush()
    outlets = Outlet(1), Outlet(2)
    _installed.extend(outlets)
    sys.stdout, sys.stderr = map(_text, outlets)
    for outlet in outlets:
        atexit.register(outlet.end)
    return outlets


def lost() -> int:
    """Lines that were dropped, of stdout and stderr."""
    return sum(outlet.lost for outlet in _installed)


def trouble() -> str:
    """What is wrong with the log, for people; empty where nothing is."""
    if any(outlet.stuck for outlet in _installed):
        return f"it is not read any more; {lost()} lines were lost"
    why = next((outlet.trouble for outlet in reversed(_installed) if outlet.trouble), "")
    return why and f"{lost()} lines were lost: {why}"


def _text(outlet: Outlet) -> io.TextIOWrapper[Any]:
    return io.TextIOWrapper(outlet, "utf-8", "backslashreplace", write_through=True)


def drain(seconds: float) -> bool:
    """Wait until stderr has what was written to it; whether it has. At once where it is not an outlet."""
    outlet = getattr(sys.stderr, "buffer", None)
    return not isinstance(outlet, Outlet) or outlet.drain(seconds)


def _hold_descriptors() -> None:
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number: this one
