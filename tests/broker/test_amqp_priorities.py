"""Several replicas consume the replies of one node: those go to the one with the highest priority."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from adapter.broker.rabbitmq import AmqpBroker
from adapter.broker.rabbitmq.limits import Limits
from adapter.broker.rabbitmq.topology import Kind
from adapter.contract import commands_queue, results_queue
from tests.broker.support import Recorder, reply, waiting
from tests.harness.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from typing import Literal

    from pika.adapters.blocking_connection import BlockingChannel

    from tests.harness.rabbitmq import RabbitServer


class Replica:
    """A broker and what it was given."""

    def __init__(self, url: str, queue_type: Literal["classic", "quorum"], prefetch: int = 500) -> None:
        self.receiver = Recorder()
        self.broker = AmqpBroker(url, limits=Limits(prefetch), kind=Kind(60.0, queue_type))

    @property
    def bodies(self) -> list[bytes]:
        return [each.body for each in self.receiver.replies]

    async def has(self, count: int) -> None:
        await until(lambda: len(self.bodies) == count)

    async def consumes(self, node: str) -> None:
        """Return once it does, and with the priority it was last given."""
        intakes, priorities = self.broker.intakes, self.broker._priorities

        def consumed() -> bool:
            inbox = intakes[node].inbox
            return inbox is not None and inbox._consumed_as == priorities[node]

        await until(consumed)
        inbox = intakes[node].inbox
        assert inbox is not None
        async with inbox._consuming:
            pass  # the consumer of the priority before has ended, too


@pytest.fixture(params=["classic", "quorum"])
def queue_type(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def pair(
    rabbitmq: RabbitServer, queue_type: Literal["classic", "quorum"]
) -> AsyncIterator[tuple[Replica, Replica]]:
    made = Replica(rabbitmq.url, queue_type), Replica(rabbitmq.url, queue_type, prefetch=2)
    for each in made:
        await each.broker.start(each.receiver)
    yield made
    for each in made:
        each.receiver.gate.set()
        await each.broker.close()


def answer(client: BlockingChannel, node: str, *numbers: int) -> None:
    for number in numbers:
        reply(client, node, f"{node}:{number}:1:1", b"%d" % number)


async def test_the_higher_priority_gets_the_replies(
    pair: tuple[Replica, Replica], client: BlockingChannel, node: str
) -> None:
    low, high = pair
    low.broker.attach(node, 1)
    high.broker.attach(node, 2)
    await low.consumes(node)
    await high.consumes(node)
    for number in range(20):
        answer(client, node, number)
        await high.has(number + 1)
    assert low.bodies == []
    low.broker.attach(node, 3)
    await low.consumes(node)
    answer(client, node, *range(20, 40))
    await until(lambda: len(low.bodies) == 20)
    low.broker.attach(node, 3)
    low.broker.attach(node, 0)
    await low.consumes(node)
    answer(client, node, 40)
    await until(lambda: high.bodies == [b"%d" % number for number in (*range(20), 40)])
    assert low.broker.counters.redelivered == high.broker.counters.redelivered == 0
    assert waiting(client, results_queue(node)) == 0


async def test_one_that_hangs_is_passed_over(
    pair: tuple[Replica, Replica], client: BlockingChannel, node: str
) -> None:
    standby, hung = pair
    standby.broker.attach(node, 1)
    hung.broker.attach(node, 2)
    await standby.consumes(node)
    await hung.consumes(node)
    hung.receiver.gate.clear()
    answer(client, node, 1)
    await until(lambda: hung.receiver.under_way)
    standby.broker.attach(node, 3)
    await standby.consumes(node)
    answer(client, node, 2, 3)
    await until(lambda: standby.bodies == [b"2", b"3"])
    hung.broker.detach(node)  # as when its connection ends: what it sat on is delivered again
    await until(lambda: standby.bodies == [b"2", b"3", b"1"])


async def test_what_is_in_hand_stays_when_the_priority_changes(
    pair: tuple[Replica, Replica], client: BlockingChannel, node: str
) -> None:
    alone = pair[1].broker
    receiver = pair[1].receiver
    alone.attach(node, 1)
    await pair[1].consumes(node)
    receiver.gate.clear()
    answer(client, node, *range(6))
    await until(lambda: receiver.under_way)
    await until(lambda: waiting(client, results_queue(node)) == 4)  # its prefetch is two
    alone.attach(node, 2)
    await pair[1].consumes(node)
    await until(lambda: waiting(client, results_queue(node)) == 2)  # and two for the new consumer
    receiver.gate.set()
    await until(lambda: len(receiver.replies) == 6)
    assert alone.counters.redelivered == 0
    receiver.gate.clear()
    answer(client, node, *range(6))
    await until(lambda: receiver.under_way)
    await until(lambda: waiting(client, results_queue(node)) == 4)
    receiver.gate.set()
    await until(lambda: len(receiver.replies) == 12)
    assert alone.problems == {}
    assert alone.counters.connects == 1


async def test_the_last_priority_counts(
    rabbitmq: RabbitServer, pair: tuple[Replica, Replica], client: BlockingChannel, node: str
) -> None:
    """Given while the intake is being set up, and after a reconnect."""
    first, second = pair
    first.broker.attach(node, 3)
    for priority in (1, 5, 2):
        second.broker.attach(node, priority)
    await second.consumes(node)
    second.broker.attach(node, 4)
    await first.consumes(node)
    await second.consumes(node)
    answer(client, node, 1)
    await until(lambda: second.bodies == [b"1"])
    before = [each.broker.intakes[node].inbox for each in pair]
    for inbox in before:
        assert inbox is not None
        await inbox._line.amqp.close()
    await until(lambda: not {each.broker.intakes[node].inbox for each in pair} & {*before, None})
    await first.consumes(node)
    await second.consumes(node)
    answer(client, node, 2)
    await until(lambda: second.bodies == [b"1", b"2"])
    assert first.bodies == []


async def test_the_queues_are_of_the_type_that_was_asked_for(rabbitmq: RabbitServer, node: str) -> None:
    expected: dict[str, tuple[str, dict[str, object]]] = {}
    replicas = []
    for kind, more in (
        ("classic", {"x-queue-type": "classic"}),
        ("quorum", {"x-queue-type": "quorum", "x-delivery-limit": 1_000_000}),
    ):
        replica, name = Replica(rabbitmq.url, kind), f"{kind}-{node}"  # type: ignore[arg-type]
        await replica.broker.start(replica.receiver)
        replica.broker.attach(name)
        await replica.consumes(name)
        replicas.append(replica)
        expected[commands_queue(name)] = (kind, {"x-expires": 60_000, **more})
        expected[results_queue(name)] = (kind, {"x-expires": 60_000, "x-message-ttl": 5_000, **more})

    columns = ("list_queues", "name", "type", "arguments", "--formatter", "json")
    found = json.loads(await asyncio.to_thread(rabbitmq.ctl, *columns))
    assert {
        # RabbitMQ 4 adds the type where nobody gave it.
        each["name"]: (
            each["type"],
            {"x-queue-type": "classic", **{name: value for name, _, value in each["arguments"]}},
        )
        for each in found
        if each["name"] in expected
    } == expected
    for replica in replicas:
        await replica.broker.close()
