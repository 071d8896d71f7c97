"""A handler that asks for more time, and what moves with it."""

from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING, Any

import pytest

from adapter.contract import Request, encode_request
from consumers import Message, MoreTime, Result, Service, SignatureError, allow, time_left
from consumers.deadline import Deadline
from consumers.metrics import ConsumerMetrics
from consumers.testing import Undecided, ask, tell
from tests.consumers.asker import running
from tests.harness.until import until

if TYPE_CHECKING:
    from consumers.messages import Extension
    from tests.consumers.asker import Asker
    from tests.harness.rabbitmq import RabbitServer


@pytest.fixture
def service() -> Service:
    return Service("slow")


def asked(left: float | None = 0.05, id_: str | None = "id") -> Message:
    deadline = None if left is None else time.time() + left
    return Message(encode_request(Request("e", "n", {}, 1, 1, 1, deadline)), id_)


async def test_a_handler_has_as_much_more(service: Service) -> None:
    @service.on("e")
    async def decide(request: Request, more: MoreTime) -> dict[str, Any]:
        before = time_left(request)
        given = more.ask(30.0)
        await asyncio.sleep(0.5)
        assert before is not None
        return allow(given=given, before=before, left=time_left(request))

    found = await ask(service, "e", {}, deadline=0.3)
    assert found["given"] is True
    assert found["before"] < 0.31
    assert 25 < found["left"] < 30


async def test_it_may_wait_before_it_asks(service: Service) -> None:
    @service.on("e")
    async def decide(more: MoreTime) -> dict[str, Any]:
        await asyncio.sleep(0)
        more.ask(30.0)
        await asyncio.sleep(0.5)
        return allow()

    assert await ask(service, "e", {}, deadline=0.3) == allow()


async def test_the_moved_deadline_holds(service: Service) -> None:
    @service.on("e")
    async def decide(more: MoreTime) -> dict[str, Any]:
        more.ask(0.01)
        await asyncio.Event().wait()
        return allow()

    with pytest.raises(Undecided, match="still at work at the deadline"):
        await ask(service, "e", {}, deadline=0.01)


async def test_it_is_sent_once(service: Service) -> None:
    sent: list[tuple[Any, Extension]] = []
    given: list[bool] = []

    @service.on("e")
    async def decide(more: MoreTime) -> dict[str, Any]:
        given.extend((more.ask(1.5), more.ask(1.0)))
        await asyncio.sleep(0)
        given.append(more.ask(1.0))
        return allow()

    message = asked()
    answer = await service.begin(message, lambda of, extension: sent.append((of, extension)))  # type: ignore[misc]
    assert answer.result is Result.DECIDED
    assert given == [True, False, False]
    ((of, extension),) = sent
    assert of is message
    assert extension.correlation_id == "id"
    assert extension.headers == {"x-service": "slow", "x-status": "extend", "x-extend": 1500}
    assert (extension.body, extension.content_type, extension.rejected) == (b"", None, False)


async def test_a_moment_is_a_millisecond_at_least(service: Service) -> None:
    sent: list[Extension] = []

    @service.on("e")
    async def decide(more: MoreTime) -> dict[str, Any]:
        assert more.ask(0.0001)
        return allow()

    await service.begin(asked(), lambda _, extension: sent.append(extension))  # type: ignore[misc]
    assert [each.headers["x-extend"] for each in sent] == [1]


@pytest.mark.parametrize(("left", "id_"), [(5.0, None), (None, "id")])
async def test_there_is_none_where_nobody_waits_or_there_is_no_deadline(
    service: Service, left: float | None, id_: str | None
) -> None:
    given: list[bool] = []

    @service.on("e")
    async def decide(more: MoreTime) -> dict[str, Any]:
        given.append(more.ask(1.0))
        return allow()

    answer = await service.begin(asked(left, id_), lambda *_: given.append(True))  # type: ignore[misc]
    assert answer.result is (Result.NOTED if id_ is None else Result.DECIDED)
    assert given == [False]


