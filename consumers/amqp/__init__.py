"""A service on RabbitMQ, 3.10 and later: ``await Runner(service, urls).run()``.

The order for each request: the handler decides, the reply is published, RabbitMQ confirms it,
then the request is acknowledged. So a request whose consumer dies at any instant is delivered
again, and a handler may see one twice, before its deadline.

aiormq, the lower half of aio-pika, is used directly: it tells when the server cancels a
consumer, and gives the socket, so that a server that hangs can be let go of. Requests, replies
and what is said of them go past it (``consumers.amqp.tap``), all of a turn of the loop at once.
"""

from __future__ import annotations

from consumers.amqp.runner import Runner
from consumers.amqp.topology import queue_arguments

__all__ = ["Runner", "queue_arguments"]
