"""The order of reply, confirm and acknowledgement, against a channel that the test plays."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiormq import ChannelInvalidStateError, DeliveryError
from aiormq.abc import DeliveredMessage
from pamqp.commands import Basic

from adapter.contract import Request, encode_request
from consumers import Service
from consumers.amqp import work as module
from consumers.amqp.work import Work


class Channel:
    def __init__(self, *outcomes: Any) -> None:
        self.did: list[str] = []
        self.outcomes = list(outcomes)
        self.confirmations: dict[int, Any] = {}
        self.is_closed = False

    async def close(self) -> None:
        self.is_closed = True

    async def basic_publish(self, body: bytes, *, routing_key: str, mandatory: bool, **_: Any) -> Any:
        assert mandatory
        self.did.append(f"publish to {routing_key}")
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, asyncio.Future):
            await outcome
        elif isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def basic_ack(self, tag: int, wait: bool) -> None:
        self.did.append(f"ack {tag}")
        if self.outcomes:
            raise self.outcomes.pop(0)

    async def basic_reject(self, tag: int, requeue: bool, wait: bool) -> None:
        self.did.append(f"reject {tag} {requeue}")


def delivery(body: bytes | None = None, reply_to: str | None = "results") -> Any:
    properties = Basic.Properties(correlation_id="n:1:1:1", reply_to=reply_to)
    request = encode_request(Request("e", "n", {}, 1, 1, 1))
    return SimpleNamespace(
        body=request if body is None else body, delivery_tag=7, header=SimpleNamespace(properties=properties)
    )


def work(channel: Channel, *others: Channel) -> Work:
    service = Service("x")
    service.on("e")(lambda request: {"action": "allow"})
    ready = list(others)

    async def another() -> Channel:
        return ready.pop(0)

    return Work(service, channel, another)  # type: ignore[arg-type]


def nacked() -> DeliveryError:
    return DeliveryError(None, Basic.Nack())


async def test_the_request_is_acknowledged_after_its_reply_is_confirmed() -> None:
    confirmed = asyncio.get_running_loop().create_future()
    channel = Channel(confirmed)
    hands = work(channel)
    task = asyncio.ensure_future(hands.on_delivery(delivery()))
    while not channel.did:
        await asyncio.sleep(0)
    for _ in range(10):
        await asyncio.sleep(0)
    assert channel.did == ["publish to results"]
    assert hands.in_hand == 1
    confirmed.set_result(None)
    await task
    assert channel.did == ["publish to results", "ack 7"]
    assert hands.in_hand == 0


async def test_a_refused_reply_goes_out_on_another_channel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REPLY_PAUSE", 0.0)
    monkeypatch.setattr(module, "RETIRE_PAUSE", 0.0)
    first, second, third = Channel(nacked()), Channel(nacked()), Channel(Basic.Ack(), Basic.Ack())
    second.confirmations[1] = "under way"
    hands = work(first, second, third)
    await hands.on_delivery(delivery())
    assert first.did == ["publish to results", "ack 7"]
    assert (second.did, third.did) == (["publish to results"], ["publish to results"])
    await hands.on_delivery(delivery())
    assert third.did == ["publish to results"] * 2
    assert not second.is_closed
    second.confirmations.clear()
    while not second.is_closed:
        await asyncio.sleep(0)
    assert not first.is_closed  # the requests come on it
    assert not third.is_closed


async def test_several_that_are_refused_share_the_next_channel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REPLY_PAUSE", 0.0)
    both = [asyncio.get_running_loop().create_future() for _ in range(2)]
    first, second = Channel(*both), Channel(Basic.Ack(), Basic.Ack())
    hands = work(first, second)
    tasks = [asyncio.ensure_future(hands.on_delivery(delivery())) for _ in both]
    while len(first.did) < 2:
        await asyncio.sleep(0)
    for each in both:
        each.set_exception(nacked())
    await asyncio.gather(*tasks)
    assert second.did == ["publish to results"] * 2


async def test_a_channel_for_replies_that_closes_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REPLY_PAUSE", 0.0)
    first, second, third = Channel(nacked()), Channel(ChannelInvalidStateError()), Channel(Basic.Ack())
    await work(first, second, third).on_delivery(delivery())
    assert first.did == ["publish to results", "ack 7"]
    assert third.did == ["publish to results"]


async def test_after_the_last_refusal_the_request_is_a_dead_letter(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "REPLY_PAUSE", 0.0)
    channel, *others = (Channel(nacked()) for _ in range(module.REPLY_ATTEMPTS + 1))
    await work(channel, *others).on_delivery(delivery())
    assert channel.did == ["publish to results", "reject 7 False"]
    assert "x: n:1:1:1: results takes no reply" in caplog.text


async def test_a_reply_nobody_waits_for_is_told_and_the_request_acknowledged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    returned = DeliveredMessage(Basic.Return(), None, b"", None)  # type: ignore[arg-type]
    channel = Channel(returned)
    await work(channel).on_delivery(delivery())
    assert channel.did == ["publish to results", "ack 7"]
    assert "x: n:1:1:1: there is no queue results" in caplog.text
    await work(channel).on_delivery(delivery(reply_to=None))
    assert channel.did[-1:] == ["ack 7"]
    assert "no reply_to" in caplog.text


async def test_what_is_no_request_or_cannot_be_answered_is_a_dead_letter(
    caplog: pytest.LogCaptureFixture,
) -> None:
    channel = Channel(TypeError("correlation id of bytes"))
    await work(channel).on_delivery(delivery(b"\xc1"))
    assert channel.did == ["reject 7 False"]
    await work(channel).on_delivery(delivery())
    assert channel.did[1:] == ["publish to results", "reject 7 False"]
    assert "correlation id of bytes" in caplog.text


@pytest.mark.parametrize("outcomes", [(ChannelInvalidStateError(),), (None, ChannelInvalidStateError())])
async def test_a_closed_channel_is_left_alone(outcomes: tuple[Any, ...]) -> None:
    channel = Channel(*outcomes)
    hands = work(channel)
    await hands.on_delivery(delivery())
    assert channel.did[:1] == ["publish to results"]
    assert "reject 7 False" not in channel.did
    assert hands.in_hand == 0


async def test_what_does_not_finish_is_told(caplog: pytest.LogCaptureFixture) -> None:
    channel = Channel(asyncio.get_running_loop().create_future())
    hands = work(channel)
    task = asyncio.ensure_future(hands.on_delivery(delivery()))
    while not channel.did:
        await asyncio.sleep(0)
    await hands.finished(0.01)
    assert "x: 1 requests left after 0.01 s" in caplog.text
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await hands.finished(5)
    assert hands.in_hand == 0
