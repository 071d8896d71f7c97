"""The limits of a link."""

from __future__ import annotations

from dataclasses import dataclass

from adapter.wire import netstring


@dataclass(frozen=True, slots=True)
class LinkSettings:
    """Limits of a link. Times in seconds, sizes in bytes."""

    connect_timeout: float = 3.0
    backoff_min: float = 0.1
    backoff_max: float = 0.5
    receipt_timeout: float = 1.0
    peer_timeout: float = 5.0
    receive_buffer: int = 8 << 20
    max_frame: int = netstring.MAX_IN
