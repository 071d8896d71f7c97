"""Consumers that speak another protocol than AMQP 0.9.1, by RabbitMQ's plugins and real client libraries."""
