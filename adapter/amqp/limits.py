"""What bounds a connection to RabbitMQ, on either side. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class ConnectionLimits:
    """Times in seconds. Read whenever they are needed, so that a change takes effect at once."""

    prefetch: int
    """Messages of one consumer that are here and not acknowledged."""
    confirm_timeout: float = 1.0
    """How long the confirm of a publication, and the answer to a probe, are waited for."""
    connect_timeout: float = 3.0
    """For a connection."""
    head_start: float = 0.5
    """Of a server that does not answer, before the next one of the cluster is tried beside it."""
    answer_timeout: float = 3.0
    """For the declarations of a part."""
    heartbeat: int = 5
    """Where the URL says nothing else. One that is idle and hangs is let go of after three of them."""
    probe_interval: float = 1.0
    """Without any answer of the server, after which it is asked for one."""
    held_bytes: int = 8_000_000
    """Bytes of messages that are here and not looked at, with which no more is read until half are."""
    close_timeout: float = 2.0
    """For the server's goodbye when a connection is closed, and for what is under way then."""
