"""kombu's user guide: ConsumerMixin with a callback, and its RPC example's reply."""

import os
import sys

from kombu import Connection, Exchange, Queue, binding
from kombu.mixins import ConsumerProducerMixin

NAME, EVENT = os.environ["SERVICE"], os.environ["EVENT"]
EVENTS = Exchange("evapi.events", "topic", durable=True)
QUEUE = Queue(f"evapi.decide.{NAME}", durable=True, bindings=[binding(EVENTS, f"{EVENT}.*")])

if sys.argv[1] == "registered":
    import msgpack
    from kombu.serialization import register

    register("evapi", msgpack.packb, msgpack.unpackb, "application/msgpack", "binary")


class Worker(ConsumerProducerMixin):
    def __init__(self, connection):
        self.connection = connection

    def get_consumers(self, consumer, channel):
        accept = ["json", "evapi"] if sys.argv[1] == "registered" else None
        return [consumer([QUEUE], callbacks=[self.on_request], accept=accept, prefetch_count=1)]

    def on_request(self, body, message):
        assert isinstance(body, dict)
        self.producer.publish(
            {"action": "allow"},
            exchange="",
            routing_key=message.properties["reply_to"],
            correlation_id=message.properties["correlation_id"],
            serializer="json",
        )
        message.ack()


with Connection(os.environ["EVAPI_AMQP_URL"]) as connection:
    Worker(connection).run()
