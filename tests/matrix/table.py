"""COMPATIBILITY.md: one table of what came of each part."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.matrix.roots import SUITES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.matrix.parts import Part
    from tests.matrix.results import Result

BEGIN = "<!-- made by make matrix: do not edit below -->\n"
NAMED = 3
"""How many failed tests are named."""


def document(before: str, rows: Iterable[tuple[Part, Result | None]], told: str) -> str:
    """Return the whole document: what is written by hand in ``before``, then the table.

    Args:
        before: the document as it is. What stands below `BEGIN` is replaced.
        rows: each part and what came of it, None if it never ran.
        told: about the run, in sentences.
    """
    head = before.partition(BEGIN)[0]
    lines = ["| with | Debian | what ran | outcome | s | when |", "|---|---|---|---|--:|---|"]
    lines += [row(part, result) for part, result in rows]
    return "\n".join([f"{head}{BEGIN}", told, "", *lines, ""])


def row(part: Part, result: Result | None) -> str:
    """Return the table's row of one part."""
    suite = SUITES[part.suite].removeprefix("Debian ")
    if result is None:
        return f"| {', '.join(part.about)} | {suite} | {part.told} | not run | | |"
    named = ", ".join(f"{name} {result.versions.get(name, '')}".rstrip() for name in part.about)
    when = f"{result.day} {result.revision}"
    return f"| {named} | {suite} | {part.told} | {outcome(result)} | {result.seconds:.0f} | {when} |"


def outcome(result: Result) -> str:
    """Return what came of it, in words."""
    if result.note:
        return f"**{result.note}**"
    if result.good:
        return f"{result.passed} passed" if result.passed else "passed"
    if not result.failed:
        return "**failed**"
    names = ", ".join(f"`{name}`" for name in result.failed[:NAMED])
    more = len(result.failed) - NAMED
    return f"**{len(result.failed)} of {result.passed + len(result.failed)} failed**: {names}" + (
        f" and {more} more" if more > 0 else ""
    )
