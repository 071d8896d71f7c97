"""``conformance``: plays calls at a running consumer, in any language, and says what it does wrong.

``questions`` and ``messages`` make what is asked, exactly as the adapter writes it. ``player`` asks it over
RabbitMQ and notes what came of it (``observations``): ``publishing`` writes, ``mailbox`` takes what comes.
``checks`` and their ``judgements`` say what is wrong. ``relay`` stands between a consumer and RabbitMQ, where
somebody wants that, and ``sight`` reads what passes there: acknowledgements are seen nowhere else.
"""
