"""``evapi-adapter tail``: events and outcomes as they come, of all replicas."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final

import typer

from adapter.cli import complete, listing, options
from adapter.cli.help import Commands
from adapter.cli.output import Column, Format, Output, clock, escaped, seconds
from adapter.errors import SettingsError, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from adapter.admin.timelines import Noted
    from adapter.model.transaction import TransactionId
    from adapter.observe.journal_entry import Step
    from adapter.ports.inspection import Inspection
    from adapter.settings import Settings

app = Commands()

EPILOG: Final = (
    "Examples:  evapi-adapter tail --only resume --outcome timeout    "
    "evapi-adapter tail --only resume --outcome '!decided' --since 30s    "
    "evapi-adapter tail --since 30s --call-id 1-4711@10.0.0.7    "
    "evapi-adapter tail --for 10s -o jsonl | jq -r .outcome | sort | uniq -c"
)
NOT: Final = "!"
"""Before an outcome: all but this one."""
LOOK: Final = 0.25
"""Seconds between two looks at the journals."""
SERVICES: Final = 100_000
"""Calls of which it is remembered until their outcome who replied."""

_STYLES: Final = {"event": "cyan", "decided": "green", "operator": "yellow"}
_STEPS: Final = {"stale": "bold red", "fallback_on": "bold red", "fallback": "bold red"}


class Only(StrEnum):
    """What of a call is shown."""

    EVENT = "event"
    RESUME = "resume"


def _style(said: Any) -> str:
    return _STYLES.get(str(said).strip(), "bold red")


def _step(step: Any) -> str:
    """A mark of calls that others decided than the services that were asked first."""
    return "" if step in (None, "service") else f"by {escaped(str(step))}"


def _payload(value: Any) -> str:
    return "" if value is None else escaped(json.dumps(value, ensure_ascii=False, default=str))


COLUMNS: Final = (
    Column("at", "TIME", clock, style="dim", width=12),
    Column("said", "WHAT", style=_style, width=11),
    Column("took", "TOOK", width=7),
    Column("event", "EVENT", width=16),
    Column("id", "ID", style="bold", width=24),
    Column("service", "SERVICE", width=14),
    Column("step", "STEP", _step, style=lambda step: _STEPS.get(str(step), "yellow"), width=14),
    Column("call_id", "CALL-ID"),
    Column("data", "DATA", _payload),
    Column("decision", "DECISION", _payload),
)


@dataclass(frozen=True, slots=True)
class Filter:
    """What is shown; empty or ``None``: all. ``outcome``: any of these, and none of those after a ``!``."""

    node: str = ""
    event: str = ""
    outcome: tuple[str, ...] = ()
    call_id: str = ""
    service: str = ""
    only: Only | None = None
    step: str = ""

    _SAME: ClassVar = ("node", "event", "call_id", "step")

    def takes(self, row: Mapping[str, Any]) -> bool:
        """Whether a row is. Who decides and how is known of outcomes alone."""
        if self.only is not None and row["kind"] != self.only:
            return False
        decided = row["service"] == self.service or (row["services"] or {}).get(self.service) == "decided"
        if self.service and not decided:
            return False
        if self.outcome and not _is_one_of(row["outcome"], self.outcome):
            return False
        return all(getattr(self, name) in ("", row[name]) for name in self._SAME)


def _is_one_of(outcome: str | None, words: tuple[str, ...]) -> bool:
    """Whether an outcome is any of those that are named, or of all where only others are left out."""
    wanted = {word for word in words if not word.startswith(NOT)}
    return outcome is not None and f"{NOT}{outcome}" not in words and (not wanted or outcome in wanted)


class Follower:
    """Reads on in all journals, those of replicas that come later among them.

    ``since``: epoch seconds by Redis' clock from which on.
    """

    def __init__(self, store: Inspection, since: float) -> None:
        self._store = store
        self._since = f"{max(int(since * 1000), 1)}"
        self._read: dict[str, str] = {}  # of each replica, the id of the last entry
        self.replicas = 0

    async def read(self) -> list[Noted]:
        """What was written since the last time, in order of time. Raises StoreUnavailable."""
        import asyncio

        from adapter.admin.calls import read_entry
        from adapter.admin.timelines import Noted

        listed = await self._store.journals()
        self.replicas = len(listed)
        replicas = sorted({*listed, *self._read})  # one that has left may have written a last entry
        asked = (self._store.journal(replica, self._read.get(replica, self._since)) for replica in replicas)
        noted: list[Noted] = []
        for replica, found in zip(replicas, await asyncio.gather(*asked), strict=True):
            for id_, entry in found:
                noted += (Noted(replica, step) for step in read_entry(entry))
                self._read[replica] = id_
        noted.sort(key=lambda each: (each.step.at, each.step.kind))
        return noted


@dataclass(slots=True)
class Course:
    """What is known of a call that several services decide: the status of each, and what decided."""

    services: dict[str, str] = field(default_factory=dict)
    step: str | None = None


class Lines:
    """Makes a row of each event and of each outcome; remembers until it comes who replied, and what became
    of each service that was asked. Pure."""

    def __init__(self, payloads: bool = False) -> None:
        self.has_payloads = payloads
        self._services: dict[TransactionId, str] = {}
        self._courses: dict[TransactionId, Course] = {}
        self.without = False
        """Whether payloads were asked for, and a journal does not keep them."""

    def rows(self, noted: Iterable[Noted]) -> Iterator[dict[str, Any]]:
        """The rows of these, in their order."""
        from adapter.observe.journal_entry import Kind

        noted = list(noted)
        # What decided may be noted a moment after the resume that says so.
        for each in noted:
            if each.step.kind is Kind.STEP:
                self._course(each.step)
        for each in noted:
            kind, id_ = each.step.kind, each.step.id
            if kind is Kind.EVENT:
                yield self._row(each, "event") | self._payload(each, "data")
            elif kind is Kind.RESUME:
                more = each.step.more
                row = self._row(each, "resume")
                row |= {"outcome": more["outcome"], "seconds": more["seconds"]}
                yield row | self._decided(id_) | self._payload(each, "decision")
            elif kind is Kind.REPLY and each.step.more.get("service"):
                self._services[id_] = each.step.more["service"]
                if len(self._services) > SERVICES:  # a reply that came too late has no outcome
                    del self._services[next(iter(self._services))]

    def _course(self, step: Step) -> None:
        from adapter.admin.timelines import is_rung

        course = self._courses.setdefault(step.id, Course())
        if is_rung(step):
            course.step = step.more["status"]
        else:
            course.services[step.more["service"]] = step.more["status"]
        if len(self._courses) > SERVICES:
            del self._courses[next(iter(self._courses))]

    def _decided(self, id_: TransactionId) -> dict[str, Any]:
        """By whom: of a course, all whose decision there is."""
        replied, course = self._services.pop(id_, None), self._courses.pop(id_, None)
        if course is None:
            return {"service": replied}
        names = ", ".join(name for name, status in course.services.items() if name and status == "decided")
        return {"service": names or None, "services": course.services, "step": course.step}

    def _row(self, each: Noted, kind: str) -> dict[str, Any]:
        step = each.step
        return {
            "at": step.at,
            "kind": kind,
            "node": step.id.node,
            "event": step.event,
            "id": str(step.id),
            "call_id": step.call_id,
            "outcome": None,
            "seconds": None,
            "service": None,
            "services": None,
            "step": None,
            "replica": each.replica,
        }

    def _payload(self, each: Noted, name: str) -> dict[str, Any]:
        if not self.has_payloads:
            return {}
        from adapter.admin.masking import masked
        from adapter.admin.timelines import request_data

        kept = each.step.more.get("request" if name == "data" else "decision")
        self.without = self.without or kept is None
        found = None if kept is None else request_data(kept) if name == "data" else json.loads(kept)
        return {name: masked(found)}


@app.command(epilog=EPILOG)
def tail(
    node: Annotated[str, typer.Option(autocompletion=complete.nodes, help="Only those of this node.")] = "",
    event: Annotated[
        str, typer.Option(autocompletion=complete.events, help="Only those of this event.")
    ] = "",
    outcome: Annotated[
        list[str] | None,
        typer.Option(
            metavar="OUTCOME",
            autocompletion=complete.outcomes,
            help="Only this outcome: timeout; or all but it: '!decided'. May be repeated.",
        ),
    ] = None,
    call_id: Annotated[str, typer.Option(help="Only those of this Call-ID.")] = "",
    service: Annotated[
        str,
        typer.Option(
            metavar="NAME", autocompletion=complete.services, help="Only what this service decided."
        ),
    ] = "",
    step: Annotated[
        str,
        typer.Option(
            autocompletion=complete.steps, help="Only what this step of the ladder decided: backup, ..."
        ),
    ] = "",
    only: Annotated[Only | None, typer.Option(help="Only events, or only outcomes.")] = None,
    payloads: Annotated[
        bool, typer.Option("--payloads", help="Also events' data and decisions, secrets masked.")
    ] = False,
    since: listing.Since = None,
    during: Annotated[
        float | None,
        typer.Option("--for", parser=options.duration, metavar="TIME", help="End after this time: 10s."),
    ] = None,
    redis_url: options.RedisUrl = None,
    output: options.As = Format.TABLE,
    more: options.More = None,
) -> None:
    """Show events and outcomes as they come, of all replicas, until Ctrl-C.

    A line for each event that a replica claimed and for each outcome, up to a second after it happened: in
    order of time among those that are read together. With --since it begins with what is kept. A call of
    several services is marked with the step that decided it, unless those did that are asked first: by
    backup, by stale. Payloads are there with EVAPI_JOURNAL_PAYLOADS. Redis away: it is waited for, once it
    was there. Exit codes: 0 the time is over, or nobody reads on (| head); 1 Redis is away; 2 wrong usage;
    130 Ctrl-C.
    """
    from adapter.model.ladder import Rung
    from adapter.model.transaction import Outcome

    if output is Format.JSON:
        raise SettingsError("--output", "is table or jsonl: what goes on has no end that JSON could have")
    outcomes = tuple(outcome or ())
    if any(word.removeprefix(NOT) not in list(Outcome) for word in outcomes):
        raise SettingsError("--outcome", f"is one of {', '.join(Outcome)}, or ! and one of them")
    if step and step not in list(Rung):
        raise SettingsError("--step", f"is one of {', '.join(Rung)}")
    chosen = options.settings(more, redis_url=redis_url)
    wanted = Filter(node, event, outcomes, call_id, service, only, step)
    try:
        options.run(_follow(chosen, Output(output), wanted, Lines(payloads), since or 0.0, during))
    except BrokenPipeError:
        # Nobody reads on: what is still in the buffer must not be written at the end, either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


async def _follow(
    chosen: Settings, out: Output, wanted: Filter, lines: Lines, since: float, during: float | None
) -> None:
    import asyncio

    from adapter.admin import calls
    from adapter.admin.away import redis_away

    end = None if during is None else time.monotonic() + during
    store = options.calls_of(chosen)
    async with calls.opened(chosen, store):
        follower = Follower(store, await store.time() - since)
        noted = await follower.read()
        if not follower.replicas:
            out.say("no replica has beaten in the last 10 minutes: does `evapi-adapter run` run?")
        problem: StoreUnavailable | None = None
        out.head(COLUMNS if lines.has_payloads else COLUMNS[:-2])
        while True:
            _print(out, wanted, lines, noted)
            left = LOOK if end is None else min(LOOK, end - time.monotonic())
            if left <= 0:
                break
            await asyncio.sleep(left)
            try:
                noted = await follower.read()
            except StoreUnavailable as exc:
                noted = []
                if problem is None:
                    out.say(f"evapi-adapter: {redis_away(chosen, exc)}. It is waited for")
                problem = exc
            else:
                if problem is not None:
                    out.say("evapi-adapter: Redis is back")
                problem = None
        if problem is not None:
            raise problem


def _print(out: Output, wanted: Filter, lines: Lines, noted: Iterable[Noted]) -> None:
    told = lines.without
    for row in filter(wanted.takes, lines.rows(noted)):
        if out.format is Format.TABLE:
            row |= {"said": row["outcome"] or "event", "took": f"{seconds(row['seconds']):>7}"}
        if out.format is Format.TABLE and not sys.stdout.isatty():
            # Without rich: it takes 8 times as long, and has its own exit code for a pipe that is closed.
            placed = "  ".join(filter(None, (column.placed(row) for column in COLUMNS)))
            sys.stdout.write(placed.rstrip() + "\n")
            sys.stdout.flush()
        else:
            out.line(COLUMNS, row)
    if lines.without and not told:
        out.say("no payloads: the journals keep them only with EVAPI_JOURNAL_PAYLOADS=true")
