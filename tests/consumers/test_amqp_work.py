"""The order of reply, confirm and acknowledgement, against a line that the test plays."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any

import pytest
from pamqp import frame
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from adapter.amqp.scanner import Confirm, Returned
from adapter.contract import Request, encode_request
from consumers import Answer, MoreTime, Result, Service
from consumers.amqp import work as module
from consumers.amqp.delivery import Delivery
from consumers.amqp.work import Work
from tests.harness.until import until

if TYPE_CHECKING:
    from collections.abc import Callable


class Line:
    """``did``: what was written, in words; ``writes``: in how many pieces."""

    number = 3
    most = 1000

    def __init__(self) -> None:
        self.did: list[str] = []
        self.writes = 0
        self.alive = True
        self.closed = False
        self.receive: Callable[[list[Delivery], list[Confirm | Returned]], None] = lambda *_: None

    def listen(self, receiver: Any, *_: object) -> None:
        self.receive = receiver

    def on_closed(self, tell: Callable[[str], None]) -> None:
        self.tell_closed = tell

    def write(self, frames: bytes) -> bool:
        if not self.alive:
            return False
        self.writes += 1
        while frames:
            size, channel, found = frame.unmarshal(frames)
            assert channel == self.number
            frames = frames[size:]
            if isinstance(found, Basic.Publish):
                assert found.mandatory
                self.did.append(f"publish to {found.routing_key}")
            elif isinstance(found, Basic.Ack):
                self.did.append(f"ack {found.delivery_tag}{' and before' if found.multiple else ''}")
            elif isinstance(found, Basic.Reject):
                self.did.append(f"reject {found.delivery_tag} {found.requeue}")
        return True

    async def close(self) -> None:
        self.alive, self.closed = False, True

    def deliver(
        self,
        *tags: int,
        event: str = "e",
        body: bytes | None = None,
        to: str | None = "r",
        left: float | None = None,
    ) -> None:
        properties = Basic.Properties(correlation_id="n:1:1:1", reply_to=to)
        header = frame.marshal(ContentHeader(properties=properties), 1)[7:-1]
        deadline = None if left is None else time.time() + left
        request = encode_request(Request(event, "n", {}, 1, 1, 1, deadline)) if body is None else body
        self.receive([Delivery(tag, header, request) for tag in tags], [])

    def confirm(self, number: int, *, multiple: bool = False, taken: bool = True) -> None:
        self.receive([], [Confirm(number, multiple, taken)])


class Hands:
    """A ``Work`` with its line; more lines follow, as long as there are any."""

    def __init__(self, more: int = 0, prefetch: int = 1) -> None:
        self.service = Service("x")
        self.service.on("e")(lambda request: {"action": "allow"})
        self.line, self.others = Line(), [Line() for _ in range(more)]
        self.opened: list[Line] = []
        self.work = Work(self.service, self.line, self._another, prefetch)  # type: ignore[arg-type]

    async def _another(self) -> Any:
        if not self.others:
            raise OSError("no more lines")
        self.opened.append(self.others.pop(0))
        return self.opened[-1]


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes together is done in one turn, however busy the machine is."""
    monkeypatch.setattr(module, "TURN", 60.0)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REPLY_PAUSE", 0.0)


async def test_the_request_is_acknowledged_after_its_reply_is_confirmed() -> None:
    hands = Hands()
    hands.line.deliver(7)
    assert hands.line.did == ["publish to r"]
    assert hands.work.in_hand == 1
    hands.line.confirm(1)
    assert hands.line.did == ["publish to r", "ack 7"]
    assert hands.work.in_hand == 0


async def test_what_one_turn_is_too_short_for_goes_on_in_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TURN", -1.0)
    hands = Hands(prefetch=100)
    hands.line.deliver(1, 2, 3)
    assert hands.line.did == ["publish to r"]
    assert hands.work.in_hand == 3
    hands.line.deliver(4)
    await until(lambda: hands.line.did == ["publish to r"] * 4)
    hands.line.confirm(4, multiple=True)
    await until(lambda: hands.work.in_hand == 0)


