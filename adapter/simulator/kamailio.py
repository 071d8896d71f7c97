"""A simulated Kamailio: the handle for tests and bench."""

from __future__ import annotations

import asyncio
import contextlib
import math
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from adapter.simulator import frames
from adapter.simulator.counters import Counters
from adapter.simulator.dispatcher import Dispatcher
from adapter.simulator.routes import Routes
from adapter.simulator.tm import SimTransaction, State, Tm

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from adapter.simulator.frames import Data, Form, Ids
    from adapter.simulator.routes import Configuration, Status

QUEUE: Final = 278
"""Events that wait for a dispatcher that stands still, before the SIP workers stand still, too."""
TICK: Final = 0.001
"""Seconds between two looks at what is due."""


class SimulatedKamailio:
    """One Kamailio with evapi, tm and one of our configurations. Use as ``async with``.

    ``configuration``: ``include`` says hello, gives receipts, keeps the health gate and checks
    seq before ``t_continue``; ``plain`` does nothing of that. ``port`` 0: a free one.
    ``fr_timer``: seconds until a suspension counts as unanswered. ``faulty_reader``: lose
    frames as Kamailio's reader does. ``gate``: obey the health gate (then ``suspend`` while it
    is closed emits nothing and gives a transaction in state LOCAL).

    Set ``on_end`` to be told of each transaction's end. Make it within a running event loop.
    """

    def __init__(
        self,
        configuration: Configuration = "include",
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        max_clients: int = 8,
        fr_timer: float = 30.0,
        faulty_reader: bool = True,
        gate: bool = False,
    ) -> None:
        self.configuration = configuration
        self.counters = Counters()
        self.on_end: Callable[[SimTransaction], None] | None = None
        self._loop = asyncio.get_running_loop()
        self._listen_at = host, port
        self._gate = gate
        self._change: asyncio.Future[None] | None = None
        self._tm = Tm(self.counters, self._ended, fr_timer=fr_timer)
        self._routes = Routes(configuration, self._tm, self.counters, self._trip)
        self._dispatcher = Dispatcher(
            self.counters,
            self._routes,
            self._changed,
            max_clients=max_clients,
            faulty_reader=faulty_reader,
        )

    async def __aenter__(self) -> SimulatedKamailio:
        self._dispatcher.listen(*self._listen_at)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._dispatcher.close()
        self._tm.close()

    def __repr__(self) -> str:
        return (
            f"<SimulatedKamailio {self.configuration} {self.address} {self.clients} clients, "
            f"{self.counters.suspended} suspended, {self.counters.resumed} resumed>"
        )

    # What it looks like from outside.

    @property
    def host(self) -> str:
        """Where it listens."""
        return self._dispatcher.address[0]

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._dispatcher.address[1]

    @property
    def address(self) -> str:
        """``host:port``, as in EVAPI_NODES."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def clients(self) -> int:
        """Connected clients."""
        return self._dispatcher.clients

    @property
    def stalled(self) -> bool:
        """Whether a client does not read, and everything waits for it."""
        return self._dispatcher.stalled

    @property
    def statuses(self) -> dict[str, Status]:
        """What each replica told the health gate last, by its name."""
        return self._routes.statuses

    @property
    def commands(self) -> Sequence[Any]:
        """The last 100 frames that were neither resume nor adapter's talk, as an operator pushes them."""
        return self._routes.commands

    @property
    def gate_open(self) -> bool:
        """Whether a link that is still there said ``ready`` last, and within 3 s."""
        return self._routes.gate_open

    @property
    def waiting(self) -> int:
        """Transactions that are suspended at present."""
        return self._tm.waiting

    async def until(self, condition: Callable[[], object], timeout: float = 10.0) -> None:  # noqa: ASYNC109
        """Return once the condition holds; looked at whenever something has happened here.

        Raises TimeoutError after ``timeout`` seconds.
        """
        async with asyncio.timeout(timeout):
            while not condition():
                if self._change is None:
                    self._change = self._loop.create_future()
                await asyncio.shield(self._change)

    # Calls.

    async def suspend(
        self,
        event: str,
        data: Data,
        *,
        form: Form | None = None,
        again: SimTransaction | None = None,
        spoil: Callable[[bytes], bytes] | None = None,
    ) -> SimTransaction:
        """Suspend a transaction and emit its event to every client; ``again``: the same one once more.

        The form is ``json`` with the include and ``colon`` without, unless given. ``spoil``
        makes of the frame what a faulty configuration would. Like a SIP worker it waits while
        a client does not read and the queue is full. Raises TooManySuspensions for the
        thirteenth, ValueError where ``again`` is not resumed.
        """
        payload = frames.suspended(form or self._form, event, data)
        await self._for_room()
        return self._suspend(event, payload, again, spoil=spoil)

    async def offer(
        self,
        rate: float,
        count: int,
        event: str,
        data: Data | Callable[[int], Data],
        form: Form | None = None,
    ) -> None:
        """Suspend ``count`` new transactions, ``rate`` a second, whatever becomes of them.

        Returns when the last is emitted; ``on_end`` is told what became of each. A callable
        ``data`` is given the number of the event, from 0. Behind schedule it catches up:
        ``due_at`` of a transaction is when it should have been emitted.
        """
        form = form or self._form
        payload = None if callable(data) else frames.suspended(form, event, data)
        begun = monotonic()
        number = 0
        while number < count:
            due = min(count, math.floor((monotonic() - begun) * rate) + 1)
            while number < due:
                await self._for_room()
                made = frames.suspended(form, event, data(number)) if callable(data) else payload
                assert made is not None
                self._suspend(event, made, due_at=begun + number / rate)
                number += 1
            if number < count:
                # Timers count in milliseconds; to wait for less would be to spin.
                await asyncio.sleep(max(TICK, begun + number / rate - monotonic()))

    async def saturate(
        self,
        window: int,
        seconds: float,
        event: str,
        data: Data,
        form: Form | None = None,
    ) -> None:
        """Keep ``window`` suspended at a time, for so many seconds: a new one for each that ends."""
        payload = frames.suspended(form or self._form, event, data)
        end = monotonic() + seconds
        while (now := monotonic()) < end:
            for _ in range(window - self.waiting):
                await self._for_room()
                self._suspend(event, payload)
            with contextlib.suppress(TimeoutError):
                await self.until(lambda: self.waiting < window, end - now)

    def notify(self, event: str, data: Data, *, form: Form | None = None) -> None:
        """Emit an event for which nothing is suspended."""
        self._trip(frames.notice(form or self._form, event, data))

    def cancel(self, transaction: SimTransaction, event: str | None = "call_cancelled") -> None:
        """The caller hangs up: 487, and a notice of that name (``None``: nobody is told)."""
        transaction.cancel()
        if event is not None:
            ids = {"tm_index": transaction.index, "tm_label": transaction.label, "seq": transaction.seq}
            self.notify(event, {**ids, "call_id": f"{transaction.index}.{transaction.label}@simulated"})

    def hang_up(self) -> None:
        """Every caller who waits hangs up, and nobody is told."""
        self._tm.hang_up()

    # Faults.

    def lose_frames(self, count: int) -> None:
        """Lose the next frames that arrive, as the reader does, and tell nobody."""
        self._routes.lose = count

    def withhold_receipts(self, withhold: bool = True) -> None:
        """Give no receipts, or give them again."""
        self._routes.withhold_receipts = withhold

    def stop_reading(self) -> None:
        """Read nothing more from any client."""
        self._dispatcher.set_reading(False)

    def start_reading(self, rate: float | None = None) -> None:
        """Read again; ``rate``: at most so many bytes a second from each client."""
        self._dispatcher.read_rate = rate
        self._dispatcher.set_reading(True)

    def emit_raw(self, data: bytes) -> None:
        """Write bytes to every client, framing and all: garbage, half a frame, many frames at once."""
        self._dispatcher.write(data)

    def emit_payload(self, payload: bytes) -> None:
        """Write one frame with any payload to every client."""
        self._trip(payload)

    def disconnect(self, *, reset: bool = False) -> None:
        """Close every client's connection, in order (FIN) or with a RST."""
        self._dispatcher.disconnect(reset=reset)

    def restart(self) -> None:
        """Die and come back at once: a new life, which knows none of the transactions."""
        self._tm.restart()
        self._routes.restart()
        self.disconnect(reset=True)

    def refuse(self) -> None:
        """Close the listener: connects are refused. Connected clients stay."""
        self._dispatcher.refuse()

    def accept(self) -> None:
        """Listen again on the same port."""
        self._dispatcher.listen(self.host, self.port)

    @property
    def _form(self) -> Form:
        return "json" if self.configuration == "include" else "colon"

    async def _for_room(self) -> None:
        if self._dispatcher.backlog >= QUEUE:
            await self.until(lambda: self._dispatcher.backlog < QUEUE, math.inf)

    def _suspend(
        self,
        event: str,
        payload: Callable[[Ids], bytes],
        again: SimTransaction | None = None,
        due_at: float | None = None,
        spoil: Callable[[bytes], bytes] | None = None,
    ) -> SimTransaction:
        transaction = again or self._tm.new(event)
        if self._gate and not self.gate_open:
            self.counters.gated += 1
            transaction.state = State.LOCAL
            return transaction
        self._tm.suspend(transaction, event, due_at)
        seq = transaction.seq if self.configuration == "include" else None
        frame = payload((transaction.index, transaction.label, seq))
        self._trip(spoil(frame) if spoil else frame)
        return transaction

    def _trip(self, payload: bytes) -> None:
        self._dispatcher.write(b"%d:%b," % (len(payload), payload))

    def _ended(self, transaction: SimTransaction) -> None:
        if self.on_end is not None:
            self.on_end(transaction)
        self._changed()

    def _changed(self) -> None:
        if self._change is not None:
            self._change.set_result(None)
            self._change = None
