"""A TCP address, as settings and flags give it."""

from __future__ import annotations

import re
from typing import NamedTuple

_HOST = re.compile(r"[\w.:%-]+")


class Address(NamedTuple):
    """A TCP address."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read ``host:port`` or ``[v6]:port``. Raises ValueError."""
        host, colon, port = text.rpartition(":")
        bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
        if not colon or not _HOST.fullmatch(bare) or (":" in bare and bare == host) or not port.isdecimal():
            raise ValueError(f"{text!r} is no host:port")
        if not 0 < int(port) < 65536:
            raise ValueError(f"{port} is no TCP port")
        return cls(bare, int(port))
