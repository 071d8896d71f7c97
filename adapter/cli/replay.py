"""``evapi-adapter replay``: asks a candidate about calls that are over."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Annotated, Final

import typer

from adapter.cli import complete, listing, options
from adapter.cli.help import Commands
from adapter.cli.output import Format, Output
from adapter.cli.replay_report import Seen, nothing, show
from adapter.errors import AdapterError, SettingsError

if TYPE_CHECKING:
    from adapter.relay.plan import Service
    from adapter.settings import Settings

app = Commands()

EPILOG: Final = (
    "Examples:  evapi-adapter replay --since 10m --event invite_request --service candidate    "
    "evapi-adapter replay --event invite_request --service candidate --fields action,uri --limit 200    "
    "evapi-adapter replay --event invite_request --service candidate -o json | jq .differences"
)
SINCE: Final = 600.0
TIMEOUT: Final = 2.0
LONGEST: Final = 60.0
"""Seconds that a candidate may have for one request."""
MAX_NAME: Final = 100
_TELL_EACH: Final = 0.2


@app.command(epilog=EPILOG)
def replay(
    event: Annotated[
        str,
        typer.Option(autocompletion=complete.events, metavar="NAME", help="The event whose calls are taken."),
    ],
    service: Annotated[
        str,
        typer.Option(
            autocompletion=complete.services, metavar="NAME", help="The candidate: a service that runs."
        ),
    ],
    since: listing.Since = None,
    fields: Annotated[
        str | None,
        typer.Option(metavar="KEYS", help="Keys that are compared: action,uri. [default: all]"),
    ] = None,
    all_: Annotated[
        bool, typer.Option("--all", help="Also calls that no service decided, with their fallback.")
    ] = False,
    timeout: Annotated[
        float | None,
        typer.Option(parser=options.duration, metavar="TIME", help="It has this for each. [default: 2s]"),
    ] = None,
    rate: Annotated[float, typer.Option(min=0.1, max=10_000, help="Requests a second at most.")] = 50.0,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="Calls at most, the latest.")] = 1_000,
    in_flight: Annotated[
        int, typer.Option(min=1, max=10_000, help="Requests at most that wait for a reply at a time.")
    ] = 100,
    policy: options.PolicyFile = None,
    amqp_url: options.AmqpUrl = None,
    redis_url: options.RedisUrl = None,
    output: options.As = Format.TABLE,
    more: options.More = None,
) -> None:
    """Ask a candidate about calls that are over, and tell where it decides otherwise. No call is touched.

    The calls are those of the last 10 minutes (--since) in the replicas' journals, with their requests:
    EVAPI_JOURNAL_PAYLOADS must be true, and EVAPI_JOURNAL long enough. Each request goes to the candidate's
    own queue, with a time of its own; the replies come here. To the candidate it is a request like any other:
    what it does beside deciding it does again. Nobody else is asked.

    Its decision is compared with the one that Kamailio got. If several services decided that, it is their
    common one: compare the candidate's part with --fields. In mode chain the request is the whole one,
    without what former services had decided. Left out are calls that ended by a fallback, a stale decision or
    an operator's (--all), and those that still wait. What the policy (--policy) says of the candidate counts:
    format, fields, accepts.

    Exit codes: 0 all would be decided as they were; 1 some would not, or nothing could be compared; 2 wrong
    usage; 130 Ctrl-C, after what was seen so far.
    """
    from adapter.admin.differences import Tally
    from adapter.admin.recorded import Recording
    from adapter.admin.replay import Terms

    for name, given in (("--event", event), ("--service", service)):
        if not 0 < len(given.encode("utf-8", "replace")) <= MAX_NAME:
            raise SettingsError(name, f"is a name of 1 to {MAX_NAME} bytes")
    seconds_left = TIMEOUT if timeout is None else timeout
    if not 0.05 <= seconds_left <= LONGEST:
        raise SettingsError("--timeout", f"is a time of 50ms to {LONGEST:g}s")
    chosen = options.settings(more, policy=policy, amqp_url=amqp_url, redis_url=redis_url)
    terms = Terms(_candidate(chosen, service), seconds_left, rate, in_flight, _keys(fields))
    seen = Seen(terms, Tally(), Recording(event, limit, all_))
    out, progress = Output(output), Progress(seen)
    try:
        options.run(_work(chosen, seen, SINCE if since is None else since, progress))
    except (typer.Exit, AdapterError):
        progress.clear()
        if seen.tally.asked:
            show(out, seen, whole=False)
        raise
    progress.clear()
    if not seen.tally.asked:
        out.say(nothing(seen))
        raise typer.Exit(1)
    show(out, seen, whole=True)
    if not seen.tally.all_same:
        raise typer.Exit(1)


def _keys(fields: str | None) -> frozenset[str]:
    keys = frozenset(key.strip() for key in (fields or "").split(",") if key.strip())
    if fields is not None and not keys:
        raise SettingsError("--fields", "names keys of decisions, separated by commas: action,uri")
    return keys


def _candidate(chosen: Settings, service: str) -> Service:
    """The candidate with what the policy says of it. Raises PolicyError."""
    from adapter.relay import policy
    from adapter.relay.plan import Service

    known = {} if chosen.policy is None else policy.read(chosen.policy).known
    return known.get(service) or Service(service)


async def _work(chosen: Settings, seen: Seen, ago: float, progress: Progress) -> None:
    from dataclasses import replace

    from adapter.admin import calls, recorded
    from adapter.admin.rabbit import Rabbit
    from adapter.admin.replay import Replay, look_for

    url = options.amqp(chosen)
    async with calls.opened(chosen, options.redis(chosen)) as store:
        asked = time.time()
        now = await store.time()
        ahead = now - (asked + time.time()) / 2
        seen.terms = replace(seen.terms, clock_ahead=ahead)
        seen.since, replicas = now - ago, await store.journals()
        await recorded.record(store, replicas, seen.since, seen.recording)
        seen.kept = await calls.kept(store, replicas)
    if not seen.recording.calls:
        return
    async with Rabbit(url) as rabbit:
        await look_for(rabbit, seen.service)
        await Replay(rabbit, seen.terms, seen.tally, progress.tell).run(seen.recording.calls)


class Progress:
    """How far it is: one line on stderr that changes; nothing unless that is a terminal."""

    def __init__(self, seen: Seen) -> None:
        self._seen = seen
        self._lively = sys.stderr.isatty()
        self._next = 0.0

    def tell(self) -> None:
        """Tell it, not too often."""
        now = time.monotonic()
        if self._lively and now >= self._next:
            self._next = now + _TELL_EACH
            tally = self._seen.tally
            others = tally.asked - tally.as_row()["same"]
            left = len(self._seen.recording.calls)
            sys.stderr.write(f"\r\x1b[K{tally.asked} of {left} asked, {others} not the same")
            sys.stderr.flush()

    def clear(self) -> None:
        """Make place for the report."""
        if self._lively and self._next:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
