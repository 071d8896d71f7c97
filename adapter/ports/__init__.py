"""What the relay asks of the world: links, broker, store. Protocols alone. Pure."""
