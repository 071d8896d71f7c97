"""``evapi-adapter kamailio``: have Kamailio do something, by the adapter that has a link to it."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import typer

from adapter.cli import complete, listing, options
from adapter.cli.help import Commands
from adapter.cli.output import Column, Format, Output, clock, escaped, seconds
from adapter.errors import CodecError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from adapter.command_contract import CommandReply
    from consumers.kamailio import Way

app = Commands(
    name="kamailio",
    help="Have Kamailio do something: evapi-adapter-commands.cfg carries it out. Exit codes: 0 done, 1 "
    "anything else (OUTCOME: refused, not_found, failed, timeout, unavailable), 2 wrong usage.",
)

MOST_PAGES: Final = 10_000
T = TypeVar("T")

Node = Annotated[
    str,
    typer.Argument(
        autocompletion=complete.nodes,
        metavar="NODE|all",
        help="Which Kamailio; all: whichever has the call.",
        show_default=False,
    ),
]
CallId = Annotated[str, typer.Argument(metavar="CALL-ID", help="Of the call.", show_default=False)]
Timeout = Annotated[float, typer.Option(min=0.05, max=60, help="Seconds after which it is of no use.")]
Id = Annotated[
    str | None,
    typer.Option("--id", metavar="ID", help="The same again within 60 s does nothing: the former outcome."),
]


class Side(StrEnum):
    """Of a call."""

    CALLER = "caller"
    CALLEE = "callee"


class Method(StrEnum):
    """Of a request."""

    OPTIONS = "OPTIONS"
    NOTIFY = "NOTIFY"
    INFO = "INFO"
    MESSAGE = "MESSAGE"


def _style(outcome: Any) -> str:
    return "green" if outcome == "done" else "red"


def _json(value: Any) -> str:
    return "" if value is None else escaped(json.dumps(value, ensure_ascii=False))


COLUMNS: Final = (
    Column("outcome", "OUTCOME", style=_style),
    Column("node", "NODE"),
    Column("result", "RESULT", _json),
    Column("seconds", "TOOK", seconds),
    Column("detail", "DETAIL"),
)
COLUMNS_CALLS: Final = (
    Column("call_id", "CALL-ID"),
    Column("node", "NODE"),
    Column("state", "STATE"),
    Column("from", "FROM"),
    Column("to", "TO"),
    Column("answered", "ANSWERED", clock),
    Column("duration", "DURATION", seconds),
)


@app.command(
    epilog="Examples:  evapi-adapter kamailio hangup sbc1 a84b4c76e66710@pc33.example.com    "
    "evapi-adapter kamailio hangup all a84b4c76e66710@pc33.example.com"
)
def hangup(
    node: Node,
    call_id: CallId,
    timeout: Timeout = 5.0,
    id_: Id = None,
    amqp_url: options.AmqpUrl = None,
    output: options.As = Format.TABLE,
    more: options.More = None,
) -> None:
    """End a call: BYE to both sides, or CANCEL while it rings. Done is told once the call is gone."""
    _one(node, "hangup", {"call_id": call_id}, timeout, id_, amqp_url, output, more)


@app.command(
    epilog="Examples:  evapi-adapter kamailio limit sbc1 a84b4c76@pc33.example.com --max-duration 600    "
    "evapi-adapter kamailio limit sbc1 a84b4c76@pc33.example.com --left 30"
)
def limit(
    node: Node,
    call_id: CallId,
    max_duration: Annotated[
        int | None, typer.Option(min=0, help="Seconds from the answer that it may last.")
    ] = None,
    left: Annotated[int | None, typer.Option(min=0, help="Seconds from now.")] = None,
    timeout: Timeout = 5.0,
    id_: Id = None,
    amqp_url: options.AmqpUrl = None,
    output: options.As = Format.TABLE,
    more: options.More = None,
) -> None:
    """Limit how long a call lasts: Kamailio ends it then, whatever becomes of the adapter."""
    if (max_duration is None) == (left is None):
        raise SettingsError("limit", "takes --max-duration or --left")
    args = {"call_id": call_id, **({"left": left} if left is not None else {"max_duration": max_duration})}
    _one(node, "limit", args, timeout, id_, amqp_url, output, more)


@app.command(epilog="Example:  evapi-adapter kamailio cancel sbc1 a84b4c76e66710@pc33.example.com")
def cancel(
    node: Node,
    call_id: CallId,
    timeout: Timeout = 5.0,
    id_: Id = None,
    amqp_url: options.AmqpUrl = None,
    output: options.As = Format.TABLE,
    more: options.More = None,
) -> None:
    """Give a call up that rings, or waits for a decision: its caller gets 487."""
    _one(node, "cancel", {"call_id": call_id}, timeout, id_, amqp_url, output, more)


@app.command(
    epilog="Example:  evapi-adapter kamailio transfer sbc1 a84b4c76@pc33.example.com sip:desk@example.com"
)
def transfer(
    node: Node,
    call_id: CallId,
    uri: Annotated[str, typer.Argument(metavar="URI", help="Where to.", show_default=False)],
    side: Annotated[Side, typer.Option(help="Who is sent there.")] = Side.CALLER,
    timeout: Timeout = 5.0,
    id_: Id = None,
    amqp_url: options.AmqpUrl = None,
    output: options.As = Format.TABLE,
    more: options.More = None,
) -> None:
    """Have one side of a call call somebody else: it gets a REFER. This one ends once its phone takes it."""
    args = {"call_id": call_id, "uri": uri, "side": side.value}
    _one(node, "transfer", args, timeout, id_, amqp_url, output, more)


@app.command(
    epilog="Examples:  evapi-adapter kamailio request sbc1 OPTIONS sip:gw1.example.net    "
    "evapi-adapter kamailio request sbc1 NOTIFY sip:desk@10.0.0.9 --header 'Event: check-sync'    "
    "evapi-adapter kamailio request sbc1 INFO --call-id a84b4c76@pc33.example.com --side callee"
)
def request(
    node: Node,
    method: Annotated[Method, typer.Argument(show_default=False)],
    uri: Annotated[
        str | None, typer.Argument(metavar="URI", help="Whom to ask, outside of calls.", show_default=False)
    ] = None,
    call_id: Annotated[
        str | None, typer.Option(metavar="CALL-ID", help="In this call; with --side, without URI.")
    ] = None,
    side: Annotated[Side | None, typer.Option(help="Of the call: who gets it, as from the other.")] = None,
    header: Annotated[
        list[str] | None, typer.Option(metavar="'NAME: VALUE'", help="One more header; may be repeated.")
    ] = None,
    body: Annotated[str, typer.Option(help="Its body; give a Content-Type, too.")] = "",
    next_hop: Annotated[str, typer.Option(metavar="URI", help="Where it is sent, if not to URI.")] = "",
    timeout: Timeout = 5.0,
    id_: Id = None,
    amqp_url: options.AmqpUrl = None,
    output: options.As = Format.TABLE,
    more: options.More = None,
) -> None:
    """Send a SIP request from a Kamailio, to a URI or within a call. Its final reply is the result."""
    if (uri is None) == (call_id is None) or (call_id is None) != (side is None):
        raise SettingsError("request", "takes a URI, or --call-id and --side")
    if call_id is not None and next_hop:
        raise SettingsError("request", "takes --next-hop with a URI only: a call has its own way")
    args = {"method": method.value}
    args |= {"uri": uri} if uri else {"call_id": call_id or "", "side": side.value if side else ""}
    if header:
        args["headers"] = "".join(f"{line}\r\n" for line in header)
    args |= {name: given for name, given in (("body", body), ("next_hop", next_hop)) if given}
    _one(node, "request", args, timeout, id_, amqp_url, output, more)


@app.command(
    epilog="Examples:  evapi-adapter kamailio rpc sbc1 core.version    "
    "evapi-adapter kamailio rpc sbc1 htable.get adapter_gate open"
)
def rpc(
    node: Node,
    method: Annotated[str, typer.Argument(metavar="METHOD", help="Of ADAPTER_RPC.", show_default=False)],
    params: Annotated[
        list[str] | None, typer.Argument(metavar="PARAM...", help="Numbers and texts.", show_default=False)
    ] = None,
    timeout: Timeout = 5.0,
    id_: Id = None,
    amqp_url: options.AmqpUrl = None,
    output: options.As = Format.TABLE,
    more: options.More = None,
) -> None:
    """Call one of the RPC methods that the configuration allows (ADAPTER_RPC)."""
    args: dict[str, Any] = {"method": method}
    if params:
        args["params"] = [int(each) if each.removeprefix("-").isdecimal() else each for each in params]
    _one(node, "rpc", args, timeout, id_, amqp_url, output, more)


@app.command(
    epilog="Examples:  evapi-adapter kamailio calls sbc1    "
    "evapi-adapter kamailio calls all --from sip:alice@ -o json"
)
def calls(
    node: Annotated[
        str,
        typer.Argument(
            autocompletion=complete.nodes,
            metavar="NODE|all",
            help="Which Kamailio; all: each.",
            show_default=False,
        ),
    ],
    call_id: Annotated[str | None, typer.Option(metavar="CALL-ID", help="This one alone.")] = None,
    from_: Annotated[str, typer.Option("--from", metavar="URI", help="From begins so.")] = "",
    to: Annotated[str, typer.Option(metavar="URI", help="To begins so.")] = "",
    ruri: Annotated[str, typer.Option(metavar="URI", help="The request URI begins so.")] = "",
    sort: listing.Sort = "",
    watch: listing.Watch = None,
    timeout: Timeout = 5.0,
    amqp_url: options.AmqpUrl = None,
    output: options.As = Format.TABLE,
    more: options.More = None,
) -> None:
    """List the calls that run, by those who see them: Kamailio's own dialogs."""
    out = Output(output)
    filters = {"from": from_, "to": to, "ruri": ruri, "call_id": call_id or ""}
    args = {name: given for name, given in filters.items() if given}
    url = options.amqp(options.settings(more, amqp_url=amqp_url))

    def look() -> None:
        rows, wrong = options.run(_with(url, lambda way: _pages(way, node, args, timeout)))
        out.rows(COLUMNS_CALLS, listing.ordered(rows, sort, COLUMNS_CALLS), "no such call")
        for reply in wrong:
            out.say(f"{escaped(reply.node)}: {reply.outcome}: {escaped(reply.detail)}")
        if wrong and watch is None:
            raise typer.Exit(1)

    listing.repeat(look, out, watch)


