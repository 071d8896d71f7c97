"""The lint of a Kamailio configuration: what would make calls hang, get lost or go wrong at night.

Each rule has its reason in what the real Kamailio does. A comment in the configuration accepts what
is meant, for all of its files::

    # evapi-adapter: accept no-receipts, no-gate

Nothing is run and nothing is asked: only the files are read. Routes that the configuration chooses
by a variable, and routes in another language than Kamailio's own, are not followed.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final

from adapter.kamailio.configuration import load
from adapter.kamailio.lint import (
    answering,
    asking,
    commands,
    contract,
    kemi,
    lost,
    raw,
    sending,
    settings,
    waiting,
)
from adapter.kamailio.lint.findings import RULES, Finding, Severity, finding
from adapter.kamailio.lint.script import Script

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from adapter.kamailio.configuration import Configuration

    Rule = Callable[[Script], Iterator[Finding]]

__all__ = ["RULES", "Finding", "Severity", "lint"]

ASSUMED: Final = 2
"""Replicas of the adapter where nobody says how many there are."""
RULES_IN_ORDER: Final[tuple[Rule, ...]] = tuple(
    rule
    for family in (settings, asking, waiting, contract, raw, sending, answering, lost, kemi, commands)
    for rule in family.RULES
)
_ACCEPT: Final = re.compile(r"evapi-adapter:\s*accept\s+([\w, \t-]+)")
_NEVER_ACCEPTED: Final = frozenset({"unreadable", "unknown-rule"})


def lint(
    path: Path,
    *,
    defines: Mapping[str, str] | None = None,
    replicas: int | None = None,
    longest_deadline: float = 2.0,
    version: tuple[int, int] | None = None,
) -> list[Finding]:
    """The faults of the configuration at ``path`` and what it includes, in the order of files and lines.

    Args:
        path: of the configuration.
        defines: what Kamailio gets by ``-A NAME=VALUE`` (value "" for a bare name).
        replicas: of the adapter, as many as were seen; None: not known, `ASSUMED` are meant.
        longest_deadline: of the adapter's policy, in seconds.
        version: Kamailio's (5, 7), or None where it is unknown: then what is true of only some versions is
            found as well, and says so.

    Raises nothing for whatever the files hold; one that cannot be read is a finding.
    """
    configuration = load(path, defines, version)
    seen = replicas is not None
    script = Script(configuration, replicas or ASSUMED, longest_deadline, version, seen)
    accepted = {name for name, _ in _accepted(configuration)}
    files = _order(configuration)
    found: dict[tuple[str, str, int], Finding] = {}
    rules = RULES_IN_ORDER
    if configuration.problems:  # what was not read would be found missing
        rules = (settings.unreadable, settings.define_too_late)
    for rule in rules:
        for one in rule(script):
            if one.rule not in accepted or one.rule in _NEVER_ACCEPTED:
                found.setdefault((one.rule, one.file, one.line), one)
    for one in _unknown(configuration):
        found.setdefault((one.what, one.file, one.line), one)
    return sorted(found.values(), key=lambda one: (files.get(one.file, -1), one.file, one.line, one.rule))


def _order(configuration: Configuration) -> dict[str, int]:
    """Files in the order in which they are read."""
    files = {configuration.path: 0}
    for one in configuration.includes:
        files.setdefault(one.text, len(files))
    return files


def _accepted(configuration: Configuration) -> Iterator[tuple[str, int]]:
    """The rules that comments accept, each with the index of its comment."""
    for index, comment in enumerate(configuration.comments):
        for found in _ACCEPT.finditer(comment.text):
            yield from ((name, index) for name in re.split(r"[,\s]+", found[1]) if name)


def _unknown(configuration: Configuration) -> Iterator[Finding]:
    for name, index in _accepted(configuration):
        if name not in RULES or name in _NEVER_ACCEPTED:
            what = f"A comment accepts {name}, which is no rule that can be accepted."
            why = "Nothing is accepted by it: perhaps the name is misspelt."
            meant = get_close_matches(name, RULES.keys() - _NEVER_ACCEPTED, 1)
            write = f"# evapi-adapter: accept {meant[0]}" if meant else ""
            yield finding("unknown-rule", configuration.comments[index], what, why, write)
