"""atheris: a message as RabbitMQ delivers it, its properties decoded by the library as they come."""

from __future__ import annotations

import atheris

with atheris.instrument_imports(
    include=[
        "adapter.wire",
        "adapter.contract",
        "adapter.model.transaction",
        "adapter.broker.rabbitmq.results_consumer",
        "adapter.broker.rabbitmq.delivery",
        "adapter.amqp",
        "pamqp",
    ]
):
    from tests.fuzz import seeds, targets
    from tests.fuzz.engine import run


if __name__ == "__main__":
    run(targets.replies, seeds.deliveries())
