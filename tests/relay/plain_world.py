"""Whole replicas on a node that drops no second answer; their ways to the store, RabbitMQ and Kamailio come
and go, and they die. Each answer is counted as Kamailio would take it."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from adapter.errors import StoreUnavailable
from adapter.inflight.failover import FailoverStore
from adapter.inflight.local import LocalStore
from adapter.ports.broker import Publication, Published
from tests.relay_bench import LEASE, NOW, reply, suspended
from tests.replicas_bench import Replica

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adapter.model.beat import Beat, Snapshot

NODE = "sbc1"
STEP = 0.02
"""Seconds of a step: that of the ticker."""
KNOWN = 1.0
"""Seconds until a link without a hello is known to be to a plain configuration."""
TIMEOUT = 3
"""Steps after which a replica gives up a store that hangs."""
TURNS = 12
"""Of the loop in each step."""


class Way:
    """A replica's way to the store. ``cut``: what is asked fails. While the store hangs that fails after a
    while, and is done later all the same, in its order."""

    def __init__(self, world: World, inner: LocalStore) -> None:
        self.world = world
        self.inner = inner
        self.replica, self.retention = inner.replica, inner.retention
        self.cut = False
        self.late: list[tuple[str, tuple[Any, ...]]] = []

    def __getattr__(self, verb: str) -> Any:
        async def call(*args: Any) -> Any:
            if self.world.hung and not self.cut:
                self.late.append((verb, args))
                given_up = self.world.steps + TIMEOUT
                while self.world.hung and self.world.steps < given_up:
                    await asyncio.sleep(0)
                raise StoreUnavailable(f"{verb}: no answer")
            if self.cut:
                raise StoreUnavailable(f"no {verb}")
            return await getattr(self.inner, verb)(*args)

        return call

    async def beat(self, beat: Beat) -> Snapshot:
        snapshot: Snapshot = await self.__getattr__("beat")(beat)
        return snapshot._replace(memory=str(self.world.memory))

    async def do_late(self) -> None:
        late, self.late = self.late, []
        for verb, args in late:
            await getattr(self.inner, verb)(*args)


class World:
    """``hung``: the store. ``memory``: which one it is. ``notices``: steps after which one that is cut off
    from RabbitMQ notices, one of these. Calls are told by their label."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        self.now = NOW
        self.steps = 0
        self.hung = False
        self.memory = 0
        self.common = LocalStore("nobody", clock=lambda: self.now)
        self.ways: dict[str, Way] = {}
        self.buses: dict[str, bool] = {}
        self.notices = [0]
        self.noticed: dict[str, int] = {}
        self.links_at: dict[str, float] = {}
        self.replicas: list[Replica] = []
        self.dead: list[Replica] = []
        self.calls: dict[int, float] = {}
        self.answered: Counter[int] = Counter()
        self.said: list[tuple[Replica, bytes]] = []
        self.asked: list[tuple[int, str, int]] = []  # answered at which step, asked by whom, label
        self.tasks: set[asyncio.Task[Any]] = set()

    def start(self) -> Replica:
        name = f"r{len(self.replicas) + len(self.dead) + 1}"
        way = self.ways[name] = Way(self, self.common.beside(name))
        store = FailoverStore(
            way,
            still=LEASE,
            clock=lambda: self.now,
            on_away=lambda: made.membership.lost(float("-inf")),
        )
        made = Replica(name, store=store)
        made.now = self.now
        self.links_at[name] = self.now + KNOWN
        made.links.plain = made.membership.bus = True
        self.buses[name] = True
        broker: Any = made.broker

        async def publish(publications: Sequence[Publication]) -> list[Published]:
            if not self.buses[name]:
                while broker.ready:
                    await asyncio.sleep(0)
                return [Published.UNAVAILABLE] * len(publications)
            for each in publications:
                assert each.correlation_id is not None
                label = int(each.correlation_id.split(":")[2])
                self.asked.append((self.steps + self.draw.choice([1, 2, 10]), name, label))
            return [Published.CONFIRMED] * len(publications)

        def say(body: bytes) -> None:
            if self.buses[name]:
                self.said.append((made, body))

        send = made.links.send

        def sent(node: str, payload: bytes, wait: float, id: Any, again: bool = False) -> bool:  # noqa: A002
            if not send(node, payload, wait, id, again):
                return False
            made.queue.append(id)  # type: ignore[attr-defined]
            return True

        made.queue = []  # type: ignore[attr-defined]
        made.links.under_way = set()
        made.nodes.forget = lambda node: made.queue.clear()  # type: ignore[attr-defined, method-assign]
        broker.publish, broker.say, made.links.send = publish, say, sent  # type: ignore[method-assign]
        made.roles._active_since.clear()
        self.replicas.append(made)
        return made

    async def step(self) -> None:
        """Time goes by for all."""
        self.steps += 1
        self.now += STEP
        if not self.hung:
            for way in self.ways.values():
                await way.do_late()
        for each in self.replicas:
            each.now = self.now
            if self.buses[each.name]:
                self.noticed[each.name] = self.steps + self.draw.choice(self.notices)
            each.broker.ready = self.steps <= self.noticed[each.name]
            each.broker.gone = not each.broker.ready
            if self.now < self.links_at[each.name]:
                each.links.unsound.add(NODE)
            else:
                each.links.unsound.discard(NODE)
        said, self.said = self.said, []
        for _, body in said:
            for each in self.replicas:
                if self.buses[each.name]:
                    each.beats.on_said(body)
        for each in self.draw.sample(self.replicas, len(self.replicas)):
            self.write(each)
            each.trip.tick()
            each.replicas.tick(self.now)
            if each.trip.due(NODE):
                self.begin(each.trip.expire(NODE))
        self.reply()
        for _ in range(TURNS):
            await asyncio.sleep(0)

    def write(self, each: Replica) -> None:
        """What a link has queued goes out, if it still may."""
        queue: list[Any] = each.queue  # type: ignore[attr-defined]
        if queue and each.links.sound(NODE) and each.roles.of(NODE).may_write:
            self.answered.update(id_.label for id_ in queue)
            each.trip.on_read(list(queue))
            queue.clear()
        each.links.under_way = set(queue)

    def reply(self) -> None:
        """What services have answered comes to the active replica, or to another."""
        here = [each for each in self.asked if each[0] <= self.steps]
        able = [each for each in self.replicas if self.buses[each.name] and each.links.sound(NODE)]
        if here and able:
            self.asked = [each for each in self.asked if each not in here]
            active = [each for each in able if each.roles.of(NODE).is_active]
            one = self.draw.choice(active or able)
            answers = [replace(reply(label), correlation_id=f"{NODE}:37:{label}:1") for _, _, label in here]
            self.begin(one.trip.on_replies(answers))

    def begin(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def call(self) -> None:
        """Kamailio asks; whoever has a link reads it."""
        label = len(self.calls) + 1
        self.calls[label] = self.now
        for each in self.replicas:
            if each.links.sound(NODE):
                each.trip.on_events(NODE, [suspended(label)])

    def check(self) -> None:
        twice = [label for label, number in self.answered.items() if number > 1]
        assert not twice, f"answered twice: {twice}"

    async def run(self, seconds: float, calls: bool = True) -> None:
        for _ in range(round(seconds / STEP)):
            if calls and self.draw.random() < 0.5:
                self.call()
            await self.step()
            self.check()

    def kill(self, one: Replica) -> None:
        self.replicas.remove(one)
        self.dead.append(one)
        one.links.down.add(NODE)
        self.ways[one.name].cut = True
        one.queue.clear()  # type: ignore[attr-defined]

    async def close(self) -> None:
        tasks = [*self.tasks]
        for each in (*self.replicas, *self.dead):
            tasks += each.trip._tasks
            await each.replicas.stop()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
