"""Which of some replicas a node is for: all that see the same agree without talking. Pure.

When a replica comes or goes, only the nodes that it gets or had change hands (Thaler and Ravishankar, "Using
name-based mappings to increase hit rates", 1998).
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def choose(node: str, replicas: Iterable[str]) -> str | None:
    """Return the replica that rendezvous hashing picks for a node; None of none."""
    return max(replicas, key=lambda replica: preference(node, replica), default=None)


def preference(node: str, replica: str) -> tuple[bytes, str]:
    """Return what tells which of two replicas is picked for a node: the one for which this is more."""
    return _weight(node, replica), replica


@lru_cache(maxsize=1 << 16)
def _weight(node: str, replica: str) -> bytes:
    return hashlib.blake2b(f"{replica}\0{node}".encode(), digest_size=8, usedforsecurity=False).digest()