async def _pages(
    way: Way, node: str, args: dict[str, Any], within: float
) -> tuple[list[dict[str, Any]], list[CommandReply]]:
    """All pages of the calls of each node; and replies that are none."""
    from adapter.command_contract import CommandOutcome
    from adapter.contract import ALL_NODES
    from consumers.kamailio import ask, ask_every

    rows: list[dict[str, Any]] = []
    wrong: list[CommandReply] = []
    if node == ALL_NODES:
        first = await ask_every(way, "calls", args, within=within, id_=None)
    else:
        first = [await ask(way, node, "calls", args, within=within, id_=None)]
    for each in first:
        reply = each
        for _ in range(MOST_PAGES):
            if not reply.done:
                wrong += [reply] if reply.outcome is not CommandOutcome.NOT_FOUND else []
                break
            rows += [{**call, "node": reply.node} for call in reply.result.get("calls", ())]
            page = reply.result.get("next")
            if not page:
                break
            reply = await ask(way, each.node, "calls", {**args, "page": page}, within=within, id_=None)
    return rows, wrong


def _one(
    node: str,
    command: str,
    args: dict[str, Any],
    timeout: float,
    id_: str | None,
    amqp_url: str | None,
    output: Format,
    more: Sequence[str] | None,
) -> None:
    """Ask, and print what became of it."""
    from consumers.kamailio import ask

    url = options.amqp(options.settings(list(more or ()), amqp_url=amqp_url))
    try:
        reply = options.run(_with(url, lambda way: ask(way, node, command, args, within=timeout, id_=id_)))
    except CodecError as exc:
        raise SettingsError(command, f"Kamailio could not be sent this: {exc.detail}") from exc
    row = {
        "outcome": reply.outcome.value,
        "node": reply.node,
        "result": reply.result,
        "seconds": reply.took_ms / 1000,
        "detail": reply.detail,
    }
    Output(output).one(row, COLUMNS)
    if not reply.done:
        raise typer.Exit(1)


async def _with(url: str, work: Callable[[Way], Awaitable[T]]) -> T:
    """Do something with a way to Kamailio. Raises BrokerUnavailable, and SettingsError for a wrong URL."""
    from adapter.amqp.asking import Asking
    from adapter.amqp.connection import Connection
    from adapter.amqp.limits import ConnectionLimits
    from adapter.amqp.servers import parse_urls

    limits = ConnectionLimits(1)
    limits.connect_timeout = options.PATIENCE
    connection = await Connection.open_any(parse_urls(url), limits, "evapi-adapter kamailio")
    asking = Asking(connection)
    try:
        return await work(asking)
    finally:
        await asking.close()
        await connection.close()
