"""Which replica is active for a node: rendezvous hashing, so that all agree without talking. Pure.

When a replica comes or goes, only the nodes that it had or gets change hands (Thaler and
Ravishankar, "Using name-based mappings to increase hit rates", 1998).
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def active(node: str, replicas: Iterable[str]) -> str:
    """The replica that is active for a node. Raises ValueError where there is none."""
    return max(replicas, key=lambda replica: _weight(node, replica))


def _weight(node: str, replica: str) -> tuple[bytes, str]:
    digest = hashlib.blake2b(f"{replica}\0{node}".encode(), digest_size=8, usedforsecurity=False)
    return digest.digest(), replica
