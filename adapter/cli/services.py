"""``evapi-adapter services``: who decides, whether anybody is there, and for which events."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from adapter.cli import complete, listing, options
from adapter.cli.help import Commands
from adapter.cli.output import Column, Format, Output, seconds, text
from adapter.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from adapter.admin.rabbit import Rabbit
    from adapter.admin.services import Service
    from adapter.hello import Hello
    from adapter.settings import Settings

EPILOG_REMOVE: Final = "Example:  evapi-adapter services remove screening_v1"
EPILOG: Final = (
    "Examples:  evapi-adapter services --policy policy.toml    "
    "evapi-adapter services -o json | jq '.rows[] | select(.consumers == 0)'"
)

Also = Annotated[
    list[str] | None,
    typer.Option(
        "--also",
        metavar="NAME",
        autocompletion=complete.services,
        help="A service to look for as well, which must be there; may be repeated.",
    ),
]


def _events(value: Any) -> str:
    return "?" if value is None else text(value)


def _number(value: Any) -> str:
    return "-" if value is None else text(value)


COLUMNS: Final = (
    Column("name", "SERVICE", style="bold"),
    Column("messages", "WAITING", _number, right=True),
    Column("consumers", "CONSUMERS", _number, right=True),
    Column("events", "EVENTS", _events),
    Column("remark", "REMARK", style="yellow"),
)


INSTANCES: Final = (
    Column("service", "SERVICE", style="bold"),
    Column("instance", "INSTANCE"),
    Column("version", "VERSION"),
    Column("uptime", "UP", seconds, right=True),
    Column("requests", "REQUESTS", right=True),
    Column("decided", "DECIDED", right=True),
    Column("failed", "FAILED", right=True),
    Column("per_decision", "PER DECISION", seconds, right=True),
    Column("prefetch", "PREFETCH", right=True),
    Column("concurrency", "CONCURRENCY", right=True),
    Column("error_age", "AGO", seconds, right=True),
    Column("error", "LAST ERROR", style="yellow"),
)
"""Of who answers; in JSON each service has its own."""


REMOVED: Final = (
    Column("queue", "DELETED"),
    Column("dropped", "DROPPED"),
    Column("events", "EVENTS", _events),
)

app = Commands(name="services", epilog=EPILOG, invoke_without_command=True, no_args_is_help=False)


@app.callback()
def services(
    context: typer.Context,
    amqp_url: options.AmqpUrl = None,
    amqp_api: options.AmqpApi = None,
    policy: options.PolicyFile = None,
    also: Also = None,
    sort: listing.Sort = "",
    watch: listing.Watch = None,
    output: options.As = Format.TABLE,
    more: options.More = None,
) -> None:
    """List the services that decide, with what is wrong with each.

    They are those that the policy names, those whose instances answer within a second when they are asked who
    is there and, where RabbitMQ's management plugin answers, all that have a queue. Only the plugin knows to
    which events they are bound; without it you see those that instances have handlers of (else: ?). A second
    table has what each instance says of itself. A consumer that does not answer hangs, or is none of the SDK.
    With EVAPI_REDIS_URL, it also tells of a service that takes requests and answers none, by the last calls.
    Exit codes: 0 listed, 1 RabbitMQ cannot be asked, 2 wrong usage.
    """
    if context.invoked_subcommand is not None:
        return
    chosen = options.settings(more, amqp_url=amqp_url, amqp_api=amqp_api, policy=policy)
    out = Output(output)

    def look() -> None:
        rows = listing.ordered(options.run(_rows(chosen, out, also or [])), sort, COLUMNS)
        shown = map(as_seen, rows) if out.format is Format.TABLE else rows
        out.rows(COLUMNS, shown, "no service is known: name it with --also, or in the policy (EVAPI_POLICY)")
        instances = [{"service": row["name"], **each} for row in rows for each in row["instances"]]
        if instances and out.format is Format.TABLE:
            typer.echo()
            out.rows(INSTANCES, instances)

    listing.repeat(look, out, watch)


@app.command(epilog=EPILOG_REMOVE)
def remove(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The service, which is gone for good.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    amqp_url: options.AmqpUrl = None,
    amqp_api: options.AmqpApi = None,
    policy: options.PolicyFile = None,
    output: options.As = Format.TABLE,
    more: options.More = None,
) -> None:
    """Delete the queue of a service that is gone for good, with its bindings and the requests that wait.

    Until then each call of its events is published to it, too. Asks before, and says what goes; refuses while
    somebody consumes the queue. Needs the right to configure it: the service's own user, or an
    administrator. Exit codes: 0 deleted, 1 not (somebody consumes it, there is none, not confirmed, RabbitMQ
    cannot be asked), 2 wrong usage, or nobody to ask and no --yes.
    """
    from adapter.admin.checks_finding import counted
    from adapter.admin.removal import Doomed, look, remove_queue
    from adapter.errors import AdapterError

    chosen = options.settings(more, amqp_url=amqp_url, amqp_api=amqp_api, policy=policy)
    out = Output(output)
    if not yes and not sys.stdin.isatty():
        raise SettingsError("--yes", "is needed where nobody can be asked")
    found: Doomed = options.run(look(chosen, options.amqp(chosen), name, out.say))
    if found.consumers:
        consumed = f"{counted(found.consumers, 'consumer')} on it; stop them first, then remove it"
        raise AdapterError(f"{found.queue}: {consumed}")
    out.say(found.told)
    if not yes and not typer.confirm(f"Delete {found.queue} for good?", err=True):
        out.say("nothing was deleted")
        raise typer.Exit(1)
    dropped = options.run(remove_queue(options.amqp(chosen), found.queue))
    out.one({"name": name, "queue": found.queue, "dropped": dropped, "events": found.events}, REMOVED)


async def _rows(chosen: Settings, out: Output, also: list[str]) -> list[dict[str, Any]]:
    from adapter.admin import services as admin
    from adapter.admin.management import reached
    from adapter.admin.rabbit import Rabbit

    if options.embedded(chosen):
        return [_row(each) for each in await _embedded(chosen)]
    async with Rabbit(options.amqp(chosen)) as rabbit, reached(chosen, out.say) as management:
        silent, present = await _silent(chosen, out), await _present(rabbit, out)
        found = await admin.services(chosen, rabbit, management, also, silent, present)
    return [_row(each) for each in found]


async def _embedded(chosen: Settings) -> Sequence[Service]:
    """Those in the process of the adapter that runs here, without RabbitMQ."""
    adapter = options.running(chosen)
    try:
        bus = await adapter.bus()
        return () if bus is None else bus.services
    finally:
        await adapter.close()


def _row(each: Service) -> dict[str, Any]:
    return {
        "name": each.name,
        "queue": each.queue,
        "messages": each.messages,
        "consumers": each.consumers,
        "hidden": each.hidden,
        "events": each.handled if each.events is None else each.events,
        "expected_events": each.asked_for,
        "remark": each.remark,
        "instances": [_instance(told) for told in each.instances],
    }


def as_seen(row: Mapping[str, Any]) -> dict[str, Any]:
    """A service's row for people: with question marks, where no queue may be looked at."""
    return {**row, "messages": "?", "consumers": "?"} if row["hidden"] else dict(row)


def _instance(told: Hello) -> dict[str, Any]:
    found = asdict(told)
    del found["service"], found["leaves"]
    return found


async def _present(rabbit: Rabbit, out: Output) -> Mapping[str, tuple[Hello, ...]] | None:
    """Who answers, by service; None if this user may not ask."""
    from adapter.admin.presence import who_is_there
    from adapter.admin.rabbit import NoRights

    try:
        return await who_is_there(rabbit)
    except NoRights as exc:
        out.say(f"{exc}; so which instances are there is not known")
        return None


async def _silent(chosen: Settings, out: Output) -> dict[str, int]:
    """The events that nobody answers, as Redis tells; none if there is no Redis."""
    from adapter.admin import calls
    from adapter.admin.silence import silent_events
    from adapter.errors import StoreUnavailable

    if chosen.redis_url is None:
        return {}
    try:
        async with calls.opened(chosen, options.redis(chosen)) as store:
            return await silent_events(store)
    except StoreUnavailable as exc:
        out.say(f"{exc}; so whether a service answers is not known")
        return {}
