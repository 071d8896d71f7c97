"""What comes of an answer by hand: the one that counts, or who was faster. With an adapter by hand."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING, Any, Self

import pytest

from adapter import settings
from adapter.admin import calls, settling
from adapter.admin.settling import Answer, Done
from adapter.inflight.operator import OperatorStore
from adapter.inflight.redis import RedisStore
from adapter.model.beat import Beat
from adapter.model.transaction import Outcome, Settlement, Transaction, TransactionId
from adapter.observe.journal import Journal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tests.harness.redis import RedisServer

ID = TransactionId("sbc1", 1, 2, 1)
ANSWER = Answer(b'{"code":486}', "eve@host", "it hangs")


class World:
    """A call that waits, the replica that has it, and RabbitMQ as far as it is asked."""

    def __init__(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        prefix = f"test-{uuid.uuid4().hex[:8]}"
        self.replica = RedisStore(url, "r1", prefix=prefix, timeout=10.0)
        self.operator = OperatorStore(url, "eve~cli", prefix=prefix, timeout=10.0)
        self.call = Transaction(ID, "invite_request", time.time() + 30, time.time(), b"", "r1")
        self.published: list[Any] = []
        self.wait = 1.0
        self.then: Callable[[], Awaitable[bool]]
        monkeypatch.setattr(settling, "Rabbit", lambda _: self)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def publish(self, *message: Any) -> bool:
        self.published.append(message)
        return await self.then()

    async def settle(self, outcome: Outcome, body: bytes) -> bool:
        await self.replica.settle([Settlement(ID, outcome, body)])
        return True

    async def read(self, outcome: Outcome, *, journal: bool = True) -> bool:
        """Kamailio has read the resume already."""
        await self.settle(outcome, ANSWER.body)
        await self.replica.resumed([ID])
        if journal:
            kept = Journal()
            kept.resumed(time.time(), self.call, outcome, 0.1, b"")
            entry = kept.take()
            assert entry is not None
            await self.replica.beat(Beat())
            await self.replica.note(entry, 60.0)
        return True

    async def done(self, then: Callable[[], Awaitable[bool]]) -> Done:
        self.then = then
        await self.replica.claim([self.call], 10)
        chosen = settings.load(bridge=False)
        return await settling.settle(chosen, self.operator, "amqp://", self.call, ANSWER, self.wait)


@pytest.fixture
async def world(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    found = World(redis_server.url, monkeypatch)
    yield found
    await found.replica.close()


async def test_it_counts(world: World) -> None:
    assert await world.done(lambda: world.settle(Outcome.OPERATOR, ANSWER.body)) == Done("operator", True)
    ((exchange, key, body, properties),) = world.published
    assert (exchange, key, body) == ("evapi.operator", "sbc1", ANSWER.body)
    assert properties.headers["x-service"] == "operator:eve@host"


async def test_something_else_was_faster(world: World) -> None:
    done = await world.done(lambda: world.settle(Outcome.DECIDED, b"{}"))
    assert (done.outcome, done.by_us) == ("decided", False)
    assert "'decided' was faster" in done.why


async def test_another_operator_was_faster(world: World) -> None:
    done = await world.done(lambda: world.settle(Outcome.OPERATOR, b"{}"))
    assert (done.outcome, done.by_us) == ("operator", False)
    assert "another operator was faster" in done.why


@pytest.mark.parametrize(("outcome", "ours"), [(Outcome.OPERATOR, True), (Outcome.TIMEOUT, False)])
async def test_where_it_was_over_between_two_looks_a_journal_tells(
    world: World, outcome: Outcome, ours: bool
) -> None:
    done = await world.done(lambda: world.read(outcome))
    assert (done.outcome, done.by_us) == (outcome.value, ours)


async def test_and_without_one_it_is_not_known(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "WRITTEN", 0.1)
    done = await world.done(lambda: world.read(Outcome.OPERATOR, journal=False))
    assert (done.outcome, done.by_us) == (None, False)
    assert "no journal tells how" in done.why


async def test_nobody_takes_it(world: World) -> None:
    async def taken() -> bool:
        return True

    world.wait = 0.1
    done = await world.done(taken)
    assert (done.outcome, done.by_us) == (None, False)
    assert "evapi.results.sbc1" in done.why


async def test_no_queue(world: World) -> None:
    async def returned() -> bool:
        return False

    done = await world.done(returned)
    assert not done.by_us
    assert "no adapter has a link to the node" in done.why
