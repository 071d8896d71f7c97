"""A link to a Kamailio that reads when told to, by the simulator's reader: bad splits lose frames."""

from __future__ import annotations

import json
from collections import deque
from typing import TYPE_CHECKING

from adapter.evapi.window import SYNC_DELAY, WINDOW_BYTES, Outgoing, Window, in_segments
from adapter.model.transaction import TransactionId
from adapter.simulator import Counters
from adapter.simulator.reader import BUFFER, Reader
from adapter.wire import netstring

if TYPE_CHECKING:
    from collections.abc import Sequence

LOOPBACK = 65_483
FOREVER = float("inf")
SEGMENTS = (536, 1_231, 1_348, 1_448, 8_948, LOOPBACK)


class Kamailio:
    """One link's other end: what has arrived, in segments, is read whenever a test says so."""

    def __init__(self, segment: int = LOOPBACK) -> None:
        self.segment = segment
        self.arrived: deque[bytes] = deque()
        self.reader = Reader(Counters())
        self.received: list[bytes] = []
        self.receipts: deque[str] = deque()
        self.most_unread = 0

    @property
    def unread(self) -> int:
        return sum(map(len, self.arrived)) + BUFFER - self.reader.room

    def write(self, pieces: Sequence[bytes]) -> None:
        for piece in pieces:  # each by one send with MSG_EOR: it begins a segment
            self.arrived += [piece[at : at + self.segment] for at in range(0, len(piece), self.segment)]
        self.most_unread = max(self.most_unread, self.unread)

    def read(self, segments: int = 1_000_000) -> None:
        """One ``recv`` that finds so many segments; one buffer's worth at most."""
        data, room = b"", self.reader.room
        while self.arrived and segments and len(data) < room:
            part = self.arrived.popleft()
            if len(data) + len(part) > room:
                self.arrived.appendleft(part[room - len(data) :])
                part = part[: room - len(data)]
            data, segments = data + part, segments - 1
        for frame in self.reader.feed(data):
            adapter = json.loads(frame).get("adapter", {})
            if "sync" in adapter:
                self.receipts.append(adapter["sync"])
            elif "status" not in adapter:
                self.received.append(frame)

    def lose(self, segments: int = 1_000_000) -> None:
        """So many segments that wait are gone, as with a bad split, and a sync with them."""
        synced = False
        while self.arrived and (segments > 0 or not synced):
            synced |= b'"sync"' in self.arrived.popleft()
            segments -= 1
        self.reader = Reader(Counters())

    @property
    def numbers(self) -> list[int]:
        """The distinct frames that came, in the order of their first arrival."""
        return list(dict.fromkeys(json.loads(frame)["n"] for frame in self.received))


class Bench:
    """A writer, its link's other end and a clock."""

    def __init__(self, segment: int = LOOPBACK, receipts: bool = True, timeout: float = 1.0) -> None:
        self.read_ids: list[TransactionId] = []
        self.told: list[list[TransactionId]] = []
        self.unknown: list[bytes] = []  # written, and not known to be read
        self.writer = Window(self._on_read, receipt_timeout=timeout)
        self.segment, self.links, self.now = segment, 0, 1000.0
        self.with_receipts = receipts
        self.payloads: list[bytes] = []
        self.kamailio = Kamailio(segment)
        self.connect()

    def connect(self) -> None:
        numbers = self.kamailio.received if self.links else []
        self.links += 1
        self.unknown.clear()
        self.kamailio = Kamailio(self.segment)
        self.kamailio.received = numbers
        self.writer.connected(f"link{self.links:04}", self.segment)
        self.writer.receipts = self.with_receipts

    def put(self, size: int = 30, until: float = FOREVER) -> None:
        number = len(self.payloads)
        payload = b'{"n":%d,"x":""}' % number
        payload = payload[:-2] + b"x" * (size - len(payload)) + payload[-2:]
        self.payloads.append(payload)
        self.writer.put(Outgoing(netstring.encode(payload), until, TransactionId("sbc1", number, 1, 1)))

    def take(self) -> list[bytes]:
        frames = self.writer.take(self.now)
        self.kamailio.write(in_segments(frames, self.segment))
        if self.with_receipts:
            self._note_written(frames)
        return frames

    def take_all(self) -> list[bytes]:
        """What is written now, and the sync that follows after a moment."""
        frames = self.take()
        self.now += SYNC_DELAY
        return frames + self.take()

    def _note_written(self, frames: Sequence[bytes]) -> None:
        self.unknown += frames
        long = any(len(frame) > WINDOW_BYTES - 64 for frame in self.unknown)
        data = [frame for frame in self.unknown if b'"sync"' not in frame]
        assert not long or len(data) == 1, "a long frame goes alone"
        if not (long or self.writer.late):  # then probes come on top
            assert sum(map(len, self.unknown)) <= WINDOW_BYTES

    def receipt(self) -> None:
        if self.kamailio.receipts:
            token = self.kamailio.receipts.popleft()
            self.writer.synced(token, self.now)
            covers = [at for at, frame in enumerate(self.unknown, 1) if f'"{token}"'.encode() in frame]
            del self.unknown[: covers[0] if covers else 0]

    def lose(self, segments: int = 1_000_000) -> None:
        """Lose what waits, and the sync that follows: no receipt tells of what is lost without it."""
        waits = [segment for segment in self.kamailio.arrived if b'"sync"' in segment]
        if self.kamailio.arrived and not waits:
            self.wake()
            assert any(b'"sync"' in frame for frame in self.take())
        self.kamailio.lose(segments)

    def wake(self) -> None:
        """Move the clock to when the writer asked to be called."""
        if self.writer.wake_at is not None:
            self.now = max(self.now, self.writer.wake_at)

    def settle(self) -> None:
        """A well Kamailio and a patient clock, until everything is known to be read."""
        for _ in range(5_000):
            self.take()
            if self.writer.all_read and self.writer.wake_at is None:
                return
            while self.kamailio.arrived:
                self.kamailio.read()
            if self.kamailio.receipts:
                self.receipt()
            else:
                self.wake()
        raise AssertionError("the writer never came to rest")

    def _on_read(self, ids: Sequence[TransactionId]) -> None:
        if self.writer.receipts:  # said only of what really came
            assert {id_.index for id_ in ids} <= set(self.kamailio.numbers)
        self.read_ids += ids
        self.told.append(list(ids))
