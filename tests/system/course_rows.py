"""Calls that several services decide: what their services do, and what their resumes tell then."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from tests.system.course_site import THREE

SLOW: Final = {"takes": 0.6}
NEVER: Final = {"hangs": True}
FAILS: Final = {"fails": 9}
IDLE: Final = {"idle": True}
REJECTS: Final = {"action": "reject"}


class Row(NamedTuple):
    """A call: its event, what its services do, and all that its resume tells."""

    event: str
    do: dict[str, dict[str, Any]]
    outcome: str
    step: str
    services: dict[str, str]
    decision: dict[str, Any]


def row(
    event: str,
    do: dict[str, dict[str, Any]],
    step: str,
    services: str,
    /,
    outcome: str = "decided",
    **decision: Any,
) -> Row:
    """``services``: the ones that decided, else ``name:status``. ``decision``: its keys but ``action``."""
    pairs = (each.partition(":") for each in services.split())
    told = {name: status or "decided" for name, _, status in pairs}
    return Row(event, do, outcome, step, told, {"action": "allow", **decision})


def by(*names: str) -> dict[str, str]:
    """What these services add to a decision."""
    return dict.fromkeys(names, "mine")


HEARD: Final = {"fraud heard": "screening", "routing heard": "fraud,screening"}
FALLEN: Final = {"action": "reject", "code": 500}
ROWS: Final = {
    "first: the fastest": row(
        "first", {"screening": NEVER, "fraud": SLOW}, "service", "routing", **by("routing")
    ),
    "first: one fails, the other is slow": row(
        "first", {"screening": NEVER, "fraud": FAILS, "routing": SLOW}, "service", "fraud:failed routing",
        **by("routing"),
    ),
    "all: merged": row("all", {}, "service", "screening fraud routing", **by(*THREE)),
    "all: one rejects": row(
        "all", {"screening": NEVER, "fraud": NEVER, "routing": REJECTS}, "service", "routing",
        action="reject", **by("routing"),
    ),
    "all: one fails": row(
        "all", {"screening": NEVER, "fraud": FAILS, "routing": NEVER}, "fallback", "fraud:failed",
        outcome="failed", action="reject", code=503,
    ),
    "chain: each hears the former": row(
        "chain", {}, "service", "screening fraud routing", **by(*THREE), **HEARD
    ),
    "chain: one rejects": row(
        "chain", {"fraud": REJECTS}, "service", "screening fraud",
        action="reject", **by("fraud"), **{"fraud heard": "screening"},
    ),
    "chain: one ends it": row(
        "chain", {"screening": {"final": True}}, "service", "screening", final=True, **by("screening")
    ),
    "quorum: two agree": row(
        "quorum", {"screening": REJECTS, "routing": SLOW}, "service", "screening fraud routing",
        **by("fraud", "routing"),
    ),
    "quorum: it cannot be reached": row(
        "quorum", {"screening": REJECTS, "fraud": FAILS}, "fallback", "screening fraud:failed routing",
        outcome="failed", action="reject", code=503,
    ),
    "first: one has no say": row(
        "first", {"screening": NEVER, "fraud": IDLE, "routing": SLOW}, "service", "fraud:none routing",
        **by("routing"),
    ),
    "all: one has no say": row(
        "all", {"fraud": IDLE}, "service", "screening fraud:none routing", **by("screening", "routing")
    ),
    "all: nobody has a say": row(
        "all", {"screening": IDLE, "fraud": IDLE, "routing": IDLE}, "fallback",
        "screening:none fraud:none routing:none", outcome="failed", action="reject", code=503,
    ),
    "chain: one has no say": row(
        "chain", {"fraud": IDLE}, "service", "screening fraud:none routing", **by("screening", "routing"),
        **{"routing heard": "screening"},
    ),
    "quorum: one has no say": row(
        "quorum", {"screening": IDLE, "routing": SLOW}, "service", "screening:none fraud routing",
        **by("fraud", "routing"),
    ),
    "retry: not of one without a say": row(
        "retried", {"fraud": IDLE}, "backup", "fraud:none reserve", **by("reserve")
    ),
    "no handler, then the backup": row("unheard", {}, "backup", "deaf:failed reserve", **by("reserve")),
    "retry: the second answer": row("retried", {"fraud": {"fails": 1}}, "retry", "fraud", **by("fraud")),
    "retry: in vain, then the backup": row(
        "retried", {"fraud": FAILS}, "backup", "fraud:failed reserve", **by("reserve")
    ),
    "backup: the second of them": row(
        "backed", {"routing": FAILS}, "backup", "nobody:unroutable routing:failed reserve", **by("reserve")
    ),
    "accepts: what a service may not decide": row(
        "backed", {"routing": {"action": "route"}}, "backup", "nobody:unroutable routing:failed reserve",
        **by("reserve"),
    ),
    "fallback_on": row(
        "fallen", {"fraud": FAILS}, "fallback_on", "fraud:failed", outcome="failed", **FALLEN
    ),
    "fallback": row("fallen", {"fraud": NEVER}, "fallback", "fraud:timeout", outcome="timeout", fallen=True),
    "extension: decided past the deadline": row(
        "longer", {"routing": {"more": 5.0, "takes": 1.3}}, "service", "routing", **by("routing")
    ),
}  # fmt: skip
