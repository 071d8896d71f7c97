"""What ``evapi-adapter replay`` shows: counts, what differs, examples; or why there is nothing to compare."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from adapter.cli.output import Column, Format, Output, clock, escaped, seconds

if TYPE_CHECKING:
    from collections.abc import Iterable

    from adapter.admin.calls import Kept
    from adapter.admin.differences import Compared, Difference, Tally
    from adapter.admin.recorded import Recording
    from adapter.admin.replay import Terms

CHANGES: Final = 30
"""Differences that the table shows; JSON has all."""
DETAILS: Final = 5
EVENTS: Final = 8
_SHOWN: Final = 60


def _value(value: Any) -> str:
    if value is None:
        return "-"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return escaped(text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…")


def _unless_none(style: str) -> Any:
    return lambda number: style if number else ""


COUNTS: Final = (
    Column("asked", "ASKED", style="bold"),
    Column("same", "SAME", style=_unless_none("green")),
    Column("different", "DIFFERENT", style=_unless_none("bold red")),
    Column("failed", "FAILED", style=_unless_none("bold red")),
    Column("no_answer", "NO ANSWER", style=_unless_none("bold red")),
)
CHANGED: Final = (
    Column("field", "FIELD", style="bold"),
    Column("was", "WAS", _value),
    Column("now", "CANDIDATE", _value),
    Column("calls", "CALLS", right=True),
    Column("example", "FOR EXAMPLE"),
)
WHY: Final = (
    Column("result", "RESULT", lambda result: str(result).replace("_", " "), style="bold red"),
    Column("detail", "WHY"),
    Column("calls", "CALLS", right=True),
    Column("example", "FOR EXAMPLE"),
)
CALLS: Final = (
    Column("at", "TIME", clock),
    Column("id", "ID", style="bold"),
    Column("call_id", "CALL-ID"),
    Column("outcome", "OUTCOME"),
    Column("shown", "DIFFERENCE", str),
)


@dataclass(slots=True)
class Seen:
    """What is known so far: it is shown whatever ends the work."""

    terms: Terms
    tally: Tally
    recording: Recording
    since: float = 0.0
    kept: Kept | None = None

    @property
    def service(self) -> str:
        """The candidate's name."""
        return self.terms.candidate.name


def nothing(seen: Seen) -> str:
    """Why nothing can be compared, and what to do."""
    from adapter.admin.checks_finding import counted

    recording, kept = seen.recording, seen.kept
    event = escaped(recording.event)
    if kept is None or kept.since is None:
        return (
            "no replica has a journal: either no call came, or it is off: EVAPI_JOURNAL is the seconds for "
            "which each adapter keeps one; set it, and EVAPI_JOURNAL_PAYLOADS=true"
        )
    if not recording.found:
        others = [escaped(name) for name, _ in recording.others.most_common(EVENTS)]
        there = f"there are {', '.join(others)}" if others else "there is no other event either"
        begin = f"the journals begin at {clock(kept.since)} (EVAPI_JOURNAL keeps them longer)"
        return f"no {event} came since {clock(seen.since)}; {there}; {begin}"
    calls = counted(recording.found, "call")
    if recording.without_payload:
        return (
            f"{calls} of {event}, and the journals kept no payloads of {recording.without_payload:,}: set "
            "EVAPI_JOURNAL_PAYLOADS=true for the adapters, and try again once calls have come"
        )
    if recording.not_decided:
        return f"{calls} of {event}, none of which a service decided: --all takes them, with their fallback"
    return f"{calls} of {event} that still wait, or whose end no journal tells: try again later"


def show(out: Output, seen: Seen, *, whole: bool) -> None:
    """The report. Not ``whole``: the work has ended before all were asked."""
    row = _row(seen, whole)
    if out.format is not Format.TABLE:
        out.one(row, ())
        return
    out.one(row["counts"], COUNTS)
    for columns, rows in (
        (CHANGED, row["differences"][:CHANGES]),
        (WHY, row["undecided"][:DETAILS]),
        (CALLS, [{**each, "shown": _shown(each["differences"])} for each in row["examples"]]),
    ):
        if rows:
            sys.stdout.write("\n")
            out.rows(columns, rows)
    for words in _remarks(seen, row, whole=whole):
        out.say(words)


def _row(seen: Seen, whole: bool) -> dict[str, Any]:
    from adapter.admin.masking import masked_text

    tally, recording = seen.tally, seen.recording
    left_out = {
        "not_decided": recording.not_decided,
        "without_payload": recording.without_payload,
        "in_flight": recording.in_flight,
        "over_limit": recording.good - len(recording.calls),
    }
    firsts: dict[tuple[str, str], str] = {}
    for call in tally.undecided:
        firsts.setdefault((call.result, call.detail), call.id)
    return {
        "event": recording.event,
        "service": seen.service,
        "since": seen.since,
        "fields": sorted(seen.terms.fields),
        "whole": whole,
        "counts": {"found": recording.found, **left_out, **tally.as_row()},
        "differences": [
            {**_difference(change.difference), "calls": change.calls, "example": change.example}
            for change in tally.changes
        ],
        "undecided": [
            {
                "result": result.value,
                "detail": masked_text(detail),
                "calls": calls,
                "example": firsts.get((result, detail)),
            }
            for (result, detail), calls in tally.details.most_common()
        ],
        "examples": [_call(call) for call in tally.differ],
    }


def _call(call: Compared) -> dict[str, Any]:
    return {
        "id": call.id,
        "call_id": call.call_id,
        "at": call.at,
        "outcome": call.outcome,
        "seconds": call.seconds,
        "differences": [_difference(each) for each in call.differences],
    }


def _difference(found: Difference) -> dict[str, Any]:
    from adapter.admin.masking import masked

    name = found.field
    return {"field": name, "was": masked({name: found.was})[name], "now": masked({name: found.now})[name]}


def _shown(rows: Iterable[dict[str, Any]]) -> str:
    return "; ".join(f"{escaped(row['field'])}: {_value(row['was'])} -> {_value(row['now'])}" for row in rows)


def _remarks(seen: Seen, row: dict[str, Any], *, whole: bool) -> list[str]:
    """What the tables do not tell."""
    counts, found = row["counts"], []
    left = {
        "not_decided": "no service had decided (--all takes them)",
        "without_payload": "no payload was kept of (EVAPI_JOURNAL_PAYLOADS)",
        "in_flight": "still wait, or no journal tells their end",
        "over_limit": "are beyond --limit",
    }
    told = [f"{counts[key]:,} that {words}" for key, words in left.items() if counts[key]]
    if told:
        found.append(f"left out of {counts['found']:,} calls: {'; '.join(told)}")
    if len(row["differences"]) > CHANGES:
        found.append(f"{len(row['differences']) - CHANGES:,} more differences: -o json has them all")
    kept = None if seen.kept is None else seen.kept.since
    if kept is not None and kept > seen.since + 1:
        found.append(f"the journals begin at {clock(kept)}: EVAPI_JOURNAL keeps them longer")
    if counts["asked"] == counts["no_answer"]:
        found.append(
            f"{escaped(seen.service)} answered nothing within {seconds(seen.terms.timeout)}: see its log, "
            f"and whether it decides {escaped(row['event'])}"
        )
    elif counts["failed"]:
        found.append(
            f"see the log of {escaped(seen.service)}; with EVAPI_REQUESTS_FROM it rejects what comes from "
            "users that are not named there"
        )
    if not whole:
        found.append(f"not all were asked: {counts['asked']:,} of {len(seen.recording.calls):,}")
    return found
