"""What the adapter and the consumers' SDK share of AMQP 0-9-1. It imports contract and errors of the adapter.

aio-pika connects (``connection``), and what is not hot stands on its channels. Requests, confirms, replies
and acknowledgements pass by the libraries, which spend about 100 us on each: ``wire`` takes what a server
sends before they see it and cuts it up (``scanner``), ``frames`` writes publications and acknowledgements,
``ledgers`` know which of them are open, and ``line`` is the channel that is used so. What that takes for
granted of the libraries stands in ``footholds``.
"""
