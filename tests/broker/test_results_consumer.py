"""What an inbox writes on its channel, and when it must not, without a server."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from pamqp import frame

from adapter.amqp.line import Line
from adapter.broker.rabbitmq import results_consumer
from adapter.broker.rabbitmq.delivery import Delivery, Properties
from adapter.broker.rabbitmq.limits import Counters, Limits
from adapter.broker.rabbitmq.results_consumer import ResultsConsumer
from adapter.broker.rabbitmq.shared import Shared
from adapter.errors import BrokerUnavailable
from tests.broker.support import Recorder
from tests.harness.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from adapter.ports.broker import Reply

PAUSE = 0.01
"""Seconds for which a turn of the loop lasts."""
LIMITS = Limits(prefetch=40, confirm_timeout=1.0, ack_pause=3600.0, requeue_pause=0.0)


def busy(seconds: float) -> None:
    """Let nobody else have a turn."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


class Channel:
    """As much of aiormq's as an inbox uses."""

    number = 1
    max_content_size = 1000

    def __init__(self) -> None:
        self.on_consumer_cancel_callbacks: set[Any] = set()
        self.closing: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.consumers: list[tuple[str, str]] = []
        self.answers = asyncio.Event()
        self.answers.set()

    async def basic_qos(self, **_: int) -> None:
        await self.answers.wait()

    async def basic_consume(self, queue: str, _: object, *, consumer_tag: str, arguments: object) -> None:
        self.consumers.append((queue, consumer_tag))
        await self.answers.wait()

    async def basic_cancel(self, _: str) -> None:
        await self.answers.wait()

    async def close(self) -> None:
        if not self.closing.done():
            self.closing.set_result(None)


class Wire:
    """As much of the real one as an inbox uses: reads what is written, and delivers."""

    def __init__(self) -> None:
        self.written: list[tuple[str, int, bool]] = []
        self.held = 0
        self._tag = 0

    def tap(self, _: object, receiver: Callable[[list[Delivery], list[Any]], None], *__: object) -> None:
        self._receiver = receiver

    def hold(self, size: int) -> None:
        self.held += size

    def write(self, _: object, frames: bytes) -> bool:
        _, channel, found = frame.unmarshal(frames)
        assert channel == Channel.number
        assert found.name in ("Basic.Ack", "Basic.Nack")
        self.written.append((found.name, found.delivery_tag, found.multiple))  # type: ignore[union-attr]
        return True

    def deliver(self, count: int = 1, times: tuple[int, int] | None = None) -> None:
        came = []
        for _ in range(count):
            self._tag += 1
            properties = Properties("application/json", {}, f"sbc1:{self._tag}:1:1", times)
            came.append(Delivery(self._tag, False, "", properties, b"{}"))
        self._receiver(came, [])


class Rig:
    """An inbox that is open and runs, and what it stands between."""

    def __init__(self, limits: Limits) -> None:
        self.receiver, self.channel, self.wire = Recorder(), Channel(), Wire()
        self.counters = Counters()
        self.priority = 0
        self.shared = Shared(limits, self.counters)
        self.shared.receiver = self.receiver
        line = Line(self.channel, self.wire)  # type: ignore[arg-type]
        self.inbox = ResultsConsumer("sbc1", "evapi.results.sbc1", line, self.shared, lambda: self.priority)

    @property
    def held(self) -> set[asyncio.Task[Any]]:
        """What goes on though nobody waits for it any more."""
        return self.shared.supervisor._tasks

    async def begin(self) -> None:
        await self.inbox.open()
        self.running = asyncio.create_task(self.inbox.run())

    async def taken(self, count: int) -> None:
        await until(lambda: len(self.receiver.replies) == count)


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    made = Rig(LIMITS)
    await made.begin()
    yield made
    made.receiver.gate.set()
    made.running.cancel()
    await asyncio.wait([made.running, *made.held])
    await made.inbox.close()


async def test_replies_are_acknowledged_together(rig: Rig) -> None:
    for count in (1, 2):
        rig.wire.deliver()
        await rig.taken(count)
    assert rig.wire.written == []
    rig.wire.deliver(8)
    await rig.taken(10)
    await until(lambda: rig.wire.written == [("Basic.Ack", 10, True)])  # a quarter of the prefetch count


@pytest.mark.parametrize(
    "times, seconds",
    [
        ((1_790_000_000_000_001, 1_790_000_000_250_000), (1_790_000_000.000001, 1_790_000_000.25)),
        ((1, 1), (1e-6, 1e-6)),
        (None, (None, None)),
        ((0, 1), (None, None)),
        ((1, -1), (None, None)),
        ((1, 1 << 62), (None, None)),
    ],
)
async def test_the_times_of_the_consumer(
    rig: Rig, times: tuple[int, int] | None, seconds: tuple[float | None, float | None]
) -> None:
    rig.wire.deliver(times=times)
    await rig.taken(1)
    (reply,) = rig.receiver.replies
    assert (reply.received, reply.replied) == seconds