async def test_what_comes_together_goes_out_together() -> None:
    hands = Hands()
    hands.line.deliver(*range(1, 51))
    assert hands.line.did == ["publish to r"] * 50
    hands.line.confirm(20, multiple=True)
    assert hands.line.did[50:] == ["ack 20 and before"]
    hands.line.confirm(22)
    hands.line.confirm(50, multiple=True)
    assert hands.line.did[51:] == ["ack 22", "ack 50 and before"]
    assert hands.line.writes == 4
    assert hands.work.in_hand == 0


@pytest.mark.parametrize("waits", [False, True])
async def test_coroutines_are_gathered_too(waits: bool) -> None:
    hands = Hands()
    gate = asyncio.Event()

    @hands.service.on("waits")
    async def decide(request: Request) -> dict[str, Any]:
        if waits:
            await gate.wait()
        return {}

    hands.line.deliver(*range(1, 11), event="waits")
    for _ in range(5):
        await asyncio.sleep(0)
    assert len(hands.line.did) == (0 if waits else 10)
    gate.set()
    await until(lambda: hands.line.did)
    assert hands.line.did == ["publish to r"] * 10
    assert hands.line.writes == 1


async def test_a_few_acknowledgements_go_with_the_next_replies() -> None:
    hands = Hands(prefetch=8)
    hands.line.deliver(1, 2, 3, 4, 5)
    hands.line.confirm(2, multiple=True)
    assert hands.line.writes == 1
    hands.line.deliver(6)
    assert hands.line.did[5:] == ["publish to r", "ack 2 and before"]
    hands.line.confirm(5, multiple=True)  # more than a quarter of what may be under way
    assert hands.line.did[7:] == ["ack 5 and before"]


async def test_or_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ACK_PAUSE", 0.001)
    hands = Hands(prefetch=100)
    hands.line.deliver(1)
    hands.line.confirm(1)
    assert hands.line.did == ["publish to r"]
    await until(lambda: hands.line.did[1:])
    assert hands.line.did[1:] == ["ack 1 and before"]


async def test_or_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ACK_PAUSE", 3600)
    hands = Hands(prefetch=100)
    hands.line.deliver(1, 2)
    hands.line.confirm(1)
    finishing = asyncio.ensure_future(hands.work.finished(5))
    await until(lambda: len(hands.line.did) == 3)
    assert not finishing.done()
    hands.line.confirm(2)
    await finishing
    assert hands.line.did[2:] == ["ack 1 and before", "ack 2 and before"]
    hands.line.deliver(3)
    assert len(hands.line.did) == 4  # nothing is written after it


@pytest.mark.usefixtures("hasty")
async def test_a_refused_reply_goes_out_on_another_line() -> None:
    hands = Hands(more=2)
    line, (second, third) = hands.line, hands.others
    line.deliver(1, 2)
    line.confirm(1, taken=False)
    await until(lambda: second.did)
    line.deliver(3)
    assert second.did == ["publish to r"] * 2
    second.confirm(1, taken=False)
    await until(lambda: third.did)
    assert not second.closed  # the reply to the third request is under way on it
    second.confirm(2)
    await until(lambda: second.closed)
    assert line.did == ["publish to r"] * 2 + ["ack 3"]
    line.confirm(2)
    third.confirm(1)
    assert line.did[3:] == ["ack 2", "ack 1 and before"]
    assert not third.closed
    assert line.alive  # the requests come on it


@pytest.mark.usefixtures("hasty")
async def test_several_that_are_refused_share_the_next_line() -> None:
    hands = Hands(more=2)
    hands.line.deliver(1, 2)
    hands.line.confirm(2, multiple=True, taken=False)
    await until(lambda: hands.opened and len(hands.opened[0].did) == 2)
    assert len(hands.opened) == 1


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("told", [True, False])
async def test_a_line_for_replies_that_closes_is_replaced(told: bool) -> None:
    hands = Hands(more=2)
    second, third = hands.others
    hands.line.deliver(1)
    hands.line.confirm(1, taken=False)
    await until(lambda: second.did)
    second.alive = False
    if told:
        second.tell_closed("closed")
    else:
        hands.line.deliver(2)  # finds it out
    requests = 1 if told else 2
    await until(lambda: len(third.did) == requests)
    third.confirm(requests, multiple=True)
    assert hands.line.did[1:] == [f"ack {requests} and before"]
    await until(lambda: second.closed)


