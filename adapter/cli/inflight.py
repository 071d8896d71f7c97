"""``evapi-adapter inflight``: the calls that wait, one of them, and an answer by hand."""

from __future__ import annotations

import json
import math
import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from adapter.cli import complete, listing, options
from adapter.cli.help import Commands
from adapter.cli.output import Column, Format, Output, clock, console, escaped, seconds
from adapter.errors import CodecError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from adapter.admin.settling import Answer, Done
    from adapter.admin.timelines import Timeline
    from adapter.model.transaction import Transaction, TransactionId
    from adapter.settings import Settings

EPILOG: Final = (
    "Examples:  evapi-adapter inflight list --older-than 1s    "
    "evapi-adapter inflight show sbc1:37:1840980198:1    evapi-adapter inflight settle --help"
)
EPILOG_LIST: Final = (
    "Examples:  evapi-adapter inflight list --node sbc1 --older-than 1.5s    "
    "evapi-adapter inflight list -o json | jq -r '.rows[].call_id'"
)
EPILOG_SHOW: Final = "Example:  evapi-adapter inflight show sbc1:37:1840980198:1"
EPILOG_SETTLE: Final = (
    "Example:  evapi-adapter inflight settle sbc1:37:1840980198:1 "
    '--decision \'{"action":"reject","code":486}\' --reason "service hangs, ticket 4711"'
)
NARROW: Final = 130
"""Columns of a terminal below which a call takes two lines."""
REASON: Final = 200
"""Characters of a reason."""


class Standing(StrEnum):
    """What a call in flight waits for: a decision, or that Kamailio reads it."""

    CLAIMED = "claimed"
    SETTLED = "settled"


def payload(value: Any) -> str:
    """A payload on several lines."""
    if value in (None, ""):
        return ""
    shown = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False, default=str)
    return escaped(shown, lines=True)


def _left(value: Any) -> str:
    return "" if value is None else seconds(value) if value >= 0 else f"over by {seconds(-value)}"


def _lines(value: Any) -> str:
    return escaped(value or "", lines=True)


def _style(state: Any) -> str:
    return "" if str(state).startswith("claimed") else "yellow"


COLUMNS: Final = (
    Column("id", "ID", style="bold"),
    Column("call_id", "CALL-ID"),
    Column("event", "EVENT"),
    Column("node", "NODE"),
    Column("owner", "OWNER"),
    Column("state", "STATE", style=_style),
    Column("outcome", "OUTCOME"),
    Column("age", "AGE", seconds, right=True),
    Column("left", "LEFT", _left, right=True),
)
COLUMNS_NARROW: Final = (
    Column("which", "ID, CALL-ID", _lines, style="bold"),
    Column("what", "EVENT, OWNER", _lines),
    Column("how", "STATE", _lines, style=_style),
    Column("age", "AGE", seconds, right=True),
    Column("left", "LEFT", _left, right=True),
)
COLUMNS_SHOW: Final = (
    *COLUMNS,
    Column("claimed_at", "ARRIVED", clock),
    Column("deadline", "DEADLINE", clock),
    Column("data", "DATA", payload),
    Column("decision", "DECISION", payload),
)
COLUMNS_SETTLE: Final = (
    Column("id", "ID", style="bold"),
    Column("outcome", "OUTCOME"),
    Column("decision", "DECISION", payload),
    Column("by", "BY"),
    Column("reason", "REASON"),
)

app = Commands(
    name="inflight",
    help="The calls that wait for a decision: list, show, settle by hand.",
    epilog=EPILOG,
)


@app.command("list", epilog=EPILOG_LIST)
def list_(
    node: Annotated[str, typer.Option(autocompletion=complete.nodes, help="Only those of this node.")] = "",
    event: Annotated[
        str, typer.Option(autocompletion=complete.events, help="Only those of this event.")
    ] = "",
    call_id: Annotated[str, typer.Option(help="Only those of this Call-ID.")] = "",
    state: Annotated[Standing | None, typer.Option(help="Only those in this state.")] = None,
    older_than: Annotated[
        float | None,
        typer.Option(
            parser=options.duration, metavar="TIME", help="Only those older than this: 200ms, 1.5s."
        ),
    ] = None,
    since: listing.Since = None,
    limit: Annotated[int | None, typer.Option(min=1, help="So many at most.")] = None,
    sort: listing.Sort = "",
    watch: listing.Watch = None,
    redis_url: options.RedisUrl = None,
    nodes: options.Nodes = None,
    output: options.As = Format.TABLE,
    more: options.More = None,
) -> None:
    """List the calls in flight, the oldest first.

    Claimed: waits for a decision until the deadline (LEFT). Settled: answered, and Kamailio is not known to
    have read the answer. Exit codes: 0 listed, 1 Redis is away, 2 wrong usage.
    """
    out, chosen = Output(output), options.settings(more, redis_url=redis_url, nodes=nodes)
    wanted = {"event": event, "call_id": call_id, "state": state}

    def look() -> None:
        found, now = options.run(_scanned(chosen, node))
        rows = [
            row
            for row in (_row(record, now) for record in sorted(found, key=lambda each: each.claimed_at))
            if (older_than or 0.0) <= row["age"] <= (math.inf if since is None else since)
            and all(row[key] == value for key, value in wanted.items() if value)
        ]
        _print(out, listing.ordered(rows, sort, COLUMNS)[:limit], len(found))

    listing.repeat(look, out, watch)


