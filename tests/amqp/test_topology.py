"""What is asked of a server, beside what the server makes of it (tests/broker)."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import aiormq
import pytest
from aiormq.abc import TaskWrapper

from adapter.amqp.topology import Exchange, Queue, declare_exchange, declare_queue, messages_in


class _Closing:
    """A channel that the server closes over what is asked, as the library tells it."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self._answers: list[TaskWrapper] = []

    async def _ask(self, *_: Any, **__: Any) -> Any:
        answer = TaskWrapper(asyncio.ensure_future(asyncio.sleep(60)))
        self._answers.append(answer)
        self.asked.set()
        return await answer

    queue_declare = exchange_declare = _ask

    def close_it(self) -> None:
        for answer in self._answers:
            answer.throw(aiormq.exceptions.ChannelNotFoundEntity("NOT_FOUND"))


@pytest.mark.parametrize("what", ["messages", "queue", "exchange"])
async def test_who_is_cancelled_while_the_channel_closes_is_cancelled(what: str) -> None:
    played = _Closing()
    channel = cast("aiormq.Channel", played)
    asking = asyncio.create_task(
        {
            "messages": lambda: messages_in(channel, "gone"),
            "queue": lambda: declare_queue(channel, Queue("gone"), passive=True),
            "exchange": lambda: declare_exchange(channel, Exchange("gone", "topic"), passive=True),
        }[what]()
    )
    await played.asked.wait()
    played.close_it()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking


async def test_a_queue_that_is_not_there_is_told() -> None:
    played = _Closing()
    asking = asyncio.create_task(messages_in(cast("aiormq.Channel", played), "gone"))
    await played.asked.wait()
    played.close_it()
    assert await asking is None
