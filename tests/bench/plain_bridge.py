"""``python -m tests.bench.plain_bridge``: the bridge that this adapter is compared with.

What an able engineer writes in an afternoon: a task per event, which records the call in Redis and
publishes it, both awaited, by aio-pika without confirms; a task per reply, which removes the record,
writes the answer to Kamailio and acks. The same body, properties and queues as the adapter's, so that
the same consumers answer. It keeps nothing else of the contract: no confirms, fallbacks, receipts,
window, health gate, second replica or drain.

It reads EVAPI_NODES, EVAPI_AMQP_URL and EVAPI_REDIS_URL.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import time
from typing import Any, Final

import aio_pika
import msgpack
import redis.asyncio as redis
import uvloop

from adapter import contract

DEADLINE: Final = 2.0
"""Seconds that a consumer has."""
KEEP: Final = 60
"""Seconds that Redis keeps the record of a call."""
PREFETCH: Final = 500
CONNECTIONS: Final = 50
"""To Redis at most; a task that finds none free waits for one."""
RESULTS: Final = {"x-expires": 600_000}
"""Arguments of a results queue, those of the adapter's."""


class PlainBridge:
    """One process, its connections to Redis and RabbitMQ, and a socket per node."""

    def __init__(self, store: redis.Redis, events: aio_pika.abc.AbstractExchange) -> None:
        self._store = store
        self._events = events
        self._links: dict[str, asyncio.StreamWriter] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, node: str, address: str) -> None:
        """Read a node's events until it closes the connection."""
        host, _, port = address.rpartition(":")
        reader, self._links[node] = await asyncio.open_connection(host, port)
        while True:
            length = int((await reader.readuntil(b":"))[:-1])
            payload = (await reader.readexactly(length + 1))[:-1]
            event = json.loads(payload)
            if "tm_trans" in event:
                task = asyncio.create_task(self._suspended(node, event))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _suspended(self, node: str, event: dict[str, Any]) -> None:
        ids = event["tm_trans"]
        index, label, seq = ids["tm_index"], ids["tm_label"], ids["seq"]
        id_ = f"{node}:{index}:{label}:{seq}"
        now = time.time()
        deadline = round((now + DEADLINE) * 1000)
        body = msgpack.packb(
            {
                "event": event["event"],
                "node": node,
                "tm_index": index,
                "tm_label": label,
                "seq": seq,
                "deadline": deadline,
                "data": event["data"],
            }
        )
        await self._store.set(f"plain:{id_}", body, ex=KEEP)
        message = aio_pika.Message(
            body,
            content_type=contract.MSGPACK,
            delivery_mode=aio_pika.DeliveryMode.NOT_PERSISTENT,
            correlation_id=id_,
            message_id=id_,
            reply_to=contract.results_queue(node),
            type=event["event"],
            expiration=DEADLINE,
            timestamp=int(now),
            app_id=contract.APP_ID,
            headers={
                contract.HEADER_NODE: node,
                contract.HEADER_DEADLINE: deadline,
                contract.HEADER_VERSION: contract.VERSION,
            },
        )
        await self._events.publish(message, f"{event['event']}.{node}", mandatory=False)

    async def replied(self, message: aio_pika.abc.AbstractIncomingMessage) -> None:
        """Resume the call that a reply is for, unless it was resumed before."""
        id_ = message.correlation_id or ""
        if await self._store.delete(f"plain:{id_}"):
            node, index, label, seq = id_.rsplit(":", 3)
            resume = {
                "tm_trans": {"tm_index": int(index), "tm_label": int(label), "seq": int(seq)},
                "outcome": "decided",
                "correlation_id": id_,
                "decision": msgpack.unpackb(message.body),
            }
            payload = json.dumps(resume, separators=(",", ":")).encode()
            self._links[node].write(b"%d:%b," % (len(payload), payload))
        await message.ack()


async def main() -> None:
    """Bridge until SIGTERM or until a Kamailio is gone."""
    nodes = dict(part.split("=") for part in os.environ["EVAPI_NODES"].split(","))
    pool = redis.BlockingConnectionPool.from_url(os.environ["EVAPI_REDIS_URL"], max_connections=CONNECTIONS)
    connection = await aio_pika.connect_robust(os.environ["EVAPI_AMQP_URL"])
    async with redis.Redis.from_pool(pool) as store, connection:
        publishing = await connection.channel(publisher_confirms=False)
        consuming = await connection.channel(publisher_confirms=False)
        await consuming.set_qos(PREFETCH)
        events = await publishing.declare_exchange(
            contract.EVENTS_EXCHANGE, aio_pika.ExchangeType.TOPIC, durable=True
        )
        bridge = PlainBridge(store, events)
        for node in nodes:
            queue = await consuming.declare_queue(
                contract.results_queue(node), durable=True, arguments=RESULTS
            )
            await queue.consume(bridge.replied)
        serving = asyncio.gather(*(bridge.serve(node, address) for node, address in nodes.items()))
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, serving.cancel)
        # Told to end, or Kamailio has ended.
        with contextlib.suppress(asyncio.CancelledError, asyncio.IncompleteReadError):
            await serving


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
