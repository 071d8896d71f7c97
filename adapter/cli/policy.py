"""``evapi-adapter policy``: what counts, whether a file is good, and what it means for an event."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from adapter.cli import options
from adapter.cli.output import Column, Format, Output, escaped, seconds, text
from adapter.errors import PolicyError, SettingsError

if TYPE_CHECKING:
    from adapter.admin.policy_explained import Explanation
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
    'evapi-adapter policy explain invite_request --data \'{"user":"4420"}\' -o json'
)
ANY: Final = "any other"


def _decision(value: Any) -> str:
    return "" if value is None else escaped(json.dumps(value, ensure_ascii=False))


def _by_outcome(value: Any) -> str:
    return "; ".join(f"{outcome}: {_decision(decision)}" for outcome, decision in value.items())


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
    Column("services", "SERVICES", lambda names: text(names) or "-"),
    Column("fallback", "FALLBACK", _decision),
    Column("fallback_on", "FALLBACK ON", _by_outcome),
)
CHECKED: Final = (
    Column("file", "FILE"),
    Column("good", "GOOD", style=lambda good: "green" if good == "yes" else "bold red"),
    Column("revision", "REVISION"),
    Column("events", "EVENTS"),
    Column("longest_deadline", "LONGEST DEADLINE", seconds),
    Column("restart", "TAKES A RESTART", style="yellow"),
)
EXPLAINED: Final = (
    Column("event", "EVENT", style="bold"),
    Column("table", "TABLE"),
    Column("revision", "REVISION"),
    Column("routing_key", "ROUTING KEY"),
    Column("shown_data", "DATA"),
    Column("shown_deadline", "DEADLINE"),
    Column("shown_format", "FORMAT"),
    Column("shown_admission", "ADMISSION"),
    Column("shown_services", "SERVICES"),
)
OUTCOMES: Final = (
    Column("outcome", "OUTCOME", style="bold"),
    Column("shown", "DECISION"),
    Column("source", "BY"),
)

app = typer.Typer(
    name="policy",
    help="What counts for each event, whether a file is good, and what happens to an event.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command(epilog=EPILOG_SHOW)
def show(
    policy: options.PolicyFile = None, output: options.As = Format.TABLE, more: options.More = None
) -> None:
    """Show the policy by which an adapter would start: its revision, its limits, a row for each event.

    The revision is that of evapi_policy_info, where an adapter tells which one it has. Exit codes: 0 shown,
    2 the policy is wrong, or wrong usage.
    """
    chosen = options.settings(more, policy=policy)
    read = _policy(chosen)
    plans = [(name, read.events[name]) for name in sorted(read.events)]
    rows = [_row(name, plan) for name, plan in [*plans, (None, read.default)]]
    head = {
        "policy": None if chosen.policy is None else str(chosen.policy),
        "revision": read.revision,
        "in_flight": read.in_flight,
        "emergency": read.emergency,
        "longest_deadline": read.longest_deadline,
    }
    out = Output(output)
    if out.format is Format.JSON:
        out.one({**head, "rows": rows}, ())
        return
    if out.format is Format.TABLE:
        out.one(head, HEAD)
    out.rows(ROWS, rows)


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
    started with it would not take while it runs. Exit codes: 0 good, 2 wrong.
    """
    from pathlib import Path

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
    }
    out.one(row, CHECKED)


@app.command(epilog=EPILOG_EXPLAIN)
def explain(
    event: Annotated[str, typer.Argument(metavar="EVENT", help="An event's name, as Kamailio has it.")],
    data: Annotated[
        str | None, typer.Option(metavar="TEXT", help="The event's data, such as a JSON object.")
    ] = None,
    policy: options.PolicyFile = None,
    output: options.As = Format.TABLE,
    more: options.More = None,
) -> None:
    """Explain what happens to an event: its limits, who is expected, what each outcome gives Kamailio.

    BY is the key of the policy that says so. Nobody is asked: `send --event` does that. Exit codes:
    0 explained, 2 the policy is wrong, or wrong usage.
    """
    from adapter.admin.policy_explained import explain as explained

    if not event:
        raise SettingsError("EVENT", "is the name of an event")
    read = _policy(options.settings(more, policy=policy))
    given = None if data is None else data.encode("utf-8", "surrogateescape")
    found = explained(read, event, given)
    row = _explained(found, read)
    out = Output(output)
    if out.format is not Format.TABLE:
        out.one(row, ())
        return
    out.one(row | _shown(found, read), EXPLAINED)
    out.rows(OUTCOMES, [{**each, "shown": _decided(each)} for each in row["outcomes"]])


def _policy(chosen: Settings) -> Policy:
    from adapter.relay import policy

    return policy.Policy() if chosen.policy is None else policy.read(chosen.policy)


def _row(event: str | None, plan: Plan) -> dict[str, Any]:
    return {
        "event": event,
        "deadline": plan.deadline,
        "format": _format(plan),
        "lane": "emergency" if plan.emergency else "normal",
        "services": list(plan.services),
        "fallback": json.loads(plan.fallback),
        "fallback_on": {
            outcome.value: json.loads(decision) for outcome, decision in plan.fallback_on.items()
        },
        "own": sorted(key for key in plan.own if "." not in key),
    }


def _format(plan: Plan) -> str:
    return "json" if plan.as_json else "msgpack"


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


def _explained(found: Explanation, read: Policy) -> dict[str, Any]:
    from adapter.contract import word

    plan, asked = found.plan, found.asked
    data = asked and {
        "as": "map" if asked.is_map else "bytes",
        "request_bytes": asked.size,
        "problem": asked.problem or None,
    }
    return {
        "event": found.event,
        "table": found.table,
        "revision": read.revision,
        "routing_key": f"{word(found.event)}.<node>",
        "data": data,
        "deadline": plan.deadline,
        "format": _format(plan),
        "admission": found.admission,
        "limit": found.limit,
        "services": list(plan.services),
        "sources": dict(found.sources),
        "outcomes": [
            {
                "outcome": outcome.value,
                "decision": None if given.decision is None else json.loads(given.decision),
                "source": given.source,
            }
            for outcome, given in found.outcomes.items()
        ],
    }


def _shown(found: Explanation, read: Policy) -> dict[str, str]:
    """The same as a person reads it."""
    plan, sources, asked = found.plan, found.sources, found.asked
    places = f"up to {found.limit} in flight of a node"
    if plan.emergency:
        places += f", {read.in_flight} and {read.emergency} more"
    shown = {
        "shown_deadline": f"{seconds(plan.deadline)} ({sources['deadline']})",
        "shown_format": f"{_format(plan)} ({sources['format']})",
        "shown_admission": f"{found.admission} ({sources['emergency']}): {places}",
        "shown_services": "whoever is bound to it; the policy expects nobody",
    }
    if plan.services:
        shown["shown_services"] = f"{', '.join(plan.services)} ({sources['services']})"
    if asked is not None:
        kind = "a map" if asked.is_map else "bytes: they are no JSON object"
        shown["shown_data"] = f"malformed: {asked.problem}" if asked.problem else kind
    return shown


def _decided(row: dict[str, Any]) -> str:
    if row["decision"] is None:
        return "the service's" if row["outcome"] == "decided" else "the operator's"
    return _decision(row["decision"])
