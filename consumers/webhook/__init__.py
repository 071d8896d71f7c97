"""Let an HTTP function decide: ``python -m consumers webhook.toml``.

``settings`` reads the file, ``addresses`` says whom a connection may reach, ``message`` and ``signing`` make
the request, ``outcomes`` says what an answer means, ``breaker`` which URL rests: all of these are pure.
``client`` asks, ``service`` is what RabbitMQ's requests come to.
"""
