"""Request and reply over a cluster with quorum queues, while its nodes are killed."""

from __future__ import annotations

import asyncio
import collections
import itertools
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from adapter.broker.rabbitmq import AmqpBroker
from adapter.broker.rabbitmq.limits import Limits
from adapter.broker.rabbitmq.topology import Kind
from adapter.contract import Request, encode_request, results_queue, service_queue
from adapter.ports.broker import Publication, Published
from consumers import Service, route
from tests.broker.support import Recorder, unique
from tests.consumers.asker import running
from tests.harness.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.harness.rabbitmq import RabbitCluster

pytestmark = pytest.mark.timeout(240)  # a node of RabbitMQ is started in a test

PACE = 0.01
"""Seconds between two requests."""
FEW = 300
"""Requests that may go unanswered over the death of a node: 3 s of them."""

numbers = itertools.count(1)


class Trips:
    """Asks one request after the other, and notes what became of each."""

    def __init__(self, broker: AmqpBroker, receiver: Recorder, service: Service, node: str) -> None:
        self.broker = broker
        self.receiver = receiver
        self.service = service
        self.node = node
        (self.event,) = service.events
        self.asking = True
        self.taken: list[str] = []
        self.others: list[Published] = []

    async def run(self) -> None:
        async with asyncio.TaskGroup() as asked:
            while self.asking:
                asked.create_task(self._ask())
                await asyncio.sleep(PACE)

    async def _ask(self) -> None:
        number = next(numbers)
        id_ = f"{self.node}:1:1:{number}"
        deadline = time.time() + 20
        body = encode_request(Request(self.event, self.node, {}, 1, 1, number, deadline))
        (found,) = await self.broker.publish([Publication(self.event, self.node, body, id_, deadline)])
        if found is Published.CONFIRMED:
            self.taken.append(id_)
        else:
            self.others.append(found)

    async def led(self) -> None:
        """Return once a request is taken: a quorum queue that was declared just now has no leader yet."""
        async with asyncio.timeout(30):
            while not self.taken:
                await self._ask()
        self.others.clear()

    @property
    def answered(self) -> set[str]:
        return {reply.correlation_id for reply in self.receiver.replies}

    async def more(self, number: int = 50) -> None:
        """Return once so many that are asked from now on have been answered."""
        asked, answered = len(self.taken), self.answered
        try:
            await until(lambda: len(self.taken) > asked + number, 30)
            wanted = set(self.taken[asked : asked + number])
            await until(lambda: wanted <= self.answered - answered, 30)
        except TimeoutError:
            taken, others = len(self.taken) - asked, collections.Counter(self.others)
            back = len(self.answered - answered)
            raise AssertionError(
                f"{taken} taken, others {others}, {back} answered, {self.broker!r}"
            ) from None

    async def all_answered(self) -> None:
        """Ask no more; return once every request that was taken has been answered."""
        self.asking = False
        await until(lambda: set(self.taken) <= self.answered, 30)


@asynccontextmanager
async def trips(cluster: RabbitCluster) -> AsyncIterator[Trips]:
    """Requests under way. The adapter tries the first node first, the consumer the last."""
    event, node = unique("event"), unique("sbc")
    service = Service(unique("service"), queue_type="quorum")
    service.on(event)(lambda request: route("sip:1@gw"))
    urls = cluster.urls.split(",")
    receiver = Recorder()
    # Three nodes on a busy machine may take long for a confirm: that is not the death of one.
    broker = AmqpBroker(",".join(urls), limits=Limits(confirm_timeout=10.0), kind=Kind(queue_type="quorum"))
    async with running(service, *reversed(urls)):
        await broker.start(receiver)
        broker.attach(node)
        await until(lambda: broker.ready)
        found = Trips(broker, receiver, service, node)
        await found.led()
        asking = asyncio.create_task(found.run())
        try:
            await found.more()
            assert not found.others
            yield found
        finally:
            asking.cancel()
            await asyncio.wait([asking])
            await broker.close()


async def test_the_node_of_the_adapter_is_killed(whole: RabbitCluster) -> None:
    async with trips(whole) as found:
        await asyncio.to_thread(whole.kill, 0)
        await found.more()
        assert 0 < len(found.others) <= FEW
        await asyncio.to_thread(whole.start, 0)  # which returns once it is a member again
        await found.more()
        await found.all_answered()


async def test_the_node_of_the_consumer_and_of_its_queue_s_leader_is_killed(whole: RabbitCluster) -> None:
    async with trips(whole) as found:
        queues = await asyncio.to_thread(whole.queues)
        of_service, of_results = queues[service_queue(found.service.name)], queues[results_queue(found.node)]
        assert of_service["type"] == of_results["type"] == "quorum"
        assert len(of_service["members"]) == len(of_results["members"]) == 3
        assert of_service["leader"] == whole.nodes[2].node
        await asyncio.to_thread(whole.kill, 2)
        await found.more()
        assert len(found.others) <= FEW
        await found.all_answered()
