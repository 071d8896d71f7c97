"""``evapi-adapter bench``: how many calls a second an installation carries, how fast, at what cost.

A simulated Kamailio (``source``, a process of its own) offers calls to a real adapter process, which
asks real consumer processes (``service``) through RabbitMQ and Redis, or a consumer inside it. ``run``
is the whole: ``servers`` looks for RabbitMQ and Redis, ``ground`` starts and ends the processes,
``measure`` puts them under one load after the other, ``report`` and ``plot`` tell what was seen.
"""
