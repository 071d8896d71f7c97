"""Bindings are made on a connection of their own, again and again where that fails, with pauses that grow."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import aiormq
import pytest
from yarl import URL

from adapter.broker.rabbitmq import bindings
from adapter.broker.rabbitmq.bindings import Bindings
from adapter.broker.rabbitmq.limits import Limits
from adapter.broker.rabbitmq.supervisor import Supervisor
from adapter.errors import BrokerUnavailable
from adapter.ports.broker import Published
from tests.broker.support import attached, bind, reply, request_of
from tests.harness.held_clock import run
from tests.harness.until import until

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from pika.adapters.blocking_connection import BlockingChannel

    from adapter.broker.rabbitmq import AmqpBroker
    from tests.broker.support import Recorder

    Run = Callable[[Coroutine[Any, Any, None]], None]

PART = "node sbc1 bindings"
REFUSED = aiormq.AMQPError("no majority")


class Channel:
    async def close(self) -> None:
        pass


class Connection:
    """To a server that lets itself be connected to, unless it is ``away``."""

    opened: list[Connection]
    away = False

    def __init__(self) -> None:
        self.alive = True
        self.aborted = False
        self.at = asyncio.get_running_loop().time()
        self.opened.append(self)

    @classmethod
    async def open_any(cls, _: list[URL], __: Limits) -> Connection:
        made = cls()
        if cls.away:
            raise BrokerUnavailable("connection refused")
        return made

    async def channel(self) -> Channel:
        return Channel()

    def abort(self, _: str) -> None:
        self.aborted = True

    async def close(self, _: float) -> None:
        self.alive = False


@pytest.fixture
def clocked(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a test in a loop whose clock skips what is waited for, without a server."""
    monkeypatch.setattr(bindings, "Connection", Connection)
    monkeypatch.setattr(Connection, "opened", [], raising=False)
    monkeypatch.setattr(Connection, "away", False)
    return run


class Bench:
    """A bindings, and what it does."""

    def __init__(self) -> None:
        limits = Limits(1, 1.0)
        self.declared = asyncio.Event()
        self.declared.set()
        self.supervisor = Supervisor(limits)
        self.bindings = Bindings([URL("amqp://localhost")], limits, self.supervisor, self.declared)
        self.fails = True
        self.hangs = False
        self.tried: list[float] = []
        self.loop = asyncio.get_running_loop()

    async def step(self, _: Any) -> None:
        self.tried.append(self.loop.time())
        if self.hangs:
            await asyncio.sleep(3600)
        if self.fails:
            raise REFUSED

    @property
    def gaps(self) -> list[float]:
        return [round(later - at, 3) for at, later in zip(self.tried, self.tried[1:], strict=False)]

    async def end(self) -> None:
        await self.bindings.stop()
        await self.supervisor.finish(1.0)


def test_the_pause_grows_from_one_second_to_two_minutes(clocked: Run) -> None:
    async def work() -> None:
        bench = Bench()
        await bench.bindings.make(PART, bench.step, 1.0)
        assert bench.supervisor.problems == {PART: "no majority"}
        await asyncio.sleep(600)
        assert bench.gaps == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 120.0, 120.0, 120.0]
        assert len(Connection.opened) == len(bench.tried), "each on a connection that is new"
        assert not any(each.alive for each in Connection.opened), "and is there while bindings are made"
        bench.fails = False
        await asyncio.sleep(120)
        assert bench.supervisor.problems == {}
        made = len(bench.tried)
        await asyncio.sleep(3600)
        assert len(bench.tried) == made
        assert not any(each.alive for each in Connection.opened)
        await bench.end()

    clocked(work())


def test_something_new_cuts_a_pause_short_and_does_not_wait_behind_what_failed(clocked: Run) -> None:
    async def work() -> None:
        bench, other = Bench(), []
        await bench.bindings.make(PART, bench.step, 1.0)
        await asyncio.sleep(100)
        tried = len(bench.tried)

        async def step(_: Any) -> None:
            other.append((bench.loop.time(), len(bench.tried)))

        await bench.bindings.make("another", step, 1.0)
        assert other == [(100.0, tried + 1)] or other == [(100.0, tried)]
        await asyncio.sleep(0)
        assert bench.tried[-1] == 100.0, "and what failed is tried again, too"
        await bench.end()

    clocked(work())


