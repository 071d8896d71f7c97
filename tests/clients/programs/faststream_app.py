"""FastStream's RabbitMQ guide: a subscriber whose return value is the reply."""

import asyncio
import os
import sys

from faststream import FastStream
from faststream.rabbit import ExchangeType, RabbitBroker, RabbitExchange, RabbitQueue, RabbitResponse

NAME, EVENT = os.environ["SERVICE"], os.environ["EVENT"]
broker = RabbitBroker(os.environ["EVAPI_AMQP_URL"])
events = RabbitExchange("evapi.events", type=ExchangeType.TOPIC, durable=True)
queue = RabbitQueue(f"evapi.decide.{NAME}", durable=True, routing_key=f"{EVENT}.*")


async def by_dict(request: dict):
    return {"action": "allow"}


async def by_bytes(request: bytes):
    return {"action": "allow"}


async def nothing(request: dict):
    return None


async def later(request: dict, correlation_id: str = "", reply_to: str = ""):
    return RabbitResponse({"action": "allow"})


ways = {"dict": by_dict, "bytes": by_bytes, "none": nothing, "response": later}
broker.subscriber(queue, events)(ways[sys.argv[1]])
asyncio.run(FastStream(broker).run())
