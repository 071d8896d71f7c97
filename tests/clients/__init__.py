"""Client libraries, each by the smallest consumer that its own documentation leads to: ``make clients``.

A program is given what it takes requests of in the environment: EVAPI_AMQP_URL, SERVICE, EVENT and, of the
server's other ports, STOMP_PORT. Its argument says which of its ways it goes.
"""
