"""One EVAPI connection: connect, back off, reconnect for ever, and always read.

A client that does not read stops all SIP: Kamailio's sockets are blocking, its dispatcher
waits in ``write`` and every SIP worker behind it. So nothing here waits for a broker or a
store; what is read is handed on at once, and memory is bounded by shedding further on.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

from adapter.cluster.identities import identity
from adapter.cluster.role import READ_PAUSE
from adapter.evapi.dialler import Dialler
from adapter.evapi.half_open import HalfOpen
from adapter.evapi.link_log import LinkLog
from adapter.evapi.socket import ReadCoalescing, Stream
from adapter.evapi.suspensions import SuspensionCounter
from adapter.evapi.window import Outgoing, Window, in_segments
from adapter.wire import event, netstring, to_kamailio

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adapter.evapi.limits import LinkSettings
    from adapter.evapi.owner import LinkOwner
    from adapter.model.transaction import TransactionId
    from adapter.settings import Address

PLAIN_MAX: Final = 8_000
"""Bytes of a payload for a configuration without hello: in quotes, "$evapi(msg)" gives nothing from
8,192 bytes (Kamailio's pv_buffer_size, which the include raises), and the answer would be lost."""
MACHINE: Final = socket.gethostname()


class Link:
    """One node's connection, made within the loop. ``run`` it in a task of its own; cancel that to end it."""

    def __init__(
        self, node: str, address: Address, owner: LinkOwner, replica: str, settings: LinkSettings
    ) -> None:
        self.node = node
        self.address = address
        self._owner = owner
        self._replica = replica
        self._settings = settings
        self._loop = asyncio.get_running_loop()  # to ask for it costs a system call (Python 3.11)
        self._status = "degraded"
        self._stream: Stream | None = None
        self._decoder = netstring.Decoder()
        self._hello: event.Hello | None = None
        self._plain = self._greeted = False  # no hello came in time; a hello has come ever
        self._counter = SuspensionCounter()
        self._name = ""  # of the connection
        self._asked: dict[str, Outgoing] = {}  # by token: written if its suspension still waits
        self._questions = 0
        self._relaxed = False
        self._coalescing = ReadCoalescing(settings.in_batches)
        self._log = LinkLog(node, lambda: self.address)
        self._dialler = Dialler(lambda: self.address, settings, self._log)
        self._silent = True  # nothing was read from this connection
        self._half_open = HalfOpen()
        self._flushing: asyncio.Handle | None = None
        self._waking: asyncio.TimerHandle | None = None
        self._waking_at = 0.0
        self.writer = Window(partial(owner.on_read, self), receipt_timeout=settings.receipt_timeout)
        self.connects = self.frames_in = self.bytes_in = 0

    def __repr__(self) -> str:
        mode = "down" if not self.up else "receipts" if self.writer.receipts else "paced"
        return f"<Link {self.node} {self.address} {mode}, {self.writer.waiting} frames unread>"

    @property
    def up(self) -> bool:
        """Whether the connection stands."""
        return self._stream is not None

    def send(
        self,
        payload: bytes,
        until: float,
        id: TransactionId | None = None,  # noqa: A002
        again: bool = False,
    ) -> None:
        """Queue a payload; it is written as soon as Kamailio can read it without loss.

        ``until``: the loop's clock after which nobody waits for it. With the connection all that
        was queued is gone. ``again``: it may have been written before, so Kamailio is asked first
        whether the suspension still waits. Raises FrameTooLarge.
        """
        if id is not None and self._hello is None and self._counter.is_over(id):
            self._give_up([id])
            return
        outgoing = Outgoing(netstring.encode(payload), until, id)
        if again and id is not None and self.writer.receipts:
            self._questions += 1
            token = f"{self._name}:?{self._questions}"
            self._asked[token] = outgoing
            self.writer.put(Outgoing(netstring.encode(to_kamailio.still_open(token, id)), until))
        else:
            self.writer.put(outgoing)
        if self._flushing is None:
            self._flush_soon()

    @property
    def unread(self) -> set[TransactionId]:
        """The resumes that are queued, or written and not known to be read."""
        return self.writer.ids | {out.id for out in self._asked.values() if out.id is not None}

    def forget(self) -> None:
        """Give up what is not written yet: it may be another replica's by now."""
        self._asked.clear()
        self.writer.forget()

    def set_relaxed(self, relaxed: bool) -> None:
        """Whether another replica claims this node's suspensions, so that they need not be read at once."""
        self._relaxed = relaxed

    def set_status(self, status: str) -> None:
        """Tell the health gate, now and each second: ready, degraded or draining."""
        if status != self._status:
            self._status = status
            self._tell_status()

    @property
    def sound(self) -> bool:
        """Whether what is written is read: it is known what configuration is there, no receipt is late,
        and what Kamailio sends comes here."""
        known = self._hello is not None or self._plain
        return self.up and known and not self.writer.late and not self._half_open.proven

    @property
    def state(self) -> str:
        """In a word: down, unread (or not known yet), paced (no receipts), silent, unordered, receipts."""
        if not self.up:
            return "down"
        if not self.sound:
            return "unread"
        if self._hello is not None and self._hello.unordered:
            return "unordered"
        return "receipts" if self.writer.receipts else "paced" if self.frames_in else "silent"

    @property
    def incarnation(self) -> str:
        """Which life of its Kamailio this connection is to; empty where it does not say."""
        return self._hello.incarnation if self._hello is not None else ""

    @property
    def version(self) -> str:
        """Kamailio's version; empty where it does not say."""
        return self._hello.version if self._hello is not None else ""

    @property
    def handled_at(self) -> float:
        """When all that was written is handled, as far as nobody tells (the loop's clock)."""
        return self.writer.handled_at if self.up else 0.0

    @property
    def identity(self) -> str:
        """Which Kamailio this connection is to; empty as long as that is not known."""
        if not self.up or (self._hello is None and not self._plain):
            return ""
        return identity(self.incarnation, self.address.host, str(self.address), MACHINE)

    def reset(self, reason: str) -> None:
        """Give the connection up, with what Kamailio has not taken of it."""
        if self._stream is not None:
            self._stream.reset(reason)

    def missed(self, ago: float) -> None:
        """Take in that another replica read an event of this node so many seconds ago.

        A link without receipts that has not brought it is half open: it is given up, and is not ``sound``
        again before it brings an event.
        """
        if self._hello is None and self.up and self._half_open.suspect(ago, self._loop.time()):
            self._loop.call_later(self._settings.sure_after, self._end_half_open, self._stream)

    def _end_half_open(self, stream: Stream | None) -> None:
        if stream is not None and stream is self._stream and self._half_open.confirm():
            stream.reset("it brings nothing of what another replica reads")

    @property
    def gated(self) -> bool:
        """Whether the configuration keeps a health gate, so that commands may be pushed, too."""
        return self._hello is not None and self._hello.gate

    @property
    def max_payload(self) -> int:
        """Bytes of the longest payload that the node can make use of."""
        return PLAIN_MAX if self._hello is None else netstring.MAX_OUT

    @property
    def drops_repeats(self) -> bool:
        """Whether the configuration there drops a second answer to a question. Not known counts as no."""
        return self._hello is not None

    def in_time(self, size: int, seconds: float) -> bool:
        """Whether a payload of so many bytes would be written within so many seconds."""
        writer = self.writer
        return writer.receipts or not self.up or writer.wait(size, self._loop.time()) <= seconds

    @property
    def opens_gate(self) -> bool:
        """Whether Kamailio knows that this replica is ready."""
        return self.up and self.gated and self._status == "ready" and self.writer.status_read

    async def run(self) -> None:
        """Connect and serve for ever. Ends only by cancellation."""
        await self._dialler.run(self._serve)

    async def _serve(self, sock: socket.socket) -> tuple[str, bool]:
        """Until the connection ends; gives the reason, and whether anything was read from it."""
        ended: asyncio.Future[str] = self._loop.create_future()
        self._stream = stream = Stream(sock, self._on_data, ended.set_result)
        self._silent, self._plain = True, False
        self._decoder, self._hello = netstring.Decoder(self._settings.max_frame), None
        self._half_open.read_at = self._loop.time()
        self.connects += 1
        self._name = secrets.token_hex(4)
        self._asked.clear()
        self.writer.connected(self._name, stream.segment)
        up = self._dialler.up(stream)
        wait = self._settings.plain_after if self._greeted else self._settings.hello_wait
        no_hello = self._loop.call_later(wait, self._no_hello)
        telling = asyncio.create_task(self._tell_each_second())
        self._owner.on_link(self)
        self._flush_soon()
        try:
            return await ended, not self._silent
        finally:
            for each in (up, no_hello, telling):
                each.cancel()
            self._stream = None
            stream.close()
            self._stop_flushing()
            self._owner.on_link(self)

    def _no_hello(self) -> None:
        """None has come in time: it is a plain configuration."""
        if self._hello is None:
            self._log.no_hello()
            self._plain = True
            self._owner.on_link(self)

    async def _tell_each_second(self) -> None:
        while True:
            self._tell_status()
            await asyncio.sleep(self._settings.status_interval)

    def _tell_status(self) -> None:
        if self.gated:
            self.writer.put_status(to_kamailio.status(self._status, self._replica, self.node))
            self._flush_soon()

    def _on_data(self, data: bytes) -> None:
        try:
            frames = self._decoder.feed(data)
        except netstring.OutOfStep as exc:
            frames = exc.payloads
            assert self._stream is not None
            self._stream.end(str(exc))
        self.frames_in += len(frames)
        self.bytes_in += len(data)
        self._silent = False
        events: list[event.Handed] = []
        relaxed, now = self._relaxed, self._loop.time()
        self._half_open.read_at = now
        if self._stream is not None:
            gathering = self._coalescing.pause(len(frames), now)
            self._stream.pause = READ_PAUSE if relaxed else gathering
        for frame in frames:
            if relaxed and (glimpse := event.peek_ids(frame)) is not None:
                events.append(glimpse)
                continue
            found = event.parse(frame)
            if type(found) is event.Suspended and found.seq is not None:
                events.append(found)
            elif (left := self._own(found)) is not None:
                events.append(left)
        if events:
            if self._half_open.proven:
                self._half_open.proven = False
                self._owner.on_link(self)
            self._owner.on_events(self, events)

    def _own(self, found: event.Event | None) -> event.Suspended | event.Notice | event.Malformed | None:
        """Take out what concerns the link itself; count suspensions where the frame does not."""
        if isinstance(found, event.Suspended) and found.seq is None:
            return replace(found, seq=self._count(found.index, found.label))
        if isinstance(found, event.Malformed) and found.ids is not None and found.ids[2] is None:
            index, label, _ = found.ids
            return replace(found, ids=(index, label, self._count(index, label)))
        if isinstance(found, event.Synced):
            self.writer.synced(found.token, self._loop.time())
            self._answered(found)
            if self.writer.unwritten:
                self._flush_soon()
            else:
                self._wake_by(self.writer.wake_at)
            return None
        if isinstance(found, event.Hello):
            self._greet(found)
        elif isinstance(found, event.Result):
            self._owner.on_result(self, found)
        else:
            return found
        return None

    def _greet(self, found: event.Hello) -> None:
        before, self._hello, self._greeted = self._hello, found, True
        self.writer.set_receipts(found.receipts)
        if found.unordered and (before is None or not before.unordered):
            self._stop_asking()
            self._log.unordered(found)
        if before is None:
            self._log.hello(found)
            self._owner.on_link(self)
        self._tell_status()

    def _stop_asking(self) -> None:
        """Write what Kamailio was asked about before: it drops repeats itself, and gives no answer now."""
        for outgoing in self._asked.values():
            self.writer.put(outgoing)
        self._asked.clear()

    def _answered(self, found: event.Synced) -> None:
        """Whether a suspension still waits; a configuration that does not say so drops repeats."""
        outgoing = self._asked.pop(found.token, None)
        if outgoing is None:
            return
        if found.open is False and outgoing.id is not None:
            self._owner.on_read(self, [outgoing.id])
        else:
            self.writer.put(outgoing)

    def _give_up(self, ids: Sequence[TransactionId]) -> None:
        self.writer.expired += len(ids)
        self._owner.on_read(self, ids)

    def _count(self, index: int, label: int) -> int:
        """The number of this suspension of a transaction, from 1. Answers to earlier ones are given up."""
        seq = self._counter.count(index, label)
        if seq > 1 and self._hello is None and (dropped := self.writer.drop(self._counter.is_over)):
            self._give_up(dropped)
        return seq

    def _flush_soon(self) -> None:
        """One flush for all that is queued in this turn of the loop."""
        if self._flushing is None and self._stream is not None:
            self._flushing = self._loop.call_soon(self._flush)

    def _flush(self, least: float = 0.0) -> None:
        """Write what may be written now, which is no earlier than ``least``."""
        self._flushing = None
        stream = self._stream
        if stream is None:
            return
        now = max(self._loop.time(), least)
        if stream.blocked or not self._owner.may_write(self.node):
            self._wake_by(now + self._settings.held_interval)
            return
        frames = self.writer.take(now)
        if frames:
            stream.send(frames if len(frames) == 1 else in_segments(frames, stream.segment))
        if self.writer.unwritten and not self._relaxed:
            stream.read_on()  # the receipts that make room may be there
        self._wake_by(self.writer.wake_at)

    def _wake_by(self, at: float | None) -> None:
        """Flush at that time at the latest. An early timer is let run: it costs less than to be set anew."""
        if at is None or (self._waking is not None and self._waking_at <= at):
            return
        if self._waking is not None:
            self._waking.cancel()
        self._waking_at = at
        self._waking = self._loop.call_at(at, self._wake)

    def _wake(self) -> None:
        self._waking = None
        if self._flushing is not None:
            self._flushing.cancel()
        self._flush(self._waking_at)  # uvloop counts whole ms: the time may seem not to have come yet

    def _stop_flushing(self) -> None:
        for handle in (self._flushing, self._waking):
            if handle is not None:
                handle.cancel()
        self._flushing = self._waking = None
