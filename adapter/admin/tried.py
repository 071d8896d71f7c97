"""The versions of servers that this was tried with: what ``doctor`` says of the one it finds. Pure.

`make matrix` runs the tests against each of them, and makes COMPATIBILITY.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from adapter.admin.checks_finding import version_of


@dataclass(frozen=True, slots=True)
class Server:
    """A server that this stands on.

    ``tried``: the versions that the tests ran against, the oldest first. ``oldest``: major and minor number
    of the first that has what is needed.
    """

    name: str
    oldest: tuple[int, int]
    tried: tuple[str, ...]

    def supports(self, version: str) -> bool:
        """Return True if the version is as late as the oldest that has what is needed."""
        return version_of(version) >= self.oldest

    @property
    def since(self) -> str:
        """The oldest, in words: ``Redis 7.0``."""
        return f"{self.name} {'.'.join(map(str, self.oldest))}"

    def describe(self, version: str) -> str:
        """Name the server, its version and what was tried: ``Redis 8.0.4 (tried with 8.0.2, 8.0.6)``."""
        if version in self.tried:
            return f"{self.name} {version} (tried)"
        series = version_of(version)[:2]
        alike = [each for each in self.tried if version_of(each)[:2] == series]
        if alike:
            return f"{self.name} {version} (tried with {', '.join(alike)})"
        return f"{self.name} {version} (not tried; with {', '.join(self.tried)} it was)"


KAMAILIO: Final = Server("Kamailio", (5, 6), ("5.6.3", "6.0.1", "6.1.5"))
RABBITMQ: Final = Server("RabbitMQ", (3, 10), ("3.10.8", "4.0.5", "4.3.6"))
REDIS: Final = Server("Redis", (7, 0), ("7.0.15", "8.0.2", "8.0.6"))
VALKEY: Final = Server("Valkey", (8, 0), ("8.1.1", "9.1.2"))
SERVERS: Final = (KAMAILIO, RABBITMQ, REDIS, VALKEY)