@pytest.mark.usefixtures("hasty")
async def test_a_line_that_cannot_be_closed(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "consumers")
    hands = Hands(more=2)
    second, third = hands.others

    async def close() -> None:
        raise TimeoutError("no answer")

    second.close = close  # type: ignore[method-assign]
    hands.line.deliver(1)
    hands.line.confirm(1, taken=False)
    await until(lambda: second.did)
    second.confirm(1, taken=False)
    await until(lambda: third.did and "a line for replies: TimeoutError" in caplog.text)


@pytest.mark.usefixtures("hasty")
async def test_after_the_last_refusal_the_request_is_a_dead_letter(caplog: pytest.LogCaptureFixture) -> None:
    hands = Hands(more=module.REPLY_ATTEMPTS)
    hands.line.deliver(7)
    hands.line.confirm(1, taken=False)
    for number in range(module.REPLY_ATTEMPTS - 1):
        await until(lambda: len(hands.opened) > number and hands.opened[number].did)
        hands.opened[number].confirm(1, taken=False)
    await until(lambda: hands.line.did[1:])
    assert hands.line.did == ["publish to r", "reject 7 False"]
    assert "x: n:1:1:1: r takes no reply" in caplog.text
    assert hands.work.in_hand == 0


@pytest.mark.parametrize("alive", [True, False])
async def test_where_no_other_line_can_be_had(alive: bool, caplog: pytest.LogCaptureFixture) -> None:
    hands = Hands()
    hands.line.deliver(7)
    hands.line.alive = alive
    hands.line.confirm(1, taken=False)
    await until(lambda: not hands.work._tasks)
    await asyncio.sleep(0)
    assert hands.line.did[1:] == (["reject 7 False"] if alive else [])
    assert ("no more lines" in caplog.text) == alive  # else it is the connection that is gone


async def test_a_reply_nobody_waits_for_is_told_and_the_request_acknowledged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    hands = Hands()
    hands.line.deliver(7)
    hands.line.receive([], [Returned("x:1", "n:1:1:1", "r"), Confirm(1, False, True)])
    assert hands.line.did == ["publish to r", "ack 7"]
    assert "x: n:1:1:1: there is no queue r" in caplog.text


async def test_a_request_without_reply_to_is_an_observer_s_and_its_decision_is_dropped(
    caplog: pytest.LogCaptureFixture,
) -> None:
    hands = Hands()
    hands.line.deliver(8, to=None)
    assert hands.line.did == ["ack 8"]
    assert hands.service.counts == {Result.NOTED: 1}
    assert not caplog.text


def slow() -> tuple[Hands, asyncio.Event]:
    """Who asks for a second more, and decides when the event is set."""
    hands, gate = Hands(more=module.REPLY_ATTEMPTS), asyncio.Event()

    @hands.service.on("slow")
    async def decide(request: Request, more: MoreTime) -> dict[str, Any]:
        more.ask(1.0)
        await gate.wait()
        return {"action": "allow"}

    return hands, gate


async def test_more_time_is_asked_for_at_once_and_the_request_stays_in_hand() -> None:
    hands, gate = slow()
    hands.line.deliver(7, event="slow", left=1.0)
    await until(lambda: hands.line.did)
    hands.line.confirm(1)
    gate.set()
    await until(lambda: len(hands.line.did) == 2)
    assert hands.line.did == ["publish to r", "publish to r"]
    assert hands.work.in_hand == 1
    hands.line.confirm(2)
    assert hands.line.did[2:] == ["ack 7"]
    assert hands.work.in_hand == 0
    assert hands.service.counts == {Result.DECIDED: 1}