async def test_nobody_waits_for_long_to_be_acknowledged() -> None:
    rig = Rig(replace(LIMITS, ack_pause=0.0))
    await rig.begin()
    rig.wire.deliver(2)
    await until(lambda: rig.wire.written == [("Basic.Ack", 2, True)])
    await rig.inbox.stop()
    await rig.running


async def test_what_was_taken_in_is_not_given_back_with_what_follows(rig: Rig) -> None:
    rig.wire.deliver()
    await rig.taken(1)
    rig.receiver.error = ValueError("x")
    rig.wire.deliver(2)
    await until(lambda: len(rig.wire.written) == 2)
    assert rig.wire.written == [("Basic.Ack", 1, True), ("Basic.Nack", 3, True)]
    assert rig.counters.requeued == 1


async def test_closing_acknowledges_what_is_done_and_no_more(rig: Rig) -> None:
    rig.wire.deliver()
    await rig.taken(1)
    rig.receiver.gate.clear()
    rig.wire.deliver()
    await until(lambda: rig.receiver.under_way)
    await rig.inbox.close()
    rig.receiver.gate.set()
    await rig.taken(2)
    with pytest.raises(BrokerUnavailable):
        await rig.running
    assert rig.wire.written == [("Basic.Ack", 1, True)]


async def test_a_batch_is_finished_when_its_inbox_is_left(rig: Rig) -> None:
    rig.receiver.gate.clear()
    rig.wire.deliver()
    await until(lambda: rig.receiver.under_way)
    rig.wire.deliver()
    rig.running.cancel()
    await asyncio.wait([rig.running])
    assert len(rig.held) == 1
    rig.receiver.gate.set()
    await until(lambda: not rig.held)
    assert len(rig.receiver.replies) == 1  # the next one is left for others


async def test_nothing_is_written_once_a_request_to_the_server_was_given_up(rig: Rig) -> None:
    """The library closes the channel then: a frame on it would cost the whole connection."""
    rig.receiver.gate.clear()
    rig.wire.deliver()
    await until(lambda: rig.receiver.under_way)
    rig.channel.answers.clear()
    rig.priority = 1
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await rig.inbox.rerank()
    rig.receiver.gate.set()
    await rig.taken(1)
    await rig.inbox.close()
    assert rig.wire.written == []


async def test_each_rank_has_a_consumer_of_its_own(rig: Rig) -> None:
    rig.priority = 1
    await rig.inbox.rerank()
    results = "evapi.results.sbc1"
    assert rig.channel.consumers == [(results, "replies-1"), (results, "replies-2")]
    rig.wire.deliver(2)
    await rig.taken(2)


async def test_what_is_large_is_looked_at_in_slices_each_acknowledged_by_itself(rig: Rig) -> None:
    rig.inbox._limits = replace(LIMITS, slice_replies=3, slice_bytes=10, prefetch=4)
    rig.wire.deliver(8)  # two bytes each
    await rig.taken(8)
    assert [len(batch) for batch in rig.receiver.batches] == [3, 3, 2]
    await until(lambda: [tag for _, tag, _ in rig.wire.written] == [3, 6, 8])
    assert rig.wire.held == 0
    rig.receiver.batches.clear()
    rig.inbox._limits = replace(LIMITS, slice_bytes=4)
    rig.wire.deliver(5)
    await rig.taken(5)
    assert [len(batch) for batch in rig.receiver.batches] == [2, 2, 1]


async def test_between_two_slices_the_loop_gets_its_turn(rig: Rig) -> None:
    rig.inbox._limits = replace(LIMITS, slice_replies=3)
    loop, seen = asyncio.get_running_loop(), list[int]()

    def look() -> None:
        seen.append(len(rig.receiver.batches))
        if seen[-1] < 3:
            loop.call_soon(look)

    rig.wire.deliver(8)
    look()
    await rig.taken(8)
    assert {1, 2} <= set(seen), "what is done with replies that this process has claimed waits for nobody"


async def test_whoever_waited_for_a_timer_goes_on_before_a_long_batch_and_between_its_slices(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.inbox._limits = replace(LIMITS, slice_replies=3)
    monkeypatch.setattr(results_consumer, "_LONG", 2 * 7)
    seen, take = list[int](), rig.receiver.on_replies

    async def take_slowly(replies: Sequence[Reply]) -> None:
        await take(replies)
        busy(PAUSE)

    async def look() -> None:
        for _ in range(3):
            await asyncio.sleep(PAUSE / 5)
            seen.append(len(rig.receiver.batches))

    monkeypatch.setattr(rig.receiver, "on_replies", take_slowly)
    looking = asyncio.create_task(look())
    await asyncio.sleep(0)
    rig.wire.deliver(8)
    busy(PAUSE)
    await looking
    assert seen == [0, 1, 2]
    await rig.taken(8)
