"""What may be written to one EVAPI link now: the window of bytes Kamailio has not read yet. Pure.

Kamailio's netstring reader loses frames when a ``recv`` ends inside the length digits or just
before the closing comma, and then everything up to a ``recv`` that happens to begin on a frame
(reproduced on 5.6.3 and 6.1.4). It cannot happen while no more than one of its buffers (32,767
bytes) waits unread and each frame arrives in one piece. So frames go out in windows, each
ended by a sync frame; the next window waits until the sync's receipt has come. Where the
configuration gives no receipts, at most ``PACED_BYTES`` go out and then the link rests.

Frames go out in pieces (`in_segments`), each by one ``send`` of its own with TCP_NODELAY and MSG_EOR:
whole frames, as many as a TCP segment holds, so that no ``recv`` ends within one.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from adapter.wire import event, netstring

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from adapter.transaction import TransactionId

WINDOW_BYTES: Final = 30_000
"""Bytes unread at most, the sync frame included. A longer frame goes alone (with its sync it
still fits Kamailio's buffer, see ``netstring.MAX_OUT``)."""
PACED_BYTES: Final = 8_000
"""Bytes written without receipts before a rest."""
PACED_REST: Final = 0.02
"""Seconds of that rest. 8,000 bytes each 20 ms lost nothing in any run; 400 KB/s."""
_SYNC_ROOM: Final = 64
_TOKEN_NUMBER: Final = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One frame to write. ``id`` where it resumes a suspension.

    After ``until`` (seconds, the loop's clock) nobody waits for it: it is not written (again).
    """

    frame: bytes
    until: float
    id: TransactionId | None = None


class Writer:
    """Decides what is written when; the link does the writing.

    ``on_read(ids)`` is told which resumes Kamailio has read (without receipts: which were
    written). ``receipt_timeout``: seconds after which a receipt counts as missed.
    """

    def __init__(
        self, on_read: Callable[[Sequence[TransactionId]], None], *, receipt_timeout: float = 1.0
    ) -> None:
        self._on_read = on_read
        self._receipt_timeout = receipt_timeout
        self._queue: deque[Outgoing] = deque()
        self._unread: list[Outgoing] = []
        self._status: bytes | None = None
        self._status_unread = False
        self._paced_unread = False
        self._link = ""
        self._token = 0  # number of the last sync written
        self._window_token: int | None = None  # number of the sync that ended the unread window
        self._wake_at: float | None = None
        self._patience = receipt_timeout
        self._segment = 0
        self.receipts = False
        self.receipts_missed = 0
        self.resent = 0
        self.expired = 0

    @property
    def waiting(self) -> int:
        """Frames not yet known to be read, a status apart."""
        return len(self._queue) + len(self._unread)

    @property
    def ids(self) -> set[TransactionId]:
        """The resumes not yet known to be read."""
        return {out.id for frames in (self._queue, self._unread) for out in frames if out.id is not None}

    @property
    def all_read(self) -> bool:
        """Whether nothing waits, not even a status (without receipts: whether all was written)."""
        return not self.waiting and self.status_read

    @property
    def status_read(self) -> bool:
        """Whether the latest status was read (without receipts: written)."""
        return self._status is None and not self._status_unread

    @property
    def late(self) -> bool:
        """Whether Kamailio has not read for longer than the receipt timeout."""
        return self._window_token is not None and self._patience > self._receipt_timeout

    @property
    def wake_at(self) -> float | None:
        """When ``take`` must be called even if nothing happens (the loop's clock)."""
        return self._wake_at

    def connected(self, link: str, segment: int) -> None:
        """A new connection, named ``link`` in its sync tokens. ``segment``: bytes of a TCP segment,
        0 where unknown.

        Resumes that the last one left unread are forgotten here: the in-flight store knows them,
        and who writes them again may be another replica by now.
        """
        self._link, self._segment = link, segment
        self.receipts = False
        left = [out for frames in (self._unread, self._queue) for out in frames if out.id is None]
        self._queue = deque(left)
        self._unread.clear()
        self._status_unread = False
        self._window_token = None
        self._patience = self._receipt_timeout
        self._status = None
        self._paced_unread = False
        self._wake_at = None

    def forget(self) -> None:
        """Give up the resumes that are not written yet."""
        self._queue = deque(out for out in self._queue if out.id is None)

    def put(self, outgoing: Outgoing) -> None:
        """Queue a frame."""
        self._queue.append(outgoing)

    def put_status(self, payload: bytes) -> None:
        """The health gate's frame: only the latest matters, and it goes first."""
        self._status = netstring.encode(payload)

    def take(self, now: float) -> list[bytes]:
        """The frames to write now, in order; see ``in_segments``."""
        if not self.receipts:
            return self._take_paced(now)
        if self._window_token is not None:
            return self._probe(now)
        # What was paced before the hello may be unread yet: first its receipt, and nothing else.
        frames = [] if self._paced_unread else self._fill(now, WINDOW_BYTES - _SYNC_ROOM)
        if frames or self._paced_unread:
            self._paced_unread = False
            self._window_token = self._token + 1
            self._patience = self._receipt_timeout
            frames.append(self._sync(now))
        return frames

    def synced(self, token: str) -> None:
        """A receipt came. Tokens of other links and of windows long read are ignored."""
        link, _, number = token.partition(":")
        if link != self._link or self._window_token is None or not _TOKEN_NUMBER.fullmatch(number):
            return
        if int(number) == self._window_token:
            ids = [out.id for out in self._unread if out.id is not None]
            self._unread.clear()
            self._status_unread = False
            self._window_token = self._wake_at = None
            if ids:
                self._on_read(ids)
        elif self._window_token < int(number) <= self._token:
            # A later sync was read and the window's own was not: the window, or a part of
            # it, was lost. A repeat is safe: the configuration drops an answer to a
            # question that is not open (seq), tm refuses a second t_continue.
            self._requeue()
            self._wake_at = None

    def _fill(self, now: float, budget: int) -> list[bytes]:
        frames: list[bytes] = []
        if self._status is not None:
            frames.append(self._status)
            budget -= len(self._status)
            self._status, self._status_unread = None, self.receipts
        while self._queue:
            out = self._queue[0]
            if out.until <= now:
                self._queue.popleft()
                self.expired += 1
                continue
            frame = whole_in_segments(out.frame, self._segment)
            if len(frame) > budget and frames:
                break
            self._queue.popleft()
            self._unread.append(out)
            frames.append(frame)
            budget -= len(frame)
        return frames

    def _take_paced(self, now: float) -> list[bytes]:
        if self._wake_at is not None and now < self._wake_at:
            return []
        frames = self._fill(now, PACED_BYTES)
        # A frame longer than the allowance goes alone and rests for as much longer.
        rest = PACED_REST * max(1.0, sum(map(len, frames)) / PACED_BYTES)
        self._wake_at = now + rest if frames else None
        self._paced_unread |= bool(frames)
        ids = [out.id for out in self._unread if out.id is not None]
        self._unread.clear()
        if ids:
            self._on_read(ids)
        return frames

    def _probe(self, now: float) -> list[bytes]:
        """The receipt is late: ask again with a small frame of its own, never with more data.

        Kamailio may merely stand still; its buffer must not grow beyond what it reads at once,
        so each probe waits twice as long as the one before.
        """
        if self._wake_at is None or now < self._wake_at:
            return []
        self.receipts_missed += 1
        self._patience *= 2
        return [self._sync(now)]

    def _sync(self, now: float) -> bytes:
        self._token += 1
        self._wake_at = now + self._patience
        return netstring.encode(event.sync(f"{self._link}:{self._token}"))

    def _requeue(self) -> None:
        self.resent += len(self._unread)
        self._queue.extendleft(reversed(self._unread))
        self._unread.clear()
        self._status_unread = False
        self._window_token = None


def in_segments(frames: Sequence[bytes], segment: int) -> list[bytes]:
    """The frames in pieces of whole frames, none longer than a segment that could be shorter.

    One frame a piece where ``segment`` (bytes) is 0, unknown. A ``send`` costs 6 us on loopback.
    """
    pieces: list[list[bytes]] = []
    room = 0
    for frame in frames:
        if len(frame) <= room:
            pieces[-1].append(frame)
            room -= len(frame)
        else:
            pieces.append([frame])
            room = segment - len(frame)
    return [piece[0] if len(piece) == 1 else b"".join(piece) for piece in pieces]


def whole_in_segments(frame: bytes, segment: int) -> bytes:
    """The frame, padded with JSON white space where its closing comma would begin a segment.

    Kamailio's ``recv`` may end at any segment's end; just before the comma it loses the frame.
    ``segment``: bytes of a TCP segment, 0 where unknown.
    """
    while segment > 3 and len(frame) > segment and len(frame) % segment == 1:
        payload = frame[frame.index(b":") + 1 : -1] + b" "
        frame = b"%d:%b," % (len(payload), payload)  # a byte or two over MAX_OUT: Kamailio reads 760 more
    return frame