@pytest.mark.usefixtures("hasty")
async def test_more_time_that_is_refused_is_no_matter_to_the_request(
    caplog: pytest.LogCaptureFixture,
) -> None:
    hands, gate = slow()
    hands.line.deliver(7, event="slow", left=1.0)
    await until(lambda: hands.line.did)
    hands.line.confirm(1, taken=False)
    for number in range(module.REPLY_ATTEMPTS - 1):
        await until(lambda: len(hands.opened) > number and hands.opened[number].did)
        hands.opened[number].confirm(1, taken=False)
    await until(lambda: "x: n:1:1:1: r takes no reply" in caplog.text)
    assert hands.line.did == ["publish to r"]
    gate.set()
    await until(lambda: hands.opened[-1].did)
    hands.opened[-1].confirm(1)
    await until(lambda: hands.line.did[1:] == ["ack 7"])


@pytest.mark.usefixtures("hasty")
async def test_more_time_for_which_there_is_no_other_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    hands, _ = slow()
    hands.others.clear()
    hands.line.deliver(7, event="slow", left=1.0)
    await until(lambda: hands.line.did)
    hands.line.confirm(1, taken=False)
    await until(lambda: "x: n:1:1:1: no more time" in caplog.text)
    assert hands.line.did == ["publish to r"]
    assert hands.work.in_hand == 1
    await hands.work.close()


async def test_what_is_no_request_or_cannot_be_answered_is_a_dead_letter(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Odd(Service):
        given: Any = Answer(Result.DECIDED, "x" * 256, b"{}")

        def begin(self, message: Any, send: Any = None) -> Any:
            if isinstance(self.given, Exception):
                raise self.given
            return self.given

    hands = Hands()
    hands.line.deliver(1, body=b"\xc1")
    assert hands.line.did == ["reject 1 False"]
    hands.work._service = odd = Odd("odd")
    hands.line.deliver(2)
    assert "256 bytes in a property" in caplog.text
    odd.given = KeyError("a fault of the service's own")
    hands.line.deliver(3)
    assert "a fault of the service's own" in caplog.text

    async def answer() -> Answer:
        raise KeyError("another one")

    odd.given = answer()
    hands.line.deliver(4)
    await until(lambda: len(hands.line.did) == 4)
    assert "another one" in caplog.text
    hands.line.receive([Delivery(5, b"\0\x3c", b"")], [])
    hands.work._service = hands.service
    header = ContentHeader(properties=Basic.Properties(reply_to="r")).marshal()
    hands.line.receive([Delivery(6, header, b"\x80", 2_000_000)], [])
    assert hands.line.did == [f"reject {tag} False" for tag in range(1, 7)]
    assert hands.service.counts[Result.REJECTED] == 2
    assert "a body of 2000000 bytes" in caplog.text
    assert "properties: " in caplog.text
    assert hands.work.in_hand == 0


async def test_a_closed_line_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    hands = Hands(more=1)
    ended: list[str] = []

    @hands.service.on("waits")
    async def decide(request: Request) -> dict[str, Any]:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")
        return {}

    hands.line.deliver(1)
    hands.line.deliver(2, event="waits")
    await asyncio.sleep(0)
    hands.line.deliver(3, event="waits")  # its task has not begun yet
    hands.line.alive = False
    hands.line.tell_closed("closed")
    assert hands.work.in_hand == 0
    await hands.work.finished(5)
    await hands.work.close()
    hands.line.confirm(1)
    assert hands.line.did == ["publish to r"]
    assert ended == ["cancelled"]
    assert not hands.opened
    assert not caplog.text


async def test_what_does_not_finish_is_told(caplog: pytest.LogCaptureFixture) -> None:
    hands = Hands()
    hands.line.deliver(1, 2)
    await hands.work.finished(0.01)
    assert "x: 2 requests left after 0.01 s" in caplog.text
    assert hands.work.in_hand == 0


async def test_a_handler_that_does_not_end_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "END_TIMEOUT", 0.01)
    hands, gate = Hands(), asyncio.Event()

    @hands.service.on("stubborn")
    async def decide(request: Request) -> dict[str, Any]:
        while not gate.is_set():
            try:
                await gate.wait()
            except asyncio.CancelledError:
                continue
        return {}

    hands.line.deliver(1, event="stubborn")
    await asyncio.sleep(0)
    await hands.work.close()
    gate.set()
    await until(lambda: not hands.work._tasks)
    assert not hands.line.did
