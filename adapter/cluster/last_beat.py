"""The last that was heard of another replica. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from adapter.cluster.view import NEVER

if TYPE_CHECKING:
    from adapter.model.beat import Beat


@dataclass(slots=True)
class LastBeat:
    """The last beat of another replica. ``at``: until when it is known to have lived. ``contact``: when the
    store answered it last, at the latest; ``listed``: the same at the earliest, as the store was told.
    ``bus``: when it was last heard over the bus."""

    beat: Beat
    at: float
    contact: float
    bus: float = NEVER
    listed: float = NEVER
