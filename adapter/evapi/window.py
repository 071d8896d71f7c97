"""What may be written to one EVAPI link now: the window of bytes Kamailio has not read yet. Pure.

Kamailio's netstring reader loses frames when a ``recv`` ends inside the length digits or just
before the closing comma, and then everything up to a ``recv`` that happens to begin on a frame
(reproduced on 5.6.3 and 6.1.4). It cannot happen while no more than one of its buffers (32,767
bytes) waits unread and each frame arrives in one piece. So there is a window: frames are written
while what is not known to be read has room in it. A sync frame asks how far Kamailio has read; its
receipt frees all that was written before it. One follows each quarter of the window under load,
and the last frame after a moment, so that many resumes share a receipt.

What is written and unread is kept in parts, a sync each, since Kamailio handles frames in the order
in which they came: the receipt of a part whose predecessor's is missing tells that something was
lost, and all of it up to there is written again. What is lost without the sync that follows it goes
unnoticed: receipts are there to keep the window, which is what keeps frames whole.

Where the configuration gives no receipts, at most ``PACED_BYTES`` go out and then the link rests.

Frames go out in pieces (`in_segments`), each by one ``send`` of its own with TCP_NODELAY and MSG_EOR:
whole frames, as many as a TCP segment holds, so that no ``recv`` ends within one.
"""

from __future__ import annotations

import re
from bisect import insort
from collections import deque
from dataclasses import dataclass, field
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, Final, NamedTuple

from adapter.wire import netstring, to_kamailio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from adapter.model.transaction import TransactionId

WINDOW_BYTES: Final = 30_000
"""Bytes unread at most, sync frames included. A longer frame goes alone (with its sync it still fits
Kamailio's buffer, see ``netstring.MAX_OUT``). Only probes for a late receipt, small and ever rarer,
may come on top."""
SYNC_BYTES: Final = WINDOW_BYTES // 4
"""Bytes after which a sync follows: the next parts are written while the receipt is under way."""
SYNC_DELAY: Final = 0.1
"""Seconds after which a sync follows however little was written: at 50 resumes/s five share one.
Nobody waits for a receipt but a drain."""
PACED_BYTES: Final = 8_000
"""Bytes written without receipts before a rest."""
PACED_REST: Final = 0.01
"""Seconds of rest after so many bytes, and in proportion after fewer or more: 800 KB/s. Measured by
``python -m tests.bench.pace`` beside 300 calls/s that were asked about, answered and continued (3 s, two
runs each): nothing was lost up to 1.4 MB/s (30,000 bytes each 20 ms) on Kamailio 5.6.3, 6.0.1 and 6.1.5; at
2.5 MB/s (30,000 each 10 ms) 256 of 9,094 frames on 5.6.3 and 13 of 9,271 on 6.1.5. At this pace a
dispatcher may stand still for 30 ms before more waits than it reads at once."""
POLL: Final = 0.7
"""Seconds for which a link without receipts stays open after the last answer: EVAPI's workers look for
frames each 0.5 s by default (wait_idle). Measured on 6.1.5: closed at once 40 of 40 answers are lost, after
0.5 s all in five of six runs, after 0.7 s none in six."""
SMOOTHED: Final = 1 / 16
"""How much the last receipt counts in how long one takes."""
_SYNC_ROOM: Final = 64
"""Bytes kept free for the sync that must follow."""
_TOKEN_NUMBER: Final = re.compile(r"[0-9]{1,18}")


class Outgoing(NamedTuple):
    """One frame to write. ``id`` where it resumes a suspension.

    After ``until`` (seconds, the loop's clock) nobody waits for it: it is not written (again).
    """

    frame: bytes
    until: float
    id: TransactionId | None = None


@dataclass(slots=True)
class _Part:
    """Written from one sync to the next. ``began``: when its first frame was; ``asked``: the sync."""

    outs: list[Outgoing] = field(default_factory=list)
    size: int = 0
    began: float = 0.0
    asked: float = 0.0

    @property
    def ids(self) -> list[TransactionId]:
        return [out.id for out in self.outs if out.id is not None]


