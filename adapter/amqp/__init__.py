"""What the adapter and the consumers' SDK share of AMQP 0-9-1. Imports nothing else of the adapter."""
