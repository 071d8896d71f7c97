"""An embedded broker, and services and a receiver that do what a test says."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from adapter.broker.embedded import Core, Delivery, EmbeddedBroker
from adapter.contract import MSGPACK
from adapter.ports.broker import Publication, Reply

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence

    from adapter.ports.commands import Asked

NOW = 1_000.0


@dataclass
class Answer:
    body: bytes | None = None
    rejected: bool = False
    content_type: str | None = MSGPACK
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Stub:
    """A service that does what the test says."""

    act: Callable[[Delivery], Answer | Coroutine[Any, Any, Answer]]
    name: str = "stub"
    events: tuple[str, ...] = ("e",)
    prefetch: int = 10

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        pass

    def begin(self, message: Delivery, send: object, /) -> Answer | Coroutine[Any, Any, Answer]:
        return self.act(message)

    def alone(self, answer: Answer, /) -> Answer:
        return answer


class Receiver:
    """Takes replies in, and can be told to fail or to wait."""

    def __init__(self) -> None:
        self.batches: list[list[Reply]] = []
        self.failures = 0
        self.gate: asyncio.Event | None = None
        self._taken = asyncio.Condition()

    async def on_replies(self, replies: Sequence[Reply]) -> None:
        if self.gate is not None:
            await self.gate.wait()
        if self.failures:
            self.failures -= 1
            raise RuntimeError("the store is away")
        self.batches.append(list(replies))
        async with self._taken:
            self._taken.notify_all()

    def on_command(self, asked: Asked) -> None:
        raise AssertionError("nobody commands an embedded broker")

    @property
    def ids(self) -> list[str]:
        return [reply.correlation_id for batch in self.batches for reply in batch]

    async def has(self, count: int) -> None:
        async with self._taken:
            await self._taken.wait_for(lambda: len(self.ids) >= count)


def echo(message: Delivery) -> Answer:
    return Answer(message.body)


def asked(
    number: int = 1, event: str = "e", node: str = "n", deadline: float | None = NOW + 2
) -> Publication:
    return Publication(event, node, b"request %d" % number, f"{node}:1:1:{number}", deadline)


async def started(*cores: Core, **more: Any) -> tuple[EmbeddedBroker, Receiver]:
    broker = EmbeddedBroker(cores, clock=lambda: NOW, **more)
    receiver = Receiver()
    await broker.start(receiver)
    broker.attach("n")
    return broker, receiver
