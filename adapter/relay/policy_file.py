"""The policy's file, followed while the adapter runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from adapter.errors import PolicyError
from adapter.relay.policy import Policy, parse_text
from adapter.relay.policy_lines import line_of
from adapter.watched import TableError, Watched

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from adapter.errors import PolicyPath
    from adapter.relay.plan import Plan

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
        self._wrong = ""
        self._file = Watched(path, self._read, told=self._tell)

    @property
    def revision(self) -> str:
        """Of the policy that counts."""
        return self._now.revision

    def look(self, _: float = 0.0) -> None:
        """Take what the file has become. To be called often; it is looked at once a second."""
        try:
            found = self._file.current()
        except TableError as exc:  # it was good at the start, a moment ago
            found = self._now
            self._tell(str(exc))
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
        self._told, self._wrong = problem and (self._wrong or problem), ""

    def _read(self, text: str) -> Policy:
        file = str(self._path)
        try:
            found = parse_text(text, file)
            refuse_too_long(found, text, self._most, file)
        except PolicyError as exc:
            self._wrong = str(exc)  # in the words of the start
            raise TableError(self._wrong) from exc
        return found


def refuse_too_long(policy: Policy, text: str, most: float, file: str = "") -> None:
    """Raise PolicyError if an adapter that runs cannot take a policy, since a deadline is too long.

    Args:
        policy: it would follow.
        text: of its file.
        most: seconds of the longest deadline for which the adapter's queues keep replies.
        file: the path, for the error.
    """
    if policy.longest_deadline <= most:
        return
    longest = policy.longest_deadline
    tables: list[tuple[PolicyPath, Plan]] = [(("default",), policy.default)]
    tables += [(("events", name), plan) for name, plan in policy.events.items()]
    table, plan = next(each for each in tables if each[1].longest == longest)
    path = (*table, "max_deadline" if plan.max_deadline == longest else "deadline")
    wrong = f"{longest:g} s is longer than RabbitMQ keeps replies for, {most:g} s"
    do = f"restart the adapter with it, or write {most:g} at most"
    raise PolicyError(path, wrong, do, line=line_of(text, path), file=file)