async def test_of_a_notice_neither(service: Service) -> None:
    given: list[bool] = []

    @service.on("e")
    async def note(more: MoreTime) -> None:
        given.append(more.ask(1.0))

    await tell(service, "e", {})
    assert given == [False]


async def test_nor_after_the_deadline(service: Service) -> None:
    given: list[bool] = []

    @service.on("e")
    async def decide(more: MoreTime) -> dict[str, Any]:
        try:
            await asyncio.Event().wait()
        finally:
            given.append(more.ask(1.0))
        return allow()

    with pytest.raises(Undecided, match="still at work"):
        await ask(service, "e", {}, deadline=0.01)
    assert given == [False]


@pytest.mark.parametrize("waits", [True, False])
async def test_nor_after_the_decision(service: Service, waits: bool) -> None:
    kept: list[MoreTime] = []

    @service.on("e")
    async def decide(more: MoreTime) -> dict[str, Any]:
        kept.append(more)
        if waits:
            await asyncio.sleep(0)
        return allow()

    await ask(service, "e", {})
    assert not kept[0].ask(1.0)


@pytest.mark.parametrize("seconds", [0, -1.0, math.nan, math.inf])
async def test_what_is_no_time(service: Service, seconds: float) -> None:
    @service.on("e")
    async def decide(more: MoreTime) -> dict[str, Any]:
        more.ask(seconds)
        return allow()

    with pytest.raises(Undecided, match="no number of seconds above 0"):
        await ask(service, "e", {})


def test_a_plain_def_cannot_ask(service: Service) -> None:
    @service.on("e")
    def decide(more: MoreTime) -> dict[str, Any]:
        return allow()

    with pytest.raises(SignatureError, match="asks for more time, which goes out only while it waits"):
        service.check()


async def test_those_that_are_at_work_together_each_have_their_own(service: Service) -> None:
    ConsumerMetrics([service], {"slow": lambda: True})  # stands around each handler
    service_of: dict[str, MoreTime] = {}

    @service.on("e")
    async def decide(request: Request, more: MoreTime) -> dict[str, Any]:
        service_of[request.node] = more
        more.ask(30.0)
        await asyncio.sleep(0.5)
        return allow(node=request.node)

    nodes = ["a", "b", "c"]
    found = await asyncio.gather(*(ask(service, "e", {}, node=node, deadline=0.3) for node in nodes))
    assert [each["node"] for each in found] == nodes
    assert len(set(map(id, service_of.values()))) == 3


async def test_one_that_waits_for_its_turn_asks_when_it_begins() -> None:
    service = Service("slow", concurrency=1)

    @service.on("e")
    async def decide(more: MoreTime) -> dict[str, Any]:
        more.ask(30.0)
        await asyncio.sleep(0.02)
        return allow()

    assert await asyncio.gather(*(ask(service, "e", {}, deadline=1.0) for _ in range(3))) == [allow()] * 3


async def test_a_deadline_that_never_comes_does_not_move() -> None:
    assert not Deadline(None).extend(1.0)
    assert not Deadline(asyncio.get_running_loop().time()).extend(1.0)


async def test_over_rabbitmq(rabbitmq: RabbitServer, asker: Asker, service: Service) -> None:
    gate = asyncio.Event()
    first: list[float] = []

    @service.on("more_time_event")
    async def decide(request: Request, more: MoreTime) -> dict[str, Any]:
        first.append(request.deadline or math.inf)
        more.ask(20.5)
        await gate.wait()
        return allow()

    async with running(service, rabbitmq.url):
        id_ = await asker.ask("more_time_event", left=1.0)
        await until(lambda: id_ in asker.extensions)
        extension = asker.extensions[id_]
        await until(lambda: time.time() > first[0])
        gate.set()
        assert await asker.reply(id_) == allow()
    headers = extension.header.properties.headers
    assert headers["x-extend"] == 20500
    assert headers["x-service"] == "slow"
    assert extension.body == b""
    assert service.counts == {Result.DECIDED: 1}
    await asker.channel.queue_delete("evapi.decide.slow")