def _print(out: Output, shown: Sequence[Mapping[str, Any]], there: int) -> None:
    if out.format is Format.TABLE and sys.stdout.isatty() and console().width < NARROW:
        out.rows(COLUMNS_NARROW, [{**row, **_narrowed(row)} for row in shown])
    else:
        out.rows([each for each in COLUMNS if any(map(each.cell, shown))], shown)
    if out.format is Format.TABLE:
        of = "" if len(shown) == there else f" of {there}"
        out.say(f"{len(shown)}{of} in flight")


@app.command(epilog=EPILOG_SHOW)
def show(
    which: Annotated[str, typer.Argument(metavar="ID", help="As inflight list shows it.")],
    raw: Annotated[bool, typer.Option("--raw", help="Do not mask secrets in payloads.")] = False,
    redis_url: options.RedisUrl = None,
    output: options.As = Format.TABLE,
    more: options.More = None,
) -> None:
    """Show one call in flight: its record, the event's data with secrets masked, and its steps so far.

    Exit codes: 0 shown, 1 it is not in flight, or Redis is away, 2 wrong usage.
    """
    from adapter.admin.masking import masked
    from adapter.admin.timelines import request_data
    from adapter.cli import trace

    out, id_ = Output(output), _id(which)
    record, now, timeline = options.run(_looked_up(options.settings(more, redis_url=redis_url), id_))
    if record is None or timeline is None:
        out.say(_not_in_flight(id_))
        raise typer.Exit(1)
    payloads = {
        "data": request_data(record.request) or timeline.data,
        "decision": _json(record.decision),
    }
    row = _row(record, now) | (payloads if raw else masked(payloads))
    row["life"] = record.incarnation
    if out.format is Format.TABLE:
        out.one(row, COLUMNS_SHOW)
        trace.print_steps(out, timeline)
    else:
        out.one(row | {"steps": trace.step_rows(timeline)}, COLUMNS_SHOW)


@app.command(epilog=EPILOG_SETTLE)
def settle(
    which: Annotated[str, typer.Argument(metavar="ID", help="As inflight list shows it.")],
    decision: Annotated[str, typer.Option(metavar="JSON", help="What Kamailio is told, a JSON object.")],
    reason: options.Why,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    redis_url: options.RedisUrl = None,
    amqp_url: options.AmqpUrl = None,
    output: options.As = Format.TABLE,
    more: options.More = None,
) -> None:
    """Answer a call by hand, in place of the consumer, with the outcome "operator".

    The answer goes the way of a consumer's: through the results queue of the node. Who gave it and why is
    in the log of the adapter that takes it. Exit codes: 0 settled so; 1 it is not waiting, something else
    was faster, nobody took the answer within 2 s, or a server is away; 2 wrong usage, or nobody to ask and
    no --yes.
    """
    out, id_ = Output(output), _id(which)
    answer = _answer(id_, decision, reason)
    if not yes and not sys.stdin.isatty():
        raise SettingsError("--yes", "is needed where nobody can be asked")
    chosen = options.settings(more, redis_url=redis_url, amqp_url=amqp_url)
    url = options.amqp(chosen)
    record, now, _ = options.run(_looked_up(chosen, id_))
    if record is None or record.outcome is not None:
        how = "" if record is None or record.outcome is None else f": {record.outcome.value}"
        out.say(_not_in_flight(id_) if record is None else f"{escaped(str(id_))} is settled already{how}")
        raise typer.Exit(1)
    if not yes:
        left = max(record.deadline - now, 0.0)
        out.say(
            f"{escaped(record.event)} of {escaped(str(id_))}, "
            f"Call-ID {escaped(record.call_id) or 'unknown'}; {seconds(left)} left"
        )
        if not typer.confirm(f"Answer it with {escaped(answer.body.decode())}?", err=True):
            out.say("nothing was settled")
            raise typer.Exit(1)
    done = options.run(_settled(chosen, url, record, answer))
    row = {
        "id": str(id_),
        "call_id": record.call_id,
        "event": record.event,
        "outcome": done.outcome,
        "settled": done.by_us,
        "decision": json.loads(answer.body),
        "by": answer.by,
        "reason": answer.reason,
    }
    if not done.by_us:
        out.say(f"{escaped(str(id_))}: {done.why}")
        if out.format is not Format.TABLE:
            out.one(row, COLUMNS_SETTLE)
        raise typer.Exit(1)
    out.one(row, COLUMNS_SETTLE)


