"""``evapi-adapter conformance``: play calls at a consumer, and say what it does wrong."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from adapter.cli import options
from adapter.cli.help import Commands
from adapter.cli.output import Column, Format, Output
from adapter.errors import BrokerUnavailable, CodecError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adapter.admin.conformance.checks import Check
    from adapter.admin.conformance.judgements import Verdict
    from adapter.admin.conformance.questions import Call
    from adapter.settings import Settings

app = Commands()

EPILOG: Final = (
    "Examples:  evapi-adapter conformance --amqp-url amqp://rabbit --service least_cost    "
    'evapi-adapter conformance --service fraud --event invite --data \'{"account":"42"}\'    '
    "evapi-adapter conformance --service fraud --listen 127.0.0.1:5673    "
    "evapi-adapter conformance --service fraud -o json | jq '.rows[] | select(.status == \"error\")'"
)
EVENT: Final = "invite_request"
MAX_NAME: Final = 100
USAGE: Final = 2
_STYLES: Final = {"ok": "green", "warning": "yellow", "error": "bold red", "unknown": "magenta"}

COLUMNS: Final = (
    Column("status", "STATUS", style=lambda status: _STYLES[status]),
    Column("check", "CHECK"),
    Column("seen", "SEEN"),
    Column("remedy", "REMEDY"),
)


class RequestFormat(StrEnum):
    """In which format a consumer gets its requests."""

    MSGPACK = "msgpack"
    JSON = "json"


@app.command(epilog=EPILOG)
def conformance(
    service: Annotated[str, typer.Option(metavar="NAME", help="The consumer's name.")],
    event: Annotated[str, typer.Option(metavar="NAME", help="The event that it decides.")] = EVENT,
    data: Annotated[
        str | None,
        typer.Option(metavar="JSON", help="Data of a call that it decides. [default: an INVITE's]"),
    ] = None,
    timeout: Annotated[float, typer.Option(min=0.1, max=10, help="Seconds that it has for a call.")] = 2.0,
    request_format: Annotated[
        RequestFormat, typer.Option("--format", help="Of its requests, as its policy has it.")
    ] = RequestFormat.MSGPACK,
    queue: Annotated[
        str | None, typer.Option(metavar="NAME", help="Its queue. [default: evapi.decide.SERVICE]")
    ] = None,
    by_exchange: Annotated[
        bool, typer.Option("--by-exchange", help="Publish to evapi.events: all that are bound get the calls.")
    ] = False,
    listen: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Have it connect through here: acknowledgements are seen."),
    ] = None,
    wait: Annotated[float, typer.Option(min=1, max=600, help="Seconds to wait for it there.")] = 60.0,
    amqp_url: options.AmqpUrl = None,
    amqp_api: Annotated[
        str | None,
        typer.Option(
            envvar="EVAPI_AMQP_API", help="RabbitMQ's management plugin: tells what stays unacknowledged."
        ),
    ] = None,
    output: options.As = Format.TABLE,
    more: options.More = None,
) -> None:
    """Play calls at a running consumer, in any language, and say what it does wrong.

    Some fifteen requests, one at a time, go to the consumer's queue as the adapter writes them: plain ones,
    some with keys and headers of later versions, a redelivered one, 1 MB, one that is too late, a notice, and
    some that no consumer can read. For each check there is one line, with the remedy where it failed.

    Nodes and queues are the kit's own, each message expires, and no Kamailio is touched: it can run beside
    calls. When a message is acknowledged is seen only with --listen: start the consumer with that address in
    place of RabbitMQ's. With --amqp-api it is told which ones never are, some seconds later.

    Exit codes: 0 no error (warnings perhaps), 1 an error, 2 wrong usage, no RabbitMQ, or no consumer.
    """
    from adapter.admin.conformance.player import NobodyThere
    from adapter.admin.management import ManagementUnavailable

    out = Output(output)
    for name, given in (("--service", service), ("--event", event)):
        if not 0 < len(given.encode("utf-8", "replace")) <= MAX_NAME:
            raise SettingsError(name, f"is a name of 1 to {MAX_NAME} bytes")
    settings = options.settings(more, amqp_url=amqp_url, amqp_api=amqp_api)
    options.amqp(settings)
    way = {"by_exchange": by_exchange, "queue": queue or "", "mqtt": settings.mqtt}
    as_json = request_format is RequestFormat.JSON
    call, address = _call(event, data, timeout, as_json), None if listen is None else _address(listen)
    try:
        found = options.run(_played(settings, service, call, address, out, wait=wait, **way))
    except (BrokerUnavailable, ManagementUnavailable, NobodyThere) as exc:
        out.say(f"evapi-adapter: {exc}")
        raise typer.Exit(USAGE) from exc
    out.rows(COLUMNS, [_row(check, verdict) for check, verdict in found])
    out.say(_summary(found))
    if any(verdict.status == "error" for _, verdict in found):
        raise typer.Exit(1)


async def _played(
    settings: Settings, service: str, call: Call, listen: tuple[str, int] | None, out: Output, **more: Any
) -> list[tuple[Check, Verdict]]:
    from adapter.admin.conformance.relay import Relay
    from adapter.admin.conformance.run import conform
    from adapter.admin.management import Management
    from adapter.admin.rabbit import Rabbit

    async with contextlib.AsyncExitStack() as stack:
        rabbit = await stack.enter_async_context(Rabbit(options.amqp(settings)))
        management = relay = None
        if settings.amqp_api is not None:
            management = await stack.enter_async_context(Management.of(settings))
        if listen is not None:
            relay = await stack.enter_async_context(Relay(rabbit.server, *listen))
            out.say(
                f"waiting {more['wait']:g} s for {service}: start it with {relay.shown} for RabbitMQ's URL"
            )
        return await conform(
            rabbit,
            service,
            call,
            relay=relay,
            management=management,
            say=lambda words: out.say(f"playing {words}"),
            **more,
        )


def _call(event: str, data: str | None, timeout: float, as_json: bool) -> Call:
    from adapter.admin.conformance.questions import Call, Question, content

    if data is None:
        return Call(event, "", timeout=timeout, as_json=as_json)
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as exc:
        raise SettingsError("--data", f"is no JSON: {exc}") from exc
    if not isinstance(found, dict):
        raise SettingsError("--data", "is no JSON object")
    call = Call(event, "", found, timeout, as_json)
    try:
        content(Question.LARGE, call, 0, 0.0)
    except CodecError as exc:
        raise SettingsError("--data", f"cannot be sent: {exc}") from exc
    return call


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65_535:
        raise SettingsError("--listen", f"{text!r} is no HOST:PORT such as 127.0.0.1:5673")
    return host.strip("[]"), int(port)


def _row(check: Check, verdict: Verdict) -> dict[str, Any]:
    return {
        "check": check.name,
        "status": str(verdict.status),
        "seen": verdict.seen,
        "remedy": verdict.remedy,
        "right": check.right,
    }


def _summary(found: Sequence[tuple[Check, Verdict]]) -> str:
    from adapter.admin.checks_finding import Status, counted

    counts = Counter(verdict.status for _, verdict in found)
    told = (
        f"{counted(counts[Status.ERROR], 'error')}, {counted(counts[Status.WARNING], 'warning')}, "
        f"{counts[Status.OK]} ok"
    )
    return f"{told}, {counts[Status.UNKNOWN]} not checked" if counts[Status.UNKNOWN] else told