class Window:
    """Decides what is written when; the link does the writing.

    ``on_read(ids)`` is told which resumes Kamailio has read (without receipts: which were
    written). ``receipt_timeout``: seconds without a receipt after which one counts as missed.
    """

    def __init__(
        self, on_read: Callable[[Sequence[TransactionId]], None], *, receipt_timeout: float = 1.0
    ) -> None:
        self._on_read = on_read
        self._receipt_timeout = receipt_timeout
        self.sync_delay = SYNC_DELAY
        """Seconds after which a sync follows."""
        self._queue: deque[Outgoing] = deque()
        self._queued = 0  # bytes of them
        self._parts: deque[_Part] = deque()  # asked for and unread, numbered up to ``_token``
        self._tail = _Part()  # written since the last sync
        self._unread = 0  # bytes of the parts and the tail
        self._status: bytes | None = None
        self._status_sync = 0  # number of the sync that follows the latest status; 0: it is read
        self._paced_unread = False
        self._rest_until: float | None = None
        self._link = ""
        self._segment = 0
        self._token = 0  # number of the last sync written
        self._waited_from = 0.0  # when a receipt came last, or was asked for with none under way
        self._patience = receipt_timeout
        self.receipt_took: float | None = None
        """Seconds that a receipt takes, smoothed; None: none has come on this connection."""
        self._paced_at = float("-inf")
        """When something was written last without receipts (the loop's clock)."""
        self.on_receipt: Callable[[float], object] | None = None
        """Told how many seconds a receipt took, from its sync."""
        self.receipts = False
        self.receipts_missed = 0
        self.resent = 0
        self.expired = 0

    @property
    def waiting(self) -> int:
        """Frames not yet known to be read, a status apart."""
        return len(self._queue) + len(self._tail.outs) + sum(len(part.outs) for part in self._parts)

    @property
    def ids(self) -> set[TransactionId]:
        """The resumes not yet known to be read."""
        return {out.id for out in self._outs() if out.id is not None}

    @property
    def all_read(self) -> bool:
        """Whether nothing waits, not even a status (without receipts: whether all was written)."""
        return not self.waiting and self.status_read

    @property
    def status_read(self) -> bool:
        """Whether the latest status was read (without receipts: written)."""
        return self._status is None and not self._status_sync

    @property
    def handled_at(self) -> float:
        """When all that was written without receipts is handled (the loop's clock); 0 with receipts.

        From Kamailio 5.7 on, workers poll for frames, and what they find of a connection that has ended
        reads as null.
        """
        return 0.0 if self.receipts else self._paced_at + POLL

    @property
    def unwritten(self) -> bool:
        """Whether anything waits for room in the window."""
        return bool(self._queue) or self._status is not None

    @property
    def late(self) -> bool:
        """Whether Kamailio has not read for longer than the receipt timeout."""
        return bool(self._parts) and self._patience > self._receipt_timeout

    @property
    def wake_at(self) -> float | None:
        """When ``take`` must be called even if nothing happens (the loop's clock)."""
        if not self.receipts:
            return self._rest_until
        late_at = self._waited_from + self._patience if self._parts else None
        if not self._tail.size:
            return late_at
        sync_at = self._tail.began + self.sync_delay
        return sync_at if late_at is None else min(sync_at, late_at)

    def connected(self, link: str, segment: int) -> None:
        """A new connection, named ``link`` in its sync tokens. ``segment``: bytes of a TCP segment,
        0 where unknown.

        Resumes that the last one left unread are forgotten here: the in-flight store knows them,
        and who writes them again may be another replica by now.
        """
        self._link, self._segment = link, segment
        self.receipts = False
        self._requeue(out for out in self._outs() if out.id is None)
        self._parts.clear()
        self._tail, self._unread = _Part(), 0
        self._status, self._status_sync = None, 0
        self._patience = self._receipt_timeout
        self._paced_unread, self._rest_until = False, None
        self.receipt_took = None

    def set_receipts(self, given: bool) -> None:
        """Whether receipts are given. Where they no longer are, what was written counts as read."""
        taken_back = self.receipts and not given
        self.receipts = given
        if not taken_back:
            return
        ids = [id_ for part in (*self._parts, self._tail) for id_ in part.ids]
        self._parts.clear()
        self._tail, self._unread = _Part(), 0
        self._status_sync, self._patience = 0, self._receipt_timeout
        if ids:
            self._on_read(ids)

    def forget(self) -> None:
        """Give up the resumes that are not written yet."""
        self._requeue(out for out in self._queue if out.id is None)

    def drop(self, wanted: Callable[[TransactionId], bool]) -> list[TransactionId]:
        """Give up resumes that are not written yet. Returns their ids."""
        dropped = [out.id for out in self._queue if out.id is not None and wanted(out.id)]
        if dropped:
            self._requeue(out for out in self._queue if out.id is None or not wanted(out.id))
        return dropped

    def put(self, outgoing: Outgoing) -> None:
        """Queue a frame; a resume before those that have more time left: a fallback's has none."""
        if outgoing.id is None or not self._queue or self._queue[-1].until <= outgoing.until:
            self._queue.append(outgoing)
        else:
            insort(self._queue, outgoing, key=attrgetter("until"))
        self._queued += len(outgoing.frame)

    def wait(self, size: int, now: float) -> float:
        """Seconds until a frame of so many bytes is written without receipts, if it is queued now."""
        rest = 0.0 if self._rest_until is None else max(self._rest_until - now, 0.0)
        return rest + PACED_REST * (self._queued + size - PACED_BYTES) / PACED_BYTES

    def put_status(self, payload: bytes) -> None:
        """The health gate's frame: only the latest matters, and it goes first."""
        self._status = netstring.encode(payload)

    def take(self, now: float) -> list[bytes]:
        """The frames to write now, in order; see ``in_segments``."""
        if not self.receipts:
            return self._take_paced(now)
        if self._parts and now >= self._waited_from + self._patience:
            # Kamailio may merely stand still; its buffer must not grow beyond what it reads at
            # once. So ask again, after twice as long each time, and write no more data.
            self.receipts_missed += 1
            self._patience *= 2
            return [self._sync(now)]
        if self.late:
            return []
        if self._paced_unread:  # before the hello: counts as a full window, whose receipt comes first
            self._paced_unread = False
            self._tail.size = self._unread = WINDOW_BYTES
        frames = self._fill(now, WINDOW_BYTES - _SYNC_ROOM, SYNC_BYTES)
        while self._sync_is_due(now):
            frames.append(self._sync(now))
            frames += self._fill(now, WINDOW_BYTES - _SYNC_ROOM, SYNC_BYTES)
        return frames

    def synced(self, token: str, now: float) -> None:
        """A receipt came. Tokens of other links and of parts long read are ignored."""
        link, _, number = token.partition(":")
        if link != self._link or not _TOKEN_NUMBER.fullmatch(number):
            return
        before = len(self._parts) - 1 - (self._token - int(number))
        if not 0 <= before < len(self._parts):
            return
        read = [self._parts.popleft() for _ in range(before + 1)]
        self._unread -= sum(part.size for part in read)
        if self._status_sync <= int(number):
            self._status_sync = 0
        self._waited_from, self._patience = now, self._receipt_timeout
        took = now - read[-1].asked
        before_it = took if self.receipt_took is None else self.receipt_took
        self.receipt_took = before_it + (took - before_it) * SMOOTHED
        if self.on_receipt is not None:
            self.on_receipt(took)
        if before:
            # The receipts before it never came: those parts, and what followed them, may be lost.
            # A repeat is safe: the configuration drops an answer to a question that is not open
            # (seq), tm refuses a second t_continue.
            outs = [out for part in read for out in part.outs]
            self.resent += len(outs)
            self._queue.extendleft(reversed(outs))
            self._queued += sum(len(out.frame) for out in outs)
        elif ids := read[0].ids:
            self._on_read(ids)

    def _requeue(self, outs: Iterable[Outgoing]) -> None:
        self._queue = deque(outs)
        self._queued = sum(len(out.frame) for out in self._queue)

    def _outs(self) -> Iterator[Outgoing]:
        """All that is not known to be read, in the order in which it was or will be written."""
        return chain(*(part.outs for part in self._parts), self._tail.outs, self._queue)

    def _fill(self, now: float, limit: int, enough: int) -> list[bytes]:
        """Frames for the tail, until it has ``enough`` bytes or ``limit`` bytes are unread."""
        frames: list[bytes] = []
        tail = self._tail
        while tail.size < enough and (frame := self._first(now)) is not None:
            if self._unread and self._unread + len(frame) > limit:
                break
            if self._status is not None:
                self._status, self._status_sync = None, self._token + 1 if self.receipts else 0
            else:
                tail.outs.append(self._queue.popleft())
                self._queued -= len(tail.outs[-1].frame)
            if not tail.size:
                tail.began = now
            tail.size += len(frame)
            self._unread += len(frame)
            frames.append(frame)
        return frames

    def _first(self, now: float) -> bytes | None:
        """The frame to be written next."""
        if self._status is not None:
            return self._status
        while self._queue and self._queue[0].until <= now:
            self._queued -= len(self._queue.popleft().frame)
            self.expired += 1
        if not self._queue:
            return None
        frame = self._queue[0].frame
        return frame if len(frame) <= self._segment else whole_in_segments(frame, self._segment)

    def _sync_is_due(self, now: float) -> bool:
        """Whether what was just written must be asked for. What is queued after `_fill` found no room:
        with a receipt under way it will, else it needs one."""
        tail = self._tail
        if not tail.size or tail.size >= SYNC_BYTES:
            return tail.size > 0
        return now >= tail.began + self.sync_delay or (bool(self._queue) and not self._parts)

    def _sync(self, now: float) -> bytes:
        """Ask for a receipt of all that was written before."""
        self._token += 1
        frame = netstring.encode(to_kamailio.sync(f"{self._link}:{self._token}"))
        if not self._parts:
            self._waited_from = now
        self._tail.asked = now
        self._tail.size += len(frame)
        self._unread += len(frame)
        self._parts.append(self._tail)
        self._tail = _Part()
        return frame

    def _take_paced(self, now: float) -> list[bytes]:
        if self._rest_until is not None and now < self._rest_until:
            return []
        frames = self._fill(now, PACED_BYTES, PACED_BYTES)
        # By what was written: a frame longer than the allowance rests for as much longer, and one that
        # leaves room which the next one does not fit loses nothing of the pace.
        rest = PACED_REST * self._tail.size / PACED_BYTES
        # A timer that was late by up to a rest is made up for, else a busy machine makes the pace slower.
        since = now if self._rest_until is None else max(self._rest_until, now - PACED_REST)
        self._rest_until = since + rest if frames else None
        if frames:
            self._paced_unread, self._paced_at = True, now
        ids = self._tail.ids
        self._tail, self._unread = _Part(), 0
        if ids:
            self._on_read(ids)
        return frames


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
