"""A Kamailio configuration, judged by the lint for this site."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from adapter.admin.checks_finding import Finding, Group, Status
from adapter.kamailio.lint import RULES, lint

if TYPE_CHECKING:
    from collections.abc import Mapping

KAMAILIO: Final = Group("kamailio")


def check(
    file: str,
    defines: Mapping[str, str],
    version: tuple[int, int] | None,
    replicas: int,
    longest_deadline: float,
) -> list[Finding]:
    """A finding for each of the lint's, or that there is none; see ``adapter.kamailio.lint.lint``."""
    found = lint(
        Path(file), defines=defines, replicas=replicas, longest_deadline=longest_deadline, version=version
    )
    if not found:
        assumed = f"{replicas} replicas and a longest deadline of {longest_deadline:g} s"
        return [KAMAILIO.ok("configuration", f"{file}: none of {len(RULES)} faults, with {assumed}")]
    return [
        Finding(
            KAMAILIO.name,
            one.rule,
            Status(one.severity),
            f"{one.file}:{one.line}: {one.what}" if one.line else f"{one.file}: {one.what}",
            one.why,
            one.write,
            file=one.file,
            line=one.line,
        )
        for one in found
    ]
