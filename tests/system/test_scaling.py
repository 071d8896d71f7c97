"""Adapters and consumers that come and go under load: each call gets its decision."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections import Counter
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from adapter.simulator import SimulatedKamailio, State
from tests.harness.bridge import Bridge, Consumer
from tests.harness.process import wait_until
from tests.system import scaling

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from adapter.simulator import SimTransaction
    from tests.harness.rabbitmq import RabbitServer
    from tests.harness.redis import RedisServer

POLICY = '[default]\ndeadline = 15.0\nfallback = { action = "reject", code = 480 }\n'
NODES = 5
LINKS = 2
"""``links_per_node``, as by default."""


class Calls:
    """What became of each call; ``by``: which consumer decided."""

    def __init__(self) -> None:
        self.ended: Counter[str] = Counter()
        self.by: Counter[int] = Counter()

    def end(self, call: SimTransaction) -> None:
        answer = call.answer if call.state is State.RESUMED else None
        self.ended["unanswered" if answer is None else answer["outcome"]] += 1
        if answer is not None:
            self.by[answer["decision"].get("by", 0)] += 1


class Site:
    """Kamailios in this process, adapters and consumers in their own."""

    def __init__(self, folder: Path, sims: dict[str, SimulatedKamailio], amqp: str, redis: str) -> None:
        self._folder = folder
        self._amqp = amqp
        policy = folder / "policy.toml"
        policy.write_text(POLICY)
        self._options = {"amqp_url": amqp, "redis_url": redis, "policy": str(policy)}
        self._prefix = f"scale-{uuid4().hex[:8]}"
        self._stops: list[Callable[[], object]] = []
        self.sims = sims
        self.calls = Calls()
        for sim in sims.values():
            sim.on_end = self.calls.end
        self.adapters: list[Bridge] = []
        self.consumers: list[Consumer] = []

    async def adapter(self) -> Bridge:
        """One more; it is ready."""
        ports = {node: sim.port for node, sim in self.sims.items()}
        env = {"EVAPI_REDIS_PREFIX": self._prefix}
        made = Bridge(f"adapter-{len(self.adapters) + 1}", self._folder, ports, self._options, env)
        self._stops.append(made.stop)
        self.adapters.append(made)
        await asyncio.to_thread(made.start)
        return made

    async def consumer(self) -> Consumer:
        """One more; it consumes."""
        name = f"consumer-{len(self.consumers) + 1}"
        made = Consumer(name, self._folder, ["tests.system.scaling:service"], self._amqp)
        self._stops.append(made.stop)
        self.consumers.append(made)
        made.start()
        told = "consuming"
        await asyncio.to_thread(made.wait_until, lambda: told in made.log.read_text(), "it to consume")
        return made

    async def shared(self) -> None:
        """Return once every Kamailio has its adapters again, no more and no fewer."""
        wanted = min(LINKS, sum(each.process.running for each in self.adapters))
        for sim in self.sims.values():
            await sim.until(lambda: sim.clients == wanted and sim.gate_open, 20)
        links = wanted * len(self.sims)
        await asyncio.to_thread(wait_until, lambda: self._links() == links, f"{links} links", 20)

    def _links(self) -> float:
        return sum(each.metric("evapi_link_up") for each in self.adapters if each.process.running)

    @contextlib.asynccontextmanager
    async def load(self, rate: float, takes: float) -> AsyncIterator[None]:
        """So many calls a second in all for as long as this lasts; then all of them are over."""
        offered = [asyncio.create_task(self._offer(sim, rate, takes)) for sim in self.sims.values()]
        try:
            yield
        finally:
            for each in offered:
                each.cancel()
            await asyncio.gather(*offered, return_exceptions=True)
        for sim in self.sims.values():
            await sim.until(lambda: not sim.waiting, 20)

    async def _offer(self, sim: SimulatedKamailio, rate: float, takes: float) -> None:
        await sim.offer(rate / len(self.sims), 1_000_000, scaling.EVENT, {"takes": takes})

    async def more(self, count: int) -> None:
        """Return once so many more calls are over."""
        wanted = self.calls.ended.total() + count
        async with asyncio.timeout(30):
            while self.calls.ended.total() < wanted:
                await asyncio.sleep(0.01)

    async def close(self) -> None:
        """End what still runs; meanwhile the Kamailios answer."""
        await asyncio.gather(*(asyncio.to_thread(stop) for stop in self._stops))


@pytest.fixture
async def site(
    tmp_path: Path, rabbitmq: RabbitServer, redis_server: RedisServer
) -> AsyncIterator[Callable[[int], Awaitable[Site]]]:
    async with contextlib.AsyncExitStack() as started:

        async def make(nodes: int) -> Site:
            sims = {}
            for _ in range(nodes):
                sims[f"sbc-{uuid4().hex[:8]}"] = await started.enter_async_context(SimulatedKamailio())
            made = Site(tmp_path, sims, rabbitmq.url, redis_server.url)
            started.push_async_callback(made.close)
            return made

        yield make


async def test_adapters_come_and_go(site: Callable[..., Any]) -> None:
    """Added, drained and killed: two links to each Kamailio, and every call is decided."""
    scene: Site = await site(NODES)
    await scene.consumer()
    for _ in range(2):
        await scene.adapter()
    await scene.shared()
    async with scene.load(rate=200, takes=0.02):
        await scene.more(100)
        third, _ = await scene.adapter(), await scene.adapter()
        await scene.shared()
        await scene.more(200)
        assert await asyncio.to_thread(third.stop) == 0, "SIGTERM drains"
        await scene.shared()
        await scene.more(200)
        await asyncio.to_thread(scene.adapters[0].stop, signal.SIGKILL)
        await scene.shared()
        await scene.more(200)
    assert set(scene.calls.ended) == {"decided"}


async def test_consumers_scale_out_and_in(site: Callable[..., Any]) -> None:
    """1, 4, 1 of them under more load than one can carry: none starves, and nothing is lost."""
    scene: Site = await site(1)
    first = await scene.consumer()
    await scene.adapter()
    await scene.shared()
    # One carries 5 at a time of 50 ms, which is 100/s.
    async with scene.load(rate=200, takes=0.05):
        await scene.more(50)
        for _ in range(3):
            await scene.consumer()
        before = Counter(scene.calls.by)
        await scene.more(400)
        done = scene.calls.by - before
        assert set(done) == {each.pid for each in scene.consumers}
        assert min(done.values()) > done.total() / len(done) / 2, done
        gone = [each.pid for each in scene.consumers[1:]]
        codes = await asyncio.gather(*(asyncio.to_thread(each.stop) for each in scene.consumers[1:]))
        assert codes == [0, 0, 0]
        before = Counter(scene.calls.by)
        await scene.more(50)
        assert not set(scene.calls.by - before) & set(gone)
    assert first.running
    assert set(scene.calls.ended) == {"decided"}
