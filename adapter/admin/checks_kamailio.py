"""A Kamailio configuration, judged by the lint for this site."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from adapter.admin.checks_finding import Finding, Group, Status
from adapter.kamailio.configuration import load
from adapter.kamailio.lint import ASSUMED, RULES, lint

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from adapter.kamailio.lint import Finding as Fault

KAMAILIO: Final = Group("kamailio")
_STOPS: Final = frozenset(
    {"unreadable", "duplicate-route", "missing-module", "loaded-too-late", "evapi-not-loaded"}
    | {"relay-refused", "step-header", "define-too-late"}
)
"""Rules whose findings may stop Kamailio's start."""


def check(
    file: str,
    defines: Mapping[str, str],
    version: tuple[int, int] | None,
    replicas: int,
    longest_deadline: float,
) -> list[Finding]:
    """A finding for each of the lint's, or that there is none.

    Args:
        file: of the configuration.
        defines: as Kamailio gets them by ``-A``.
        version: Kamailio's; None: not known.
        replicas: how many of the adapter were seen; fewer than two: so many are assumed.
        longest_deadline: of the adapter's policy, in seconds.
    """
    path = Path(file)
    seen = replicas if replicas >= ASSUMED else None
    found = lint(path, defines=defines, replicas=seen, longest_deadline=longest_deadline, version=version)
    told = [_told(one) for one in found]
    if not found:
        assumed = f"{max(replicas, ASSUMED)} replicas and a longest deadline of {longest_deadline:g} s"
        text = f"{file}: none of {len(RULES)} faults, with {assumed}"
        engine = load(path, defines, version).setting("", "cfgengine")
        if engine is not None and engine.value != "native":
            text += f"; the script of cfgengine {engine.value} was not read"
        told = [KAMAILIO.ok("configuration", text)]
    return told


def _told(one: Fault) -> Finding:
    return Finding(
        KAMAILIO.name,
        one.rule,
        Status(one.severity),
        f"{one.file}:{one.line}: {one.what}" if one.line else f"{one.file}: {one.what}",
        one.why,
        one.write,
        file=one.file,
        line=one.line,
    )


def disagreements(judged: Sequence[Finding], loads: Sequence[Finding]) -> Iterator[Finding]:
    """Where the rules and Kamailio itself do not agree on whether it starts.

    Args:
        judged: what `check` found.
        loads: what ``adapter.admin.checks_kamailio_loads`` found; empty: there is no Kamailio here.
    """
    stops = any(one.check in _STOPS and (one.line or one.check != "evapi-not-loaded") for one in judged)
    if any(one.status is Status.ERROR for one in loads) and not stops:
        seen = "Kamailio itself refuses it, for a reason that no rule knows"
        why = "What the rules tell of this configuration, or do not tell, may be wrong."
        yield KAMAILIO.warning("disagreement", seen, why, "")
    elif any(one.status is Status.OK for one in loads) and any(one.check == "unreadable" for one in judged):
        seen = "Kamailio itself starts with it, although a rule says that it cannot be read"
        why = "What stands behind that place may be left out, or mean something else than it seems to."
        yield KAMAILIO.warning("disagreement", seen, why, "")
