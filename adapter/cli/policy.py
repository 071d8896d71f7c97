"""``evapi-adapter policy``: what counts, whether a file is good, and what it means for an event."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from adapter.cli import complete, explanation, options
from adapter.cli.help import Commands
from adapter.cli.output import Column, Format, Output, escaped, seconds, text
from adapter.errors import PolicyError, SettingsError

if TYPE_CHECKING:
    from adapter.relay.plan import Plan
    from adapter.relay.policy import Policy
    from adapter.settings import Settings

EPILOG_SHOW: Final = (
    "Examples:  evapi-adapter policy show --policy policy.toml    "
    "evapi-adapter policy show -o json | jq '.rows[] | {event, deadline}'"
)
EPILOG_CHECK: Final = (
    "Examples:  evapi-adapter policy check policy.toml    "
    "evapi-adapter policy check new.toml --policy /etc/evapi-adapter/policy.toml -o json"
)
EPILOG_EXPLAIN: Final = (
    "Examples:  evapi-adapter policy explain invite_request    "
    'evapi-adapter policy explain invite_request --data \'{"user":"4420","call_id":"a@b"}\' -o json'
)
ANY: Final = "any other"


def _by_outcome(value: Any) -> str:
    return "; ".join(f"{outcome}: {explanation.decision(decision)}" for outcome, decision in value.items())


HEAD: Final = (
    Column("policy", "POLICY", lambda path: text(path) or "none: the built-in one"),
    Column("revision", "REVISION"),
    Column("in_flight", "IN FLIGHT", lambda most: f"{most} of a node at a time; beyond it: overload"),
    Column("emergency", "EMERGENCY", lambda more: f"{more} places more"),
    Column("longest_deadline", "LONGEST DEADLINE", seconds),
)
ROWS: Final = (
    Column("event", "EVENT", lambda event: text(event) or ANY, style="bold"),
    Column("deadline", "DEADLINE", seconds, right=True),
    Column("format", "FORMAT"),
    Column("lane", "LANE"),
    Column("shown_services", "SERVICES"),
    Column("shown_ladder", "LADDER"),
    Column("shown_beside", "BESIDE"),
    Column("fallback", "FALLBACK", explanation.decision),
    Column("fallback_on", "FALLBACK ON", _by_outcome),
)
CHECKED: Final = (
    Column("file", "FILE"),
    Column("good", "GOOD", style=lambda good: "green" if good == "yes" else "bold red"),
    Column("revision", "REVISION"),
    Column("events", "EVENTS"),
    Column("longest_deadline", "LONGEST DEADLINE", seconds),
    Column("restart", "TAKES A RESTART", style="yellow"),
    Column("hints", "HINTS", lambda hints: "; ".join(map(escaped, hints)), style="yellow"),
)
app = Commands(
    name="policy",
    help="What counts for each event, whether a file is good, and what happens to an event.",
)


@app.command(epilog=EPILOG_SHOW)
def show(
    policy: options.PolicyFile = None, output: options.As = Format.TABLE, more: options.More = None
) -> None:
    """Show the policy by which an adapter would start: its limits, a row for each event and each service.

    The revision is that of evapi_policy_info, where an adapter tells which one it has. Exit codes: 0 shown,
    2 the policy is wrong, or wrong usage.
    """
    chosen = options.settings(more, policy=policy)
    read = _policy(chosen)
    plans = [*((name, read.events[name]) for name in sorted(read.events)), (None, read.default)]
    rows = [_row(name, plan) for name, plan in plans]
    head = {
        "policy": None if chosen.policy is None else str(chosen.policy),
        "revision": read.revision,
        "in_flight": read.in_flight,
        "emergency": read.emergency,
        "longest_deadline": read.longest_deadline,
    }
    services = [explanation.service(read.known[name]) for name in sorted(read.known)]
    out = Output(output)
    if out.format is Format.JSON:
        out.one({**head, "rows": rows, "services": services}, ())
        return
    if out.format is Format.JSONL:
        out.rows(ROWS, rows)
        return
    out.one(head, HEAD)
    shown = [{**row, **explanation.shown(plan)} for row, (_, plan) in zip(rows, plans, strict=True)]
    for columns, each in ((ROWS, shown), (explanation.SERVICES, services)):
        out.rows(explanation.filled(columns, each), each)


@app.command(epilog=EPILOG_CHECK)
def check(
    file: Annotated[str, typer.Argument(metavar="FILE", help="The policy's TOML file.")],
    policy: Annotated[
        str | None,
        typer.Option(envvar="EVAPI_POLICY", help="The one with which the adapters were started."),
    ] = None,
    output: options.As = Format.TABLE,
    more: options.More = None,
) -> None:
    """Say whether a file is a good policy; of a wrong one line, key and remedy.

    With the policy in force (--policy, EVAPI_POLICY), it also says what an adapter on RabbitMQ that was
    started with it would not take while it runs. What may be a slip is a hint. Exit codes: 0 good, 2 wrong.
    """
    from pathlib import Path

    from adapter.admin.policy_explained import hints
    from adapter.relay.policy import read

    out = Output(output)
    try:
        found = read(Path(file))
    except PolicyError as exc:
        if out.format is Format.TABLE:
            raise
        out.one(_problem(file, exc), ())
        raise typer.Exit(2) from None
    row = {
        "file": file,
        "good": True,
        "revision": found.revision,
        "events": sorted(found.events),
        "longest_deadline": found.longest_deadline,
        "restart": _restart(file, policy, more, out),
        "hints": hints(found, Path(file).read_text("utf-8-sig")),
    }
    out.one(row, CHECKED)


@app.command(epilog=EPILOG_EXPLAIN)
def explain(
    event: Annotated[
        str,
        typer.Argument(
            autocompletion=complete.events, metavar="EVENT", help="An event's name, as Kamailio has it."
        ),
    ],
    data: Annotated[
        str | None, typer.Option(metavar="TEXT", help="The event's data, such as a JSON object.")
    ] = None,
    policy: options.PolicyFile = None,
    output: options.As = Format.TABLE,
    more: options.More = None,
) -> None:
    """Explain what happens to an event: who is asked, in which order, on which queues, with which limits.

    Then what may decide it, and what each outcome gives Kamailio; BY is the key of the policy that says so.
    With the data also what each service would get of them, by what its decision is kept, and whether a
    shadow gets the call (by their call_id). Nobody is asked: `send --event` does that. Exit codes:
    0 explained, 2 the policy is wrong, or wrong usage.
    """
    from adapter.admin.policy_explained import explain as explained

    if not event:
        raise SettingsError("EVENT", "is the name of an event")
    read = _policy(options.settings(more, policy=policy))
    given = None if data is None else data.encode("utf-8", "surrogateescape")
    found = explained(read, event, given)
    explanation.show(found, read, Output(output))


def _policy(chosen: Settings) -> Policy:
    from adapter.relay import policy

    return policy.Policy() if chosen.policy is None else policy.read(chosen.policy)


def _row(event: str | None, plan: Plan) -> dict[str, Any]:
    return {
        "event": event,
        "deadline": plan.deadline,
        "format": explanation.format_of(plan.as_json),
        "lane": "emergency" if plan.emergency else "normal",
        **explanation.asking(plan),
        "fallback": json.loads(plan.fallback),
        "fallback_on": {
            outcome.value: json.loads(decision) for outcome, decision in plan.fallback_on.items()
        },
        "own": sorted(key for key in plan.own if "." not in key),
    }


def _problem(file: str, exc: PolicyError) -> dict[str, Any]:
    return {
        "file": file,
        "good": False,
        "line": exc.line or None,
        "key": exc.variable or None,
        "problem": exc.problem,
        "do": exc.do,
        "text": str(exc),
    }


def _restart(file: str, in_force: str | None, more: list[str] | None, out: Output) -> str | None:
    """Why an adapter that was started with ``in_force`` takes it only at a restart."""
    from pathlib import Path

    from adapter.parts import longest_taken_live
    from adapter.relay.policy import read
    from adapter.relay.policy_file import refuse_too_long

    chosen = options.settings(more, policy=in_force)
    if chosen.policy is None:
        return None
    try:
        most = longest_taken_live(chosen, read(chosen.policy))
    except PolicyError as exc:
        out.say(f"evapi-adapter: the policy in force is wrong, so what takes a restart is not known: {exc}")
        return None
    try:
        refuse_too_long(read(Path(file)), Path(file).read_text("utf-8-sig"), most, file)
    except PolicyError as exc:
        return str(exc)
    return None