async def _settled(chosen: Settings, url: str, record: Transaction, answer: Answer) -> Done:
    from adapter.admin.settling import settle as settle_it

    return await settle_it(chosen, options.redis(chosen), url, record, answer)


def _id(text: str) -> TransactionId:
    from adapter.model.correlation import parts

    try:
        return parts(text)[0]
    except ValueError:
        raise SettingsError("ID", f"{escaped(text)} is no node:index:label:seq") from None


def _answer(id_: TransactionId, decision: str, reason: str) -> Answer:
    """Raises SettingsError for what Kamailio would not read."""
    from adapter.admin.settling import Answer
    from adapter.model.transaction import Outcome
    from adapter.wire import to_kamailio
    from adapter.wire.netstring import MAX_OUT

    if not reason.strip() or len(reason) > REASON:
        raise SettingsError("--reason", f"is 1 to {REASON} characters")
    try:
        found = json.loads(decision)
        if not isinstance(found, dict):
            raise SettingsError("--decision", 'is no JSON object, such as {"action":"reject","code":486}')
        body = to_kamailio.decision_json(found)
    except (ValueError, RecursionError, CodecError) as exc:
        raise SettingsError("--decision", f"Kamailio cannot be told this: {escaped(str(exc))}") from exc
    if len(to_kamailio.resume(id_, "", Outcome.OPERATOR, body)) > MAX_OUT:
        raise SettingsError("--decision", f"is too long: Kamailio reads {MAX_OUT} bytes in all")
    return Answer(body, options.who(), " ".join(reason.split()))


def _not_in_flight(id_: TransactionId) -> str:
    which = escaped(str(id_))
    return f"{which} is not in flight; what became of it tells: evapi-adapter trace {which}"


async def _scanned(chosen: Settings, node: str) -> tuple[list[Transaction], float]:
    import asyncio

    from adapter.admin import calls

    async with calls.opened(chosen, options.calls_of(chosen)) as store:
        snapshot, now = await asyncio.gather(store.snapshot(), store.time())
        names = [node] if node else calls.node_names(chosen, snapshot)
        found = await asyncio.gather(*map(store.scan, names))
    return [record for each in found for record in each], now


async def _looked_up(
    chosen: Settings, id_: TransactionId
) -> tuple[Transaction | None, float, Timeline | None]:
    from adapter.admin import calls

    async with calls.opened(chosen, options.calls_of(chosen)) as store:
        record, now = await store.get(id_), await store.time()
        if record is None:
            return None, now, None
        wanted, replicas = calls.Wanted(str(id_), id_[:3]), await store.journals()
        found = await calls.history(store, replicas, wanted, [record], now)
    return record, now, next(each for each in found if each.id == id_)


def _row(record: Transaction, now: float) -> dict[str, Any]:
    return {
        "id": str(record.id),
        "call_id": record.call_id,
        "event": record.event,
        "node": record.id.node,
        "owner": record.owner,
        "state": record.state.name.lower(),
        "outcome": None if record.outcome is None else record.outcome.value,
        "age": round(max(now - record.claimed_at, 0.0), 6),
        "left": round(record.deadline - now, 6) if record.outcome is None else None,
        "claimed_at": record.claimed_at,
        "deadline": record.deadline,
    }


def _narrowed(row: Mapping[str, Any]) -> dict[str, str]:
    """The same in fewer columns, on several lines."""
    parts = {
        "which": (row["id"], row["call_id"]),
        "what": (row["event"], row["owner"].partition("~")[0]),
        "how": (row["state"], row["outcome"]),
    }
    return {key: "\n".join(escaped(each) for each in found if each) for key, found in parts.items()}


def _json(text: bytes | None) -> Any:
    return None if text is None else json.loads(text)
