"""``evapi-adapter trace``: what became of a call, step by step."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from adapter.cli import options
from adapter.cli.help import Commands
from adapter.cli.inflight import payload
from adapter.cli.output import Column, Format, Output, clock, escaped, seconds

if TYPE_CHECKING:
    from adapter.admin.calls import Kept, Wanted
    from adapter.admin.timelines import Timeline
    from adapter.settings import Settings

app = Commands()

EPILOG: Final = (
    "Examples:  evapi-adapter trace 1-4711@10.0.0.7    evapi-adapter trace sbc1:37:1840980198    "
    "evapi-adapter trace 1-4711@10.0.0.7 -o json | jq '.transactions[].steps[] | {step, took}'"
)
KAMAILIO_LINE: Final = 'jansson_set("string", "call_id", "$ci", "$var(data)");'
"""What puts the Call-ID into an event's data."""

_STYLES: Final = {"kamailio": "cyan", "rabbitmq": "magenta", "consumer": "green", "operator": "yellow"}


def _style(where: Any) -> str:
    return _STYLES.get(str(where), "")


STEPS: Final = (
    Column("at", "TIME", clock),
    Column("since", "SINCE", seconds, right=True),
    Column("took", "TOOK", seconds, right=True),
    Column("where", "WHERE", style=_style),
    Column("text", "STEP"),
)
TITLE: Final = Column("title", "", style="bold")
SHOWN: Final = Column("shown", "", str)
PAYLOADS: Final = (Column("data", "DATA", payload), Column("decision", "DECISION", payload))


def _how_style(how: Any) -> str:
    return "green" if str(how).startswith("decided") else "yellow"


@app.command(epilog=EPILOG)
def trace(
    which: Annotated[str, typer.Argument(metavar="CALL-ID|ID", help="A SIP Call-ID, or a correlation id.")],
    payloads: Annotated[
        bool, typer.Option("--payloads", help="Also the event's data and the decision, secrets masked.")
    ] = False,
    redis_url: options.RedisUrl = None,
    nodes: options.Nodes = None,
    output: options.As = Format.TABLE,
    more: options.More = None,
) -> None:
    """Show what became of a call: each step from Kamailio to Kamailio, with what it took.

    All transactions of a Call-ID; all suspensions of a transaction, by its id with or without the last
    number; commands to Kamailio that name the call. SINCE counts from the event, TOOK from the step that it
    came after. From the journals, which
    replicas write twice a second and keep for EVAPI_JOURNAL seconds (120), and from what is in flight.
    Payloads are there while a call is in flight, or with EVAPI_JOURNAL_PAYLOADS. Exit codes: 0 shown, 1
    nothing is known of it, or Redis is away, 2 wrong usage.
    """
    from adapter.admin.calls import Wanted

    out, wanted = Output(output), Wanted.parse(which)
    found, there = options.run(_found(options.settings(more, redis_url=redis_url, nodes=nodes), wanted))
    rows = [_row(each, payloads=payloads) for each in found]
    if out.format is Format.JSON:
        out.one({"transactions": rows}, ())
    elif out.format is Format.JSONL:
        for row in rows:
            out.line((), row)
    else:
        for number, (timeline, row) in enumerate(zip(found, rows, strict=True)):
            _print(out, timeline, row, first=number == 0)
    if payloads and found and not any(row["data"] or row["decision"] for row in rows):
        out.say("no payloads: the journals keep them only with EVAPI_JOURNAL_PAYLOADS=true")
    if not found:
        assert there is not None, "looked at where nothing is found"
        out.say(_nothing(wanted, there))
        raise typer.Exit(1)


async def _found(chosen: Settings, wanted: Wanted) -> tuple[list[Timeline], Kept | None]:
    """The timelines; what there is in the journals, where there is none of them."""
    import asyncio

    from adapter.admin import calls

    async with calls.opened(chosen, options.calls_of(chosen)) as store:
        snapshot, replicas = await asyncio.gather(store.snapshot(), store.journals())
        names = calls.node_names(chosen, snapshot)
        if wanted.transaction is not None:
            names = sorted({*names, wanted.transaction[0]})
        found = await calls.find(store, names, replicas, wanted)
        if not found or any(each.unfinished for each in found):
            # What happened a moment ago may not be written yet.
            await asyncio.sleep(calls.WRITTEN)
            found = await calls.find(store, names, replicas, wanted)
        return found, None if found else await calls.kept(store, replicas)


def _nothing(wanted: Wanted, there: Kept) -> str:
    which = escaped(wanted.text)
    if there.since is None:
        return (
            f"nothing is known of {which}: it is not in flight, and no replica has a journal. Either no call "
            "came, or it is off: EVAPI_JOURNAL is the seconds for which each keeps one"
        )
    said = f"nothing is known of {which}: it is not in flight, and the journals begin at {clock(there.since)}"
    if wanted.transaction is None and not there.call_ids:
        return (
            f"{said}. No event in them has a Call-ID: before route(ADAPTER_ASK) Kamailio's configuration "
            f"needs the line\n    {KAMAILIO_LINE}"
        )
    return (
        f"{said} (EVAPI_JOURNAL keeps them longer). Or no replica has claimed it: the health gate was "
        "closed, or the event did not come"
    )


def _row(timeline: Timeline, *, payloads: bool) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": str(timeline.id),
        "call_id": timeline.call_id,
        "node": timeline.id.node,
        "event": timeline.event,
        "state": timeline.state,
        "outcome": timeline.outcome,
        "seconds": timeline.seconds,
        "services": dict(timeline.services) or None,
        "decided_by": timeline.rung,
        "steps": step_rows(timeline),
    }
    if payloads:
        from adapter.admin.masking import masked

        decision = None if timeline.decision is None else json.loads(timeline.decision)
        row |= {"data": masked(timeline.data), "decision": masked(decision)}
    return row


def step_rows(timeline: Timeline) -> list[dict[str, Any]]:
    """The steps of a timeline as rows; ``since`` the first of them."""
    begun = timeline.moments[0].at
    return [
        {
            "at": moment.at,
            "since": round(moment.at - begun, 6),
            "took": None if moment.took is None else round(moment.took, 6),
            "step": moment.step,
            "where": moment.where,
            "text": moment.text,
            **moment.more,
        }
        for moment in timeline.moments
    ]


def print_steps(out: Output, timeline: Timeline) -> None:
    """The steps as a table."""
    out.rows(STEPS, step_rows(timeline))


def _print(out: Output, timeline: Timeline, row: dict[str, Any], *, first: bool) -> None:
    if not first:
        out.line((), {})
    out.line(HEAD, row | {"how": _how(timeline)})
    print_steps(out, timeline)
    for column in PAYLOADS:
        if shown := column.cell(row):
            out.line((TITLE, SHOWN), {"title": column.title, "shown": f"\n{shown}"})


def _how(timeline: Timeline) -> str:
    match timeline.state:
        case "claimed":
            return "in flight"
        case "unknown":
            return "it is over, and no journal tells how"
    after = "" if timeline.seconds is None else f" after {seconds(timeline.seconds)}"
    return f"{timeline.outcome}{after}{_by(timeline.rung)}"


def _by(rung: str | None) -> str:
    """What decided, unless it is the services that were asked first."""
    from adapter.admin.timelines import LADDER

    return "" if rung in (None, "service") else f", {LADDER[rung]}"


HEAD: Final = (
    Column("id", "ID", style="bold"),
    Column("event", "EVENT"),
    Column("call_id", "CALL-ID", lambda call_id: f"Call-ID {escaped(call_id)}" if call_id else ""),
    Column("how", "HOW", escaped, style=_how_style),
)
