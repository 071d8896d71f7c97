"""The bus: the port and its two implementations."""
