"""A service on RabbitMQ, 3.10 and later: ``await Runner(service, urls).run()``.

The order for each request: the handler decides, the reply is published, RabbitMQ confirms it,
then the request is acknowledged. So a request whose consumer dies at any instant is delivered
again, and a handler may see one twice, before its deadline.

Requests, replies and what is said of them go past the library (``adapter.amqp``), all of a turn of the
loop at once.
"""

from __future__ import annotations

from consumers.amqp.runner import Runner
from consumers.amqp.topology import queue_arguments

__all__ = ["Runner", "queue_arguments"]
