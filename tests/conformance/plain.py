"""A consumer without any SDK: pika, blocking, replies in JSON. It does what the kit asks for, and no more."""

from __future__ import annotations

import json
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgpack
import pika

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pika.adapters.blocking_connection import BlockingChannel


def on_request(channel: BlockingChannel, method: Any, asked: pika.BasicProperties, body: bytes) -> None:
    """Decide a request."""
    headers = asked.headers or {}
    status = {}
    try:
        decision = decide(msgpack.unpackb(body)["data"])
    except Exception as exc:  # whatever came: the next call must be decided
        decision, status = {"error": type(exc).__name__}, {"x-status": "failed"}
    late = headers.get("x-deadline", float("inf")) < time.time() * 1000
    if asked.reply_to and not late:
        properties = pika.BasicProperties(
            correlation_id=asked.correlation_id,
            content_type="application/json",
            headers={"x-service": "plain", **status},
        )
        channel.basic_publish("", asked.reply_to, json.dumps(decision).encode(), properties)
    channel.basic_ack(method.delivery_tag)


def decide(data: dict[str, Any]) -> dict[str, Any]:
    """Route a call."""
    return {"action": "route", "uri": data["ruri"]}


@contextmanager
def plain(url: str, name: str, event: str, through: str = "") -> Iterator[None]:
    """Have it consume in a thread; its queue goes in the end. ``through``: another URL for the consumer."""
    connection = pika.BlockingConnection(pika.URLParameters(through or url))
    channel = connection.channel()
    channel.exchange_declare("evapi.events", "topic", durable=True)
    channel.exchange_declare("evapi.dead", "fanout", durable=True)
    queue = f"evapi.decide.{name}"
    channel.queue_declare(queue, durable=True, arguments={"x-dead-letter-exchange": "evapi.dead"})
    channel.queue_bind(queue, "evapi.events", f"{event}.*")
    channel.basic_consume(queue, on_request)
    thread = threading.Thread(target=channel.start_consuming, name=name)
    thread.start()

    def stop() -> None:
        channel.stop_consuming()

    try:
        yield
    finally:
        connection.add_callback_threadsafe(stop)
        thread.join()
        channel.queue_delete(queue)
        connection.close()
