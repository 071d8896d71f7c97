"""AMQPStorm's example rpc_server.py."""

import json
import os

import amqpstorm
from amqpstorm import Message

NAME, EVENT = os.environ["SERVICE"], os.environ["EVENT"]


def on_request(message):
    json.loads(message.body)
    properties = {"correlation_id": message.correlation_id}
    Message.create(message.channel, json.dumps({"action": "allow"}), properties).publish(message.reply_to)
    message.ack()


channel = amqpstorm.UriConnection(os.environ["EVAPI_AMQP_URL"] + "%2F").channel()
channel.queue.declare(f"evapi.decide.{NAME}", durable=True)
channel.queue.bind(f"evapi.decide.{NAME}", "evapi.events", f"{EVENT}.*")
channel.basic.consume(on_request, f"evapi.decide.{NAME}")
channel.start_consuming()
