"""``evapi-adapter dead-letters``: what died and why, and what to do with it."""

from __future__ import annotations

import json
import math
import sys
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from adapter.cli import complete, listing, options
from adapter.cli.help import Commands
from adapter.cli.output import Column, Format, Output, console, escaped, seconds
from adapter.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from adapter.admin.dead_letters import DeadLetters, Fate, Filter, Letter, Pace
    from adapter.settings import Settings

EPILOG: Final = (
    "Examples:  evapi-adapter dead-letters list    evapi-adapter dead-letters show 3    "
    "evapi-adapter dead-letters replay --dry-run"
)
EPILOG_LIST: Final = (
    "Examples:  evapi-adapter dead-letters list --cause rejected --limit 20    "
    "evapi-adapter dead-letters list -o jsonl | jq -r .call_id"
)
EPILOG_SHOW: Final = (
    "Examples:  evapi-adapter dead-letters show 3    evapi-adapter dead-letters show sbc1:37:1840980198:1    "
    "evapi-adapter dead-letters show 3 --raw > body"
)
EPILOG_REPLAY: Final = (
    "Examples:  evapi-adapter dead-letters replay --dry-run    "
    "evapi-adapter dead-letters replay --event call_ended --rate 50"
)
EPILOG_PURGE: Final = "Example:  evapi-adapter dead-letters purge --cause rejected --yes"

ByCause = Annotated[
    str, typer.Option("--cause", metavar="WORD", help="Only those that died of it: rejected, maxlen, ...")
]
ByEvent = Annotated[
    str, typer.Option("--event", autocompletion=complete.events, help="Only those of this event.")
]
ByNode = Annotated[
    str, typer.Option("--node", autocompletion=complete.nodes, help="Only those of this node.")
]

