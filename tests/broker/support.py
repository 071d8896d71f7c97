"""What the broker's tests share: a receiver that notes, and waiting for a condition."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from typing import TYPE_CHECKING

from adapter.errors import CodecError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from adapter.broker.rabbitmq import AmqpBroker
    from adapter.ports.broker import Reply


class Recorder:
    """A Receiver. ``error`` is what the next batches of replies meet; ``gate`` holds them while cleared."""

    def __init__(self) -> None:
        self.batches: list[Sequence[Reply]] = []
        self.refused: list[Sequence[Reply]] = []
        self.commands: list[tuple[str, bytes]] = []
        self.error: Exception | None = None
        self.under_way = 0
        self.gate = asyncio.Event()
        self.gate.set()

    @property
    def replies(self) -> list[Reply]:
        return [reply for batch in self.batches for reply in batch]

    async def on_replies(self, replies: Sequence[Reply]) -> None:
        self.under_way += 1
        await self.gate.wait()
        self.under_way -= 1
        if self.error is not None:
            self.refused.append(replies)
            raise self.error
        self.batches.append(replies)

    def on_command(self, node: str, body: bytes) -> None:
        if body == b"bad":
            raise CodecError("not-json", "bad")
        if body == b"worse":
            raise ZeroDivisionError("worse")
        self.commands.append((node, body))


@contextlib.contextmanager
def hurried(broker: AmqpBroker) -> Iterator[None]:
    """Let it wait for no answer for long while a server hangs; one that lives may be slow to answer."""
    limits = broker.limits
    before = limits.confirm_timeout, limits.connect_timeout, limits.answer_timeout
    limits.confirm_timeout, limits.connect_timeout, limits.answer_timeout = 0.1, 0.5, 0.5
    try:
        yield
    finally:
        limits.confirm_timeout, limits.connect_timeout, limits.answer_timeout = before


def unique(stem: str) -> str:
    """A name that no other test has."""
    return f"{stem}-{uuid.uuid4().hex[:8]}"
