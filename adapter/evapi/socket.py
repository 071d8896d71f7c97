"""The raw TCP socket under a link: whole frames out, bytes in.

A socket and not a transport: each piece must be one ``send`` with MSG_EOR (see ``window``),
and transports join writes.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

READ_BYTES: Final = 1 << 18
"""Bytes read at once. Into a buffer that is kept: a new one of that size costs 12 us a read."""
SEGMENT_KEPT: Final = 1.0
"""Seconds for which a segment's size is believed: what is lost when it shrinks is written again."""
GATHER: Final = 0.002
"""Seconds between two reads where it pays. At 2,000 calls/s on two cores: adapter 290 to 200 us, for 3 ms."""
FAST: Final = 1_500.0
"""Frames a second from which on it does: below it, a pause brings one or two, and costs as it saves."""
FAST_IN_BATCHES: Final = 800.0
"""The same where requests go in batches. Measured at 1,000 calls/s: whole machine 730 to 580 us, for 2 ms."""
GATHER_SEVERAL: Final = 0.004
"""Where they go in several batches at once. Three services, 1,000 calls/s: 850 to 690 us, for 2.5 ms more."""
ENOUGH: Final = 16
"""Frames of one read beyond which it does not: they gather by themselves."""
MANY: Final = 3_500.0
"""Frames a second from which on batches are worth more: ``TOGETHER`` frames, within ``LONGEST`` seconds."""
TOGETHER: Final = 48
"""Measured at 4,000 calls/s: the whole machine takes 0.46 of what it takes without batches."""
LONGEST: Final = 0.012
"""19 and 29 ms (p50, p99) are added there, without batches 6 and 13."""
WINDOW: Final = 0.1
"""Seconds over which frames are counted."""
_SEND_FLAGS: Final = socket.MSG_EOR | socket.MSG_NOSIGNAL
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)


class Stream:
    """A connected socket. ``on_data`` gets every read, ``on_end`` the reason of the end, once."""

    def __init__(
        self, sock: socket.socket, on_data: Callable[[bytes], None], on_end: Callable[[str], None]
    ) -> None:
        self._socket = sock
        self._on_data = on_data
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._buffer = memoryview(bytearray(READ_BYTES))
        self._republish: list[bytes] = []
        self._ended = False
        self._resting: asyncio.TimerHandle | None = None
        self._segment = 0
        self._segment_until = 0.0
        self.pause = 0.0  # seconds between this read and the next, so that more comes at a time
        # What the kernel granted: twice what is asked for, capped by rmem_max.
        self.receive_buffer = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        self._loop.add_reader(sock, self._readable)

    @property
    def blocked(self) -> bool:
        """Whether the kernel has not taken all that was sent."""
        return bool(self._republish)

    @property
    def segment(self) -> int:
        """Bytes of a TCP segment, as of the last second: the path may change."""
        now = self._loop.time()
        if now >= self._segment_until and not self._ended:
            self._segment_until = now + SEGMENT_KEPT
            self._segment = self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)
        return self._segment

    def send(self, pieces: Iterable[bytes]) -> None:
        """Write each piece by one ``send``. What the kernel does not take goes out later, in order."""
        for piece in pieces:
            sent = 0 if self._republish or self._ended else self._try_send(piece)
            if sent < len(piece):
                self._republish.append(piece[sent:])
        if self._republish and not self._ended:
            self._loop.add_writer(self._socket, self._writable)

    def end(self, reason: str) -> None:
        """Close and tell ``on_end``, unless it is closed."""
        if not self._ended:
            self.close()
            self._on_end(reason)

    def reset(self, reason: str) -> None:
        """End at once: what the peer's TCP has not taken yet never reaches it."""
        if not self._ended:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self.end(reason)

    def close(self) -> None:
        """Close and tell nobody."""
        if not self._ended:
            self._ended = True
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
            self._socket.close()

    def _try_send(self, piece: bytes) -> int:
        try:
            return self._socket.send(piece, _SEND_FLAGS)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as exc:
            self.end(say(exc))
            return 0

    def _writable(self) -> None:
        pending, self._republish = self._republish, []
        self._loop.remove_writer(self._socket)
        self.send(pending)

    def _readable(self) -> None:
        try:
            length = self._socket.recv_into(self._buffer)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as exc:
            self.end(say(exc))
            return
        if length:
            # Kamailio's sockets have Nagle on: its next event waits until this read is acknowledged: 40 ms.
            # Not lasting, so after every read. With SIPp at 200 calls/s: p50 28 ms without, 4 ms with it.
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            self._on_data(bytes(self._buffer[:length]))
            if self.pause and not self._ended:
                self._loop.remove_reader(self._socket)
                self._resting = self._loop.call_later(self.pause, self.read_on)
        else:
            self.end("closed by Kamailio")

    def read_on(self) -> None:
        """End a pause between two reads."""
        if self._resting is not None and not self._ended:
            self._resting.cancel()
            self._resting = None
            self._loop.add_reader(self._socket, self._readable)


def say(exc: BaseException) -> str:
    """An error in a few words, for a log line."""
    if isinstance(exc, TimeoutError):
        return "timed out"
    return (exc.strerror if isinstance(exc, OSError) else None) or str(exc) or type(exc).__name__


class ReadCoalescing:
    """Tells after each read how long to wait before the next, as a network card moderates its interrupts: a
    wake-up of every process on the way costs more than one event. ``in_batches``: see ``LinkSettings``."""

    def __init__(self, in_batches: Callable[[], int] = lambda: 0) -> None:
        self._in_batches = in_batches
        self._since = float("-inf")
        self._seen = 0
        self._pause, self._enough = 0.0, 0

    def pause(self, frames: int, now: float) -> float:
        """Seconds to wait after a read of so many frames. ``now``: a clock that does not go back."""
        past = now - self._since
        if past >= WINDOW:
            self._pause, self._enough = _gathering(self._seen / past, self._in_batches())
            self._since, self._seen = now, 0
        self._seen += frames
        return self._pause if frames < self._enough else 0.0


def _gathering(rate: float, in_batches: int) -> tuple[float, int]:
    """Seconds between two reads at so many frames a second, and with how many in one there is no need."""
    if in_batches and rate >= MANY:
        return min(TOGETHER / rate, LONGEST), 2 * TOGETHER
    pause = GATHER_SEVERAL if in_batches > 1 else GATHER
    return (pause, ENOUGH) if rate >= (FAST_IN_BATCHES if in_batches else FAST) else (0.0, 0)