app = Commands(
    name="dead-letters",
    help="What died on the way, and why: list, show, replay, purge.",
    epilog=EPILOG,
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be replayed, and how."""

    chosen: Filter
    limit: int | None
    rate: float | None
    even_late: bool
    dry_run: bool


def _when(epoch: Any) -> str:
    return "" if epoch is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(epoch))


def _lines(value: Any) -> str:
    """A body or headers, on several lines."""
    if not value:
        return ""
    shown = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False, default=str)
    return escaped(shown, lines=True)


COLUMNS: Final = (
    Column("number", "#", right=True, style="bold"),
    Column("age", "AGE", seconds, right=True),
    Column("kind", "KIND"),
    Column("reason", "REASON", style="red"),
    Column("event", "EVENT"),
    Column("node", "NODE"),
    Column("service", "SERVICE"),
    Column("correlation_id", "CORRELATION ID"),
    Column("call_id", "CALL-ID"),
    Column("bytes", "BYTES", right=True),
    Column("detail", "DETAIL"),
)
COLUMNS_NARROW: Final = (
    Column("number", "#", right=True, style="bold"),
    Column("age", "AGE", seconds, right=True),
    Column("why", "REASON", _lines, style="red"),
    Column("what", "EVENT", _lines),
    Column("which", "ID, CALL-ID, DETAIL", _lines),
    Column("bytes", "BYTES", right=True),
)
NARROW: Final = 140
"""Columns of a terminal below which a letter takes several lines."""
COLUMNS_SHOW: Final = (
    *COLUMNS,
    Column("at", "DIED", _when),
    Column("deadline", "DEADLINE", _when),
    Column("properties", "PROPERTIES", _lines),
    Column("headers", "HEADERS", _lines),
    Column("body", "BODY", _lines),
)
COLUMNS_REPLAY: Final = (
    Column("fate", "FATE", style="bold"),
    *(each for each in COLUMNS if each.key in ("number", "kind", "reason", "event", "node")),
    Column("correlation_id", "CORRELATION ID"),
)


@app.command("list", epilog=EPILOG_LIST)
def list_(
    cause: ByCause = "",
    event: ByEvent = "",
    node: ByNode = "",
    since: listing.Since = None,
    limit: Annotated[int | None, typer.Option(min=1, help="The newest so many.")] = None,
    sort: listing.Sort = "",
    watch: listing.Watch = None,
    amqp_url: options.AmqpUrl = None,
    output: options.As = Format.TABLE,
    more: options.More = None,
) -> None:
    """List them, the newest last. They stay where they are; RabbitMQ marks them redelivered.

    Their numbers count from the oldest that is there now. Exit codes: 0 listed, 1 RabbitMQ cannot be asked,
    2 wrong usage.
    """
    out, chosen = Output(output), options.settings(more, amqp_url=amqp_url)

    def look() -> None:
        wanted, now = _filter(cause, event, node, since), time.time()
        letters, marked = options.run(_read_any(chosen))
        found = [letter for letter in letters if wanted.takes(letter)]
        rows = [_row(letter, now) for letter in (found[-limit:] if limit else found)]
        _print(out, listing.ordered(rows, sort, COLUMNS))
        looked = " (looked at: RabbitMQ marks them redelivered)" if marked else ""
        out.say(f"{len(rows)} of {len(letters)} dead letters{looked}")

    listing.repeat(look, out, watch)


def _print(out: Output, rows: Sequence[Mapping[str, Any]]) -> None:
    if out.format is Format.TABLE and sys.stdout.isatty() and console().width < NARROW:
        out.rows(COLUMNS_NARROW, [{**row, **_narrowed(row)} for row in rows])
    else:
        out.rows(_telling(COLUMNS, rows), rows)


@app.command(epilog=EPILOG_SHOW)
def show(
    which: Annotated[str, typer.Argument(metavar="N", help="Its number in the list; or an id of it.")],
    raw: Annotated[bool, typer.Option("--raw", help="The body alone, as it is: nothing is masked.")] = False,
    amqp_url: options.AmqpUrl = None,
    output: options.As = Format.TABLE,
    more: options.More = None,
) -> None:
    """Show one: its properties, its headers, and its body, decoded and with secrets masked.

    N is its number in the list, of now: it falls as older ones go. Or its correlation id, message id or
    Call-ID: the newest that has it. Exit codes: 0 shown, 1 there is none, or RabbitMQ cannot be asked, 2
    wrong usage.
    """
    from adapter.admin import dead_letters

    out = Output(output)
    letters, _ = options.run(_read_any(options.settings(more, amqp_url=amqp_url)))
    letter = dead_letters.find(letters, which)
    if letter is None:
        out.say(
            f"no dead letter {escaped(which)}: there are {len(letters)}; see evapi-adapter dead-letters list"
        )
        raise typer.Exit(1)
    if raw:
        _write_raw(letter.message.body)
        return
    row = _row(letter, time.time()) | {
        "properties": dead_letters.properties(letter),
        "headers": dead_letters.headers(letter),
        "body": dead_letters.body(letter),
    }
    out.one(row, COLUMNS_SHOW)


@app.command(epilog=EPILOG_REPLAY)
def replay(
    cause: ByCause = "",
    event: ByEvent = "",
    node: ByNode = "",
    since: listing.Since = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Replay so many at most, the oldest first.")
    ] = None,
    rate: Annotated[float | None, typer.Option(min=0.01, help="So many a second at most.")] = None,
    even_late: Annotated[
        bool, typer.Option("--even-late", help="Requests, too, whose deadline has passed: nobody waits.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would be done.")] = False,
    amqp_url: options.AmqpUrl = None,
    output: options.As = Format.TABLE,
    more: options.More = None,
) -> None:
    """Publish requests and notices again, as they were, and take those off the dead letters.

    Every service that is bound to the event gets it, the ones that had it before among them. A request
    whose deadline has passed is left, since its call has been answered; so is what cannot be replayed (frames
    that were not understood, replies, commands), and what no queue is bound for. Exit codes: 0 done, 1 some
    had no queue, or RabbitMQ went away (each letter is then replayed or still there), 2 wrong usage.
    """
    from adapter.admin.dead_letters import Fate

    out = Output(output)
    plan = Plan(_filter(cause, event, node, since), limit, rate, even_late=even_late, dry_run=dry_run)
    fates = options.run(_replayed(_url(amqp_url, more), plan, out))
    told = [f"{fates[fate]} {words}" for fate, words in _told(dry_run).items() if fates[fate]]
    out.say(", ".join(told) or "no dead letter to replay")
    if fates[Fate.UNROUTABLE]:
        raise typer.Exit(1)


@app.command(epilog=EPILOG_PURGE)
def purge(
    cause: ByCause = "",
    event: ByEvent = "",
    node: ByNode = "",
    since: listing.Since = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    amqp_url: options.AmqpUrl = None,
    output: options.As = Format.TABLE,
    more: options.More = None,
) -> None:
    """Delete them for good: all that are there now, or those that the filters mean.

    Exit codes: 0 deleted, or there was nothing; 1 not confirmed, or RabbitMQ cannot be asked; 2 wrong usage,
    or nobody to ask and no --yes.
    """
    out, url, chosen = Output(output), _url(amqp_url, more), _filter(cause, event, node, since)
    if not yes and not sys.stdin.isatty():
        raise SettingsError("--yes", "is needed where nobody can be asked")
    doomed: Sequence[Letter] | None = None
    if not yes:
        letters = options.run(_read(url))
        doomed = [letter for letter in letters if chosen.takes(letter)]
        question = f"Delete {len(doomed)} of {len(letters)} dead letters for good?"
        if doomed and not typer.confirm(question, err=True):
            out.say("nothing was deleted")
            raise typer.Exit(1)
    row = options.run(_purged(url, chosen, doomed))
    out.one(row, (Column("purged", "PURGED"), Column("left", "LEFT")))


def _url(amqp_url: str | None, more: list[str] | None) -> str:
    return options.amqp(options.settings(more, amqp_url=amqp_url))


def _filter(cause: str, event: str, node: str, since: float | None) -> Filter:
    from adapter.admin.dead_letters import Filter

    return Filter(cause, event, node, -math.inf if since is None else time.time() - since)


async def _read_any(chosen: Settings) -> tuple[Sequence[Letter], bool]:
    """The letters of RabbitMQ, or of an adapter without it that runs here; whether looking marks them."""
    if not options.embedded(chosen):
        return await _read(options.amqp(chosen)), True
    adapter = options.running(chosen)
    try:
        return await adapter.letters(), False
    finally:
        await adapter.close()


async def _read(url: str) -> Sequence[Letter]:
    from adapter.admin import dead_letters
    from adapter.admin.rabbit import Rabbit

    async with Rabbit(url) as rabbit, dead_letters.opened(rabbit) as found:
        return found.letters


async def _replayed(url: str, plan: Plan, out: Output) -> Counter[str]:
    from adapter.admin import dead_letters
    from adapter.admin.dead_letters import Fate
    from adapter.admin.rabbit import Rabbit

    fates: Counter[str] = Counter()
    rows: list[Mapping[str, Any]] = []
    pace = dead_letters.Pace(plan.rate)
    async with Rabbit(url) as rabbit, dead_letters.opened(rabbit) as found:
        for letter in filter(plan.chosen.takes, found.letters):
            fate = letter.fate(time.time(), plan.even_late)
            if fate is Fate.REPLAYED and plan.limit is not None and fates[fate] >= plan.limit:
                fate = Fate.BEYOND
            elif fate is Fate.REPLAYED and not plan.dry_run:
                fate = await _replay(found, letter, pace, plan.even_late)
            fates[fate] += 1
            row = {"fate": str(fate), "dry_run": plan.dry_run, **_row(letter, time.time())}
            if out.format is Format.JSON:
                rows.append(row)
            elif out.format is Format.TABLE and plan.dry_run and fate is Fate.REPLAYED:
                out.line(COLUMNS_REPLAY, row | {"fate": "would be replayed"})
            else:
                out.line(COLUMNS_REPLAY, row)
    if out.format is Format.JSON:
        out.rows(COLUMNS_REPLAY, rows)
    return fates


async def _replay(found: DeadLetters, letter: Letter, pace: Pace, even_late: bool) -> Fate:
    from adapter.admin.dead_letters import Fate

    await pace.role()
    now = time.time()
    fate = letter.fate(now, even_late)  # it may have become late while it waited for its turn
    return await found.replay(letter, now) if fate is Fate.REPLAYED else fate


def _told(dry_run: bool) -> Mapping[str, str]:
    from adapter.admin.dead_letters import Fate

    return {
        Fate.REPLAYED: "would be replayed" if dry_run else "replayed",
        Fate.LATE: "left: too late (--even-late replays them)",
        Fate.UNROUTABLE: "left: no queue is bound for the event",
        Fate.IMPOSSIBLE: "left: neither request nor notice",
        Fate.BEYOND: "left: beyond --limit",
    }


async def _purged(url: str, chosen: Filter, confirmed: Sequence[Letter] | None) -> dict[str, int]:
    """Delete what is meant; where it was ``confirmed``, no more than that.

    What came since stays, and no letter was held back while somebody thought about it.
    """
    from adapter.admin import dead_letters
    from adapter.admin.rabbit import Rabbit

    keys = None if confirmed is None else {letter.key for letter in confirmed}
    async with Rabbit(url) as rabbit, dead_letters.opened(rabbit) as found:
        doomed = [each for each in found.letters if chosen.takes(each) and (keys is None or each.key in keys)]
        await found.remove(doomed)
    return {"purged": len(doomed), "left": len(found.letters) - len(doomed)}


def _row(letter: Letter, now: float) -> dict[str, Any]:
    return {
        "number": letter.number,
        "at": letter.at,
        "age": None if letter.at is None else max(0.0, now - letter.at),
        "kind": str(letter.kind),
        "reason": letter.reason,
        "detail": letter.detail,
        "event": letter.event,
        "node": letter.node,
        "service": letter.service,
        "correlation_id": letter.correlation_id,
        "message_id": letter.message_id,
        "call_id": letter.call_id,
        "bytes": len(letter.message.body),
        "deadline": letter.deadline,
        "redelivered": letter.message.redelivered,
    }


def _narrowed(row: Mapping[str, Any]) -> dict[str, str]:
    """The same in fewer columns, on several lines."""
    by = row["service"] and f"by {row['service']}"
    of = f"{row['kind']} of {row['node']}" if row["node"] else row["kind"]
    parts = {
        "why": (row["reason"], by),
        "what": (row["event"], of),
        "which": (row["correlation_id"], row["call_id"], row["detail"]),
    }
    return {key: "\n".join(filter(None, lines)) for key, lines in parts.items()}


def _telling(columns: Sequence[Column], rows: Sequence[Mapping[str, Any]]) -> list[Column]:
    """The columns in which any row has something: a terminal is narrow."""
    return [column for column in columns if any(column.cell(row) for row in rows)]


def _write_raw(body: bytes) -> None:
    if sys.stdout.isatty():
        sys.stdout.write(escaped(body.decode("utf-8", "backslashreplace"), lines=True) + "\n")
    else:
        sys.stdout.buffer.write(body)
    sys.stdout.flush()
