"""The broker as RabbitMQ, 3.10 and later.

``adapter.amqp`` has what a service needs as well: the connection, the frames, the ledgers. Here is what the
adapter does with it:

- ``broker`` is the port; ``kept_connection`` keeps up its three connections, ``supervisor`` what stands on
  them.
- Out: ``publish_session``, with a ``publisher`` on one line after the other (``channel_renewal``, ``probe``).
- In: ``results_queues`` of a node, each read by a ``results_consumer``; ``commands``; ``beats`` of replicas.
- ``topology`` is what is declared; ``bindings`` are made on a connection of their own.
"""

from adapter.broker.rabbitmq.broker import AmqpBroker
from adapter.broker.rabbitmq.limits import Counters, Limits
from adapter.broker.rabbitmq.topology import Kind

__all__ = ["AmqpBroker", "Counters", "Kind", "Limits"]
