"""What a check of ``doctor`` says. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class Status(StrEnum):
    """What a check found."""

    OK = "ok"
    WARNING = "warning"  # calls are decided; something is to be seen to
    ERROR = "error"  # calls fail, or will when the next thing does
    UNKNOWN = "unknown"  # it could not be looked at


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    ``group`` and ``check`` are stable names; ``of`` says which server, node, replica or service. ``seen``
    is for people, as are, of what is not ok, ``why`` it matters and what is ``todo``: a command or a line to
    write, perhaps several. ``file`` and ``line`` of a configuration, where that is what was looked at.
    """

    group: str
    check: str
    status: Status
    seen: str
    why: str = ""
    todo: str = ""
    of: str = ""
    file: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True)
class Group:
    """Makes the findings of one group."""

    name: str

    def ok(self, check: str, seen: str, of: str = "") -> Finding:
        """It is as it should be."""
        return Finding(self.name, check, Status.OK, seen, of=of)

    def warning(self, check: str, seen: str, why: str, todo: str, of: str = "") -> Finding:
        """It works, and is to be seen to."""
        return Finding(self.name, check, Status.WARNING, seen, why, todo, of)

    def error(self, check: str, seen: str, why: str, todo: str, of: str = "") -> Finding:
        """It does not work."""
        return Finding(self.name, check, Status.ERROR, seen, why, todo, of)

    def unknown(self, check: str, seen: str, why: str = "", todo: str = "", of: str = "") -> Finding:
        """It could not be looked at; ``seen`` says for which reason."""
        return Finding(self.name, check, Status.UNKNOWN, seen, why, todo, of)


def count(findings: Iterable[Finding], status: Status) -> int:
    """How many of them have this status."""
    return sum(finding.status is status for finding in findings)


def counted(number: int, what: str) -> str:
    """1 call, 2 calls."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def version_of(text: str) -> tuple[int, ...]:
    """7.0.15 as (7, 0, 15), as far as it is numbers."""
    found = []
    for part in text.split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if digits:
            found.append(int(digits))
        if digits != part:
            break
    return tuple(found)
