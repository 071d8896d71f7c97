"""A consumer that knows nothing of this project: pika, blocking, replies in JSON.

It does what the README's chapter on the bus tells somebody who writes one in another language.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgpack
import pika

if TYPE_CHECKING:
    from collections.abc import Callable

    from pika.adapters.blocking_connection import BlockingChannel


class PikaService:
    """Answers every event of its bindings by ``decide`` in a thread of its own.

    ``decide`` gets the request's body. What it answers with ``None`` is kept; ``release`` gives
    all that is kept its answer, in one go.
    """

    def __init__(
        self, url: str, name: str, events: list[str], decide: Callable[[dict[str, Any]], Any]
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._decide = decide
        self._kept: list[tuple[pika.BasicProperties, dict[str, Any]]] = []
        self._connection = pika.BlockingConnection(pika.URLParameters(url))
        self._channel = self._connection.channel()
        self._queue = f"evapi.decide.{name}"
        self._channel.exchange_declare("evapi.events", "topic", durable=True)
        self._channel.exchange_declare("evapi.dead", "fanout", durable=True)
        self._channel.queue_declare(
            self._queue, durable=True, arguments={"x-dead-letter-exchange": "evapi.dead"}
        )
        for event in events:
            self._channel.queue_bind(self._queue, "evapi.events", f"{event}.*")
        self._channel.basic_consume(self._queue, self._on_request)
        self._thread = threading.Thread(target=self._channel.start_consuming, name=name)

    @property
    def kept(self) -> int:
        """Requests that wait for ``release``."""
        return len(self._kept)

    def release(self, decide: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        """Answer what was kept."""
        self._connection.add_callback_threadsafe(lambda: self._release(decide))

    def _release(self, decide: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        kept, self._kept = self._kept, []
        for properties, request in kept:
            self._reply(properties, decide(request))

    def _on_request(
        self, channel: BlockingChannel, method: Any, properties: pika.BasicProperties, body: bytes
    ) -> None:
        request = msgpack.unpackb(body)
        self.counts[request["event"]] += 1
        decision = self._decide(request)
        if decision is None:
            self._kept.append((properties, request))
        else:
            self._reply(properties, decision)
        channel.basic_ack(method.delivery_tag)

    def _reply(self, asked: pika.BasicProperties, decision: dict[str, Any]) -> None:
        properties = pika.BasicProperties(
            correlation_id=asked.correlation_id, content_type="application/json"
        )
        self._channel.basic_publish("", asked.reply_to, json.dumps(decision).encode(), properties)

    def __enter__(self) -> PikaService:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.add_callback_threadsafe(self._stop)
        self._thread.join()

    def _stop(self) -> None:
        self._channel.queue_delete(self._queue)
        self._channel.stop_consuming()
        self._connection.close()
