"""The policy's file, followed while the adapter runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from adapter.errors import PolicyError
from adapter.relay.policy import Policy, parse_text
from adapter.watched import TableError, Watched

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

log = structlog.get_logger()


class PolicyFile:
    """Has a new policy counted as soon as the file holds one. A wrong file changes nothing, and is told.

    Args:
        path: of the file, or of a link that is replaced, as Kubernetes does with ConfigMaps.
        first: what was read of it at the start.
        most: seconds of the longest deadline that may be: RabbitMQ drops replies that are older.
        count: is given each new policy.
    """

    def __init__(self, path: Path, first: Policy, most: float, count: Callable[[Policy], None]) -> None:
        self.problem = ""
        """What is wrong with the file as it is now; empty if it counts."""
        self._path = path
        self._now = first
        self._most = most
        self._count = count
        self._said = ""
        self._told = ""
        self._file = Watched(path, self._read, told=self._tell)

    def look(self, _: float = 0.0) -> None:
        """Take what the file has become. To be called often; it is looked at once a second."""
        try:
            found = self._file.current()
        except TableError as exc:  # it was good at the start, a moment ago
            found, self._told = self._now, str(exc)
        if found.revision != self._now.revision:
            self._count(found)
            self._now = found
            log.info("policy: read again", path=str(self._path), revision=found.revision)
        if self._told != self._said:
            self._said = self.problem = self._told
            if self.problem:
                do = "mend the file; the one before it counts meanwhile"
                log.error("policy: not taken", problem=self.problem, revision=self._now.revision, do=do)

    def _tell(self, problem: str) -> None:  # in the thread that reads
        self._told = problem

    def _read(self, text: str) -> Policy:
        try:
            found = parse_text(text)
        except PolicyError as exc:
            raise TableError(f"{exc.variable} {exc.problem}") from exc
        if found.longest_deadline > self._most:
            longest = f"the longest deadline, {found.longest_deadline:g} s, is over {self._most:g} s"
            raise TableError(f"{longest}, until which RabbitMQ keeps replies: restart the adapter with it")
        return found
