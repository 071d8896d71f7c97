"""RabbitMQ's tutorial 6 (RPC), with pika."""

import json
import os

import pika

NAME, EVENT = os.environ["SERVICE"], os.environ["EVENT"]


def on_request(channel, method, asked, body):
    json.loads(body)
    channel.basic_publish(
        exchange="",
        routing_key=asked.reply_to,
        properties=pika.BasicProperties(correlation_id=asked.correlation_id),
        body=json.dumps({"action": "allow"}),
    )
    channel.basic_ack(delivery_tag=method.delivery_tag)


channel = pika.BlockingConnection(pika.URLParameters(os.environ["EVAPI_AMQP_URL"])).channel()
channel.queue_declare(f"evapi.decide.{NAME}", durable=True)
channel.queue_bind(f"evapi.decide.{NAME}", "evapi.events", f"{EVENT}.*")
channel.basic_consume(f"evapi.decide.{NAME}", on_request)
channel.start_consuming()
