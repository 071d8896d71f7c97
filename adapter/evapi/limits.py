"""The limits of a link."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from adapter.evapi.half_open import SURE_AFTER
from adapter.wire import netstring

if TYPE_CHECKING:
    from collections.abc import Callable


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
    hello_wait: float = 1.0
    """After which a connection without a hello counts as a plain configuration."""
    plain_after: float = 30.0
    """The same for a node that has said hello before: more likely it hangs than has lost its include."""
    status_interval: float = 1.0
    """Between two frames for the health gate, whose entry expires after 3."""
    held_interval: float = 0.02
    """Between two looks whether this replica may write again, and the kernel takes more."""
    sure_after: float = SURE_AFTER
    """After which a link that is suspected of being half open is looked at again."""
    in_batches: Callable[[], int] = lambda: 0
    """In how many batches at once an event's requests go, at present. With several, reads gather longer."""