def test_a_step_without_an_answer_costs_its_connection_and_nobody_waits_for_it_for_long(clocked: Run) -> None:
    async def work() -> None:
        bench = Bench()
        bench.hangs = True
        await bench.bindings.make(PART, bench.step, 1.0)
        assert bench.loop.time() == 1.0
        assert bench.supervisor.problems == {PART: "no answer in time"}
        await asyncio.sleep(2.5)
        assert [each.aborted for each in Connection.opened] == [True]
        done: list[str] = []

        async def step(_: Any) -> None:
            done.append("another")

        await bench.bindings.make("another", step, 10.0)
        assert done == ["another"], "what hung comes last the next time"
        bench.hangs = bench.fails = False
        await asyncio.sleep(10)
        assert bench.supervisor.problems == {}
        await bench.end()

    clocked(work())


def test_what_was_made_is_made_again_and_nobody_waits_for_that(clocked: Run) -> None:
    async def work() -> None:
        bench = Bench()
        bench.fails = False
        await bench.bindings.make(PART, bench.step, 1.0)
        assert len(bench.tried) == 1
        bench.hangs = True
        await bench.bindings.make(PART, bench.step, 1.0)
        assert bench.loop.time() == 0.0
        assert bench.supervisor.problems == {}
        await bench.end()

    clocked(work())


@pytest.mark.parametrize("how", ["stopped", "forgotten", "made anew"])
def test_nobody_waits_for_what_is_not_going_to_be_made(clocked: Run, how: str) -> None:
    async def work() -> None:
        bench = Bench()
        bench.declared.clear()
        waiting = asyncio.create_task(bench.bindings.make(PART, bench.step, 60.0))
        await asyncio.sleep(0.5)
        assert not waiting.done()
        if how == "stopped":
            await bench.bindings.stop()
        elif how == "forgotten":
            bench.bindings.forget(PART)
        else:
            anew = asyncio.create_task(bench.bindings.make(PART, bench.step, 60.0))
        await waiting
        assert bench.loop.time() == 0.5
        assert bench.supervisor.problems == {}
        if how == "made anew":
            bench.declared.set()
            await anew
            assert bench.supervisor.problems == {PART: "no majority"}
        await bench.end()

    clocked(work())


def test_what_is_forgotten_is_made_no_more(clocked: Run) -> None:
    async def work() -> None:
        bench = Bench()
        await bench.bindings.make(PART, bench.step, 1.0)
        bench.bindings.forget(PART)
        await asyncio.sleep(600)
        assert len(bench.tried) <= 2
        assert bench.supervisor.problems == {}
        await bench.end()

    clocked(work())


def test_nothing_is_made_before_the_exchanges_are_there_or_while_the_server_is_away(clocked: Run) -> None:
    async def work() -> None:
        bench = Bench()
        bench.fails = False
        bench.declared.clear()
        await bench.bindings.make(PART, bench.step, 1.0)
        await asyncio.sleep(600)
        assert Connection.opened == []
        Connection.away = True
        bench.declared.set()
        await asyncio.sleep(60)
        assert bench.tried == []
        assert len(Connection.opened) > 1
        Connection.away = False
        await asyncio.sleep(120)
        assert len(bench.tried) == 1
        await bench.end()

    clocked(work())


async def test_a_binding_for_which_the_connection_is_closed_costs_no_other_one(
    broker: AmqpBroker, client: BlockingChannel, receiver: Recorder, event: str, node: str
) -> None:
    """As RabbitMQ 4.3 does without majority, after 30 s."""
    await attached(broker, node)
    bind(client, event)
    broker.limits.bind_first = 0.01
    closed: list[Any] = []

    async def step(channel: Any) -> None:
        closed.append(channel.connection)
        if len(closed) <= 3:
            await channel.connection.close()
            raise aiormq.exceptions.ConnectionInternalError("INTERNAL_ERROR")

    making = asyncio.create_task(broker._bindings.make("a part", step, 1.0))
    while len(closed) <= 3:
        assert await broker.publish([request_of(event, node)]) == [Published.CONFIRMED]
        reply(client, node, f"{node}:3:7:1", b"{}")
        await asyncio.sleep(0.002)
    await making
    await until(lambda: "a part" not in broker.problems)
    assert len(set(map(id, closed))) == 4
    own = [each.connection for each in (broker._requests, broker._replies, broker._pushes)]
    assert not {id(each) for each in closed} & {id(each.below) for each in own if each is not None}
    assert (broker.counters.connects, broker.counters.reply_connects) == (1, 2)
