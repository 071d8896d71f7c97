"""Every store behind one face: several replicas on the same records, and a way to let time pass."""

from __future__ import annotations

import time
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol, Self

from adapter.inflight.failover import FailoverStore
from adapter.inflight.local import LocalStore
from adapter.inflight.redis import RedisStore
from adapter.model.beat import Beat
from adapter.model.transaction import Outcome, Progress, Settlement, State, Transaction, TransactionId
from tests.harness.until import until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from adapter.ports.store import Store


class World(Protocol):
    def store(self, replica: str) -> Store: ...

    def now(self) -> float: ...

    async def until(self, condition: Callable[[], Awaitable[object]], seconds: float) -> None:
        """Let so much time pass; then the condition must hold."""
        ...

    async def close(self) -> None: ...


class LocalWorld:
    def __init__(self, retention: float = 60.0) -> None:
        self.time = 1_790_000_000.0
        self._first = LocalStore("first", retention=retention, clock=self.now)

    def store(self, replica: str) -> LocalStore:
        return self._first.beside(replica)

    def now(self) -> float:
        return self.time

    async def until(self, condition: Callable[[], Awaitable[object]], seconds: float) -> None:
        self.time += seconds
        assert await condition()

    async def close(self) -> None:
        await self._first.close()


class RedisWorld:
    def __init__(self, url: str, retention: float = 60.0, timeout: float = 10.0) -> None:
        self.prefix = f"test-{uuid.uuid4().hex[:8]}"
        self._url = url
        self._retention = retention
        self._timeout = timeout
        self._stores: list[RedisStore] = []

    def store(self, replica: str) -> Store:
        store = RedisStore(
            self._url, replica, prefix=self.prefix, retention=self._retention, timeout=self._timeout
        )
        self._stores.append(store)
        return store

    def now(self) -> float:
        return time.time()

    async def until(self, condition: Callable[[], Awaitable[object]], seconds: float) -> None:
        await until(condition, seconds + 20)

    async def close(self) -> None:
        for store in self._stores:
            await store.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class FailoverWorld(RedisWorld):
    """Redis, and each replica outlives its outages."""

    def store(self, replica: str) -> Store:
        return FailoverStore(super().store(replica))


LIVE = Beat(nodes=frozenset({"sbc1"}), priority=7)
"""What a replica says of itself."""


def suspension(number: int = 1, node: str = "sbc1", seq: int = 1) -> TransactionId:
    return TransactionId(node, number, 1_840_980_198, seq)


def claimed(
    id_: TransactionId, owner: Store, world: World, left: float = 60.0, body: bytes = b"request"
) -> Transaction:
    """A claim to come, its times in whole milliseconds, as a store may keep them."""
    now = round(world.now(), 3)
    deadline = round(now + left, 3)
    return Transaction(id_, "invite_request", deadline, now, body, owner.replica, incarnation="a1b2")


def decided(id_: TransactionId, decision: bytes | None = b'{"action":"route"}') -> Settlement:
    return Settlement(id_, Outcome.DECIDED, decision)


def step(id_: TransactionId, service: str, deadline: float | None = None) -> Progress:
    """What one service has answered."""
    return Progress(id_, line(service), deadline)


def line(service: str) -> bytes:
    return f'["{service}","decided",{{"reason":"ünicode ☎"}},""]\n'.encode()


def settled_claim(of: Transaction, outcome: Outcome = Outcome.UNAVAILABLE) -> Transaction:
    return replace(of, state=State.SETTLED, outcome=outcome)
