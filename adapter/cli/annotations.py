"""What ``doctor`` found, for other programs' eyes: SARIF 2.1.0, and annotations of GitHub. Pure."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from adapter.admin.checks_finding import Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from adapter.admin.checks_finding import Finding

SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"
TOOL: Final = "evapi-adapter doctor"
_LEVELS: Final = {Status.ERROR: "error", Status.WARNING: "warning", Status.UNKNOWN: "note"}
"""SARIF's words (3.27.10); what is ok is no result."""
_COMMANDS: Final = {Status.ERROR: "error", Status.WARNING: "warning", Status.UNKNOWN: "notice"}
"""GitHub's words (workflow commands)."""


def sarif(found: Iterable[Finding], version: str) -> dict[str, Any]:
    """Make a log of SARIF with one run.

    Args:
        found: the findings; those that are ok are left out.
        version: of this program.
    """
    bad = [finding for finding in found if finding.status in _LEVELS]
    rules = {_rule(finding): finding for finding in bad}
    driver = {
        "name": TOOL,
        "version": version,
        "rules": [
            {
                "id": rule,
                "shortDescription": {"text": finding.why or finding.check},
                "help": {"text": finding.todo or finding.why or finding.check},
            }
            for rule, finding in rules.items()
        ],
    }
    order = list(rules)
    results = [
        {
            "ruleId": _rule(finding),
            "ruleIndex": order.index(_rule(finding)),
            "level": _LEVELS[finding.status],
            "message": {"text": _message(finding)},
            "locations": [_location(finding)],
        }
        for finding in bad
    ]
    run = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def github(found: Iterable[Finding]) -> Iterator[str]:
    """Make a workflow command of GitHub of each finding that is not ok: it is shown at its line."""
    for finding in found:
        if finding.status not in _COMMANDS:
            continue
        place = {"file": _uri(finding.file)} if finding.file else {}
        if finding.line:
            place["line"] = str(finding.line)
        place["title"] = _rule(finding)
        properties = ",".join(f"{name}={_property(value)}" for name, value in place.items())
        yield f"::{_COMMANDS[finding.status]} {properties}::{_data(_message(finding))}"


def _rule(finding: Finding) -> str:
    return f"{finding.group}/{finding.check}"


def _message(finding: Finding) -> str:
    of = f"{finding.of}: " if finding.of else ""
    return "\n".join(filter(None, (f"{of}{finding.seen}", finding.why, finding.todo)))


def _location(finding: Finding) -> dict[str, Any]:
    if not finding.file:
        return {"logicalLocations": [{"fullyQualifiedName": finding.of or finding.group}]}
    place: dict[str, Any] = {"artifactLocation": {"uri": _uri(finding.file)}}
    if finding.line:
        place["region"] = {"startLine": finding.line}
    return {"physicalLocation": place}


def _uri(file: str) -> str:
    """Return a path as they want it: relative to the folder of the check-out, if it is in there."""
    path = Path(file).absolute()
    here = Path.cwd()
    return path.relative_to(here).as_posix() if path.is_relative_to(here) else path.as_uri()


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
